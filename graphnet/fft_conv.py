"""Fourier's algorithms for convolution: graphs of the ops in `ops/fourier*.py`, and what they cost.

Tiles of alpha x alpha' points that overlap by the window less one (overlap-save), of which m = alpha - r + 1 results a
direction are kept; one tile covers the image where alpha >= P + r - 1. In the frequencies a product over channels
remains, 4 multiplications of real numbers for a complex one: 8 F T C K operations of F = alpha (alpha'/2 + 1)
frequencies and T tiles, however large the window.

    forward            Y = X conj(W)
    input gradient     DX = DY W: a convolution, of which the results from r - 1 on are whole
    weight gradient    DW = sum over tiles of X conj(DY), DY of tiles of m points that do not overlap

All gradients read the spectra that the forward convolution made, where tiles are the same: x's for the weight
gradient; dy's for both gradients, if one tile covers it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from .convolution import READ, STREAMED, Algorithm, Batch, Problem, price
from .fourier import factor
from .node import Node, apply, constant
from .ops.fourier import turns
from .ops.fourier_forward import FourierInput, FourierWeight
from .ops.fourier_inverse import FourierKernel, FourierOutput
from .ops.fourier_product import FourierCorrelation, FourierProduct, spare
from .ops.move import Transpose
from .ops.window import Pair
from .types import concrete

# What things cost, in operations of direct sums: fitted like the rates in `convolution`.
STEP = 2.5  # an operation of a transform, with its loads and stores, unless it waits for memory
ACROSS = 3.0  # the same where the batch lies innermost in images, since channels are few, and transforms stride
FEW = 12  # channels are
SPECTRA = 8.0, 8.0  # a byte of the spectra of images, written or read
PAST = 8 << 20  # bytes of the spectra of a kernel that go past the caches, and come from memory
KERNEL = 4.0, 17.0  # a byte of these spectra as it is written: of those that do not, and of those that do
FETCHED = 20.0  # of the latter as it is read, while the product computes
ORDERED = 8.0, 16.0  # a byte of a kernel, which is brought into the order in which it is transformed
ERROR = 1e-6
LONGEST = 128  # points of a straight line of code
MOST = 6  # tile sizes that are considered for each direction: those of 1, 2, 3, ... tiles
KEPT = 4  # of these, those with the least cost are in the record


def _smooth(n: int) -> bool:
    try:
        factor(n)
    except ValueError:
        return False
    return True


SHORT = tuple(n for n in range(4, LONGEST + 1) if _smooth(n))


@cache
def _lines() -> tuple[tuple[int, Pair], ...]:
    """Sizes of two stages, ascending, each with its factors: of nearly the same size, columns even."""
    found: dict[int, Pair] = {}
    for rows in SHORT:
        for columns in SHORT:
            if rows >= 8 and columns % 2 == 0 and rows <= columns <= 4 * rows and rows * columns > LONGEST:
                best = found.get(rows * columns, (0, 0))
                found[rows * columns] = max(best, (rows, columns))
    return tuple(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Tiling:
    """Tiles of `extent` points of a problem's image."""

    extent: Pair

    @property
    def name(self) -> str:
        return f"fft {self.extent[0]}x{self.extent[1]}"

    @property
    def line(self) -> bool:
        return self.extent[0] == 1 and self.extent[1] > LONGEST

    @property
    def points(self) -> Pair:
        """Rows and columns of the transform."""
        return dict(_lines())[self.extent[1]] if self.line else self.extent

    def step(self, p: Problem) -> Pair:
        """Results that a tile gives in each direction."""
        a, b = (min(e - r + 1, o) for e, r, o in zip(self.extent, p.window, p.out, strict=True))
        return a, b

    def tiles(self, p: Problem) -> Pair:
        a, b = (-(-o // m) for o, m in zip(p.out, self.step(p), strict=True))
        return a, b

    def cost(self, p: Problem) -> float:
        """Operations of the product and of the transforms, or bytes that these wait for: spectra of images, and those
        of the kernel, which is transformed unless it is constant."""
        rows, columns = self.points
        frequencies, tiles = rows * (columns // 2 + 1), math.prod(self.tiles(p)) * p.n
        c, k = (-(-e // p.lanes) * p.lanes for e in (p.c, p.k))
        spectra = 8.0 * frequencies * p.c * p.k  # bytes, of the kernel
        past = spectra >= PAST
        product = 8.0 * frequencies * tiles * p.c * k + READ * spectra
        if p.constant:
            total = product + price(STREAMED, spectra)
        else:
            total = max(product, FETCHED * spectra) if past else product
            total += max(STEP * self._operations(p.window[0]) * p.c * k, KERNEL[past] * spectra)
            total += price(ORDERED, 4.0 * p.c * p.k * math.prod(p.window))
        step = STEP * (ACROSS if p.batched and min(p.c, p.k) < FEW else 1.0)

        def transforms(channels: int, wide: int, used: int) -> float:
            """Of images: computed, or written and read, whichever takes longer."""
            nbytes = 8.0 * frequencies * tiles * channels
            return max(step * self._operations(used) * tiles * wide, price(SPECTRA, nbytes))

        if p.gradient != "weight" or p.transformed != self.name:
            total += transforms(p.c, c, p.size[0])
        return total + transforms(p.k, k, self.step(p)[0])

    def _operations(self, used: int) -> float:
        """Of the transform of a tile of which so many rows are not zero, or wanted."""
        rows, columns = self.points
        used = rows if self.line else min(used, rows)
        return 1.4 * used * columns * math.log2(columns) + 2.8 * (columns // 2 + 1) * rows * math.log2(max(rows, 1))

    def refuse(self, p: Problem) -> str | None:
        if p.stride != (1, 1) or p.dilation != (1, 1):
            return "only for stride and dilation 1"
        if any(e < r for e, r in zip(self.extent, p.window, strict=True)):
            return f"smaller than the window, {p.window[0]}x{p.window[1]}"
        return None

    # ------------------------------------------------------------------------------------- the graphs

    def build(self, p: Problem, inputs: tuple[Node, ...], batch: Batch) -> Node:
        dtype = inputs[0].dtype
        table = (constant(turns(self.points), dtype),) if self.line else ()
        step, tiles = self.step(p), self.tiles(p)
        reach = _pair(m + r - 1 for m, r in zip(step, p.window, strict=True))
        low = _pair(a for a, _ in p.padding)
        if p.gradient == "weight":
            x, dy = inputs
            spectra = self._spectra(x, step, tiles, low, reach, table)
            cotangent = self._spectra(dy, step, tiles, (0, 0), step, table)
            apart = spare(p.c, p.k)
            products = apply(FourierCorrelation(spare=apart), spectra, cotangent)
            return apply(FourierKernel(self.points, self.line, p.window), products, *table)
        mirrored = p.gradient == "input"
        w, x = inputs if mirrored else (inputs[1], inputs[0])
        first = _pair(r - 1 for r in p.window) if mirrored else (0, 0)
        if mirrored and tiles == (1, 1) and self._covers(p, low):
            # the tile may as well begin with the cotangent, as it does for the weight gradient
            first, low, reach = _pair(f - a for f, a in zip(first, low, strict=True)), (0, 0), p.size
        spectra = self._spectra(x, step, tiles, low, reach, table)
        kernel = apply(Transpose((1, 0, 2, 3)), w) if mirrored else w
        apart = spare(p.c, p.k)
        weight = apply(FourierWeight(self.points, self.line, mirrored, spare=apart), kernel, *table)
        product = apply(FourierProduct(spare=spare(math.prod(tiles) * p.n, p.k)), spectra, weight)
        return apply(FourierOutput(self.points, self.line, step, first, p.out), product, *table)

    def _covers(self, p: Problem, low: Pair) -> bool:
        """Whether one tile holds all of the cotangent convolved with the kernel."""
        fits = all(s + r - 1 <= e for s, r, e in zip(p.size, p.window, self.extent, strict=True))
        return fits and all(0 <= a < r for a, r in zip(low, p.window, strict=True))

    def _spectra(self, x: Node, step: Pair, tiles: Pair, low: Pair, keep: Pair, table: tuple[Node, ...]) -> Node:
        """(N,C,H,W) -> (F,2,T,C). What makes no difference is the same for all, so that equal spectra are one node."""
        step = _pair(e if t == 1 else m for e, t, m in zip(self.extent, tiles, step, strict=True))
        within = (e + a for e, a in zip(concrete(x.shape)[2:], low, strict=True))
        keep = _pair(min(k, w) if t == 1 else k for k, w, t in zip(keep, within, tiles, strict=True))
        n, c = concrete(x.shape)[:2]
        apart = spare(math.prod(tiles) * n, c)
        return apply(FourierInput(self.points, self.line, step, tiles, low, keep, spare=apart), x, *table)


def _pair(items: Iterable[int]) -> Pair:
    a, b = items
    return a, b


# ---------------------------------------------------------------------------------------- which tiles


def _sizes(out: int, window: int, line: bool) -> list[int]:
    """The least sizes for which 1, 2, 3, ... tiles cover the results."""
    known = [*SHORT, *(n for n, _ in _lines())] if line else list(SHORT)
    if window == out == 1:
        return [1]
    found: list[int] = []
    for count in range(1, out + 1):
        k = bisect_left(known, -(-out // count) + window - 1)
        if k < len(known) and known[k] not in found:
            found.append(known[k])
        if len(found) == MOST:
            break
    return found


def fft_algorithms(p: Problem, wanted: str) -> tuple[Algorithm, ...]:
    """Of the sizes of tiles those that cost least, and the one that is `wanted` by name."""
    line = p.size[0] == p.window[0] == p.out[0] == 1
    grid = [Tiling((a, b)) for a in _sizes(p.out[0], p.window[0], False) for b in _sizes(p.out[1], p.window[1], line)]
    able = [t for t in grid if t.refuse(p) is None]
    best = sorted(able, key=lambda t: t.cost(p))[:KEPT] or [t for t in grid[:1] or [Tiling((LONGEST, LONGEST))]]
    best += [t for t in _named(wanted, line) if t not in best]
    return tuple(Algorithm(t.name, ERROR, t.refuse, t.cost, t.build) for t in best)


def _named(wanted: str, line: bool) -> list[Tiling]:
    """The tiling of a name such as "fft 16x16", if it has one."""
    kind, _, size = wanted.partition(" ")
    numbers = size.split("x")
    if kind != "fft" or len(numbers) != 2 or not all(n.isdigit() for n in numbers):
        return []
    a, b = (int(n) for n in numbers)
    known = a in (1, *SHORT) and (b in (1, *SHORT) or (line and a == 1 and b in dict(_lines())))
    return [Tiling((a, b))] if known else []
