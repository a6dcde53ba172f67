"""One node of a model as its converter sees it: inputs, attributes, and ways to say no."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import onnx

from ..errors import GraphnetError
from ..node import Node
from ..types import Extent, Shape
from .shapes import Extents, extents_of, is_known

if TYPE_CHECKING:
    from .importer import Importer


class Refused(GraphnetError):
    """What a converter cannot do; becomes a `Problem`."""


class Unknown(GraphnetError):
    """A value that must be known depends on these inputs."""

    def __init__(self, names: Sequence[str]) -> None:
        super().__init__(", ".join(names))
        self.names = tuple(names)


@dataclass(frozen=True, slots=True)
class Value:
    """A tensor of the model. extents: the same as integers, where it is made of sizes that are only named."""

    node: Node
    extents: Extents | None = None


@dataclass(frozen=True, slots=True)
class Several:
    """A sequence of tensors, whose number is known."""

    items: tuple[Node, ...]


class Call:
    """A node of the model, with its inputs as nodes of the graph."""

    def __init__(
        self,
        proto: onnx.NodeProto,
        version: int,
        inputs: Sequence[Value | Several | None],
        importer: Importer,
        scope: Mapping[str, Value | Several],
        subgraph: Callable[[onnx.GraphProto, Sequence[Node]], list[Node]],
    ) -> None:
        self.op: str = proto.op_type
        self.version = version  # of the operator set
        self.values = list(inputs)
        self.outputs: list[str] = list(proto.output)
        self._importer = importer
        self._scope = scope
        self._subgraph = subgraph
        self._given = {a.name: a for a in proto.attribute}
        self._schema = _schema(proto, version)

    # ------------------------------------------------------------------------------------- inputs

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, i: int) -> Node:
        """Input i, which must be there."""
        node = self.get(i)
        if node is None:
            raise Refused(f"input {i} is left out")
        return node

    def get(self, i: int) -> Node | None:
        """Input i, None where it is left out."""
        value = self.values[i] if i < len(self.values) else None
        if isinstance(value, Several):
            raise Refused(f"input {i} is a sequence")
        return None if value is None else value.node

    def items(self, i: int) -> tuple[Node, ...]:
        """Input i, a sequence."""
        value = self.values[i]
        if not isinstance(value, Several):
            raise Refused(f"input {i} is no sequence")
        return value.items

    @property
    def nodes(self) -> list[Node]:
        """All inputs, of which none may be left out."""
        return [self[i] for i in range(len(self))]

    def wants(self, i: int) -> bool:
        """Whether output i is used."""
        return i < len(self.outputs) and self.outputs[i] != ""

    # ------------------------------------------------------------------ inputs that must be known

    def array(self, i: int) -> np.ndarray:
        """The value of input i, which must not depend on the model's inputs."""
        return self._importer.known(self[i])

    def known_or_none(self, i: int) -> np.ndarray | None:
        """The value of input i if it is known."""
        try:
            return self.array(i)
        except (Unknown, Refused):
            return None

    def value(self, node: Node) -> np.ndarray:
        """The value of a node that must be known."""
        return self._importer.known(node)

    def ints(self, i: int) -> list[int]:
        """The same as integers."""
        return [int(v) for v in self.array(i).reshape(-1)]

    def ints_or(self, i: int, default: Any) -> Any:
        return default if self.get(i) is None else self.ints(i)

    def extents(self, i: int) -> list[Extent]:
        """The same, where named sizes are welcome."""
        value = self.values[i] if i < len(self.values) else None
        if isinstance(value, Value) and value.extents is not None:
            return list(value.extents.reshape(-1))
        return list(self.ints(i))

    def scalar(self, i: int) -> Any:
        """Input i as one number of Python."""
        array = self.array(i)
        if array.size != 1:
            self.refuse(f"input {i} must be a single number, not of shape {list(array.shape)}")
        return array.reshape(-1)[0].item()

    def known_sizes(self, i: int = 0) -> tuple[int, ...]:
        """The shape of input i, which must be numbers."""
        return self.sizes_of(self[i].shape)

    def sizes_of(self, shape: Shape) -> tuple[int, ...]:
        """Extents that must be numbers."""
        extents = extents_of(list(shape))
        if not is_known(extents):
            self.refuse(f"shape {list(shape)} must be known; pass sizes={{...}}")
        return tuple(int(e) for e in extents)

    # --------------------------------------------------------------------------------- attributes

    def attribute(self, name: str, default: Any = None) -> Any:
        """An attribute as given, else as the operator's definition says, else `default`. Text is str."""
        proto = self._given.get(name)
        if proto is None and self._schema is not None and name in self._schema.attributes:
            proto = self._schema.attributes[name].default_value
            if not proto.name:
                return default
        if proto is None:
            return default
        value = onnx.helper.get_attribute_value(proto)
        if isinstance(value, bytes):
            return value.decode("utf-8", "replace")
        if isinstance(value, (list, tuple)):
            return [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value]
        return value

    def has(self, name: str) -> bool:
        """Whether the model gives this attribute."""
        return name in self._given

    def lookup(self, name: str) -> Node:
        """A value of the surrounding graph, which stands before this node."""
        if name not in self._scope:
            self.refuse(f"there is no value {name!r} before it")
        value = self._scope[name]
        if isinstance(value, Several):
            self.refuse(f"{name!r} is a sequence")
        return value.node

    @property
    def folder(self) -> Path | None:
        """Where the model lies."""
        return self._importer.source.folder

    def run(self, graph: onnx.GraphProto, inputs: Sequence[Node]) -> list[Node]:
        """The outputs of a subgraph, which sees this node's surroundings."""
        return self._subgraph(graph, inputs)

    # ------------------------------------------------------------------------------------ refusal

    def refuse(self, reason: str) -> NoReturn:
        raise Refused(reason)

    def refuse_unless(self, condition: bool, reason: str) -> None:
        if not condition:
            raise Refused(reason)


def _schema(proto: onnx.NodeProto, version: int) -> Any:
    try:
        return onnx.defs.get_schema(proto.op_type, version, proto.domain)
    except onnx.defs.SchemaError:
        return None
