"""What max and average pooling share: their windows along one, two or three axes, and which windows cover a pixel.

The gradients gather: each input pixel looks at the few windows that cover it.

With `ceil_mode` a last window that reaches beyond the padded image counts if it begins within the image or the padding
before it (as PyTorch and ONNX), so that an axis of n elements has

    ceil((n + before + min(after + stride - reach, 0)) / stride)     windows, else floor((n + before + after - reach) /
                                                                     stride) + 1
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from codegen.compute import Axis
from codegen.expr import Expr, lift
from codegen.expr import eq as eq_expr

from ..errors import DTypeError, ShapeError
from ..node import Node
from ..op import Op
from ..types import Extent, Shape, Type, concrete, elements
from .window import Ints, Padding, check_window, fitting, ints_of, output_extents, padding_of, reach, span

IMAGES = {3: "(N,C,L)", 4: "(N,C,H,W)", 5: "(N,C,D,H,W)"}


@dataclass(frozen=True)
class Pooling(Op):
    """Base: one entry an axis. Padding is less than the window reaches, so that none is empty."""

    kind = "window"
    index_names = "ncpq"
    window: Ints = (2, 2)
    stride: Ints = (2, 2)
    padding: Padding = ((0, 0), (0, 0))
    dilation: Ints = (1, 1)
    ceil_mode: bool = False

    def __post_init__(self) -> None:
        rank = len(self.window)
        if rank not in (1, 2, 3):
            raise ShapeError(f"{self.name}: a window has one, two or three axes, not {self.window!r}")
        ints_of(self.window, f"{self.name}: window", rank)
        check_window(self.name, rank, self.stride, self.padding, self.dilation)
        for pads, k, d in zip(self.padding, self.window, self.dilation, strict=True):
            if any(p >= reach(k, d) for p in pads):
                text = f"the window {self.window}" + (f" with dilation {self.dilation}" if d > 1 else "")
                raise ShapeError(f"{self.name}: padding {self.padding} must be less than {text}")

    def _settings(self) -> tuple[Ints, Ints, Padding, Ints, bool]:
        return self.window, self.stride, self.padding, self.dilation, self.ceil_mode

    def _pooled(self, x: Type) -> Type:
        if x.rank != 2 + len(self.window):
            raise ShapeError(f"{self.name} needs {IMAGES[2 + len(self.window)]}, not {x}")
        return x.with_shape((*x.shape[:2], *self._out(x.shape[2:])))

    def _pooled_float(self, x: Type) -> Type:
        if not x.is_float:
            raise DTypeError(f"{self.name} takes floats, not {x.dtype}; convert with gn.cast")
        return self._pooled(x)

    def _out(self, shape: Sequence[Extent]) -> tuple[Extent, ...]:
        if not self.ceil_mode:
            return output_extents(shape, self.window, self.stride, self.padding, self.dilation)
        out: list[Extent] = []
        for n, k, s, (low, high), d in zip(shape, self.window, self.stride, self.padding, self.dilation, strict=True):
            out.append((n + (low + min(high + s - reach(k, d), 0) + s - 1)) // s)
        return fitting(tuple(out), shape, self.window, self.padding, self.dilation)

    def _spread(self, y: Type, to: Shape) -> Type:
        """The type of a gradient of size `to` whose cotangent is y."""
        if not y.is_float:
            raise DTypeError(f"{self.name} takes floats, not {y.dtype}")
        if y.rank != 2 + len(self.window) or len(to) != len(self.window) or self._out(to) != y.shape[2:]:
            raise ShapeError(f"an input of {to} gives outputs of {self._out(to)}, the cotangent is {y}")
        return y.with_shape((*y.shape[:2], *to))

    def _taps(self, places: Sequence[Expr], shape: Sequence[int]) -> tuple[list[Axis], list[Expr]]:
        """The axes over a window at (p, q) of an input of `shape`, and the input's pixel there."""
        out = concrete(self._out(shape))
        names = "trs"[3 - len(places) :]
        taps, source = [], []
        for a, i in enumerate(places):
            (low, _), stride, step = self.padding[a], self.stride[a], self.dilation[a]
            most = (out[a] - 1) * stride - low
            taps.append(span(names[a], self.window[a], i * stride - low, -low, most, step, shape[a]))
            source.append(i * stride + taps[a].var * step - low)
        return taps, source

    def _patches(self, shape: Sequence[int]) -> Iterator[tuple[int, tuple[np.ndarray, ...]]]:
        """For evaluate: every place in the window, row-major, and its pixels axis by axis; -1 marks padding."""
        out = concrete(self._out(shape))
        for number, place in enumerate(np.ndindex(*self.window)):
            pixels = []
            for a, t in enumerate(place):
                h = np.arange(out[a]) * self.stride[a] + t * self.dilation[a] - self.padding[a][0]
                pixels.append(np.where((h >= 0) & (h < shape[a]), h, -1))
            yield number, tuple(pixels)

    def _scan(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Greatest value and first place of it, window by window."""
        least = -np.inf if x.dtype.kind not in "iub" else np.iinfo(x.dtype).min
        best = np.full((*x.shape[:2], *concrete(self._out(x.shape[2:]))), least, dtype=x.dtype)
        place = np.full(best.shape, -1, dtype=np.int32)
        for number, pixels in self._patches(x.shape[2:]):
            v = x[over(pixels)]
            better = (place < 0) | (v > best) | ((v != v) & (best == best))
            better &= inside(pixels)
            best, place = np.where(better, v, best), np.where(better, np.int32(number), place)
        return best, place

    def flops(self, output: Type, *inputs: Type) -> int:
        return elements(output) * int(np.prod(self.window))


def over(pixels: Iterable[np.ndarray]) -> Any:
    """The index of these rows and columns of an image."""
    return (..., *np.ix_(*pixels))


def inside(pixels: tuple[np.ndarray, ...]) -> np.ndarray:
    """Which windows have an element there, over all axes."""
    found = np.ones((), bool)
    for h in pixels:
        found = found[..., None] & (h >= 0)
    return found


@dataclass(frozen=True)
class Candidate:
    """One window that may cover an input row (or column): its number, the place in it, and the
    conditions under which it exists and covers."""

    window: Expr
    place: Expr
    conditions: tuple[Expr, ...]


def candidates(op: Pooling, pixel: Sequence[Expr], size: Sequence[int], out: Sequence[int]) -> list[list[Candidate]]:
    """For each combination over the axes, the windows that may cover a pixel of an image of `size`, `out` windows an
    axis; those nearest first."""
    each = []
    for a, i in enumerate(pixel):
        k, stride, (low, _), step = op.window[a], op.stride[a], op.padding[a], op.dilation[a]
        axis = _spaced if step > 1 else _adjacent
        each.append(axis(i, size[a], k, stride, low, step, out[a]))
    return [list(combination) for combination in product(*each)]


def _adjacent(i: Expr, extent: int, k: int, stride: int, low: int, step: int, windows: int) -> list[Candidate]:
    """The windows that may cover position i of `extent`: ceil(k / stride) of them.
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


def _spaced(i: Expr, extent: int, k: int, stride: int, low: int, step: int, windows: int) -> list[Candidate]:
    """Likewise where the elements of a window are `step` apart: at most one window for each of its places."""
    found = []
    for place in range(k):
        first = i + (low - place * step)
        conditions = [eq_expr(first % stride, 0)] if stride > 1 else []
        if low - place * step < 0:
            conditions.append(lift(0, "i64") <= first)
        if (extent - 1 + low - place * step) // stride >= windows:
            conditions.append(first // stride < windows)
        found.append(Candidate(first // stride, lift(place, "i64"), tuple(conditions)))
    return found


def add_at(dx: np.ndarray, pixels: tuple[np.ndarray, ...], values: np.ndarray) -> None:
    """dx[..., rows, columns] += values; places of -1 are padding, the others occur once."""
    there = [h >= 0 for h in pixels]
    dx[over(h[t] for h, t in zip(pixels, there, strict=True))] += values[over(there)]


def settings(
    op: str,
    x: Node,
    window: int | Ints,
    stride: int | Ints | None,
    padding: str | int | Ints | Padding,
    dilation: int | Ints,
    ceil_mode: bool,
) -> tuple[Ints, Ints, Padding, Ints, bool]:
    """The attributes of a pooling op, from what users write; (N,C,L), (N,C,H,W) or (N,C,D,H,W) for the rank."""
    wanted = {"1d": (3,), "2d": (4,), "3d": (5,)}.get(op[-2:], (3, 4, 5))
    if x.rank not in wanted:
        raise ShapeError(f"{op} needs {' or '.join(IMAGES[r] for r in wanted)}, not {x!r}")
    rank = x.rank - 2
    k = ints_of(window, f"{op}: window", rank)
    s = k if stride is None else ints_of(stride, f"{op}: stride", rank)
    d = ints_of(dilation, f"{op}: dilation", rank)
    return k, s, padding_of(padding, x.shape[2:], k, s, d), d, bool(ceil_mode)
