"""Winograd's minimal filtering as algorithms for convolution: graphs of the ops in `ops/transform.py`.

F(m, r) does (m + r - 1)^2 multiplications where direct sums do m^2 r^2, but moves transformed tiles through
memory. A weight gradient slides the cotangent's tiles over the input: F(r, m). It shares the transform of x with
the forward convolution.

A stride s splits image and kernel into s * s phases, each a channel of its own, that meet with stride 1: a window
of R taps becomes one of ceil(R / s). An input gradient is the convolution of the cotangent with all phases of the
kernel turned around, whose results interleave.
"""

from __future__ import annotations

from dataclasses import dataclass

from .convolution import PASSED, READ, RESIDENT, STREAMED, Algorithm, Batch, Problem, price
from .node import Node, apply
from .ops.broadcast import Reshape, Sum
from .ops.matmul import MatMul
from .ops.move import Transpose
from .ops.phases import Phases
from .ops.tile_products import TileProducts
from .ops.transform import (
    Pair,
    WinogradCotangent,
    WinogradInput,
    WinogradKernel,
    WinogradOutput,
    WinogradWeight,
)
from .types import concrete
from .winograd import operations, transforms

# What things cost, in operations of a product: fitted like the rates in `convolution`.
STEP = 2.5  # an addition, load or store of one lane: one or two a cycle, where a product has two fused pairs
KERNEL = 10.0  # the same of a kernel, which is gathered; and a byte of its transform, scattered over frequencies
WRITTEN = 10.0  # for a byte of what a weight gradient sums over tiles, as it is transformed
SUMMED = 4.0, 6.0  # and as it is summed: the product walks its operands more than once
SUMS = 10.0, 6.0  # for a byte of these sums
ADDED = 8.0  # for a byte of the sums of a part, whenever a block of tiles is added to them
SWEPT = 1.0  # for a byte of a transformed kernel that every block of tiles reads
REGISTERS = 24  # values of a tile that stay in registers between its two directions; others are stored and loaded
PARTIAL = 5 << 18  # bytes of the sums of a part of the tiles, which are added to for every block of tiles
PARTS = 8  # that weight gradients sum up: as many threads can share the work
SCRATCH = 600 << 10  # bytes of the transformed tiles of a block, both operands
FEWEST_TILES = 14  # of a block
FEWEST_SUMMED = 16  # channels on either side
FEWEST = 12  # channels on either side, below which vectors are not full and the transforms are most of the work
SCATTERED = 8  # channels of a pixel, below which the phases are brought together before they are transformed


def _up(a: int, b: int) -> int:
    return -(-a // b)


@dataclass(frozen=True, slots=True)
class _Alignment:
    """How the phases of an input gradient lie, in one direction. The pixel h = i s + a - low is, over the taps t,

    dx[h] = sum_t dy[i + t - before] w[(r - 1 - t) s + a + shift]
    """

    low: int
    before: int
    shift: int

    @staticmethod
    def of(pad: int, window: int, stride: int) -> _Alignment:
        """h + pad = p s + R for the tap R of the output p. Where r taps reach from pixels that begin at 0, low = 0;
        else pixels begin where the padded image does."""
        taps = _up(window, stride)
        for low in (0, pad % stride):
            most = (stride - 1 + pad - low) // stride  # of p - i
            shift = pad - low - most * stride
            if _up(pad - low - (window - 1), stride) > most - taps:
                break
        return _Alignment(low, taps - 1 - most, shift)


@dataclass(frozen=True, slots=True)
class _Form:
    """F(m x m', r x r')."""

    m: Pair
    r: Pair

    @property
    def name(self) -> str:
        return f"winograd F({self.m[0]}x{self.m[1]}, {self.r[0]}x{self.r[1]})"

    @property
    def frequencies(self) -> int:
        return (self.m[0] + self.r[0] - 1) * (self.m[1] + self.r[1] - 1)

    def aligned(self, p: Problem) -> tuple[_Alignment, _Alignment]:
        """Of an input gradient."""
        pads = [w - 1 - low for w, (low, _) in zip(p.window, p.padding, strict=True)]
        first, second = (_Alignment.of(*each) for each in zip(pads, p.window, p.stride, strict=True))
        return first, second

    def tiles(self, p: Problem) -> Pair:
        """Of an image's outputs, or of one phase of them."""
        if p.gradient != "input":
            return _up(p.out[0], self.m[0]), _up(p.out[1], self.m[1])
        low = [a.low for a in self.aligned(p)]
        rows, columns = (_up(e + a, m * s) for e, a, m, s in zip(p.out, low, self.m, p.stride, strict=True))
        return rows, columns

    def refuse(self, p: Problem) -> str | None:
        phases = p.stride[0] * p.stride[1]
        x, y = (p.k, p.c) if p.gradient == "input" else (p.c, p.k)
        if min(x * phases, y) < FEWEST:
            return "too few channels for the transforms to pay"
        if p.dilation != (1, 1):
            return "not for dilated kernels"
        taps = _up(p.window[0], p.stride[0]), _up(p.window[1], p.stride[1])
        if taps != self.r:
            return f"only for {self.r[0]}x{self.r[1]} taps, not the {taps[0]}x{taps[1]} of this kernel"
        return None

    def _steps(self, part: str, turned: bool = False) -> int:
        """Operations, loads and stores of one channel of a tile."""
        sizes = zip(self.r, self.m, strict=True) if turned else zip(self.m, self.r, strict=True)
        first, second = (getattr(transforms(*each), part) for each in sizes)
        work = operations(first) * len(second[0]) + operations(second) * len(first)
        moved = len(first) * len(second) + len(first[0]) * len(second[0])
        between = len(first) * len(second[0])
        return work + moved + 4 * max(0, between - REGISTERS)

    def cost(self, p: Problem) -> float:
        """Operations of the product, steps of the transforms, and bytes that kernels pass on: transformed images,
        products, and kernels, unless these are constant. Blocks of tiles pass nothing on but in the cache
        (`passes/block.py`)."""
        tiles, phases, lanes = self.tiles(p), p.stride[0] * p.stride[1], p.lanes
        t = tiles[0] * tiles[1] * p.n
        c, k = (p.c, p.k * phases) if p.gradient == "input" else (p.c * phases, p.k)
        wide_c, wide_k = _up(c, lanes) * lanes, _up(k, lanes) * lanes
        kernel, row = 4.0 * self.frequencies * c * k, 4.0 * self.frequencies * t
        product = 2.0 * self.frequencies * t * c * wide_k
        if p.gradient == "weight":
            steps = self._steps("weight", turned=True) * wide_k
            parts = self._parts(p)
            if parts is not None:
                steps += self._steps("input") * wide_c
                return product + STEP * t * steps + ADDED * kernel * _up(t, parts.block) + price(PASSED, PARTS * kernel)
            written = k
            if p.transformed != self.name:
                steps += self._steps("input") * wide_c
                written += c
            passed = WRITTEN * row * written + price(SUMMED, row * c) + price(SUMMED, row * k)
            return product + STEP * t * steps + passed + price(SUMS, kernel)
        steps = self._steps("input") * wide_c + self._steps("output") * wide_k
        total = product + STEP * t * steps
        if not p.constant:
            total += KERNEL * (self._steps("weight") * c * k + kernel)
        if kernel <= RESIDENT:  # every block of tiles reads it
            return total + SWEPT * kernel * max(1.0, row * (c + k) / SCRATCH)
        total += READ * kernel + (price(STREAMED, kernel) if p.constant else 0.0)
        return total + price(PASSED, row * c) + price(PASSED, row * k)

    def build(self, p: Problem, inputs: tuple[Node, ...], batch: Batch) -> Node:
        if p.gradient == "input":
            return self._input_gradient(inputs[0], inputs[1], p)
        x = self._transformed(inputs[0], p, batch)
        if p.gradient == "weight":
            return self._weight_gradient(x, inputs[1], p)
        panel = _panel(x, p.k, p.k, p.lanes)
        op = WinogradWeight(self.m, self.r, stride=p.stride, panel=panel, together=_together(p))
        return apply(WinogradOutput(self.m, self.r, p.out), _product(x, apply(op, inputs[1])))

    def _transformed(self, x: Node, p: Problem, batch: Batch) -> Node:
        """(N,C,H,W) -> (A,T,C)."""
        low, tiles = (p.padding[0][0], p.padding[1][0]), self.tiles(p)
        if not _together(p):
            return apply(WinogradInput(self.m, self.r, tiles, low, stride=p.stride), x)
        rows, columns = (t * m + r - 1 for t, m, r in zip(tiles, self.m, self.r, strict=True))
        together = apply(Phases(p.stride, low, (rows, columns)), x)
        batch[together] = 0
        return apply(WinogradInput(self.m, self.r, tiles), together)

    def _input_gradient(self, w: Node, dy: Node, p: Problem) -> Node:
        """(K,C,R,S), (N,K,P,Q) -> (N,C,H,W), through (A,T,K) @ (A,K,C)."""
        a, b = self.aligned(p)
        cotangent = apply(WinogradInput(self.m, self.r, self.tiles(p), (a.before, b.before)), dy)
        panel = _panel(cotangent, p.stride[0] * p.stride[1] * p.k, p.k, p.lanes)
        op = WinogradWeight(self.m, self.r, True, (a.shift, b.shift), stride=p.stride, panel=panel)
        product = _product(cotangent, apply(op, w))
        return apply(WinogradOutput(self.m, self.r, p.out, (a.low, b.low), stride=p.stride), product)

    def _parts(self, p: Problem) -> TileProducts | None:
        """Of a weight gradient."""
        tiles = self.tiles(p)
        return summed_in_parts(self.frequencies, tiles[0] * tiles[1] * p.n, p.c * p.stride[0] * p.stride[1], p.k)

    def _weight_gradient(self, x: Node, dy: Node, p: Problem) -> Node:
        """(A,T,C), (N,K,P,Q) -> (K,C,R,S), through (A,C,T) @ (A,T,K), or parts of that sum."""
        cotangent = apply(WinogradCotangent(self.m, self.r, self.tiles(p)), dy)
        parts = self._parts(p)
        if parts is None:
            product = apply(MatMul(), apply(Transpose((0, 2, 1)), x), cotangent)
        else:
            product = apply(Sum((0,)), apply(parts, x, cotangent))
        return apply(WinogradKernel(self.m, self.r, p.window, stride=p.stride, together=_together(p)), product)


def _together(p: Problem) -> bool:
    """Whether phases are brought together before they are transformed."""
    return p.stride != (1, 1) and p.c < SCATTERED


def summed_in_parts(frequencies: int, tiles: int, c: int, k: int) -> TileProducts | None:
    """How a weight gradient sums up (A,C,T) @ (A,T,K) in parts, whose sums stay in the cache while tiles in blocks are
    transformed (`passes/block.py`); None where the sums do not fit, or would be more to write than what is transformed,
    or where transforms are most of the work. By shapes alone, so that the bits depend on nothing else."""
    if 4 * frequencies * c * k > PARTIAL or tiles * (c + k) < 2 * PARTS * c * k or min(c, k) < FEWEST_SUMMED:
        return None
    block = max(FEWEST_TILES, min(SCRATCH // (4 * frequencies * (c + k)), tiles // (2 * PARTS)))
    block = block // FEWEST_TILES * FEWEST_TILES
    return TileProducts(block, PARTS) if block * PARTS <= tiles else None


def _panel(x: Node, columns: int, divisible: int, lanes: int) -> int:
    """Columns of a panel of the kernels with which x (A,T,C) is multiplied: a register tile's; 0 for no panels."""
    frequencies, _, c = concrete(x.shape)
    panel = 2 * lanes
    return 0 if 4 * frequencies * c * columns <= RESIDENT or divisible % panel else panel


def _product(x: Node, weights: Node) -> Node:
    """(A,T,C) @ (A,C,K) -> (A,T,K), or (A,T,C) @ (A,K',C,panel) -> (A,K',T,panel)."""
    if weights.rank == 4:
        a, t, c = concrete(x.shape)
        x = apply(Reshape((a, 1, t, c)), x)
    return apply(MatMul(), x, weights)


def _algorithm(m: Pair, r: Pair, error: float) -> Algorithm:
    form = _Form(m, r)
    return Algorithm(form.name, error, form.refuse, form.cost, form.build)


# By taps, outputs of a tile in one direction. Eight inputs a tile are the most: see `winograd.POINTS`.
SQUARE = {2: (3, 4, 5, 6), 3: (2, 4, 5, 6), 4: (3, 4, 5), 5: (2, 3, 4)}
LINE = {3: (4, 6), 5: (4,), 7: (2,)}

# Measured with 64 channels, up to 64 images of 56x56: weight gradients come to most, F(5, 2) to 5.2e-5.
ERROR, ERROR_5 = 3e-5, 7e-5

WINOGRAD = (
    *(_algorithm((m, m), (r, r), ERROR_5 if r == 5 else ERROR) for r, sizes in SQUARE.items() for m in sizes),
    *(_algorithm((1, m), (1, r), ERROR) for r, sizes in LINE.items() for m in sizes),
    *(_algorithm((m, 1), (r, 1), ERROR) for r, sizes in LINE.items() for m in sizes),
)
