"""Sums of products along lanes: a tile of dot products of vectors. See `contract`."""

from __future__ import annotations

from ..compute import Axis, Computation, Reduce
from ..dtypes import DTYPES
from ..expr import Buffer, Expr, Fma, Var, select
from ..loops import Alloc, Kernel, Stmt, loop, store
from ..machine import Machine
from ..traverse import substitute
from .analysis import load_strides
from .common import Segment, cut, epilogue, loop_axes, nest, round_up
from .product import Product, bounds_use, guarded, is_long


def schedule(c: Computation, p: Product, lane_axis: Axis, machine: Machine) -> tuple[Kernel, str] | None:
    dtype = p.reduce.value.dtype
    width = machine.lanes(DTYPES[dtype].bytes)
    row = _tile_axis(p.rows, p.reduce, p.narrow)
    column = _tile_axis(p.columns, p.reduce, p.wide)
    if bounds_use(p.reduce, lane_axis.name) or not lane_axis.is_full:
        return None
    rows, columns = choose_tile(row.extent if row else 1, column.extent if column else 1, machine.registers)
    statements = []
    for row_seg in cut(row.extent, rows) if row else [Segment(0, 1, 1)]:
        for column_seg in cut(column.extent, columns) if column else [Segment(0, 1, 1)]:
            statements.append(_tile_loops(c, p, lane_axis, row, row_seg, column, column_seg, width))
    return Kernel(c.name, c.params, tuple(statements)), f"{rows}x{columns} tile of {width}-lane dot products"


def _tile_axis(axes: tuple[Axis, ...], r: Reduce, operand: Expr) -> Axis | None:
    """The axis to tile: small steps through memory first, so that neighbours share cache lines."""
    usable = [a for a in axes if a.extent > 1 and not bounds_use(r, a.name)]

    def step(a: Axis) -> int:
        strides = [s.get(a.name, 0) for s in load_strides(operand, frozenset((a.name,))) if s is not None]
        return max((abs(s) for s in strides), default=0)

    return min(usable, key=step, default=None)


def choose_tile(rows: int, columns: int, registers: int) -> tuple[int, int]:
    """The tile with most FMAs a load whose accumulators and operands fit; divisors of the extents preferred."""
    best = (0.0, 1, 1)
    for i in range(1, min(rows, 8) + 1):
        for j in range(1, min(columns, 8) + 1):
            if i * j + j + 1 > registers or i * j > 24:
                continue
            waste = (round_up(rows, i) / rows) * (round_up(columns, j) / columns)
            rate = i * j / max(i * j, i + j, 8.0) / waste + 0.001 * i * j / (i + j)
            best = max(best, (rate, i, j))
    return best[1], best[2]


def _tile_loops(
    c: Computation,
    p: Product,
    lane_axis: Axis,
    row: Axis | None,
    row_seg: Segment,
    column: Axis | None,
    column_seg: Segment,
    width: int,
) -> Stmt:
    dtype = p.reduce.value.dtype
    acc = Buffer("acc", dtype, (row_seg.tile, column_seg.tile, width), "register")
    wide = Buffer("wide", dtype, (column_seg.tile, width), "register")
    narrow = Buffer("narrow", dtype, (width,), "register")
    i, j, b, v, tile_row, tile_column = (
        Var(n) for n in ("row", "column", "chunk", "lane", "row_tile", "column_tile")
    )
    at: dict[str, Expr] = {}
    if row:
        at[row.name] = tile_row * row_seg.tile + row_seg.start + i
    if column:
        at[column.name] = tile_column * column_seg.tile + column_seg.start + j
    lane: Expr = b * width + v
    ragged = lane_axis.extent % width != 0
    inner = {**at, lane_axis.name: lane}

    def operand(e: Expr) -> Expr:
        value = substitute(e, inner)
        return select(lane < lane_axis.extent, value, 0.0) if ragged else value

    step = (
        loop("unrolled", j, 0, column_seg.tile, loop("vector", v, 0, width, store(wide, (j, v), operand(p.wide)))),
        loop(
            "unrolled",
            i,
            0,
            row_seg.tile,
            loop("vector", v, 0, width, store(narrow, (v,), operand(p.narrow))),
            loop(
                "unrolled",
                j,
                0,
                column_seg.tile,
                loop("vector", v, 0, width, store(acc, (i, j, v), Fma(narrow[v], wide[j, v], acc[i, j, v]))),
            ),
        ),
    )
    where = None if p.reduce.where is None else substitute(p.reduce.where, at)
    blocks = -(-lane_axis.extent // width)
    rest = tuple(a for a in p.reduce.axes if a is not lane_axis)
    folds: list[Stmt] = []
    half = width // 2
    while half:
        folds.append(loop("vector", v, 0, half, store(acc, (i, j, v), acc[i, j, v] + acc[i, j, v + half])))
        half //= 2

    def over_tile(*body: Stmt) -> Stmt:
        return loop("unrolled", i, 0, row_seg.tile, loop("unrolled", j, 0, column_seg.tile, *body))

    def after(result: Expr) -> tuple[Stmt, ...]:
        return epilogue(c, {**at, c.reductions[0].var.name: result})

    if is_long(c):
        done = Buffer("done", dtype, (row_seg.tile, column_seg.tile), "local")
        rolled = loop("serial", i, 0, row_seg.tile, loop("serial", j, 0, column_seg.tile, *after(done[i, j])))
        finish: tuple[Stmt, ...] = (Alloc(done), over_tile(*folds, store(done, (i, j), acc[i, j, 0])), rolled)
    else:
        finish = (over_tile(*folds, *after(acc[i, j, 0])),)
    body = (
        Alloc(acc),
        Alloc(wide),
        Alloc(narrow),
        over_tile(loop("vector", v, 0, width, store(acc, (i, j, v), 0.0))),
        *loop_axes(rest, at, "serial", (loop("serial", b, 0, blocks, *guarded(step, where)),)),
        *finish,
    )
    outside = [(a.var, a.extent) for a in c.axes if a is not row and a is not column]
    if column:
        outside.append((tile_column, column_seg.count))
    if row:
        outside.insert(0, (tile_row, row_seg.count))
    return nest(outside or [(Var("once"), 1)], body)
