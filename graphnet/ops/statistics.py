"""Variance, standard deviation, norms and sums of functions, over some axes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DTypeError, GraphnetError
from ..node import Node, apply
from ..op import Sample
from ..site import located
from ..types import Type, normalise_axes
from .arithmetic import Abs
from .broadcast import reduced_shape, reshape, sum
from .compare import eq, where
from .power import Log, Sqrt, Square, power
from .reduce import CentredSquares, Reduction, count, max, min


@dataclass(frozen=True)
class L2Norm(Reduction):
    """sqrt(sum(x^2)) over some axes. Gradient g x / norm, and 0 where the norm is 0, as PyTorch."""

    name = "l2_norm"
    kind = "composite"
    of_nothing = True

    def infer(self, x: Type) -> Type:
        if not x.is_float:
            raise DTypeError(f"{self.name} takes floats, not {x.dtype}; convert with gn.cast")
        return super().infer(x)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        squares = np.square(x.astype(np.float64))
        return np.sqrt(squares.sum(axis=self.axes, keepdims=self.keepdims)).astype(x.dtype)

    def graph(self, x: Node) -> Node:
        return apply(Sqrt(), sum(apply(Square(), x), self.axes, self.keepdims))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        zero = eq(node, 0.0)
        slope = where(zero, 0.0, cotangent / where(zero, 1.0, node))
        return (x * reshape(slope, reduced_shape(x.shape, self.axes, True)),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((1,)), ((3, 4),), low=0.5)
        yield Sample(cls((0, 2), True), ((2, 3, 4),), low=0.5)
        yield Sample(cls((1,)), ((3, 0),), differentiable=False)


@located
def var(x: Node, axis: int | tuple[int, ...] | None = None, ddof: float = 0, keepdims: bool = False) -> Node:
    """The variance over `axis` (all axes by default): sum((x - mean)^2) / (n - ddof). NaN where n <= ddof."""
    axes = normalise_axes(axis, x.rank)
    if not x.type.is_float:
        raise DTypeError(f"var: {x!r} is not a float; convert with gn.cast")
    if isinstance(ddof, bool) or not isinstance(ddof, (int, float)):
        raise GraphnetError(f"var: ddof must be a number, not {ddof!r}")
    if not axes:
        return x - x
    n = count(x, axes, x.dtype)
    left = n - float(ddof)
    squares = apply(CentredSquares(axes, bool(keepdims)), x)
    return where(left > 0.0, squares / left, math.nan)


@located
def std(x: Node, axis: int | tuple[int, ...] | None = None, ddof: float = 0, keepdims: bool = False) -> Node:
    """The standard deviation over `axis` (all axes by default): the root of `var`."""
    return apply(Sqrt(), var(x, axis, ddof, keepdims))


@located
def vector_norm(
    x: Node, axis: int | tuple[int, ...] | None = None, keepdims: bool = False, ord: float = 2
) -> Node:
    """(sum |x|^ord)^(1 / ord) over `axis` (all axes by default); max |x| for inf, min |x| for -inf, how many are not 0
    for 0."""
    if isinstance(ord, bool) or not isinstance(ord, (int, float)) or math.isnan(ord):
        raise GraphnetError(f"vector_norm: ord must be a number, not {ord!r}")
    if not x.type.is_float:
        raise DTypeError(f"vector_norm: {x!r} is not a float; convert with gn.cast")
    axes = normalise_axes(axis, x.rank)
    size = apply(Abs(), x)
    if ord == 0:
        return sum(where(eq(x, 0.0), x * 0.0, 1.0), axes, keepdims)
    if not axes:
        return size
    if math.isinf(ord):
        return max(size, axes, keepdims) if ord > 0 else min(size, axes, keepdims)
    if ord == 1:
        return sum(size, axes, keepdims)
    if ord == 2:
        return apply(L2Norm(axes, bool(keepdims)), x)
    return power(sum(power(size, float(ord)), axes, keepdims), 1.0 / ord)


@located
def sum_square(x: Node, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
    """sum(x^2) over `axis` (all axes by default)."""
    return sum(apply(Square(), x), axis, keepdims)


@located
def log_sum(x: Node, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
    """log(sum(x)) over `axis` (all axes by default)."""
    return apply(Log(), sum(x, axis, keepdims))
