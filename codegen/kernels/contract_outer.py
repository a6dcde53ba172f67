"""Sums of products across lanes: a register tile of the output, vectors times scalars. See `contract`.

Sums of many terms are added up in chunks, each from zero, and then the chunks: a rounding error of the largest partial
sum for every chunk, not for every term.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

from ..compute import Axis, Computation
from ..dtypes import DTYPES
from ..expr import Buffer, Expr, Fma, Var, minimum, select
from ..loops import Alloc, If, Kernel, Let, Stmt, loop, store
from ..machine import Machine
from ..traverse import substitute
from .analysis import load_strides
from .common import Segment, cut, epilogue, free_bounds, loop_axes, nest
from .product import Product, bounds_use, guarded, is_long

MAX_VECTORS = 4
MAX_VECTORS_OF_ONE_ROW = 8  # all that is done with the wide operand is to read it: whole rows of it, better
MAX_SIDES = 4
UNROLLED = 96  # products in the body of an unrolled innermost loop, at most
LONG, CHUNK = 2048, 512  # terms of a sum that is added up in chunks, and of a chunk, at most
RESIDENT = 1 << 19  # bytes of an operand that stay in a core's L2 beside what else passes through it


@dataclass(frozen=True, slots=True)
class Tile:
    """rows x sides x vectors registers of accumulators."""

    rows: int
    sides: int
    vectors: int

    def fits(self, registers: int) -> bool:
        """With the wide operand's vectors and one scalar."""
        wide = self.sides * self.vectors
        return self.rows * wide + wide + 1 <= registers


def _time(t: Tile, rows: int, sides: int, columns: int, width: int) -> float:
    """Relative cost of a step of the sum over the whole output: the larger of FMAs and loads, two of each
    a cycle; fewer than 8 independent FMAs leave the units waiting (latency 4, two units)."""
    cycles = 0.0
    for row in cut(rows, t.rows):
        for side in cut(sides, t.sides):
            for column in cut(columns, t.vectors * width):
                wide = side.tile * -(-column.tile // width)
                tiles = row.count * side.count * column.count
                cycles += tiles * max(row.tile * wide, row.tile + wide, 8.0) / 2
    return cycles


@cache
def choose_tile(rows: int, sides: int, columns: int, width: int, registers: int) -> Tile:
    """The cheapest tile for these extents that fits. Among equals, the one that reads fewest bytes for an FMA:
    the wide operand is what streams through the caches; then the one that reads it in the longest pieces."""
    best, best_cost = Tile(1, 1, 1), (float("inf"), 0.0, 0)
    most = MAX_VECTORS if rows > 1 else MAX_VECTORS_OF_ONE_ROW
    for vectors in range(1, min(most, -(-columns // width)) + 1):
        for side in range(1, min(MAX_SIDES, sides) + 1):
            for row in range(1, min(rows, registers) + 1):
                t = Tile(row, side, vectors)
                if not t.fits(registers):
                    break
                wide = side * vectors
                cost = (_time(t, rows, sides, columns, width), (row + width * wide) / (row * wide), side)
                if cost < best_cost:
                    best, best_cost = t, cost
    return best


def schedule(c: Computation, p: Product, machine: Machine) -> tuple[Kernel, str]:
    last = c.axes[-1]
    dtype = p.reduce.value.dtype
    width = machine.lanes(DTYPES[dtype].bytes)
    p = replace(p, reduce=replace(p.reduce, axes=as_stored(p)))
    row, side, tile = _axes_and_tile(c, p, width, machine.registers)
    statements: list[Stmt] = []
    for row_seg in cut(row.extent, tile.rows) if row else [Segment(0, 1, 1)]:
        for side_seg in cut(side.extent, tile.sides) if side is not None else [Segment(0, 1, 1)]:
            for seg in cut(last.extent, tile.vectors * width):
                statements.append(_outer_tile(c, p, row, row_seg, side, side_seg, seg, width))
    how = f"{tile.rows}x{tile.vectors * width} register tile"
    if side and tile.sides > 1:
        how += f" at {tile.sides} {side.name}"
    return Kernel(c.name, c.params, tuple(statements)), how


def _axes_and_tile(c: Computation, p: Product, width: int, registers: int) -> tuple[Axis | None, Axis | None, Tile]:
    """The axis of the tile's rows, that of its sides, and its size: the cheapest; of equals, the innermost row axis,
    whose scalars are neighbours."""
    last = c.axes[-1]
    best: tuple[float, Axis | None, Axis | None, Tile] | None = None
    usable: list[Axis | None] = [a for a in reversed(p.rows) if a.extent > 1 and not bounds_use(p.reduce, a.name)]
    for row in usable or [None]:
        side = _side_axis(c, p, row, last)
        rows, sides = row.extent if row else 1, side.extent if side else 1
        tile = choose_tile(rows, sides, last.extent, width, registers)
        cost = _time(tile, rows, sides, last.extent, width) / (rows * sides)
        if best is None or cost < 0.97 * best[0]:
            best = cost, row, side, tile
    assert best is not None
    return best[1:]


def as_stored(p: Product) -> tuple[Axis, ...]:
    """The axes of the sum, those along which the wide operand moves furthest outermost: it is read as it lies."""
    names = frozenset(a.name for a in p.reduce.axes)
    strides = [s for s in load_strides(p.wide, names) if s is not None]
    return tuple(sorted(p.reduce.axes, key=lambda a: -max((abs(s.get(a.name, 0)) for s in strides), default=0)))


def _side_axis(c: Computation, p: Product, row: Axis | None, last: Axis) -> Axis | None:
    """Another column axis, for where the last one alone gives few vectors (a small batch)."""
    for a in reversed(c.axes[:-1]):
        if a in p.columns and a is not last and a is not row and not bounds_use(p.reduce, a.name):
            return a
    return None


def _outer_tile(
    c: Computation,
    p: Product,
    row: Axis | None,
    row_seg: Segment,
    side: Axis | None,
    side_seg: Segment,
    seg: Segment,
    width: int,
) -> Stmt:
    last = c.axes[-1]
    dtype = p.reduce.value.dtype
    vectors = -(-seg.tile // width)
    lanes = width if seg.tile >= width else 1 << (seg.tile - 1).bit_length()
    ragged = seg.tile != vectors * lanes
    acc = Buffer("acc", dtype, (row_seg.tile, side_seg.tile, vectors, lanes), "register")
    wide = Buffer("wide", dtype, (side_seg.tile, vectors, lanes), "register")
    i, q, j, v, tile_row, tile_side, block = (
        Var(n) for n in ("row", "side", "vec", "lane", "row_tile", "side_tile", "block")
    )
    column: Expr = block * seg.tile + seg.start + j * lanes + v
    at: dict[str, Expr] = {last.name: column}
    if row:
        at[row.name] = tile_row * row_seg.tile + row_seg.start + i
    if side is not None:
        at[side.name] = tile_side * side_seg.tile + side_seg.start + q
    valid = column < last.extent if ragged else None
    # bounds that depend on the vector axis become masks
    axes, mask = free_bounds(p.reduce, last.name, at)
    wide_value = substitute(p.wide, at)
    for guard in (mask, valid):
        if guard is not None:
            wide_value = select(guard, wide_value, 0.0)

    def over_tile(*body: Stmt) -> Stmt:
        return loop("unrolled", q, 0, side_seg.tile, loop("unrolled", j, 0, vectors, *body))

    n = Var("scalar", dtype)
    step = (
        over_tile(loop("vector", v, 0, lanes, store(wide, (q, j, v), wide_value))),
        loop(
            "unrolled",
            i,
            0,
            row_seg.tile,
            Let(n, substitute(p.narrow, at)),
            over_tile(loop("vector", v, 0, lanes, store(acc, (i, q, j, v), Fma(n, wide[q, j, v], acc[i, q, j, v])))),
        ),
    )
    where = None if p.reduce.where is None else substitute(p.reduce.where, at)

    def over_points(*body: Stmt, kind: str = "unrolled") -> Stmt:
        inner = loop(kind, q, 0, side_seg.tile, loop(kind, j, 0, vectors, loop("vector", v, 0, lanes, *body)))
        return loop(kind, i, 0, row_seg.tile, inner)

    def after(result: Expr) -> tuple[Stmt, ...]:
        body = epilogue(c, {**at, c.reductions[0].var.name: result})
        return body if valid is None else (If(valid, body),)

    def sums(axes: tuple[Axis, ...]) -> tuple[Stmt, ...]:
        zeros = over_points(store(acc, (i, q, j, v), 0.0))
        return (zeros, *_sum(axes, at, guarded(step, where), row_seg.tile * side_seg.tile * vectors))

    done = Buffer("done", dtype, acc.shape, "local")
    value, summed = acc[i, q, j, v], sums(axes)
    if axes and axes[0].is_full and math.prod(a.extent for a in axes) > LONG:
        value, chunk = done[i, q, j, v], Var("chunk")
        size = max(1, CHUNK // math.prod(a.extent for a in axes[1:]))
        part = replace(axes[0], lo=chunk * size, hi=minimum((chunk + 1) * size, axes[0].extent))
        add = over_points(store(done, (i, q, j, v), value + acc[i, q, j, v]))
        chunks = loop("serial", chunk, 0, -(-axes[0].extent // size), *sums((part, *axes[1:])), add)
        summed = (Alloc(done), over_points(store(done, (i, q, j, v), 0.0)), chunks)
    elif is_long(c):
        value = done[i, q, j, v]
        summed = (*summed, Alloc(done), over_points(store(done, (i, q, j, v), acc[i, q, j, v])))
    finish = over_points(*after(value), kind="serial" if is_long(c) else "unrolled")
    body = (Alloc(acc), Alloc(wide), *summed, finish)
    outside = [(a.var, a.extent) for a in c.axes[:-1] if a is not row and a is not side]
    if side is not None:
        outside.append((tile_side, side_seg.count))
    if row:  # outside the innermost axis, along which the rows' scalars are used again from the cache
        outside.insert(max(len(outside) - 1, 0), (tile_row, row_seg.count))
    # A wide operand that fits in the cache is walked for every tile of rows; a larger one only once, in panels.
    shared = [(a.var, a.extent) for a in c.axes[:-1] if a not in p.rows and a not in p.columns]
    if p.reduce.axes and _wide_bytes(p, last) > RESIDENT and outside[: len(shared)] == shared:
        return nest([*shared, (block, seg.count), *outside[len(shared) :]], body)
    return nest([*outside, (block, seg.count)], body)


def _sum(axes: tuple[Axis, ...], at: dict[str, Expr], step: tuple[Stmt, ...], products: int) -> tuple[Stmt, ...]:
    """The loops of the sum. A short innermost one is unrolled: a loop of three steps costs more than its steps."""
    *outer, inner = axes
    short = inner.is_full and inner.extent * products <= UNROLLED
    body = loop_axes((inner,), at, "unrolled" if short else "serial", step)
    return loop_axes(outer, at, "serial", body)


def _wide_bytes(p: Product, last: Axis) -> int:
    """Of the wide operand, for one index of the axes that both operands depend on."""
    total = DTYPES[p.reduce.value.dtype].bytes * last.extent
    for a in p.reduce.axes:
        total *= a.extent
    return total
