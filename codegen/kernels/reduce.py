"""Folds along axes, in one of two ways.

Across lanes, where neighbouring outputs lie side by side in memory:

    for t in parallel(...):                    outer output axes, and blocks of the last one
        acc[lanes] = start
        for r in serial(...):                  reduction axes
            for v in vector: acc[v] = op(acc[v], value)
        for v in vector: lets; stores

Along lanes, where the values of one output lie side by side:

    for t in parallel(...):                    output axes
        acc[lanes] = start
        for r in serial(...), b in serial(blocks of the unit-stride reduction axis):
            for v in vector: acc[v] = op(acc[v], value)
        acc[0] = op over lanes, by halves      a fixed tree: the same bits every time
        lets; stores
"""

from __future__ import annotations

import math
from dataclasses import replace

from ..compute import Axis, Computation, Reduce, Reduction
from ..dtypes import DTYPES, is_float, limits
from ..expr import Binary, Buffer, Const, Expr, Load, Var, cast, const, eq, maximum, minimum, ne, select
from ..loops import Alloc, For, If, Kernel, Let, Stmt, loop, store
from ..machine import Machine
from ..traverse import substitute, variables, walk
from .ahead import Tile
from .analysis import collapse_folds, drop_unit_axes, unit_stride
from .common import ENOUGH_TASKS, cut, epilogue, free_bounds, loop_axes, nest, round_up, rows_first, widest_dtype
from .interior import Piece, pieces, spaced
from .lines import Rows, rows

MAX_VECTORS = 4
UNROLL_AT_MOST = 16  # iterations of short reductions, such as pooling windows, that are unrolled


def start_value(op: str, dtype: str) -> Const:
    """The neutral element."""
    if op in ("sum", "prod"):
        value: float = 0 if op == "sum" else 1
    elif is_float(dtype):
        value = float("-inf") if op in ("max", "argmax") else float("inf")
    else:
        low, high = limits(dtype)
        value = low if op in ("max", "argmax") else high
    e = const(value, dtype)
    assert isinstance(e, Const)
    return e


def combine(op: str, a: Expr, b: Expr) -> Expr:
    if op == "sum":
        return Binary("add", a, b)
    if op == "prod":
        return Binary("mul", a, b)
    return maximum(a, b) if op == "max" else minimum(a, b)


class _Accumulators:
    """Register buffers for the reductions of a computation, one lane each for `lanes` lanes."""

    def __init__(self, c: Computation, lanes: int) -> None:
        self.c = c
        self.lanes = lanes
        self.best = [Buffer(f"acc{n}", r.reduce.value.dtype, (lanes,), "register") for n, r in enumerate(c.reductions)]
        self.at = [
            Buffer(f"at{n}", "i32", (lanes,), "register") if r.reduce.op == "argmax" else None
            for n, r in enumerate(c.reductions)
        ]

    def start(self) -> tuple[Stmt, ...]:
        v = Var("lane")
        allocations: list[Stmt] = []
        stores: list[Stmt] = []
        for r, best, at in zip(self.c.reductions, self.best, self.at, strict=True):
            allocations.append(Alloc(best))
            stores.append(store(best, (v,), start_value(r.reduce.op, best.dtype)))
            if at is not None:
                allocations.append(Alloc(at))
                stores.append(store(at, (v,), const(-1, "i32")))
        return (*allocations, loop("vector", v, 0, self.lanes, *stores))

    def accumulate(self, values: dict[str, Expr], valid: Expr | None) -> tuple[Stmt, ...]:
        """acc[v] = op(acc[v], value) for lane v of every reduction."""
        v = Var("lane")
        out: list[Stmt] = []
        for r, best, at in zip(self.c.reductions, self.best, self.at, strict=True):
            red = r.reduce
            value = substitute(red.value, values)
            where = None if red.where is None else substitute(red.where, values)
            for guard in (where, valid):
                if guard is not None:
                    value = select(guard, value, start_value(red.op, best.dtype))
            if at is None:
                out.append(store(best, (v,), combine(red.op, best[v], value)))
                continue
            x = Var(f"x_{best.name}", best.dtype)
            out.append(Let(x, value))
            better = Var(f"better_{best.name}", "bool")
            out.append(Let(better, _better(x, best[v], at[v])))
            out.append(store(at, (v,), select(better, cast(_position(red, values), "i32"), at[v])))
            out.append(store(best, (v,), select(better, x, best[v])))
        return tuple(out)

    def result(self, lane: Expr) -> dict[str, Expr]:
        values: dict[str, Expr] = {}
        for r, best, at in zip(self.c.reductions, self.best, self.at, strict=True):
            values[r.var.name] = best[lane] if at is None else cast(at[lane], "i64")
        return values

    def fold_lanes(self) -> tuple[Stmt, ...]:
        """acc[0] = op over lanes, by halves."""
        v = Var("lane")
        out: list[Stmt] = []
        half = self.lanes // 2
        while half:
            folds = [
                store(best, (v,), combine(r.reduce.op, best[v], best[v + half]))
                for r, best in zip(self.c.reductions, self.best, strict=True)
            ]
            out.append(loop("vector", v, 0, half, *folds))
            half //= 2
        return tuple(out)


def _better(x: Expr, best: Expr, at: Expr) -> Expr:
    """Whether x replaces the best so far: larger, or the first, or the first NaN."""
    larger = best < x
    if is_float(x.dtype):
        larger = larger | (ne(x, x) & eq(best, best))
    return larger | (at < 0)


def _position(r: Reduce, values: dict[str, Expr]) -> Expr:
    total: Expr = const(0, "i64")
    for a in r.axes:
        total = total * a.extent + substitute(a.var, values)
    return total


def schedule(c: Computation, machine: Machine) -> tuple[Kernel, str]:
    """Loops for a computation with reductions (all over the same axes), and a sentence on how."""
    c = _widest_last(collapse_folds(drop_unit_axes(c)))
    width = machine.lanes(DTYPES[widest_dtype(c)].bytes)
    values = [r.reduce.value for r in c.reductions]
    axes = c.reductions[0].reduce.axes
    last = c.axes[-1]
    foldable = all(r.reduce.op != "argmax" for r in c.reductions)
    across = all(unit_stride(e, last.name) for e in values) and last.extent >= max(2, width // 2)
    lane_axis = next((a for a in reversed(axes) if all(unit_stride(e, a.name) for e in values)), None)
    dynamic = {n for a in axes for n in variables(a.lo) | variables(a.hi)}
    worth_it = lane_axis is not None and (2 * lane_axis.extent >= width or last.extent == 1)
    if not across and lane_axis is not None and worth_it and foldable and lane_axis.name not in dynamic:
        return _along(c, lane_axis, width)
    masked = c
    if last.name in dynamic:  # bounds that differ between lanes become masks
        masked = replace(c, reductions=tuple(_masked(r, last.name) for r in c.reductions))
    block = width * min(MAX_VECTORS, max(1, last.extent // width))
    plain = [Piece(s, masked) for s in cut(last.extent, block)]
    found = pieces(c, masked, block) if spaced(c, last.name) else plain
    return _across(c, found, width, machine), f"reduction across {block} lanes of outputs"


def _widest_last(c: Computation) -> Computation:
    """With the axis last along which every value has unit stride, where the last one is none such: what is folded is
    larger than what is stored."""
    values = [r.reduce.value for r in c.reductions]
    contiguous = [a for a in c.axes if all(unit_stride(e, a.name) for e in values)]
    if not contiguous or c.axes[-1] in contiguous:
        return c
    last = contiguous[-1]
    return replace(c, axes=(*(a for a in c.axes if a is not last), last))


def _masked(r: Reduction, name: str) -> Reduction:
    """The reduction over full axes, with a condition in place of bounds that depend on `name`."""
    axes, inside = free_bounds(r.reduce, name, {})
    conditions = [e for e in (inside, r.reduce.where) if e is not None]
    where = conditions[0] if len(conditions) == 1 else conditions[0] & conditions[1]
    return Reduction(r.var, Reduce(r.reduce.op, axes, r.reduce.value, where))


def _lanes(tile: int, width: int) -> int:
    """Of the vectors that hold a tile."""
    return round_up(tile, width) if tile > width else 1 << (tile - 1).bit_length()


def _across(c: Computation, found: list[Piece], width: int, machine: Machine) -> Kernel:
    outside = [(a.var, a.extent) for a in c.axes[:-1]]
    if not _slides(c):
        outside = rows_first(outside)
    j = Var("block")
    in_row = any(p.computation is not c for p in found) and math.prod(n for _, n in outside) >= ENOUGH_TASKS
    results = rows(c, outside, [p.segment for p in found], in_row, width, machine)
    if in_row:  # all pieces of a row one after the other: they read the same lines
        row = [loop("serial", j, 0, p.segment.count, *_tile(p, width, outside, in_row, results)) for p in found]
        return Kernel(c.name, c.params, (nest(outside, (*results.begin(), *row, *results.end())),))
    tiles = (nest([*outside, (j, p.segment.count)], _tile(p, width, outside, in_row, results)) for p in found)
    return Kernel(c.name, c.params, tuple(tiles))


def _slides(c: Computation) -> bool:
    """Whether windows slide along the last axis: images lie one after the other, each in rows."""
    folded = {a.name for a in c.reductions[0].reduce.axes}
    indices = [i for r in c.reductions for x in walk(r.reduce.value) if isinstance(x, Load) for i in x.index]
    return any(c.axes[-1].name in names and names & folded for names in map(variables, indices))


def _tile(p: Piece, width: int, outside: list[tuple[Var, int]], in_row: bool, results: Rows) -> tuple[Stmt, ...]:
    """One tile of outputs; in a row with the other pieces, or in a loop nest of its own."""
    c, seg = p.computation, p.segment
    last, axes = c.axes[-1], c.reductions[0].reduce.axes
    lanes = _lanes(seg.tile, width)
    acc = _Accumulators(c, lanes)
    v = Var("lane")
    point: Expr = Var("block") * seg.tile + seg.start
    if lanes > 1:
        point = point + v
    at: dict[str, Expr] = {last.name: point}
    valid = None if lanes == seg.tile else point < seg.start + seg.count * seg.tile
    inner: tuple[Stmt, ...] = (loop("vector", v, 0, lanes, *acc.accumulate(at, valid)),)
    window = math.prod(a.extent for a in axes) <= UNROLL_AT_MOST
    spans: dict[str, tuple[Expr, int]] = {last.name: (Var("block") * seg.tile + seg.start, seg.tile)}
    loops = [*outside, (Var("block"), seg.count)]
    if window:
        spans |= {a.name: (const(0, "i64"), a.extent) for a in axes}
    else:
        loops += [(a.var, a.extent) for a in axes]
    beside = last.extent / (seg.tile * seg.count) if in_row else 1.0
    asks = Tile(spans, loops, beside).asks(r.reduce.value for r in c.reductions)
    if not window:
        inner = (*asks, *inner)
    after = results.stored(epilogue(c, {**at, **acc.result(v)}), point)
    if valid is not None:
        after = (If(valid, after),)
    for a in reversed(axes):
        inner = loop_axes((a,), at, "unrolled" if window and a.is_full else "serial", inner)
    return (*(asks if window else ()), *acc.start(), *inner, loop("vector", v, 0, lanes, *after))


def _along(c: Computation, lane_axis: Axis, width: int) -> tuple[Kernel, str]:
    axes = c.reductions[0].reduce.axes
    vectors = min(MAX_VECTORS, max(1, lane_axis.extent // width))
    lanes = width << (vectors.bit_length() - 1)  # a power of two: lanes are folded by halves
    acc = _Accumulators(c, lanes)
    b, v = Var("chunk"), Var("lane")
    rest = tuple(a for a in axes if a is not lane_axis)
    full = lane_axis.is_full
    # With bounds that depend on the point, blocks start at the lower bound and any may be the last: all are masked.
    point: Expr = lane_axis.lo + b * lanes + v
    whole = lane_axis.extent // lanes if full else 0
    loops = [*((a.var, a.extent) for a in (*c.axes, *rest)), (b, lane_axis.extent // lanes)]
    asks = Tile({lane_axis.name: (lane_axis.lo + b * lanes, lanes)}, loops).asks(r.reduce.value for r in c.reductions)

    def chunks(first: Expr, last: Expr, valid: Expr | None) -> For:
        inner = loop("vector", v, 0, lanes, *acc.accumulate({lane_axis.name: point}, valid))
        return loop("serial", b, first, last, *asks, inner)

    blocks = (lane_axis.hi - lane_axis.lo + (lanes - 1)) // lanes
    inner = [chunks(const(0, "i64"), const(whole, "i64"), None)] if whole else []
    if not full or lane_axis.extent % lanes:
        inner.append(chunks(const(whole, "i64"), blocks, point < lane_axis.hi))
    body = (
        *acc.start(),
        *loop_axes(rest, {}, "serial", tuple(inner)),
        *acc.fold_lanes(),
        *epilogue(c, acc.result(const(0, "i64"))),
    )
    statement = nest([(a.var, a.extent) for a in c.axes], body)
    return Kernel(c.name, c.params, (statement,)), f"reduction along {lanes} lanes, folded by a tree"
