"""Pooling and its gradients, which gather: each input pixel looks at the few windows that cover it.

max_pool2d          x -> y                 the greatest of each window, NaN if any is
max_pool2d_index    x -> i                 where in the window (r * kw + s) the first greatest is
max_pool2d_scatter  i, dy -> dx            the gradient: dy at that place
max_pool2d_gather   i, x -> y              the gradient of that: x at that place
avg_pool2d          x -> y
avg_pool2d_scatter  dy -> dx               its transpose
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.compute import Axis, Reduce, axis
from codegen.expr import Const, Expr, const, lift, maximum, minimum, select
from codegen.expr import cast as cast_expr
from codegen.expr import eq as eq_expr

from ..errors import DTypeError, ShapeError
from ..node import Node, apply
from ..op import Op, Operand, Sample
from ..site import located
from ..types import Extent, Shape, Type, concrete, elements
from .conv import Padding, Pair, check_window, output_extents, padding_of, pair_of, span

NO_PADDING: Padding = ((0, 0), (0, 0))


@dataclass(frozen=True)
class Pooling(Op):
    """Base: window, stride, padding. Padding is less than the window, so that none is empty."""

    kind = "window"
    index_names = "ncpq"
    window: Pair = (2, 2)
    stride: Pair = (2, 2)
    padding: Padding = NO_PADDING

    def __post_init__(self) -> None:
        pair_of(self.window, f"{self.name}: window")
        check_window(self.name, self.stride, self.padding)
        if any(p >= k for pads, k in zip(self.padding, self.window, strict=True) for p in pads):
            raise ShapeError(f"{self.name}: padding {self.padding} must be less than the window {self.window}")

    def _settings(self) -> tuple[Pair, Pair, Padding]:
        return self.window, self.stride, self.padding

    def _pooled(self, x: Type) -> Type:
        if x.rank != 4:
            raise ShapeError(f"{self.name} needs (N,C,H,W), not {x}")
        if not x.is_float:
            raise DTypeError(f"{self.name} takes float32 and float64, not {x.dtype}; convert with gn.cast")
        return x.with_shape((*x.shape[:2], *self._out(x.shape[2:])))

    def _out(self, shape: Sequence[Extent]) -> tuple[Extent, Extent]:
        return output_extents(shape, self.window, self.stride, self.padding)

    def _spread(self, y: Type, to: Shape) -> Type:
        """The type of a gradient of size `to` whose cotangent is y."""
        if y.rank != 4 or self._out(to) != y.shape[2:]:
            raise ShapeError(f"an input of {to} gives outputs of {self._out(to)}, the cotangent is {y}")
        return y.with_shape((*y.shape[:2], *to))

    def _taps(self, places: Sequence[Expr], shape: Sequence[int]) -> tuple[list[Axis], list[Expr]]:
        """The axes over a window at (p, q) of an input of `shape`, and the input's pixel there."""
        out = concrete(self._out(shape))
        taps, source = [], []
        for a, i in enumerate(places):
            (low, _), stride = self.padding[a], self.stride[a]
            most = (out[a] - 1) * stride - low
            taps.append(span("rs"[a], self.window[a], i * stride - low, -low, most, 1, shape[a]))
            source.append(i * stride + taps[a].var - low)
        return taps, source

    def _patches(self, shape: Sequence[int]) -> Iterator[tuple[int, int, np.ndarray, np.ndarray]]:
        """For evaluate: (r, s, rows, columns) of every place in the window; -1 marks padding."""
        out = concrete(self._out(shape))
        for r, s in np.ndindex(*self.window):
            h, w = (np.arange(out[a]) * self.stride[a] + t - self.padding[a][0] for a, t in enumerate((r, s)))
            yield r, s, np.where((h >= 0) & (h < shape[0]), h, -1), np.where((w >= 0) & (w < shape[1]), w, -1)

    def _scan(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Greatest value and first place of it, window by window."""
        best = np.full((*x.shape[:2], *concrete(self._out(x.shape[2:]))), -np.inf, dtype=x.dtype)
        place = np.full(best.shape, -1, dtype=np.int32)
        for r, s, h, w in self._patches(x.shape[2:]):
            v = x[:, :, h[:, None], w[None, :]]
            better = (place < 0) | (v > best) | (np.isnan(v) & ~np.isnan(best))
            better &= np.outer(h >= 0, w >= 0)
            best, place = np.where(better, v, best), np.where(better, np.int32(r * self.window[1] + s), place)
        return best, place

    def flops(self, output: Type, *inputs: Type) -> int:
        return elements(output) * self.window[0] * self.window[1]


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
class _Candidate:
    """One window that may cover an input row (or column): its number, the place in it, and the
    conditions under which it exists and covers."""

    window: Expr
    place: Expr
    conditions: tuple[Expr, ...]


def _candidates(i: Expr, extent: int, k: int, stride: int, low: int, windows: int) -> list[_Candidate]:
    """The windows that may cover position i of `extent`: ceil(k / stride) of them, nearest first.
    Conditions that always hold are left out."""
    newest = (i + low) // stride
    found = []
    for back in range(-(-k // stride)):
        p = newest - back
        place = (i + low) % stride + back * stride
        conditions = []
        if low // stride - back < 0:
            conditions.append(lift(0, "i64") <= p)
        if (extent - 1 + low) // stride - back >= windows:
            conditions.append(p < windows)
        if back * stride + stride - 1 >= k:
            conditions.append(place < k)
        found.append(_Candidate(p, place, tuple(conditions)))
    return found


def _add_at(dx: np.ndarray, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
    """dx[..., rows, columns] += values; places of -1 are padding, the others occur once."""
    h, w = rows >= 0, columns >= 0
    dx[:, :, rows[h][:, None], columns[w][None, :]] += values[:, :, h][:, :, :, w]


def _all(conditions: Iterable[Expr]) -> Expr:
    result: Expr = Const(True, "bool")
    for c in conditions:
        result = result & c
    return result


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
            _add_at(dx, h, w, np.where(place == r * self.window[1] + s, dy, 0.0))
        return dx.astype(dy.dtype)

    def body(self, index: tuple[Expr, ...], place: Operand, dy: Operand) -> Expr:
        n, c, h, w = index
        size = concrete(self.size)
        rows, columns = (
            _candidates(i, size[a], self.window[a], self.stride[a], self.padding[a][0], dy.shape[2 + a])
            for a, i in enumerate((h, w))
        )
        total: Expr | None = None
        for p in rows:
            for q in columns:
                here = cast_expr(p.place * self.window[1] + q.place, "i32")
                hit = eq_expr(place(n, c, p.window, q.window), here)
                part = select(hit, dy(n, c, p.window, q.window), 0.0)
                part = select(_all((*p.conditions, *q.conditions)), part, 0.0)
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


# -------------------------------------------------------------------------------------- averages


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
            _add_at(dx, h, w, share)
        return dx.astype(dy.dtype)

    def body(self, index: tuple[Expr, ...], dy: Operand) -> Expr | Reduce:
        n, c, h, w = index
        shape = concrete(self.size)
        if all(k <= s for k, s in zip(self.window, self.stride, strict=True)):
            # Windows do not overlap: one candidate, and no sum.
            p, q = (
                _candidates(i, shape[a], self.window[a], self.stride[a], self.padding[a][0], dy.shape[2 + a])[0]
                for a, i in enumerate((h, w))
            )
            part = dy(n, c, p.window, q.window) * self._scale(p.window, q.window, shape, dy.dtype)
            return select(_all((*p.conditions, *q.conditions)), part, 0.0)
        places = []
        for a, i in enumerate((h, w)):
            (low, _), stride, k, windows = self.padding[a], self.stride[a], self.window[a], dy.shape[2 + a]
            # p * stride <= i + low < p * stride + k
            first = maximum((i + (low - k + stride)) // stride, 0)
            last = minimum((i + low) // stride + 1, windows)
            places.append(axis("pq"[a], min(-(-k // stride), windows), first, last))
        p_, q_ = (a.var for a in places)
        return Reduce("sum", tuple(places), dy(n, c, p_, q_) * self._scale(p_, q_, shape, dy.dtype))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (apply(AvgPool2d(*self._all_settings()), cotangent),)

    def flops(self, output: Type, *inputs: Type) -> int:
        return elements(inputs[0]) * self.window[0] * self.window[1]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(size=(4, 7)), ((2, 2, 2, 3),))
        yield Sample(cls((3, 2), (2, 1), ((1, 1), (0, 1)), size=(5, 4)), ((1, 2, 3, 4),))
        yield Sample(cls((3, 2), (2, 1), ((1, 1), (0, 1)), False, (5, 4)), ((1, 2, 3, 4),))


# ------------------------------------------------------------------------------- user functions


def _arguments(
    op: str, x: Node, window: int | Pair, stride: int | Pair | None, padding: str | int | Pair | Padding
) -> tuple[Pair, Pair, Padding]:
    if x.rank != 4:
        raise ShapeError(f"{op} needs (N,C,H,W), not {x!r}")
    k = pair_of(window, f"{op}: window")
    s = k if stride is None else pair_of(stride, f"{op}: stride")
    return k, s, padding_of(padding, x.shape[2:], k, s, (1, 1))


@located
def max_pool2d(
    x: Node, window: int | Pair, stride: int | Pair | None = None, padding: str | int | Pair | Padding = "valid"
) -> Node:
    """x (N,C,H,W) -> the greatest of each window; the stride is the window unless given."""
    return apply(MaxPool2d(*_arguments("max_pool2d", x, window, stride, padding)), x)


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
    return apply(AvgPool2d(*_arguments("avg_pool2d", x, window, stride, padding), bool(count_include_pad)), x)
