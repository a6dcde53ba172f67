"""From a checked model to a graph: node by node, each by its converter."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from ..errors import GraphnetError, ShapeError
from ..evaluate import evaluate
from ..node import Input, Node, constant, parameter, toposort
from ..node import input as declare_input
from ..ops.broadcast import Size
from ..site import Site, derived
from ..types import Dim, Extent, Shape
from . import survey
from .call import Call, Refused, Several, Unknown, Value
from .dtypes import dtype_of
from .errors import ModelError, Problem, UnknownValueError, UnsupportedError
from .functions import MOST_NODES, definition, is_defined
from .prepared import Prepared
from .reading import array_of
from .shapes import SHAPED, Extents, is_known, node_of
from .table import NEWEST, canonical, find

Scope = ChainMap[str, Value | Several]
# What converters run into where attributes or shapes are such that no model in order has them.
DAMAGE = (ArithmeticError, AssertionError, LookupError, MemoryError, TypeError, ValueError)
LARGE_CONSTANT = 1 << 22  # elements of a value that must be known; more of them are no shape


@dataclass(frozen=True, slots=True)
class Built:
    """A model as a graph, with the names that the model gives."""

    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    output_names: tuple[str, ...]


def build(source: Prepared, shapes: Mapping[str, Shape], constants: Mapping[str, np.ndarray]) -> Built:
    """The graph of a model. shapes: of its inputs; constants: inputs whose values are given. Raises UnsupportedError
    with all problems, UnknownValueError, or ModelError."""
    return Importer(source).main(shapes, constants)


class Importer:
    """One import. `problems` collects what cannot be converted; what depends on that is left out."""

    def __init__(self, source: Prepared) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self.contradictions: list[str] = []
        self.unknown: dict[str, str] = {}  # inputs whose values are needed: by whom
        self._arrays: dict[Node, np.ndarray] = {}
        self._depends: dict[Node, tuple[str, ...]] = {}
        self._labels: set[str] = set()
        self._count = 0
        graph = source.model.graph
        self._declared = {v.name: v for v in (*graph.value_info, *graph.output)}

    def main(self, shapes: Mapping[str, Shape], constants: Mapping[str, np.ndarray]) -> Built:
        graph = self.source.model.graph
        scope: Scope = ChainMap()
        inputs = []
        for v in graph.input:
            if v.name in self.source.arrays:
                continue
            if v.name in constants:
                scope[v.name] = Value(constant(constants[v.name]))
            else:
                dtype = dtype_of(v.type.tensor_type.elem_type)
                if dtype is None:  # the survey has refused those that we lack
                    raise ModelError(f"input {v.name!r} has no element type")
                node = declare_input(v.name, shapes[v.name], dtype)
                inputs.append(node)
                self._labels.add(v.name)
                scope[v.name] = Value(node)
        for name, array in self.source.arrays.items():
            scope[name] = self._initializer(name, array)
        self._nodes(graph.node, scope, self.source.versions)
        if self.unknown:  # first, since what is wrong besides may follow from it
            raise UnknownValueError(self.unknown, ", ".join(dict.fromkeys(self.unknown.values())))
        if self.problems:
            raise UnsupportedError(self.problems)
        if self.contradictions:
            names = sorted({name for n in inputs for e in n.shape if isinstance(e, Dim) for name in e.names})
            hint = f" (for any {', '.join(names)}; sizes={{...}} gives numbers)" if names else ""
            raise ModelError(f"the model contradicts itself{hint}: {'; '.join(self.contradictions)}")
        missing = [v.name for v in graph.output if v.name not in scope]
        if missing:
            raise ModelError(f"nothing computes the output {missing[0]!r}")
        outputs = {v.name: scope[v.name] for v in graph.output}
        nodes = tuple(v.node for v in outputs.values() if isinstance(v, Value))  # the survey has refused sequences
        return Built(tuple(inputs), nodes, tuple(outputs))

    def _initializer(self, name: str, array: np.ndarray) -> Value:
        """Floats are parameters, which can be trained. Others are constants."""
        if array.dtype.name not in ("float16", "bfloat16", "float32", "float64"):
            return Value(constant(array))
        label = name
        while label in self._labels:
            label += "_"
        self._labels.add(label)
        return Value(parameter(label, array.shape, array, array.dtype.name))

    # -------------------------------------------------------------------------------------- nodes

    def _nodes(self, nodes: Sequence[onnx.NodeProto], scope: Scope, versions: Mapping[str, int]) -> None:
        for proto in nodes:
            self._count += 1
            if self._count > MOST_NODES:
                reason = f"its loops come to more than {MOST_NODES:,} nodes"
                raise UnsupportedError([Problem(self.source.label, "", (), reason)])
            if any(i and i not in scope for i in proto.input):
                continue  # it depends on something that could not be converted
            name = proto.name or next((o for o in proto.output if o), "")
            role = name if proto.op_type in name else f"{proto.op_type} {name}"
            with derived((Site(self.source.label, self._count, role),)):
                self._node(proto, scope, versions)

    def _node(self, proto: onnx.NodeProto, scope: Scope, versions: Mapping[str, int]) -> None:
        version = versions[canonical(proto.domain)]
        values = [scope[i] if i else None for i in proto.input]
        call = Call(proto, version, values, self, scope, lambda g, inputs: self._subgraph(g, inputs, scope, versions))
        try:
            made = self._converted(proto, call)
        except Unknown as e:
            self.unknown |= {n: survey.described(proto, version, "").where for n in e.names}
            return
        except (UnsupportedError, ModelError, UnknownValueError):
            raise
        except (ShapeError, *DAMAGE) as e:
            reason = str(e) or f"its inputs or attributes make no sense ({type(e).__name__})"
            self.contradictions.append(str(survey.described(proto, version, reason)))
            return
        except GraphnetError as e:  # Refused, or what our ops do not take
            self.problems.append(survey.described(proto, version, str(e)))
            return
        for name, value in zip(proto.output, made, strict=False):
            if name and value is not None:
                outermost = len(scope.maps) == 1  # the names of subgraphs and functions are their own
                if outermost and isinstance(value, Value):
                    self._check(name, value.node, proto)
                scope[name] = value

    def _converted(self, proto: onnx.NodeProto, call: Call) -> list[Value | Several | None]:
        shaped = SHAPED.get(proto.op_type) if canonical(proto.domain) == "" else None
        if shaped is not None and any(isinstance(v, Value) and v.extents is not None for v in call.values):
            extents = shaped([self._as_extents(v) for v in call.values], call.attribute)
            if extents is not None:
                return [Value(node_of(extents), None if is_known(extents) else extents)]
        row = find(proto.domain, proto.op_type, call.version)
        if row is None:
            return self._by_definition(proto, call)
        made = row.convert(call)
        several = [made] if isinstance(made, (Node, Value, Several)) else list(made)
        return [Value(n) if isinstance(n, Node) else n for n in several]

    def _as_extents(self, value: Value | Several | None) -> Extents | None:
        """Integers that are known, perhaps by name only."""
        if not isinstance(value, Value):
            return None
        if value.extents is not None:
            return value.extents
        if value.node.dtype not in ("int64", "int32"):
            return None
        try:
            return self.known(value.node).astype(object)
        except (Unknown, Refused):
            return None

    def _check(self, name: str, node: Node, proto: onnx.NodeProto) -> None:
        """Notes where a value is not of the type that is declared."""
        declared = self._declared.get(name)
        if declared is None or declared.type.WhichOneof("value") != "tensor_type":
            return
        t = declared.type.tensor_type
        wrong = t.elem_type and dtype_of(t.elem_type) != node.dtype
        if t.HasField("shape"):
            wrong = wrong or len(t.shape.dim) != node.rank
            for d, e in zip(t.shape.dim, node.shape, strict=False):
                wrong = wrong or (d.HasField("dim_value") and isinstance(e, int) and e != d.dim_value)
        if wrong:
            dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in t.shape.dim]
            says = f"{dtype_of(t.elem_type)}[{', '.join(map(str, dims))}]"
            self.contradictions.append(f"{name!r}, made by {proto.op_type}, is {node.type}; the model says {says}")

    # ---------------------------------------------------------------------------------- subgraphs

    def _by_definition(self, proto: onnx.NodeProto, call: Call) -> list[Value | Several | None]:
        """The outputs of a node that the standard defines by others."""
        if not is_defined(canonical(proto.domain), proto.op_type, call.version):
            raise Refused("no such op is supported")
        function = definition(proto, call.version, [call.get(i) for i in range(len(call))])
        versions = NEWEST | {canonical(o.domain): o.version for o in function.opset_import}
        absent = [None] * (len(function.input) - len(call.values))
        inputs = zip(function.input, [*call.values, *absent], strict=True)
        scope: Scope = ChainMap({}, {name: v for name, v in inputs if v is not None})
        for n in function.node:  # inputs that are left out of the call are left out of the definition
            gone = set(function.input) - scope.keys()
            n.input[:] = ["" if i in gone else i for i in n.input]
        return self._outputs_of(function.node, function.output, scope, versions, optional=True)

    def _outputs_of(
        self,
        nodes: Sequence[onnx.NodeProto],
        outputs: Sequence[str],
        scope: Scope,
        versions: Mapping[str, int],
        optional: bool = False,
    ) -> list[Value | Several | None]:
        problems = len(self.problems) + len(self.contradictions)
        self._nodes(nodes, scope, versions)
        missing = [name for name in outputs if name not in scope]
        if missing and self.unknown:
            raise Unknown(list(self.unknown))
        if len(self.problems) + len(self.contradictions) > problems:
            raise Refused("what it is made of cannot be converted, see there")
        if missing and not optional:
            raise Refused(f"its subgraph does not compute {', '.join(missing)}")
        return [scope.get(name) for name in outputs]

    def _subgraph(
        self, graph: onnx.GraphProto, inputs: Sequence[Node], outer: Scope, versions: Mapping[str, int]
    ) -> list[Node]:
        """The outputs of a subgraph. Names in it hide those outside."""
        if len(inputs) != len(graph.input):
            raise ModelError(f"subgraph {graph.name!r} has {len(graph.input)} inputs, not {len(inputs)}")
        scope = outer.new_child({v.name: Value(n) for v, n in zip(graph.input, inputs, strict=True)})
        for t in graph.initializer:
            array = array_of(t, self.source.folder, f"initializer {t.name!r}")
            scope[t.name] = Value(constant(array))
        made = self._outputs_of(graph.node, [v.name for v in graph.output], scope, versions)
        nodes = []
        for v, declared in zip(made, graph.output, strict=True):
            if not isinstance(v, Value):
                raise Refused(f"its subgraph gives a sequence, {declared.name}")
            nodes.append(v.node)
        return nodes

    # ------------------------------------------------------------------------------- known values

    def known(self, node: Node) -> np.ndarray:
        """The value of a node that depends on no input: by each op's NumPy reference. Parameters have the model's
        values. Raises Unknown, or Refused where named sizes decide."""
        if node not in self._arrays:
            names = self._inputs_of(node)
            if names:
                raise Unknown(names)
            leaves = toposort([node])
            sizes: set[str] = set()
            for n in leaves:
                extents: tuple[Extent, ...] = (*n.shape, n.op.dim) if isinstance(n.op, Size) else n.shape
                sizes |= {name for e in extents if isinstance(e, Dim) for name in e.names}
            if sizes:
                raise Refused(f"it needs numbers for {', '.join(sorted(sizes))}; pass sizes={{...}}")
            if any(_count(n.shape) > LARGE_CONSTANT for n in leaves):
                raise Refused("an input that must be known comes from very large arrays")
            self._arrays[node] = evaluate(node)[0]
        return self._arrays[node]

    def _inputs_of(self, node: Node) -> tuple[str, ...]:
        """The inputs that a node depends on. Each node is looked at once in an import."""
        stack = [node]
        while stack:
            n = stack[-1]
            below = [i for i in n.inputs if i not in self._depends]
            if n not in self._depends and below:
                stack.extend(below)
                continue
            own = [n.name] if isinstance(n.op, Input) else []
            self._depends[n] = tuple(dict.fromkeys([*own, *(name for i in n.inputs for name in self._depends[i])]))
            stack.pop()
        return self._depends[node]


def _count(shape: Shape) -> int:
    total = 1
    for e in shape:
        assert isinstance(e, int)
        total *= e
    return total
