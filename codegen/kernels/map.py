"""One value a point: elementwise chains, movement, random numbers.

    for t in parallel(...):              outer axes
        for b in serial(blocks):         the last axis, which has unit stride in the output
            for v in vector(lanes):
                lets; stores

A transposition reads along another axis than it writes. Where `turned` does not take it, that axis runs inside the
blocks, so that every cache line that a block touches is used up before it is forgotten.
"""

from __future__ import annotations

from ..compute import Computation
from ..dtypes import DTYPES
from ..expr import Expr, Var, lift
from ..loops import For, If, Kernel, Stmt, loop
from ..machine import Machine
from . import guards, spread
from .ahead import Tile
from .analysis import collapse, crossings, drop_unit_axes
from .common import cut, epilogue, nest, results_past, round_up, rows_first, streamed, widest_dtype

LONG = 16  # values computed at a point
MAX_VECTORS = 4  # vectors in flight: amortises scalar index arithmetic over more lanes


def schedule(c: Computation, machine: Machine) -> tuple[Kernel, str]:
    """Loops for a computation without reductions, and a sentence on how."""
    c = collapse(drop_unit_axes(c))
    *outer, last = c.axes
    width = machine.lanes(DTYPES[widest_dtype(c)].bytes)
    divided = spread.step(c)
    if divided:
        return spread.schedule(c, divided, width, machine)
    # A long straight line, such as a transform of a tile, fills the registers with one vector of each value.
    short = len(c.lets) <= LONG
    vectors = 1 if not short else max(1, min(MAX_VECTORS, last.extent // width))
    block = width * vectors
    crossed = next((a for a in crossings(c).values() if a is not None), None)
    outside = [(a.var, a.extent) for a in outer if a is not crossed]
    within = [(crossed.var, crossed.extent)] if crossed else []
    past = results_past(c, machine)
    statements: list[Stmt] = []
    for seg in cut(last.extent, block):
        lanes = round_up(seg.tile, width) if seg.tile > width else 1 << (seg.tile - 1).bit_length()
        j, v = Var("block"), Var("lane")
        point: Expr = j * seg.tile + seg.start + v
        inner = epilogue(c, {last.name: point})
        inner = streamed(inner, past) if lanes >= width else inner  # not lines in pieces
        if lanes != seg.tile:
            inner = (If(point < last.extent, inner),)
        loops = [*rows_first(outside), (j, seg.count), *within]
        tile = Tile({last.name: (j * seg.tile + seg.start, seg.tile)}, loops)
        asks = tile.asks(c.point_expressions()) if short else ()
        body = (*asks, loop("vector", v, 0, lanes, *inner))
        if lanes < width and len(outside) > 1 and not within:
            blocks = loop("serial", j, 0, seg.count, *body)
            ranges = {v.name: (0, lanes), j.name: (0, seg.count)}
            statements.append(_narrow(rows_first(outside), blocks, ranges))
        else:
            statements.append(nest(loops, body))
    shape = "x".join(str(a.extent) for a in c.axes)
    return Kernel(c.name, c.params, tuple(statements)), f"map over {shape}, {block} lanes a step"


def _narrow(axes: list[tuple[Var, int]], body: For, ranges: guards.Ranges) -> For:
    """Vectors that are not full, over rows and columns: see `guards`. `ranges` of the variables in the body."""
    *rows, (column, extent) = axes
    row, last = rows[0]
    known = {**ranges, **{var.name: (0, n) for var, n in axes}}
    first, end = guards.within((body,), row.name, known)
    free = guards.columns(column, extent, guards.unguarded((body,), {**known, row.name: (first, end)}), known)
    if (first, end) != (0, last):
        guarded = loop("serial", column, 0, extent, body)
        free = (If((lift(first, "i64") <= row) & (row < end), free, (guarded,)),)
    return nest(rows, free)
