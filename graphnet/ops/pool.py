"""What max and average pooling share: their windows, and which windows cover a pixel.

The gradients gather: each input pixel looks at the few windows that cover it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.compute import Axis
from codegen.expr import Expr, lift

from ..errors import DTypeError, ShapeError
from ..node import Node
from ..op import Op
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
class Candidate:
    """One window that may cover an input row (or column): its number, the place in it, and the
    conditions under which it exists and covers."""

    window: Expr
    place: Expr
    conditions: tuple[Expr, ...]


def candidates(i: Expr, extent: int, k: int, stride: int, low: int, windows: int) -> list[Candidate]:
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
        found.append(Candidate(p, place, tuple(conditions)))
    return found


def add_at(dx: np.ndarray, rows: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
    """dx[..., rows, columns] += values; places of -1 are padding, the others occur once."""
    h, w = rows >= 0, columns >= 0
    dx[:, :, rows[h][:, None], columns[w][None, :]] += values[:, :, h][:, :, :, w]


def arguments(
    op: str, x: Node, window: int | Pair, stride: int | Pair | None, padding: str | int | Pair | Padding
) -> tuple[Pair, Pair, Padding]:
    if x.rank != 4:
        raise ShapeError(f"{op} needs (N,C,H,W), not {x!r}")
    k = pair_of(window, f"{op}: window")
    s = k if stride is None else pair_of(stride, f"{op}: stride")
    return k, s, padding_of(padding, x.shape[2:], k, s, (1, 1))
