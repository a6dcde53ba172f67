"""Sums of products both of whose operands lie along the last axis, as in depthwise convolution with channels
innermost: pairs of vectors. See `contract`.

Outputs, where one operand is the same along another axis (pixels of a row, say):

    for t in parallel(tiles):
        acc[pixels, vectors, lanes] = 0
        for reduction axes in serial:               the innermost unrolled
            shared[vectors, lanes] = W
            acc[i] = fma(X at i, shared, acc[i])    neighbouring pixels read the same X
        epilogue for every point of the tile

Long sums with few results for each lane (weight gradients):

    for first, last in shares(blocks of the last axis):
        for outer axes of the sum in serial:
            for block in first..last:               and tiles of taps, where one does not hold all
                acc[taps, lanes] = 0
                for innermost axis of the sum: shared = DY; acc[tap] = fma(X at tap, shared, acc[tap])
                total[block, taps, lanes] += acc    sums of sums, which are more exact
        epilogue for every block
"""

from __future__ import annotations

import math
from dataclasses import replace

from ..compute import Axis, Computation, Reduction
from ..dtypes import DTYPES
from ..expr import Buffer, Expr, Fma, Var, select
from ..loops import Alloc, If, Kernel, Shares, Stmt, loop, store
from ..machine import Machine
from ..traverse import substitute
from .analysis import unit_stride
from .common import Segment, cut, epilogue, loop_axes, nest, rows_first
from .contract_outer import as_stored
from .interior import freed, interior
from .product import Product, bounds_use, products

PIXELS, VECTORS = 6, 2  # of a tile
LONG = 8  # terms of a sum for each tap, from which on the sum is long
PARTIAL = 384 << 10  # bytes of partial sums that a thread keeps: a part of L2
UNROLLED = 96  # products in the body of an unrolled loop, at most


def schedule(c: Computation, machine: Machine) -> tuple[Kernel, str] | None:
    """Loops for such a sum, and a sentence on how; None where it is another."""
    last = c.axes[-1]
    for p in products(c):
        width = machine.lanes(DTYPES[p.reduce.value.dtype].bytes)
        both = unit_stride(p.narrow, last.name) and unit_stride(p.wide, last.name)
        if not both or p.reduce.where is not None or 2 * last.extent < width or bounds_use(p.reduce, last.name):
            continue
        rows = tuple(a for a in p.rows if a.extent > 1)
        if not rows:
            continue
        taps, terms = math.prod(a.extent for a in rows), math.prod(a.extent for a in p.reduce.axes)
        small = rows[-1].extent + 3 <= machine.registers and 4 * taps * (last.extent + width) <= PARTIAL
        alone = {a.name for a in c.axes if a.extent > 1} == {a.name for a in (*rows, last) if a.extent > 1}
        if small and alone and terms >= LONG * taps and all(a.is_full for a in p.reduce.axes):
            return _long(c, p, rows, width, machine.registers), f"{taps} sums of {width} lanes, row by row"
        if terms < LONG * taps:
            vectors = min(VECTORS if machine.registers > 16 else 1, -(-last.extent // width))
            how = f"{PIXELS} {rows[-1].name} x {vectors * width} lanes of both operands"
            return _short(c, p, rows[-1], vectors, width), how
    return None


def _short(c: Computation, p: Product, row: Axis, vectors: int, width: int) -> Kernel:
    last = c.axes[-1]
    reduction = c.reductions[0]
    first, end = interior(p.reduce, row)
    parts: list[tuple[Segment, Reduction]] = [(s, reduction) for s in cut(first, 1)]
    within = freed(reduction, row.name)
    parts += [(replace(s, start=first + s.start), within) for s in cut(end - first, PIXELS)]
    parts += [(replace(s, start=end + s.start), reduction) for s in cut(row.extent - end, 1)]
    body: list[Stmt] = []
    for seg, r in parts:
        inner = [
            loop("serial", Var("block"), 0, s.count, *_short_tile(c, p, r, row, seg, s, width))
            for s in cut(last.extent, vectors * width)
        ]
        body.append(loop("serial", Var("row_tile"), 0, seg.count, *inner))
    outside = [(a.var, a.extent) for a in c.axes[:-1] if a is not row]
    return Kernel(c.name, c.params, (nest(rows_first(outside), tuple(body)),))


def _short_tile(
    c: Computation, p: Product, r: Reduction, row: Axis, seg: Segment, columns: Segment, width: int
) -> tuple[Stmt, ...]:
    last, dtype = c.axes[-1], p.reduce.value.dtype
    vectors = -(-columns.tile // width)
    lanes = width if columns.tile >= width else 1 << (columns.tile - 1).bit_length()
    acc = Buffer("acc", dtype, (seg.tile, vectors, lanes), "register")
    shared = Buffer("shared", dtype, (vectors, lanes), "register")
    i, j, v = Var("row"), Var("vec"), Var("lane")
    column: Expr = Var("block") * columns.tile + columns.start + j * lanes + v
    start: Expr = Var("row_tile") * seg.tile + seg.start
    at: dict[str, Expr] = {last.name: column, row.name: start + i}
    valid = None if columns.tile == vectors * lanes else column < last.extent

    def operand(e: Expr) -> Expr:
        value = substitute(e, at)
        return value if valid is None else select(valid, value, 0.0)

    def over_points(*body: Stmt) -> Stmt:
        return loop("unrolled", i, 0, seg.tile, loop("unrolled", j, 0, vectors, loop("vector", v, 0, lanes, *body)))

    step: tuple[Stmt, ...] = (
        loop("unrolled", j, 0, vectors, loop("vector", v, 0, lanes, store(shared, (j, v), operand(p.wide)))),
        over_points(store(acc, (i, j, v), Fma(operand(p.narrow), shared[j, v], acc[i, j, v]))),
    )
    *outer, inner = r.reduce.axes
    few = inner.is_full and inner.extent * seg.tile * vectors <= UNROLLED
    step = loop_axes((inner,), {row.name: start}, "unrolled" if few else "serial", step)
    after = epilogue(c, {**at, r.var.name: acc[i, j, v]})
    return (
        Alloc(acc),
        Alloc(shared),
        over_points(store(acc, (i, j, v), 0.0)),
        *loop_axes(outer, {row.name: start}, "serial", step),
        over_points(*(after if valid is None else (If(valid, after),))),
    )


def _long(c: Computation, p: Product, rows: tuple[Axis, ...], width: int, registers: int) -> Kernel:
    last, dtype = c.axes[-1], p.reduce.value.dtype
    blocks, extents = -(-last.extent // width), tuple(a.extent for a in rows)
    kept = next(k for k in range(len(rows)) if math.prod(extents[k:]) + 3 <= registers)  # from which all are in a tile
    total = Buffer("total", dtype, (blocks, *extents, width), "local")
    acc = Buffer("acc", dtype, (*extents[kept:], width), "register")
    shared = Buffer("shared", dtype, (width,), "register")
    block, v, begin, end = Var("block"), Var("lane"), Var("first_block"), Var("last_block")
    column: Expr = block * width + v
    at: dict[str, Expr] = {last.name: column}
    valid = column < last.extent if last.extent % width else None
    tap = tuple(a.var for a in rows)

    def operand(e: Expr) -> Expr:
        value = substitute(e, at)
        return value if valid is None else select(valid, value, 0.0)

    def over_taps(*body: Stmt) -> Stmt:
        inner = loop("vector", v, 0, width, *body)
        for a in reversed(rows[kept:]):
            inner = loop("unrolled", a.var, 0, a.extent, inner)
        return inner

    def over_tiles(*body: Stmt) -> tuple[Stmt, ...]:
        return loop_axes(rows[:kept], {}, "serial", body)

    def over_blocks(*body: Stmt) -> Stmt:
        return loop("serial", block, begin, end, *body)

    *outer, inner = as_stored(p)
    step = (
        loop("vector", v, 0, width, store(shared, (v,), operand(p.wide))),
        over_taps(store(acc, (*tap[kept:], v), Fma(operand(p.narrow), shared[v], acc[(*tap[kept:], v)]))),
    )
    row = over_tiles(
        Alloc(acc),
        Alloc(shared),
        over_taps(store(acc, (*tap[kept:], v), 0.0)),
        *loop_axes((inner,), {}, "serial", step),
        over_taps(store(total, (block, *tap, v), total[(block, *tap, v)] + acc[(*tap[kept:], v)])),
    )
    after = epilogue(c, {**at, c.reductions[0].var.name: total[(block, *tap, v)]})
    body = (
        Alloc(total),
        over_blocks(*over_tiles(over_taps(store(total, (block, *tap, v), 0.0)))),
        *loop_axes(outer, {}, "serial", (over_blocks(*row),)),
        over_blocks(*over_tiles(over_taps(*(after if valid is None else (If(valid, after),))))),
    )
    return Kernel(c.name, c.params, (Shares(begin, end, blocks, body),))
