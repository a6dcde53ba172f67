"""The same bits as another dtype."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.dtypes import DTYPES, FROM_NUMPY
from codegen.expr import Bitcast as BitcastExpr
from codegen.expr import Expr

from ..errors import DTypeError
from ..node import Node, apply
from ..op import Sample
from ..site import located
from ..types import STORAGE, Type, check_dtype
from .elementwise import Elementwise, cast


@dataclass(frozen=True)
class Bitcast(Elementwise):
    """The bits of x, read as a dtype of the same size; no derivative. numpy.ndarray.view; ONNX BitCast."""

    name = "bitcast"
    accepts = "number"
    dtype: str = "int32"

    def infer(self, *inputs: Type) -> Type:
        made = super().infer(*inputs).with_dtype(check_dtype(self.dtype))
        here, there = (DTYPES[FROM_NUMPY[t.dtype]] for t in (inputs[0], made))
        # Values of the two-byte floats are float32 where they are computed with: their own bits are not at hand.
        if here.bytes != there.bytes or "bool" in (here.name, there.name) or {made.dtype, inputs[0].dtype} & {*STORAGE}:
            raise DTypeError(f"{inputs[0].dtype} has no bits for {made.dtype}: both must have one size, and be stored")
        return made

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x).view(self.dtype).reshape(x.shape)

    def scalar(self, x: Expr) -> Expr:
        return BitcastExpr(x, FROM_NUMPY[self.dtype])

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (None,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls("float32"), ((3, 4),), dtypes=("int32",), low=1, high=1 << 30, differentiable=False)
        yield Sample(cls("uint64"), ((5,),), dtypes=("float64",), differentiable=False)
        yield Sample(cls("int8"), ((5,),), dtypes=("uint8",), low=0, high=255, differentiable=False)


@located
def bitcast(x: Node, dtype: str) -> Node:
    """The bits of x as another dtype of the same size; bools count as uint8."""
    dtype = check_dtype(dtype)
    if x.dtype == dtype:
        return x
    if x.dtype == "bool":
        return bitcast(cast(x, "uint8"), dtype)
    return apply(Bitcast(dtype), x)
