"""Nodes and graphs: frozen, interned, with the user's line in every one.

Two nodes with the same op and inputs are the same object, so common subexpressions are shared on
construction and identity is equality. Arithmetic on nodes is installed by `ops`, which knows the ops.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import GraphnetError, ShapeError
from .init import initialiser
from .op import Op
from .site import Site, current_sites, in_derivation, located, where
from .types import Shape, Type, check_dtype, concrete, extent


class Node:
    """A value of the graph. Make one with `apply` or the functions of `graphnet`."""

    __slots__ = ("__weakref__", "inputs", "op", "sites", "type")

    op: Op
    inputs: tuple[Node, ...]
    type: Type
    sites: tuple[Site, ...]

    # NumPy must hand `array * node` to Node.__rmul__.
    __array_ufunc__ = None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"nodes are frozen: cannot set {name}")

    @property
    def shape(self) -> Shape:
        return self.type.shape

    @property
    def dtype(self) -> str:
        return self.type.dtype

    @property
    def rank(self) -> int:
        return len(self.type.shape)

    @property
    def name(self) -> str:
        """The user's name of a leaf, else the op's."""
        return getattr(self.op, "label", "") or self.op.name

    def __repr__(self) -> str:
        at = f"  # {self.sites[0]}" if self.sites else ""
        args = ", ".join(i.name for i in self.inputs)
        label = self.name if not self.inputs else f"{self.op.name}({args})"
        return f"<{label} : {self.type}>{at}"

    def __bool__(self) -> bool:
        raise GraphnetError(f"a graph node has no truth value: {self!r}; use gn.where for a choice inside the graph")

    def __iter__(self) -> Any:
        raise GraphnetError(f"a graph node cannot be iterated over: {self!r}")

    if TYPE_CHECKING:
        # Installed by `ops.operators`, which knows the ops; declared here for type checkers.
        def _operator(self, other: Any) -> Node: ...
        def _prefix(self) -> Node: ...

        __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _operator
        __pow__ = __rpow__ = __matmul__ = __rmatmul__ = __and__ = __rand__ = __or__ = __ror__ = _operator
        __xor__ = __rxor__ = __lshift__ = __rlshift__ = __rshift__ = __rrshift__ = _operator
        __floordiv__ = __rfloordiv__ = __mod__ = __rmod__ = _operator
        __lt__ = __le__ = __gt__ = __ge__ = __getitem__ = _operator
        __neg__ = __abs__ = __invert__ = _prefix


MOST_SITES = 4  # lines that a shared node remembers

_nodes: weakref.WeakValueDictionary[tuple[Op, tuple[Node, ...]], Node] = weakref.WeakValueDictionary()


def apply(op: Op, *inputs: Node) -> Node:
    """The node `op(*inputs)`: the existing one, or a new one whose type `op.infer` gives.

    A node that the user writes again, on another line, points at the newest line first.
    Raises the error of `infer`, naming the op, the input types and the user's line."""
    key = (op, inputs)
    sites = current_sites()
    found = _nodes.get(key)
    if found is not None:
        if sites and not in_derivation() and (not found.sites or found.sites[0] != sites[0]):
            earlier = tuple(s for s in found.sites if s != sites[0])
            object.__setattr__(found, "sites", (*sites, *earlier[: MOST_SITES - 1]))
        return found
    for i in inputs:
        if not isinstance(i, Node):
            raise GraphnetError(f"{op.name}: expected a graph node, got {type(i).__name__} {i!r}{where(sites)}")
    try:
        t = op.infer(*(i.type for i in inputs))
    except GraphnetError as e:
        given = ", ".join(f"{i.name}: {i.type}" for i in inputs)
        raise type(e)(f"{op.name}({given}): {e}{where(sites)}") from None
    node = object.__new__(Node)
    for slot, value in (("op", op), ("inputs", inputs), ("type", t), ("sites", sites)):
        object.__setattr__(node, slot, value)
    _nodes[key] = node
    return node


# -------------------------------------------------------------------------------------- leaves


@dataclass(frozen=True)
class Input(Op):
    """A value given at each call."""

    name = "input"
    kind = "leaf"
    label: str
    type: Type

    def infer(self) -> Type:
        return self.type


@dataclass(frozen=True)
class Parameter(Op):
    """A value that lives in the executable's state: `init` makes the first one."""

    name = "parameter"
    kind = "leaf"
    label: str
    type: Type
    init: Any  # an Initialiser of `init`: frozen and hashable

    def infer(self) -> Type:
        return self.type


@dataclass(frozen=True)
class Constant(Op):
    """An array of the program itself, held as bytes so that it can be compared and printed."""

    name = "constant"
    kind = "leaf"
    type: Type
    data: bytes

    def infer(self) -> Type:
        return self.type

    @property
    def array(self) -> np.ndarray:
        shape = concrete(self.type.shape)
        return np.frombuffer(self.data, dtype=self.type.dtype).reshape(shape)

    def evaluate(self) -> np.ndarray:
        return self.array

    @property
    def label(self) -> str:
        if self.type.shape != ():
            return ""
        first = self.array.reshape(-1)[0]
        return f"{float(first) if self.type.is_float else first:g}"


@located
def input(name: str, shape: Iterable[object], dtype: str = "float32") -> Node:
    """Declares an argument of the compiled function. Extents are numbers or names of symbolic sizes."""
    return apply(Input(name, Type(check_dtype(dtype), tuple(extent(e) for e in shape))))


@located
def parameter(name: str, shape: Iterable[object], init: Any = None, dtype: str = "float32") -> Node:
    """Declares state of the compiled function, such as a weight. `init` is an initialiser of `gn.init`, a
    number or an array; by default he_normal() for rank >= 2, else zeros(). The shape must be concrete."""
    extents = tuple(extent(e) for e in shape)
    try:
        t = Type(check_dtype(dtype), concrete(extents))
        first = initialiser(init, concrete(extents), t.dtype)
    except GraphnetError as e:
        raise type(e)(f"parameter {name!r}: {e}") from None
    return apply(Parameter(name, t, first))


@located
def constant(value: Any, dtype: str | None = None) -> Node:
    """A constant of the graph from a number or an array; dtype defaults to float32 for Python floats,
    int32 for Python ints, and the array's own."""
    if dtype is None and isinstance(value, (bool, int, float)):
        dtype = "bool" if isinstance(value, bool) else "int32" if isinstance(value, int) else "float32"
    array = np.asarray(value, dtype=dtype)
    t = Type(check_dtype(array.dtype), array.shape)
    return apply(Constant(t, np.ascontiguousarray(array).tobytes()))


# --------------------------------------------------------------------------------------- graphs


def toposort(outputs: Iterable[Node]) -> list[Node]:
    """Every node that the outputs need, inputs before users, in a deterministic order. No recursion."""
    order: list[Node] = []
    state: dict[Node, bool] = {}
    stack: list[tuple[Node, bool]] = [(n, False) for n in reversed(list(outputs))]
    while stack:
        node, done = stack.pop()
        if done:
            order.append(node)
            continue
        if node in state:
            continue
        state[node] = True
        stack.append((node, True))
        stack.extend((i, False) for i in reversed(node.inputs) if i not in state)
    return order


@dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Graph:
    """What a compiled function computes: outputs, and the new values of parameters. Interned."""

    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    updates: tuple[tuple[Node, Node], ...] = ()

    @property
    def results(self) -> tuple[Node, ...]:
        """Everything that must be computed: the outputs, then the updates' new values."""
        return self.outputs + tuple(new for _, new in self.updates)

    def nodes(self) -> list[Node]:
        return toposort((*self.inputs, *self.results))

    @property
    def parameters(self) -> tuple[Node, ...]:
        found = [n for n in self.nodes() if isinstance(n.op, Parameter)]
        known = set(found)
        return tuple(found + [p for p, _ in self.updates if p not in known])

    def __str__(self) -> str:
        return f"<graph: {len(self.nodes())} nodes, {len(self.outputs)} outputs, {len(self.updates)} updates>"


_graphs: weakref.WeakValueDictionary[tuple[Any, ...], Graph] = weakref.WeakValueDictionary()


def make_graph(
    outputs: Iterable[Node],
    inputs: Iterable[Node] = (),
    updates: Mapping[Node, Node] | Iterable[tuple[Node, Node]] = (),
) -> Graph:
    """The interned graph of these outputs.

    Raises GraphnetError for an update of something that is not a parameter, or of another type, and
    for an input that is needed but not listed."""
    pairs = tuple(updates.items() if isinstance(updates, Mapping) else updates)
    key = (tuple(inputs), tuple(outputs), pairs)
    for p, new in pairs:
        if not isinstance(p, Node) or not isinstance(p.op, Parameter):
            raise GraphnetError(f"updates: {p!r} is not a parameter; only gn.parameter nodes can be updated")
        if not isinstance(new, Node):
            raise GraphnetError(f"updates: the new value of parameter {p.name!r} is {new!r}, which is no graph node")
        if new.type != p.type:
            raise ShapeError(f"updates: parameter {p.name} is {p.type}, its new value {new.type}{where(new.sites)}")
    found = _graphs.get(key)
    if found is not None:
        return found
    graph = Graph(*key)
    listed = set(graph.inputs)
    for n in graph.inputs:
        if not isinstance(n.op, Input):
            raise GraphnetError(f"inputs: {n!r} is not an input; declare it with gn.input")
    for n in graph.nodes():
        if isinstance(n.op, Input) and n not in listed:
            raise GraphnetError(f"input {n.name!r} is needed but not in inputs=[...]{where(n.sites)}")
    _graphs[key] = graph
    return graph


def rebuild(graph: Graph, visit: Callable[[Node, tuple[Node, ...]], Node]) -> Graph:
    """The graph with every node replaced by `visit(node, new inputs)`, inputs first."""
    new: dict[Node, Node] = {}
    for n in graph.nodes():
        new[n] = visit(n, tuple(new[i] for i in n.inputs))
    for p, _ in graph.updates:
        if p not in new:
            new[p] = visit(p, ())
    return make_graph(
        tuple(new[n] for n in graph.outputs),
        tuple(new[n] for n in graph.inputs),
        tuple((new[p], new[v]) for p, v in graph.updates),
    )
