"""The GPU schedule of a Computation: one of three, chosen by a small model of where the time goes.

    thread_a_point    maps; short reductions; many points
    block_a_point     few points, long reductions: a tree in shared memory
    tiled             sums of products: matrix product through shared-memory tiles

The result depends only on the computation, never on a measurement, and no schedule uses atomics: a
kernel gives the same bits in every run.
"""

from __future__ import annotations

from ..compute import Computation
from ..loops import Kernel
from .contraction import Contraction, analyse
from .gpu_common import size
from .gpu_contract import blocks, choose_tile, steps, tiled
from .gpu_reduce import block_a_point, thread_a_point
from .staged import stages_a_thread

# Rough figures of an A100 or H100, in seconds and bytes a second. They only rank schedules.
_STEP = 0.4e-6  # one k step of a tile: a load from memory, two barriers, 16 fmas deep
_CHAIN = 0.03e-6  # one iteration of a serial loop, most of it waiting for a load
_L2 = 3e12
_SMS = 128
_RESIDENT = _SMS * 1024  # threads that run at once


def schedule(c: Computation) -> Kernel:
    """The GPU loops of `c`: grid > shared allocations > threads."""
    return choose(c)[0]


def choose(c: Computation) -> tuple[Kernel, str]:
    """The GPU loops of `c`, and a sentence on how and why they were chosen."""
    if c.stages:
        return stages_a_thread(c), f"a thread a point: {c.points} points, {len(c.stages)} stages each"
    if not c.reductions:
        return thread_a_point(c), f"a thread a point: {c.points} points, nothing to reduce"
    by_thread, by_block = _thread_time(c), _block_time(c)
    product = analyse(c)
    if product is not None and (by_tile := _tile_time(product)) <= min(by_thread, by_block):
        t = choose_tile(product)
        sizes = " x ".join(str(size(axes)) for axes in (product.m, product.n, product.k))
        return tiled(c, product, t), (
            f"tiles of {t.m} x {t.n} x {t.k}: {size(product.batch)} products of {sizes}, "
            f"{blocks(product, t)} blocks, {_against(by_tile, by_thread, by_block)}"
        )
    shape = f"{c.points} points, {_elements(c)} elements each"
    if by_block < by_thread:
        return block_a_point(c), f"a block a point: {shape}, {_against(by_block, by_thread)}"
    return thread_a_point(c), f"a thread a point: {shape}, {_against(by_thread, by_block)}"


def _against(best: float, *others: float) -> str:
    return f"modelled {best * 1e6:.1f} us against {', '.join(f'{t * 1e6:.1f}' for t in others)} otherwise"


def _tile_time(x: Contraction) -> float:
    tile = choose_tile(x)
    waves = max(1.0, blocks(x, tile) / _SMS)
    # Half of a step waits and overlaps with other blocks; the other half multiplies.
    busy = 0.25 + 0.75 * (tile.m * tile.n * tile.k) / (64 * 64 * 16)
    return _STEP * steps(x, tile) * max(1.0, waves * busy)


def _elements(c: Computation) -> int:
    return sum(size(r.reduce.axes) for r in c.reductions)


def _bytes(c: Computation) -> float:
    """Traffic without reuse between points: two factors an element."""
    return 8.0 * c.points * _elements(c)


def _block_time(c: Computation) -> float:
    per_point = 1.5e-6 + _CHAIN * _elements(c) / 256  # the tree, then each thread's chain
    return max(per_point * max(1.0, c.points / (8 * _SMS)), _bytes(c) / _L2)


def _thread_time(c: Computation) -> float:
    return max(_CHAIN * _elements(c) * max(1.0, c.points / _RESIDENT), _bytes(c) / _L2)
