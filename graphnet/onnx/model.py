"""`load`: an ONNX model as a graph that can be drawn, compiled, differentiated and trained further."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from ..errors import GraphnetError
from ..function import Function
from ..function import compile as compile_graph
from ..node import Node, make_graph
from ..state import State
from ..types import Extent
from .dtypes import dtype_of
from .importer import build
from .prepared import Prepared, prepare, shapes_of


@dataclass(frozen=True, slots=True)
class Model:
    """An imported model. The initializers that are floats are parameters, of these names; `state` has their values.

    Named sizes of the inputs stay symbolic: the compiled function takes any."""

    name: str
    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    output_names: tuple[str, ...]
    state: State

    @property
    def parameters(self) -> tuple[Node, ...]:
        return make_graph(self.outputs, self.inputs).parameters

    def __getitem__(self, name: str) -> Node:
        """An output, input or parameter by its name in the model."""
        found = dict(zip(self.output_names, self.outputs, strict=True))
        found = {n.name: n for n in (*self.parameters, *self.inputs)} | found
        if name not in found:
            raise GraphnetError(f"{self.name} has no {name!r}; there are {', '.join(found)}")
        return found[name]

    def compile(self, **settings: Any) -> Function:
        """A function from the inputs to the outputs, with this model's state; settings are those of `gn.compile`."""
        return compile_graph(self.outputs, self.inputs, state=self.state, **settings)

    def __repr__(self) -> str:
        inputs = ", ".join(f"{n.name}: {n.type}" for n in self.inputs)
        outputs = ", ".join(f"{name}: {n.type}" for name, n in zip(self.output_names, self.outputs, strict=True))
        return f"<ONNX model {self.name}: ({inputs}) -> ({outputs}), {len(self.parameters)} parameters>"


def load(
    what: str | os.PathLike[str] | bytes | onnx.ModelProto,
    *,
    sizes: Mapping[str, int] | None = None,
    shapes: Mapping[str, Iterable[Extent | str]] | None = None,
    constants: Mapping[str, Any] | None = None,
) -> Model:
    """The graph of an ONNX model: a file, the bytes of one, or a `ModelProto`.

    sizes: numbers for named sizes, such as {"N": 1}; shapes: of inputs, where the model says less or names sizes;
    constants: values of inputs that decide shapes, and then are inputs no more. Such values may depend on the model's
    initializers too; they are taken as the model has them.

    Raises ModelError for what is damaged or contradicts itself, UnsupportedError with everything that is not
    supported, UnknownValueError where values decide shapes and are not given."""
    source = prepare(what)
    return imported(source, sizes or {}, shapes or {}, constants or {}, State())


def imported(
    source: Prepared,
    sizes: Mapping[str, int],
    shapes: Mapping[str, Iterable[Extent | str]],
    constants: Mapping[str, Any],
    state: State,
) -> Model:
    """A model for these shapes and constants."""
    arrays = constants_of(source, constants)
    found = shapes_of(source, sizes, {**shapes, **{k: a.shape for k, a in arrays.items()}})
    built = build(source, found, arrays)
    model = Model(source.label, built.inputs, built.outputs, built.output_names, state)
    for p in model.parameters:
        state.memory(p)
    return model


def constants_of(source: Prepared, constants: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Values of inputs, of the declared element types."""
    declared = {v.name: v.type.tensor_type for v in source.inputs}
    found = {}
    for name, value in constants.items():
        if name not in declared:
            raise GraphnetError(f"constants: {name!r} is no input; there are {', '.join(declared) or 'none'}")
        dtype = dtype_of(declared[name].elem_type)
        array = np.asarray(value)
        if isinstance(value, np.ndarray) and array.dtype.name != dtype:
            raise GraphnetError(f"constants: {name!r} is declared as {dtype}, the given array is {array.dtype}")
        found[name] = array.astype(dtype)
    return found
