"""Resizing along one axis as tables: which elements make each new one, and their weights.

    y[o] = sum over k of weight[o, k] * x[index[o, k]]

A new element's place in the old ones is a coordinate c, by one of the rules of COORDINATES (ONNX's); then

    nearest   the element at c, rounded
    linear    the two around c, by their distances
    cubic     the four around c, by Keys' polynomial with the coefficient a
    area      all that the new element covers, in equal parts

Antialiasing stretches the weights of linear and cubic by the factor by which the axis shrinks. Elements outside are
those at the ends; or left out, the weights of the others growing to the sum 1.

R. Keys: Cubic convolution interpolation for digital image processing. IEEE Transactions on Acoustics, Speech and Signal
Processing 29, 1981.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np

MODES = ("nearest", "linear", "cubic", "area")

ROUNDINGS: dict[str, Callable[[float], int]] = {
    "round_prefer_floor": lambda c: math.ceil(c - 0.5),
    "round_prefer_ceil": lambda c: math.floor(c + 0.5),
    "floor": math.floor,
    "ceil": math.ceil,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """How `source` elements become `size`. `scale`: the factor that was asked for, of which `size` is the whole part,
    or 0.0 for size / source exactly; start, end: the part of the axis that is read, for "tf_crop_and_resize"."""

    source: int
    size: int
    mode: str = "nearest"
    coordinates: str = "half_pixel"
    scale: float = 0.0
    rounding: str = "round_prefer_floor"
    a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    start: float = 0.0
    end: float = 1.0

    @property
    def factor(self) -> float:
        return self.scale or self.size / self.source

    @property
    def length(self) -> float:
        """The new extent before it was made whole."""
        return self.scale * self.source if self.scale else self.size

    def divided(self, x: float) -> float:
        """x / factor, rounded once where the factor is a ratio of extents."""
        return x / self.scale if self.scale else x * self.source / self.size


def _crop(r: Rule, o: int) -> float:
    last = r.source - 1
    if r.length == 1:
        return (r.start + r.end) * last / 2
    return r.start * last + o * (r.end - r.start) * last / (r.length - 1)


COORDINATES: dict[str, Callable[[Rule, int], float]] = {
    "half_pixel": lambda r, o: r.divided(o + 0.5) - 0.5,
    "half_pixel_symmetric": lambda r, o: (
        r.source / 2 * (1 - r.size / r.length) + r.divided(o + 0.5) - 0.5
    ),
    "pytorch_half_pixel": lambda r, o: r.divided(o + 0.5) - 0.5 if r.length != 1 else 0.0,
    "align_corners": lambda r, o: o * (r.source - 1) / (r.length - 1) if r.length != 1 else 0.0,
    "asymmetric": lambda r, o: r.divided(float(o)),
    "tf_crop_and_resize": _crop,
}  # fmt: skip


def outside(r: Rule) -> np.ndarray:
    """Which new elements lie outside of the old ones (size,)."""
    found = [COORDINATES[r.coordinates](r, o) for o in range(r.size)]
    return np.array([c < 0 or c > r.source - 1 for c in found], dtype=bool)


def cubic(t: float, a: float) -> float:
    """Keys' weight of an element at the distance t."""
    t = abs(t)
    if t <= 1:
        return ((a + 2) * t - (a + 3)) * t * t + 1
    return ((a * t - 5 * a) * t + 8 * a) * t - 4 * a if t < 2 else 0.0


@cache
def taps(r: Rule) -> tuple[np.ndarray, np.ndarray]:
    """index (size, K) int32, weight (size, K) float64; those that there are fewer of end in weights of 0."""
    rows = [_row(r, o) for o in range(r.size)]
    return padded([[(i, w) for i, w in row.items() if w != 0] for row in rows])


def padded(rows: list[list[tuple[int, float]]]) -> tuple[np.ndarray, np.ndarray]:
    """Lists of (index, weight) as two tables; a missing one is the element 0 or the last before it, times 0."""
    width = max(1, *map(len, rows)) if rows else 1
    index, weight = np.zeros((len(rows), width), np.int32), np.zeros((len(rows), width))
    for o, row in enumerate(rows):
        for k in range(width):
            index[o, k] = row[min(k, len(row) - 1)][0] if row else 0
            weight[o, k] = row[k][1] if k < len(row) else 0.0
    return index, weight


def transposed(r: Rule) -> tuple[np.ndarray, np.ndarray]:
    """The tables of the transpose: what each old element gives to new ones."""
    rows: list[list[tuple[int, float]]] = [[] for _ in range(r.source)]
    for o, (indices, weights) in enumerate(zip(*taps(r), strict=True)):
        for i, w in zip(indices.tolist(), weights.tolist(), strict=True):
            if w != 0:
                rows[i].append((o, w))
    return padded(rows)


def _row(r: Rule, o: int) -> dict[int, float]:
    """The weights of the elements that make number o."""
    n = r.source
    if r.mode == "area":
        first, last = o * n // r.size, -(-(o + 1) * n // r.size)
        return dict.fromkeys(range(first, last), 1 / (last - first))
    c = COORDINATES[r.coordinates](r, o)
    if r.mode == "nearest":
        return {min(max(ROUNDINGS[r.rounding](c), 0), n - 1): 1.0}
    stretch = max(1 / r.factor, 1.0) if r.antialias else 1.0
    reach = (1 if r.mode == "linear" else 2) * stretch
    found: dict[int, float] = {}
    for i in range(math.ceil(c - reach), math.floor(c + reach) + 1):
        t = (i - c) / stretch
        w = max(1 - abs(t), 0.0) if r.mode == "linear" else cubic(t, r.a)
        if not (r.exclude_outside and not 0 <= i < n):
            i = min(max(i, 0), n - 1)
            found[i] = found.get(i, 0.0) + w
    total = sum(found.values())
    return {i: w / total for i, w in found.items()} if r.antialias or r.exclude_outside else found
