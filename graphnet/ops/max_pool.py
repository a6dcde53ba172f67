"""Max pooling and its gradients, along one, two or three axes.

max_pool          x -> y                 the greatest of each window, NaN if any is
max_pool_index    x -> i                 where in the window (row-major: r * kw + s) the first greatest is
max_pool_scatter  i, dy -> dx            the gradient: dy at that place
max_pool_gather   i, x -> y              the gradient of that: x at that place
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.compute import Reduce
from codegen.expr import Expr, lift, select
from codegen.expr import cast as cast_expr
from codegen.expr import eq as eq_expr

from ..errors import DTypeError, ShapeError
from ..node import Node, apply
from ..op import Operand, Sample
from ..site import located
from ..types import Shape, Type, concrete, elements
from .move import all_of
from .pool import Pooling, add_at, candidates, over, settings
from .window import Ints, Padding

UNEVEN = (3, 2), (2, 1), ((1, 1), (0, 1))


@dataclass(frozen=True)
class MaxPool(Pooling):
    """x (N,C,H,W) -> (N,C,P,Q), the greatest of each window; padding never wins. The cotangent goes to
    the first greatest in row-major order, as PyTorch."""

    name = "max_pool"

    def infer(self, x: Type) -> Type:
        if x.dtype == "bool":
            raise DTypeError("max_pool takes numbers, not bool")
        return self._pooled(x)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return self._scan(x)[0]

    def body(self, index: tuple[Expr, ...], x: Operand) -> Reduce:
        n, c, *place = index
        taps, source = self._taps(place, x.shape[2:])
        return Reduce("max", tuple(taps), x(n, c, *source))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        place = apply(MaxPoolIndex(*self._settings()), x)
        return (apply(MaxPoolScatter(*self._settings(), x.shape[2:]), place, cotangent),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 2, 4, 6),), distinct=True)
        yield Sample(cls(*UNEVEN), ((1, 2, 5, 4),), distinct=True)
        yield Sample(cls((2, 2), (3, 3)), ((1, 1, 6, 8),), distinct=True)
        yield Sample(cls((3,), (2,), ((1, 0),), (2,), True), ((1, 2, 9),), distinct=True)
        yield Sample(cls((2, 1, 2), (2, 1, 2), ((0, 0),) * 3, (1, 1, 1), True), ((1, 1, 3, 2, 3),), distinct=True)
        yield Sample(cls(), ((1, 2, 4, 5),), dtypes=("int32",), low=-9, high=9, differentiable=False)


@dataclass(frozen=True)
class MaxPoolIndex(Pooling):
    """x (N,C,H,W) -> int32 (N,C,P,Q): r * kw + s of the first greatest (or NaN) of each window."""

    name = "max_pool_index"

    def infer(self, x: Type) -> Type:
        if x.dtype == "bool":
            raise DTypeError("max_pool_index takes numbers, not bool")
        return self._pooled(x).with_dtype("int32")

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return self._scan(x)[1]

    def body(self, index: tuple[Expr, ...], x: Operand) -> Reduce:
        n, c, *place = index
        taps, source = self._taps(place, x.shape[2:])
        return Reduce("argmax", tuple(taps), x(n, c, *source))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (None,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 2, 4, 6),), differentiable=False)
        yield Sample(cls(*UNEVEN), ((1, 2, 5, 4),), differentiable=False)
        yield Sample(cls((3,), (2,), ((1, 0),), (2,), True), ((1, 2, 9),), differentiable=False)


@dataclass(frozen=True)
class MaxPoolScatter(Pooling):
    """i int32 (N,C,P,Q), dy (N,C,P,Q) -> dx (N,C,H,W) with (H,W) = size: dy at the place i of each
    window, added up where windows overlap."""

    name = "max_pool_scatter"
    index_names = "nchw"
    size: Shape = (1, 1)

    def infer(self, place: Type, dy: Type) -> Type:
        if place.dtype != "int32" or not dy.is_float:
            raise DTypeError(f"{self.name} takes int32 places and floats, not {place.dtype} and {dy.dtype}")
        if place.shape != dy.shape:
            raise ShapeError(f"places {place} and cotangent {dy} differ")
        return self._spread(dy, self.size)

    def evaluate(self, place: np.ndarray, dy: np.ndarray) -> np.ndarray:
        shape = concrete(self.size)
        dx = np.zeros((*dy.shape[:2], *shape), dtype=np.float64)
        for number, pixels in self._patches(shape):
            add_at(dx, pixels, np.where(place == number, dy, 0.0))
        return dx.astype(dy.dtype)

    def body(self, index: tuple[Expr, ...], place: Operand, dy: Operand) -> Expr:
        n, c, *pixel = index
        total: Expr | None = None
        for axes in candidates(self, pixel, concrete(self.size), dy.shape[2:]):
            window = [w.window for w in axes]
            here = lift(0, "i64")
            for w, k in zip(axes, self.window, strict=True):
                here = here * k + w.place
            hit = eq_expr(place(n, c, *window), cast_expr(here, "i32"))
            part = select(hit, dy(n, c, *window), 0.0)
            part = select(all_of([e for w in axes for e in w.conditions]), part, 0.0)
            total = part if total is None else total + part
        assert total is not None
        return total

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        place, _ = node.inputs
        return None, apply(MaxPoolGather(*self._settings()), place, cotangent)

    def flops(self, output: Type, *inputs: Type) -> int:
        return elements(output)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        kinds = ("int32", "float")
        yield Sample(cls(size=(4, 6)), ((2, 2, 2, 3),) * 2, dtypes=kinds, low=0, high=4)
        yield Sample(cls(size=(5, 7)), ((1, 2, 2, 3),) * 2, dtypes=kinds, low=0, high=4)
        yield Sample(cls((2, 2), (3, 3), size=(6, 8)), ((1, 1, 2, 3),) * 2, dtypes=kinds, low=0, high=4)
        # Windows of 3 x 3 with one row of padding: places 3, 4, 5 are the middle row, never padding.
        yield Sample(cls((3, 3), (2, 1), ((1, 1), (0, 0)), size=(5, 6)), ((1, 2, 3, 4),) * 2, kinds, low=3, high=6)
        yield Sample(cls((3,), (2,), ((0, 0),), (2,), size=(9,)), ((1, 2, 3),) * 2, dtypes=kinds, low=0, high=3)


@dataclass(frozen=True)
class MaxPoolGather(Pooling):
    """i int32 (N,C,P,Q), x (N,C,H,W) -> (N,C,P,Q): the element of x at place i of each window. The
    places must come from max_pool_index, which never points at padding."""

    name = "max_pool_gather"

    def infer(self, place: Type, x: Type) -> Type:
        y = self._pooled_float(x)
        if place != y.with_dtype("int32"):
            raise ShapeError(f"places {place} do not fit the windows of {x}, which are {y}")
        return y

    def evaluate(self, place: np.ndarray, x: np.ndarray) -> np.ndarray:
        y = np.zeros(place.shape, dtype=x.dtype)
        for number, pixels in self._patches(x.shape[2:]):
            y = np.where(place == number, x[over(pixels)], y)
        return y

    def body(self, index: tuple[Expr, ...], place: Operand, x: Operand) -> Expr:
        n, c, *window = index
        return x(n, c, *self.pixel(window, cast_expr(place(*index), "i64")))

    def pixel(self, window: Sequence[Expr], place: Expr) -> list[Expr]:
        """Where in the image a place of a window is."""
        found: list[Expr] = []
        for a in reversed(range(len(window))):
            t = place % self.window[a] if a else place
            place = place // self.window[a]
            found.insert(0, window[a] * self.stride[a] + t * self.dilation[a] - self.padding[a][0])
        return found

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        place, x = node.inputs
        return None, apply(MaxPoolScatter(*self._settings(), x.shape[2:]), place, cotangent)

    def flops(self, output: Type, *inputs: Type) -> int:
        return 0

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        kinds = ("int32", "float")
        yield Sample(cls(), ((2, 2, 2, 3), (2, 2, 4, 6)), dtypes=kinds, low=0, high=4)
        yield Sample(cls((3, 3), (2, 1), ((1, 1), (0, 0))), ((1, 2, 3, 4), (1, 2, 5, 6)), dtypes=kinds, low=3, high=6)
        yield Sample(cls((3,), (2,), ((0, 0),), (2,)), ((1, 2, 3), (1, 2, 9)), dtypes=kinds, low=0, high=3)


@located
def max_pool(
    x: Node,
    window: int | Ints,
    stride: int | Ints | None = None,
    padding: str | int | Ints | Padding = "valid",
    dilation: int | Ints = 1,
    ceil_mode: bool = False,
) -> Node:
    """x (N,C,L), (N,C,H,W) or (N,C,D,H,W) -> the greatest of each window; the stride is the window unless given.

    Padding: "valid", "same", "same_lower", a number, one an axis, or pairs; it never wins. `ceil_mode` also takes a
    last window that reaches beyond, if it begins inside."""
    return apply(MaxPool(*settings("max_pool", x, window, stride, padding, dilation, ceil_mode)), x)


@located
def max_pool1d(
    x: Node,
    window: int,
    stride: int | None = None,
    padding: str | int | Padding = "valid",
    dilation: int = 1,
    ceil_mode: bool = False,
) -> Node:
    """x (N,C,L) -> the greatest of each window: see `max_pool`."""
    return apply(MaxPool(*settings("max_pool1d", x, window, stride, padding, dilation, ceil_mode)), x)


@located
def max_pool2d(
    x: Node,
    window: int | Ints,
    stride: int | Ints | None = None,
    padding: str | int | Ints | Padding = "valid",
    dilation: int | Ints = 1,
    ceil_mode: bool = False,
) -> Node:
    """x (N,C,H,W) -> the greatest of each window; the stride is the window unless given: see `max_pool`."""
    return apply(MaxPool(*settings("max_pool2d", x, window, stride, padding, dilation, ceil_mode)), x)


@located
def max_pool3d(
    x: Node,
    window: int | Ints,
    stride: int | Ints | None = None,
    padding: str | int | Ints | Padding = "valid",
    dilation: int | Ints = 1,
    ceil_mode: bool = False,
) -> Node:
    """x (N,C,D,H,W) -> the greatest of each window: see `max_pool`."""
    return apply(MaxPool(*settings("max_pool3d", x, window, stride, padding, dilation, ceil_mode)), x)
