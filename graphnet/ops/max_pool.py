"""Max pooling and its gradients.

max_pool2d          x -> y                 the greatest of each window, NaN if any is
max_pool2d_index    x -> i                 where in the window (r * kw + s) the first greatest is
max_pool2d_scatter  i, dy -> dx            the gradient: dy at that place
max_pool2d_gather   i, x -> y              the gradient of that: x at that place
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.compute import Reduce
from codegen.expr import Expr, select
from codegen.expr import cast as cast_expr
from codegen.expr import eq as eq_expr

from ..errors import DTypeError, ShapeError
from ..node import Node, apply
from ..op import Operand, Sample
from ..site import located
from ..types import Shape, Type, concrete, elements
from .conv import Padding, Pair
from .move import all_of
from .pool import Pooling, add_at, arguments, candidates


@dataclass(frozen=True)
class MaxPool2d(Pooling):
    """x (N,C,H,W) -> (N,C,P,Q), the greatest of each window; padding never wins. The cotangent goes to
    the first greatest in row-major order, as PyTorch."""

    name = "max_pool2d"

    def infer(self, x: Type) -> Type:
        return self._pooled(x)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return self._scan(x)[0]

    def body(self, index: tuple[Expr, ...], x: Operand) -> Reduce:
        n, c, p, q = index
        taps, source = self._taps((p, q), x.shape[2:])
        return Reduce("max", tuple(taps), x(n, c, *source))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        place = apply(MaxPool2dIndex(*self._settings()), x)
        return (apply(MaxPool2dScatter(*self._settings(), x.shape[2:]), place, cotangent),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 2, 4, 6),), distinct=True)
        yield Sample(cls((3, 2), (2, 1), ((1, 1), (0, 1))), ((1, 2, 5, 4),), distinct=True)
        yield Sample(cls((2, 2), (3, 3)), ((1, 1, 6, 8),), distinct=True)


@dataclass(frozen=True)
class MaxPool2dIndex(Pooling):
    """x (N,C,H,W) -> int32 (N,C,P,Q): r * kw + s of the first greatest (or NaN) of each window."""

    name = "max_pool2d_index"

    def infer(self, x: Type) -> Type:
        return self._pooled(x).with_dtype("int32")

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return self._scan(x)[1]

    def body(self, index: tuple[Expr, ...], x: Operand) -> Reduce:
        n, c, p, q = index
        taps, source = self._taps((p, q), x.shape[2:])
        return Reduce("argmax", tuple(taps), x(n, c, *source))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (None,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 2, 4, 6),), differentiable=False)
        yield Sample(cls((3, 2), (2, 1), ((1, 1), (0, 1))), ((1, 2, 5, 4),), differentiable=False)


@dataclass(frozen=True)
class MaxPool2dScatter(Pooling):
    """i int32 (N,C,P,Q), dy (N,C,P,Q) -> dx (N,C,H,W) with (H,W) = size: dy at the place i of each
    window, added up where windows overlap."""

    name = "max_pool2d_scatter"
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
        for r, s, h, w in self._patches(shape):
            add_at(dx, h, w, np.where(place == r * self.window[1] + s, dy, 0.0))
        return dx.astype(dy.dtype)

    def body(self, index: tuple[Expr, ...], place: Operand, dy: Operand) -> Expr:
        n, c, h, w = index
        size = concrete(self.size)
        rows, columns = (
            candidates(i, size[a], self.window[a], self.stride[a], self.padding[a][0], dy.shape[2 + a])
            for a, i in enumerate((h, w))
        )
        total: Expr | None = None
        for p in rows:
            for q in columns:
                here = cast_expr(p.place * self.window[1] + q.place, "i32")
                hit = eq_expr(place(n, c, p.window, q.window), here)
                part = select(hit, dy(n, c, p.window, q.window), 0.0)
                part = select(all_of((*p.conditions, *q.conditions)), part, 0.0)
                total = part if total is None else total + part
        assert total is not None
        return total

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        place, _ = node.inputs
        return None, apply(MaxPool2dGather(*self._settings()), place, cotangent)

    def flops(self, output: Type, *inputs: Type) -> int:
        return elements(output)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        kinds = ("int32", "float")
        yield Sample(cls(size=(4, 6)), ((2, 2, 2, 3),) * 2, dtypes=kinds, low=0, high=4)
        yield Sample(cls(size=(5, 7)), ((1, 2, 2, 3),) * 2, dtypes=kinds, low=0, high=4)
        yield Sample(cls((2, 2), (3, 3), size=(6, 8)), ((1, 1, 2, 3),) * 2, dtypes=kinds, low=0, high=4)
        # Windows of 3 x 3 with one row of padding: places 3, 4, 5 are the middle row, never padding.
        yield Sample(cls((3, 3), (2, 1), ((1, 1), (0, 0)), (5, 6)), ((1, 2, 3, 4),) * 2, dtypes=kinds, low=3, high=6)


@dataclass(frozen=True)
class MaxPool2dGather(Pooling):
    """i int32 (N,C,P,Q), x (N,C,H,W) -> (N,C,P,Q): the element of x at place i of each window. The
    places must come from max_pool2d_index, which never points at padding."""

    name = "max_pool2d_gather"

    def infer(self, place: Type, x: Type) -> Type:
        y = self._pooled(x)
        if place != y.with_dtype("int32"):
            raise ShapeError(f"places {place} do not fit the windows of {x}, which are {y}")
        return y

    def evaluate(self, place: np.ndarray, x: np.ndarray) -> np.ndarray:
        y = np.zeros(place.shape, dtype=x.dtype)
        for r, s, h, w in self._patches(x.shape[2:]):
            y = np.where(place == r * self.window[1] + s, x[:, :, h[:, None], w[None, :]], y)
        return y

    def body(self, index: tuple[Expr, ...], place: Operand, x: Operand) -> Expr:
        n, c, p, q = index
        i = cast_expr(place(n, c, p, q), "i64")
        (top, _), (left, _) = self.padding
        h = p * self.stride[0] + i // self.window[1] - top
        w = q * self.stride[1] + i % self.window[1] - left
        return x(n, c, h, w)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        place, x = node.inputs
        return None, apply(MaxPool2dScatter(*self._settings(), x.shape[2:]), place, cotangent)

    def flops(self, output: Type, *inputs: Type) -> int:
        return 0

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        kinds = ("int32", "float")
        yield Sample(cls(), ((2, 2, 2, 3), (2, 2, 4, 6)), dtypes=kinds, low=0, high=4)
        yield Sample(cls((3, 3), (2, 1), ((1, 1), (0, 0))), ((1, 2, 3, 4), (1, 2, 5, 6)), dtypes=kinds, low=3, high=6)


@located
def max_pool2d(
    x: Node, window: int | Pair, stride: int | Pair | None = None, padding: str | int | Pair | Padding = "valid"
) -> Node:
    """x (N,C,H,W) -> the greatest of each window; the stride is the window unless given."""
    return apply(MaxPool2d(*arguments("max_pool2d", x, window, stride, padding)), x)
