"""Points that work in stages: a loop that fills memory of the point's own, and another that reads it.

    for t in parallel(...):              outer axes
        for b in serial(blocks):         the last axis, which has unit stride
            own = local(f32, extents, lanes)
            for v in vector(lanes):
                for i in serial(...): lets; stores           each stage

Another axis takes the place of the last where its points are the neighbours in memory. Where the places of what is
stored depend on data, there are no vectors:

    for t in parallel(points):
        own = local(f32, extents)
        for i in serial(...): lets; stores                   each stage

On GPUs a thread has a point.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ..compute import Axis, Computation, Stage
from ..dtypes import DTYPES
from ..expr import Buffer, Expr, Load, Var
from ..loops import Alloc, For, If, Kernel, Let, Stmt, Store, loop, map_expressions
from ..machine import Machine
from ..traverse import substitute, transform, walk
from .analysis import access_strides
from .common import cut, nest, parallel_over, widest_dtype
from .gpu_common import THREADS, Names, ceil_div, frame, guarded, unflatten


def schedule(c: Computation, machine: Machine) -> tuple[Kernel, str]:
    """Loops for a computation in stages, and a sentence on how."""
    last = lane_axis(c)
    if last is None:
        return _one_by_one(c)
    outer = [a for a in c.axes if a is not last]
    width = machine.lanes(DTYPES[widest_dtype(c)].bytes)
    block, lane = Var("block"), Var("lane")
    made: list[Stmt] = []
    for seg in cut(last.extent, width):
        lanes = 1 << (seg.tile - 1).bit_length()
        point: Expr = block * seg.tile + seg.start + lane
        own = {b: Buffer(b.name, b.dtype, (*b.shape, lanes), b.space) for b in scratch(c)}
        inner: tuple[Stmt, ...] = tuple(_in_lanes(_loop(stage), own, lane, {last.name: point}) for stage in c.stages)
        if lanes != seg.tile:
            inner = (If(point < last.extent, inner),)
        body: tuple[Stmt, ...] = (*(Alloc(b) for b in own.values()), loop("vector", lane, 0, lanes, *inner))
        made.append(nest([*((a.var, a.extent) for a in outer), (block, seg.count)], body))
    sizes = "x".join(str(a.extent) for a in c.axes)
    own_bytes = sum(b.size * DTYPES[b.dtype].bytes for b in scratch(c))
    how = f"{len(c.stages)} stages over {sizes}, {width} lanes, {own_bytes * width / 1024:.0f} KB between stages"
    return Kernel(c.name, c.params, tuple(made)), how


def lane_axis(c: Computation) -> Axis | None:
    """The axis whose points store to neighbouring places, or the last one; None where data decides what is stored
    where."""
    stores = [s for s in c.all_stores() if s.buffer.space == "global"]
    for a in reversed(c.axes):
        if a.extent > 1:
            strides = [access_strides(s.buffer, s.index, frozenset((a.name,))) for s in stores]
            if all(s == {a.name: 1} for s in strides):
                return a
    names = frozenset((c.axes[-1].name,))
    return None if any(access_strides(s.buffer, s.index, names) is None for s in stores) else c.axes[-1]


def _one_by_one(c: Computation) -> tuple[Kernel, str]:
    body = (*(Alloc(b) for b in scratch(c)), *(_loop(stage) for stage in c.stages))
    sizes = "x".join(str(a.extent) for a in c.axes)
    how = f"{len(c.stages)} stages over {sizes}, one point at a time"
    return Kernel(c.name, c.params, (parallel_over([(a.var, a.extent) for a in c.axes], body),)), how


def stages_a_thread(c: Computation) -> Kernel:
    """The GPU's loops: a thread a point."""
    names = Names(c)
    block, thread, point = names.var("block"), names.var("tid"), names.var("point")
    blocks = max(1, ceil_div(c.points, THREADS))
    body = [*(Alloc(b) for b in scratch(c)), *(_loop(stage) for stage in c.stages)]
    inside = None if c.points == blocks * THREADS else point < c.points
    at_point = guarded(inside, unflatten(point, c.axes, body))
    return frame(c, blocks, block, (), THREADS, thread, [Let(point, block * THREADS + thread), *at_point])


def scratch(c: Computation) -> tuple[Buffer, ...]:
    """The memory of a point's own."""
    return tuple(dict.fromkeys(s.buffer for s in c.all_stores() if s.buffer.space == "local"))


def _loop(stage: Stage) -> For:
    return For(stage.axis.var, stage.axis.lo, stage.axis.hi, "serial", stage.body)


def _in_lanes(s: For, own: dict[Buffer, Buffer], lane: Var, at: dict[str, Expr]) -> For:
    """A loop where each lane has its own scratch memory, and variables are replaced."""

    def on(e: Expr) -> Expr:
        def leaf(x: Expr) -> Expr | None:
            if isinstance(x, Load) and x.buffer in own:
                return Load(own[x.buffer], (*(on(i) for i in x.index), lane))
            return None

        changed = transform(e, leaf) if any(isinstance(x, Load) and x.buffer in own for x in walk(e)) else e
        return substitute(changed, at)

    def stores(block: Sequence[Stmt]) -> tuple[Stmt, ...]:
        out: list[Stmt] = []
        for t in block:
            match t:
                case Store(buffer, index, value) if buffer in own:
                    out.append(Store(own[buffer], (*index, lane), value))
                case If(cond, then, orelse):
                    out.append(If(cond, stores(then), stores(orelse)))
                case For():
                    out.append(replace(t, body=stores(t.body)))
                case _:
                    out.append(t)
        return tuple(out)

    changed = map_expressions(s, on)
    return For(changed.var, changed.start, changed.stop, changed.kind, stores(changed.body))
