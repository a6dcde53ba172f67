"""Sums of products A * B: matrix multiplication, convolution and its gradients, in one schedule.

Which operand depends on which axis decides everything. `rows` is an output axis that only one operand
(the narrow one) depends on; `columns` one that only the other (the wide one) depends on.

"outer": the last output axis is a column axis with unit stride in the wide operand.
A tile of the output stays in registers while the reduction axes run:

    for t in parallel(tiles):
        acc[rows, vectors, lanes] = 0
        for reduction axes in serial:
            wide[vectors, lanes] = W            vector loads
            for i in unrolled(rows):
                n = N                           one scalar, broadcast
                acc[i] = fma(n, wide, acc[i])
        epilogue for every point of the tile

"dot": some *reduction* axis has unit stride in both operands, as in weight gradients over a batch that
lies innermost. The tile is rows x columns accumulators of vectors over that axis, folded by a tree at the end:

        for other reduction axes, blocks of lanes:
            acc[i, j, lanes] = fma(A[i, lanes], B[j, lanes], acc[i, j, lanes])

Following Goto and van de Geijn (2008) and Van Zee and van de Geijn (BLIS, 2015) for the register tile.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..compute import Axis, Computation, Reduce
from ..dtypes import DTYPES, is_float
from ..expr import Binary, Buffer, Expr, Fma, Unary, Var, const, select
from ..loops import Alloc, If, Kernel, Let, Stmt, loop, store
from ..machine import Machine
from ..traverse import substitute, variables, walk
from .analysis import drop_unit_axes, load_strides, unit_stride
from .common import Segment, cut, epilogue, loop_axes, nest, round_up

MAX_VECTORS = 4


@dataclass(frozen=True, slots=True)
class Product:
    """The operands, the wide one second, and the axes they depend on."""

    narrow: Expr
    wide: Expr
    reduce: Reduce
    rows: tuple[Axis, ...]  # output axes of the narrow operand alone
    columns: tuple[Axis, ...]  # output axes of the wide operand alone


def _depends(e: Expr, a: Axis) -> bool:
    return a.name in variables(e)


def _bounds_use(r: Reduce, name: str) -> bool:
    uses = any(name in variables(a.lo) | variables(a.hi) for a in r.axes)
    return uses or (r.where is not None and name in variables(r.where))


def products(c: Computation) -> list[Product]:
    """The two ways to see the computation as narrow * wide; empty if it is not one sum of a product."""
    if len(c.reductions) != 1:
        return []
    r = c.reductions[0].reduce
    if r.op != "sum" or not isinstance(r.value, Binary) or r.value.op != "mul" or not is_float(r.value.dtype):
        return []
    found = []
    for narrow, wide in ((r.value.a, r.value.b), (r.value.b, r.value.a)):
        rows = tuple(a for a in c.axes if _depends(narrow, a) and not _depends(wide, a))
        columns = tuple(a for a in c.axes if _depends(wide, a) and not _depends(narrow, a))
        found.append(Product(narrow, wide, r, rows, columns))
    return found


def schedule(c: Computation, machine: Machine) -> tuple[Kernel, str] | None:
    """Loops for a sum of products, and a sentence on how; None if neither form fits."""
    c = drop_unit_axes(c)
    last = c.axes[-1]
    for p in products(c):
        guarded = p.reduce.where is not None and last.name in variables(p.reduce.where)
        if last in p.columns and unit_stride(p.wide, last.name) and last.extent >= 2 and not guarded:
            return _outer(c, p, machine)
    for p in products(c):
        for a in reversed(p.reduce.axes):
            if a.extent >= 2 and unit_stride(p.narrow, a.name) and unit_stride(p.wide, a.name) and p.rows:
                return _dot(c, p, a, machine)
    return None


def is_long(c: Computation) -> bool:
    """Whether the epilogue is too long to repeat for every register of a tile. It then runs in a loop over
    the tile, written to memory (which stays in L1): the code of an optimiser's update is there once."""
    operations = {id(x) for _, e in c.lets for x in walk(e) if isinstance(x, (Binary, Unary))}
    return len(operations) > 6


# ------------------------------------------------------------------------------------- the tile


def _time(rows: int, vectors: int, extent: int, columns: int, width: int) -> float:
    """Relative cost of a rows x vectors tile: the larger of FMAs and loads, two of each a cycle."""
    cycles = 0.0
    for row in cut(extent, rows):
        for column in cut(columns, vectors * width):
            v = -(-column.tile // width)
            fmas, loads = row.tile * v, row.tile + v
            # fewer than 8 independent FMAs leave the units waiting (latency 4, two units)
            cycles += row.count * column.count * max(fmas, loads, 8.0) / 2
    return cycles


def choose_tile(extent: int, columns: int, width: int, registers: int) -> tuple[int, int]:
    """(rows, vectors) of the cheapest tile whose accumulators, operands and one scalar fit in registers."""
    best: tuple[float, int, int] | None = None
    for vectors in range(1, MAX_VECTORS + 1):
        if vectors > 1 and (vectors - 1) * width >= columns:
            break
        for rows in range(1, extent + 1):
            if rows * vectors + vectors + 1 > registers:
                break
            cost = _time(rows, vectors, extent, columns, width)
            if best is None or cost < best[0] or (cost == best[0] and rows * vectors > best[1] * best[2]):
                best = (cost, rows, vectors)
    assert best is not None
    return best[1], best[2]


def _guarded(body: tuple[Stmt, ...], where: Expr | None) -> tuple[Stmt, ...]:
    return body if where is None else (If(where, body),)


# ---------------------------------------------------------------------------------- outer form


def _outer(c: Computation, p: Product, machine: Machine) -> tuple[Kernel, str]:
    last = c.axes[-1]
    dtype = p.reduce.value.dtype
    width = machine.lanes(DTYPES[dtype].bytes)
    usable = [a for a in p.rows if not _bounds_use(p.reduce, a.name)]
    row = max(usable, key=lambda a: a.extent, default=None)
    rows, vectors = choose_tile(row.extent if row else 1, last.extent, width, machine.registers)
    side = _side_axis(c, p, row, last)
    # Few accumulators (a small batch, few channels): tile a second column axis too.
    sides = 1
    if side is not None and rows * vectors < 8:
        sides = min(side.extent, max(1, (machine.registers - 2) // (rows * vectors + vectors)))
    statements: list[Stmt] = []
    for row_seg in cut(row.extent, rows) if row else [Segment(0, 1, 1)]:
        for side_seg in cut(side.extent, sides) if side is not None else [Segment(0, 1, 1)]:
            for seg in cut(last.extent, vectors * width):
                statements.append(_outer_tile(c, p, row, row_seg, side, side_seg, seg, width))
    how = f"{rows}x{vectors * width} register tile" + (f" over {sides} {side.name}" if side and sides > 1 else "")
    return Kernel(c.name, c.params, tuple(statements)), how


def _side_axis(c: Computation, p: Product, row: Axis | None, last: Axis) -> Axis | None:
    """Another column axis, for tiles that would otherwise be too small."""
    for a in reversed(c.axes[:-1]):
        if a in p.columns and a is not last and a is not row and not _bounds_use(p.reduce, a.name):
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
    axes, mask = _free_bounds(p.reduce, last.name, at)
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
            over_tile(
                loop("vector", v, 0, lanes, store(acc, (i, q, j, v), Fma(n, wide[q, j, v], acc[i, q, j, v])))
            ),
        ),
    )
    where = None if p.reduce.where is None else substitute(p.reduce.where, at)

    def over_points(*body: Stmt, kind: str = "unrolled") -> Stmt:
        inner = loop(kind, q, 0, side_seg.tile, loop(kind, j, 0, vectors, loop("vector", v, 0, lanes, *body)))
        return loop(kind, i, 0, row_seg.tile, inner)

    def after(result: Expr) -> tuple[Stmt, ...]:
        body = epilogue(c, {**at, c.reductions[0].var.name: result})
        return body if valid is None else (If(valid, body),)

    if is_long(c):
        done = Buffer("done", dtype, acc.shape, "local")
        finish: tuple[Stmt, ...] = (
            Alloc(done),
            over_points(store(done, (i, q, j, v), acc[i, q, j, v])),
            over_points(*after(done[i, q, j, v]), kind="serial"),
        )
    else:
        finish = (over_points(*after(acc[i, q, j, v])),)
    body = (
        Alloc(acc),
        Alloc(wide),
        over_points(store(acc, (i, q, j, v), 0.0)),
        *loop_axes(axes, at, "serial", _guarded(step, where)),
        *finish,
    )
    outside = [(a.var, a.extent) for a in c.axes[:-1] if a is not row and a is not side]
    if side is not None:
        outside.append((tile_side, side_seg.count))
    if row:
        outside.insert(0, (tile_row, row_seg.count))
    return nest([*outside, (block, seg.count)], body)


def _free_bounds(r: Reduce, name: str, at: dict[str, Expr]) -> tuple[tuple[Axis, ...], Expr | None]:
    """Reduction axes whose bounds do not depend on `name`, and the mask that replaces those that did."""
    axes, mask = [], None
    for a in r.axes:
        if name in variables(a.lo) | variables(a.hi):
            inside = (substitute(a.lo, at) <= a.var) & (a.var < substitute(a.hi, at))
            mask = inside if mask is None else mask & inside
            a = Axis(a.name, a.extent, const(0, "i64"), const(a.extent, "i64"))
        axes.append(a)
    return tuple(axes), mask


# ------------------------------------------------------------------------------------ dot form


def _dot(c: Computation, p: Product, lane_axis: Axis, machine: Machine) -> tuple[Kernel, str] | None:
    dtype = p.reduce.value.dtype
    width = machine.lanes(DTYPES[dtype].bytes)
    row = _tile_axis(p.rows, p.reduce, p.narrow)
    column = _tile_axis(p.columns, p.reduce, p.wide)
    if _bounds_use(p.reduce, lane_axis.name) or not lane_axis.is_full:
        return None
    rows, columns = _dot_tile(row.extent if row else 1, column.extent if column else 1, machine.registers)
    statements = []
    for row_seg in cut(row.extent, rows) if row else [Segment(0, 1, 1)]:
        for column_seg in cut(column.extent, columns) if column else [Segment(0, 1, 1)]:
            statements.append(_dot_tile_loops(c, p, lane_axis, row, row_seg, column, column_seg, width))
    return Kernel(c.name, c.params, tuple(statements)), f"{rows}x{columns} tile of {width}-lane dot products"


def _tile_axis(axes: tuple[Axis, ...], r: Reduce, operand: Expr) -> Axis | None:
    """The axis to tile: small steps through memory first, so that neighbours share cache lines."""
    usable = [a for a in axes if a.extent > 1 and not _bounds_use(r, a.name)]

    def step(a: Axis) -> int:
        strides = [s.get(a.name, 0) for s in load_strides(operand, frozenset((a.name,))) if s is not None]
        return max((abs(s) for s in strides), default=0)

    return min(usable, key=step, default=None)


def _dot_tile(rows: int, columns: int, registers: int) -> tuple[int, int]:
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


def _dot_tile_loops(
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
        *loop_axes(rest, at, "serial", (loop("serial", b, 0, blocks, *_guarded(step, where)),)),
        *finish,
    )
    outside = [(a.var, a.extent) for a in c.axes if a is not row and a is not column]
    if column:
        outside.append((tile_column, column_seg.count))
    if row:
        outside.insert(0, (tile_row, row_seg.count))
    return nest(outside or [(Var("once"), 1)], body)


