"""Reductions: ops that fold axes away. `Sum` itself is in `broadcast`, where gradients need it.

Sums and products of integers have the dtype of what is folded, and wrap (NumPy widens to 64 bits; here, cast first).
float16 and bfloat16 are folded in float32 and rounded once, long sums of float32 in float64. Of no elements a sum is 0
and a product 1; an extreme or a mean of none is an error.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from codegen.compute import Reduce
from codegen.dtypes import is_float
from codegen.expr import Expr, unary

from ..errors import DTypeError, ShapeError
from ..node import Node, apply, constant
from ..op import Op, Operand, Sample
from ..site import located
from ..types import Type, elements, normalise_axes, size
from .arithmetic import div
from .broadcast import Size, reduced_shape, reduction, reshape, sum
from .compare import eq, where
from .elementwise import cast
from .move import Flip
from .power import Square


@dataclass(frozen=True)
class Reduction(Op):
    """Base of the reductions over `axes`, which stay with extent 1 if `keepdims`."""

    kind = "reduce"
    of_nothing: ClassVar[bool] = False  # whether there is a result of no elements
    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, x: Type) -> Type:
        if x.dtype == "bool":
            raise DTypeError(f"{self.name} of bool; use gn.cast(x, 'int32') first")
        axes = normalise_axes(self.axes, x.rank)
        if any(x.shape[a] == 0 for a in axes) and not self.of_nothing:
            raise ShapeError(f"{self.name} over no elements at all: {x} along {axes}")
        return x.with_shape(reduced_shape(x.shape, axes, self.keepdims))

    def body(self, index: tuple[Expr, ...], x: Operand) -> Reduce:
        axes, value = reduction(x, index, self.axes, self.keepdims)
        return Reduce(self.name, axes, value)

    def flops(self, output: Type, *inputs: Type) -> int:
        return elements(inputs[0])

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((1,)), ((3, 4),), distinct=True)
        yield Sample(cls((0, 2), True), ((2, 3, 4),), distinct=True)
        yield Sample(cls((0,)), ((3, 2),), dtypes=("int32",), low=-4, high=5, differentiable=False)
        yield Sample(cls((0,)), ((3, 0),), differentiable=False)


@dataclass(frozen=True)
class Max(Reduction):
    """The greatest over some axes, NaN if any is; equal maxima share the cotangent, as PyTorch's amax."""

    name = "max"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return x.max(axis=self.axes, keepdims=self.keepdims)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (_share(node, cotangent, self.axes),)


@dataclass(frozen=True)
class Min(Reduction):
    """The least over some axes, NaN if any is; equal minima share the cotangent, as PyTorch's amin."""

    name = "min"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return x.min(axis=self.axes, keepdims=self.keepdims)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (_share(node, cotangent, self.axes),)


def _share(node: Node, cotangent: Node, axes: tuple[int, ...]) -> Node:
    """The cotangent, divided evenly among the elements that equal the result."""
    (x,) = node.inputs
    kept = reduced_shape(x.shape, axes, True)
    hit = eq(x, reshape(node, kept))
    count = sum(cast(hit, x.dtype), axes, keepdims=True)
    return where(hit, reshape(cotangent, kept) / count, 0.0)


@dataclass(frozen=True)
class Prod(Reduction):
    """The product over some axes. Its derivative is (product / x): where x is 0 it is the product of
    the others if that is the only 0, else 0."""

    name = "prod"
    of_nothing = True

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return x.prod(axis=self.axes, keepdims=self.keepdims, dtype=x.dtype)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        zero = eq(x, 0.0)
        zeros = sum(cast(zero, x.dtype), self.axes, keepdims=True)
        others = apply(Prod(self.axes, True), where(zero, 1.0, x))
        # Elements that are not 0 divide by themselves; the only 0 of its line gets `others`.
        alone = where(eq(zeros, 0.0), others, 0.0) / where(zero, 1.0, x)
        partial = where(zero, where(eq(zeros, 1.0), others, 0.0), alone)
        return (reshape(cotangent, others.shape) * partial,)


@dataclass(frozen=True)
class Position(Reduction):
    """Base of the int32 positions of extremes along one axis."""

    def infer(self, x: Type) -> Type:
        if len(self.axes) != 1:
            raise ShapeError(f"{self.name} goes along one axis, not {self.axes}")
        return super().infer(x).with_dtype("int32")

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (None,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((1,)), ((3, 4),), differentiable=False)
        yield Sample(cls((0,), True), ((5, 2),), dtypes=("int32",), low=0, high=3, differentiable=False)


@dataclass(frozen=True)
class ArgMax(Position):
    """The int32 position of the first maximum along one axis; NaN counts as the maximum."""

    name = "argmax"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return x.argmax(axis=self.axes[0], keepdims=self.keepdims).astype(np.int32)


@dataclass(frozen=True)
class ArgMin(Position):
    """The int32 position of the first minimum along one axis; NaN counts as the minimum."""

    name = "argmin"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return x.argmin(axis=self.axes[0], keepdims=self.keepdims).astype(np.int32)

    def body(self, index: tuple[Expr, ...], x: Operand) -> Reduce:
        axes, value = reduction(x, index, self.axes, self.keepdims)
        return Reduce("argmax", axes, unary("neg" if is_float(value.dtype) else "not", value))  # ~x falls as x rises


@dataclass(frozen=True)
class CentredSquares(Reduction):
    """The sum of (x - mean)^2 over some axes, with their mean: what a variance divides, free of the cancellation
    in mean(x^2) - mean^2. The pass `split` expands it, to one pass over x. Gradient 2 (x - mean) g."""

    name = "centred_squares"
    kind = "composite"

    def infer(self, x: Type) -> Type:
        if not x.is_float:
            raise DTypeError(f"{self.name} takes floats, not {x.dtype}; convert with gn.cast")
        return super().infer(x)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)
        squares = np.square(wide - wide.mean(axis=self.axes, keepdims=True))
        return squares.sum(axis=self.axes, keepdims=self.keepdims).astype(x.dtype)

    def graph(self, x: Node) -> Node:
        return sum(apply(Square(), x - mean(x, self.axes, keepdims=True)), self.axes, self.keepdims)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        away = x - mean(x, self.axes, keepdims=True)
        return (away * (reshape(cotangent, reduced_shape(x.shape, self.axes, True)) * 2.0),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((1,)), ((3, 4),))
        yield Sample(cls((0, 2), True), ((2, 3, 4),))


@located
def max(x: Node, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
    """The greatest over `axis` (all axes by default); `gn.maximum` compares two nodes."""
    axes = normalise_axes(axis, x.rank)
    return apply(Max(axes, bool(keepdims)), x) if axes else x


@located
def min(x: Node, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
    """The least over `axis` (all axes by default); `gn.minimum` compares two nodes."""
    axes = normalise_axes(axis, x.rank)
    return apply(Min(axes, bool(keepdims)), x) if axes else x


@located
def prod(x: Node, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
    """The product over `axis` (all axes by default)."""
    axes = normalise_axes(axis, x.rank)
    return apply(Prod(axes, bool(keepdims)), x) if axes else x


@located
def argmax(x: Node, axis: int = -1, keepdims: bool = False, select_last_index: bool = False) -> Node:
    """The position (int32) of the first maximum along `axis`, or of the last one."""
    return _position(ArgMax(normalise_axes(axis, x.rank), bool(keepdims)), x, select_last_index)


@located
def argmin(x: Node, axis: int = -1, keepdims: bool = False, select_last_index: bool = False) -> Node:
    """The position (int32) of the first minimum along `axis`, or of the last one."""
    return _position(ArgMin(normalise_axes(axis, x.rank), bool(keepdims)), x, select_last_index)


def _position(op: Position, x: Node, last: bool) -> Node:
    return count(x, op.axes, "int32") - 1 - apply(op, apply(Flip(op.axes), x)) if last else apply(op, x)


def count(x: Node, axes: tuple[int, ...], dtype: str) -> Node:
    """How many elements a reduction over `axes` folds, as a scalar that may depend on symbolic sizes."""
    n = size(tuple(x.shape[a] for a in axes))
    return constant(n, dtype) if isinstance(n, int) else apply(Size(n, dtype))


@located
def mean(x: Node, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
    """The mean over `axis` (all axes by default)."""
    if not x.type.is_float:
        raise DTypeError(f"mean: {x!r} is not a float; convert with gn.cast")
    axes = normalise_axes(axis, x.rank)
    if any(x.shape[a] == 0 for a in axes):
        raise ShapeError(f"mean over no elements at all: {x!r} along {axes}")
    return div(sum(x, axes, keepdims), count(x, axes, x.dtype)) if axes else x
