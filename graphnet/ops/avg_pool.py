"""Average pooling (avg_pool2d, x -> y) and its gradient (avg_pool2d_scatter, dy -> dx), its transpose."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.compute import Reduce, axis
from codegen.expr import Expr, const, maximum, minimum, select
from codegen.expr import cast as cast_expr

from ..errors import DTypeError
from ..node import Node, apply
from ..op import Operand, Sample
from ..site import located
from ..types import Shape, Type, concrete, elements
from .conv import Padding, Pair
from .move import all_of
from .pool import NO_PADDING, Pooling, add_at, arguments, candidates


@dataclass(frozen=True)
class Averaging(Pooling):
    """Base: an average over the whole window (padding counts as zeros), or with count_include_pad
    False over the pixels that are there."""

    count_include_pad: bool = True

    def _all_settings(self) -> tuple[Pair, Pair, Padding, bool]:
        return (*self._settings(), self.count_include_pad)

    def _scale(self, p: Expr, q: Expr, shape: Sequence[int], dtype: str) -> Expr:
        """1 / (how many pixels the window at (p, q) averages over)."""
        if self.count_include_pad or self.padding == NO_PADDING:
            return const(1.0 / (self.window[0] * self.window[1]), dtype)
        taps, _ = self._taps((p, q), shape)
        rows, columns = (t.hi - t.lo for t in taps)
        return 1.0 / cast_expr(rows * columns, dtype)

    def _counts(self, shape: Sequence[int]) -> np.ndarray:
        """For evaluate: pixels averaged over, (P,Q)."""
        total = sum(np.outer(h >= 0, w >= 0).astype(np.int64) for _, _, h, w in self._patches(shape))
        full = np.full_like(total, self.window[0] * self.window[1])
        return full if self.count_include_pad else np.asarray(total)


@dataclass(frozen=True)
class AvgPool2d(Averaging):
    """x (N,C,H,W) -> (N,C,P,Q), the average of each window."""

    name = "avg_pool2d"

    def infer(self, x: Type) -> Type:
        return self._pooled(x)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        y = np.zeros((*x.shape[:2], *concrete(self._out(x.shape[2:]))), dtype=np.float64)
        for _, _, h, w in self._patches(x.shape[2:]):
            y += np.where(np.outer(h >= 0, w >= 0), x[:, :, h[:, None], w[None, :]], 0.0)
        return (y / self._counts(x.shape[2:])).astype(x.dtype)

    def body(self, index: tuple[Expr, ...], x: Operand) -> Reduce:
        n, c, p, q = index
        taps, source = self._taps((p, q), x.shape[2:])
        return Reduce("sum", tuple(taps), x(n, c, *source) * self._scale(p, q, x.shape[2:], x.dtype))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        return (apply(AvgPool2dScatter(*self._all_settings(), x.shape[2:]), cotangent),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 2, 4, 6),))
        yield Sample(cls((3, 2), (2, 1), ((1, 1), (0, 1))), ((1, 2, 5, 4),))
        yield Sample(cls((3, 2), (2, 1), ((1, 1), (0, 1)), False), ((1, 2, 5, 4),))


@dataclass(frozen=True)
class AvgPool2dScatter(Averaging):
    """dy (N,C,P,Q) -> dx (N,C,H,W) with (H,W) = size: the transpose of avg_pool2d."""

    name = "avg_pool2d_scatter"
    index_names = "nchw"
    size: Shape = (1, 1)

    def infer(self, dy: Type) -> Type:
        if not dy.is_float:
            raise DTypeError(f"{self.name} takes floats, not {dy.dtype}")
        return self._spread(dy, self.size)

    def evaluate(self, dy: np.ndarray) -> np.ndarray:
        shape = concrete(self.size)
        dx = np.zeros((*dy.shape[:2], *shape), dtype=np.float64)
        share = dy / self._counts(shape)
        for _, _, h, w in self._patches(shape):
            add_at(dx, h, w, share)
        return dx.astype(dy.dtype)

    def body(self, index: tuple[Expr, ...], dy: Operand) -> Expr | Reduce:
        n, c, h, w = index
        shape = concrete(self.size)
        if all(k <= s for k, s in zip(self.window, self.stride, strict=True)):
            # Windows do not overlap: one candidate, and no sum.
            p, q = (
                candidates(i, shape[a], self.window[a], self.stride[a], self.padding[a][0], dy.shape[2 + a])[0]
                for a, i in enumerate((h, w))
            )
            part = dy(n, c, p.window, q.window) * self._scale(p.window, q.window, shape, dy.dtype)
            return select(all_of((*p.conditions, *q.conditions)), part, 0.0)
        taps, places = [], []
        for a, i in enumerate((h, w)):
            (low, _), stride, k, windows = self.padding[a], self.stride[a], self.window[a], dy.shape[2 + a]
            # p * stride <= i + low < p * stride + k
            first = maximum((i + (low - k + stride)) // stride, 0)
            last = minimum((i + low) // stride + 1, windows)
            taps.append(axis("pq"[a], min(-(-k // stride), windows), 0, last - first))
            places.append(first + taps[a].var)
        p_, q_ = places
        return Reduce("sum", tuple(taps), dy(n, c, p_, q_) * self._scale(p_, q_, shape, dy.dtype))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (apply(AvgPool2d(*self._all_settings()), cotangent),)

    def flops(self, output: Type, *inputs: Type) -> int:
        return elements(inputs[0]) * self.window[0] * self.window[1]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(size=(4, 7)), ((2, 2, 2, 3),))
        yield Sample(cls((3, 2), (2, 1), ((1, 1), (0, 1)), size=(5, 4)), ((1, 2, 3, 4),))
        yield Sample(cls((3, 2), (2, 1), ((1, 1), (0, 1)), False, (5, 4)), ((1, 2, 3, 4),))


@located
def avg_pool2d(
    x: Node,
    window: int | Pair,
    stride: int | Pair | None = None,
    padding: str | int | Pair | Padding = "valid",
    count_include_pad: bool = True,
) -> Node:
    """x (N,C,H,W) -> the average of each window; the stride is the window unless given. Padding counts
    as zeros (PyTorch's default) unless count_include_pad is False."""
    return apply(AvgPool2d(*arguments("avg_pool2d", x, window, stride, padding), bool(count_include_pad)), x)
