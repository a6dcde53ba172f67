"""Whether any or all elements hold, over some axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.compute import Reduce
from codegen.expr import Expr, cast

from ..errors import DTypeError
from ..node import Node, apply
from ..op import Op, Operand, Sample
from ..site import located
from ..types import Type, elements, normalise_axes
from .broadcast import reduced_shape, reduction
from .compare import ne


@dataclass(frozen=True)
class _Quantifier(Op):
    """Base: of bools, folded as bytes of 0 and 1."""

    kind = "reduce"
    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, x: Type) -> Type:
        if x.dtype != "bool":
            raise DTypeError(f"{self.name} takes bool, not {x.dtype}; compare it, or use gn.cast")
        return x.with_shape(reduced_shape(x.shape, normalise_axes(self.axes, x.rank), self.keepdims))

    def folded(self, op: str, index: Sequence[Expr], x: Operand) -> Reduce:
        axes, value = reduction(x, index, self.axes, self.keepdims)
        return Reduce(op, axes, cast(value, "u8"))

    def flops(self, output: Type, *inputs: Type) -> int:
        return elements(inputs[0])

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        for shape, axes, keepdims in (((5, 2), (1,), False), ((2, 3, 4), (0, 2), True), ((3, 0), (1,), False)):
            yield Sample(cls(axes, keepdims), (shape,), dtypes=("bool",), differentiable=False)


@dataclass(frozen=True)
class Any(_Quantifier):
    """Whether any element over some axes is True; False of no elements. numpy.any."""

    name = "any"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x.any(axis=self.axes, keepdims=self.keepdims))

    def body(self, index: tuple[Expr, ...], x: Operand) -> Reduce:
        return self.folded("max", index, x)


@dataclass(frozen=True)
class All(_Quantifier):
    """Whether all elements over some axes are True; True of no elements. numpy.all."""

    name = "all"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(x.all(axis=self.axes, keepdims=self.keepdims))

    def body(self, index: tuple[Expr, ...], x: Operand) -> Reduce:
        return self.folded("min", index, x)


@located
def any(x: Node, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
    """Whether any element over `axis` (all axes by default) is True, or, of numbers, not 0."""
    return _quantified(Any, x, axis, keepdims)


@located
def all(x: Node, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
    """Whether all elements over `axis` (all axes by default) are True, or, of numbers, not 0."""
    return _quantified(All, x, axis, keepdims)


def _quantified(op: type[_Quantifier], x: Node, axis: int | tuple[int, ...] | None, keepdims: bool) -> Node:
    axes = normalise_axes(axis, x.rank)
    truth = x if x.dtype == "bool" else ne(x, 0)
    return apply(op(axes, bool(keepdims)), truth) if axes else truth
