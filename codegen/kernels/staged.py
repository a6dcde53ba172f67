"""Points that work in stages: a loop that fills memory of the point's own, and another that reads it.

    for t in parallel(...):              outer axes, and groups of vectors of the last axis, which has unit stride
        own = local(f32, extents, group, lanes)
        for i in serial(...):                                each stage
            for b in serial(group):
                for v in vector(lanes): lets; stores

A group is one vector, or where a stage goes to many places of memory at once, as a transform does, as many as have
room for what lies between the stages: its places may be as far apart as the matrices of a spectrum, but those of the
next vector are neighbours. What is too large to be found in a cache later is stored past them, and what the next
iteration reads from far is asked for.

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
from ..expr import Buffer, Expr, Load, Var, minimum
from ..loops import (
    LINE,
    Alloc,
    For,
    If,
    Kernel,
    Let,
    Prefetch,
    Stmt,
    Store,
    expressions,
    loop,
    map_expressions,
    statements,
)
from ..machine import Machine
from ..traverse import loads, substitute, transform
from .analysis import access_strides
from .common import FAR, cut, nest, parallel_over, too_large, widest_dtype
from .gpu_common import THREADS, Names, ceil_div, frame, guarded, unflatten

ROOM = 1 << 19  # bytes between stages that stay in a core's second cache
MANY = 16  # places of memory to which a stage goes at once


def schedule(c: Computation, machine: Machine) -> tuple[Kernel, str]:
    """Loops for a computation in stages, and a sentence on how."""
    last = lane_axis(c)
    if last is None:
        return _one_by_one(c)
    outer = [a for a in c.axes if a is not last]
    width = machine.lanes(DTYPES[widest_dtype(c)].bytes)
    group, slot, lane = Var("group"), Var("slot"), Var("lane")
    own_bytes = width * sum(b.size * DTYPES[b.dtype].bytes for b in scratch(c))
    past = frozenset(s.buffer for s in c.all_stores() if too_large(s.buffer, machine))
    most = max(1, ROOM // max(own_bytes, 1)) if max(map(_places, c.stages)) > MANY else 1
    made: list[Stmt] = []
    for seg in cut(last.extent, width):
        lanes = 1 << (seg.tile - 1).bit_length()
        groups = -(-seg.count // most)
        size = -(-seg.count // groups)
        block = group * size + slot
        point: Expr = block * seg.tile + seg.start + lane
        own = {b: Buffer(b.name, b.dtype, (*b.shape, size, lanes), b.space) for b in scratch(c)}
        body: list[Stmt] = [Alloc(b) for b in own.values()]
        for stage in c.stages:
            s = _in_lanes(_loop(stage), own, (slot, lane), {last.name: point}, past)
            inside = s.body if lanes == seg.tile else (If(point < last.extent, s.body),)
            here = minimum(seg.count - group * size, size) if seg.count % size else size
            vectors = loop("vector", lane, 0, lanes, *inside)
            ahead = _ahead(stage, {last.name: block * seg.tile + seg.start})
            body.append(replace(s, body=(loop("serial", slot, 0, here, *ahead, vectors),)))
        made.append(nest([*((a.var, a.extent) for a in outer), (group, groups)], tuple(body)))
    sizes = "x".join(str(a.extent) for a in c.axes)
    how = f"{len(c.stages)} stages over {sizes}, {width} lanes, {own_bytes / 1024:.0f} KB between stages"
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


def _places(stage: Stage) -> int:
    """How many places of memory one iteration reads or writes."""
    stores = [s for s in statements(stage.body) if isinstance(s, Store) and s.buffer.space == "global"]
    return len(_touched(stage)) + len(stores)


def _touched(stage: Stage) -> list[Load]:
    """What one iteration reads of memory."""
    inside = [s for s in statements(stage.body) if not isinstance(s, For)]
    found = dict.fromkeys(loads(*(e for s in inside for e in expressions(s))))
    return [x for x in found if x.buffer.space == "global"]


def _ahead(stage: Stage, at: dict[str, Expr]) -> tuple[Stmt, ...]:
    """Asks for what the next iteration reads, where that is many places of memory."""
    far = [x for x in _touched(stage) if x.buffer.size * DTYPES[x.dtype].bytes > FAR]
    far = [x for x in far if not loads(*x.index)]
    if len(far) <= MANY:
        return ()
    following = {**at, stage.axis.name: stage.axis.var + 1}
    lines = tuple(Prefetch(x.buffer, tuple(substitute(e, following) for e in x.index)) for x in far)
    return (If(stage.axis.var + 1 < stage.axis.hi, lines),)


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


def _in_lanes(
    s: For, own: dict[Buffer, Buffer], places: tuple[Var, ...], at: dict[str, Expr], past: frozenset[Buffer]
) -> For:
    """A loop where each of `places` has its own scratch memory, variables are replaced, and what goes to buffers `past`
    the caches is stored so."""

    memo: dict[int, Expr] = {}

    def leaf(x: Expr) -> Expr | None:
        if isinstance(x, Load) and x.buffer in own:
            return Load(own[x.buffer], (*(on(i) for i in x.index), *places))
        return at.get(x.name) if isinstance(x, Var) else None

    def on(e: Expr) -> Expr:
        return transform(e, leaf, memo)

    def stores(block: Sequence[Stmt]) -> tuple[Stmt, ...]:
        out: list[Stmt] = []
        for t in block:
            match t:
                case Store(buffer, index, value) if buffer in own:
                    out.append(Store(own[buffer], (*index, *places), value))
                case Store() if t.buffer in past:
                    out.append(replace(t, streams=LINE))
                case If(cond, then, orelse):
                    out.append(If(cond, stores(then), stores(orelse)))
                case For():
                    out.append(replace(t, body=stores(t.body)))
                case _:
                    out.append(t)
        return tuple(out)

    changed = map_expressions(s, on)
    return For(changed.var, changed.start, changed.stop, changed.kind, stores(changed.body))
