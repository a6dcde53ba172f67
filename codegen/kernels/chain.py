"""CPU schedule of computations in stages: each in its own schedule, over a block of a common axis at a time.

    for b in parallel(blocks):
        base = min(b * block, extent - block)        the last block may overlap the one before it
        scratch
        for stage in stages: its loops, over `block` iterations of the axis from `base` on

Where blocks overlap, the same values are computed twice, which is cheaper than a second copy of the code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..compute import BASE, Chain, Computation
from ..expr import Buffer, Expr, Load, Var, const, minimum
from ..loops import Alloc, For, If, Kernel, Let, Prefetch, Shares, Stmt, Store, loaded, loop, map_expressions
from ..machine import Machine
from ..traverse import transform
from .analysis import map_computation
from .common import past_caches

Schedule = Callable[[Computation, Machine], tuple[Kernel, str]]


def schedule(c: Chain, machine: Machine, one: Schedule) -> tuple[Kernel, str]:
    """Loops for the stages, each scheduled by `one`, and a sentence on how."""
    scheduled = [one(_of_block(s, a, c.block), machine) for s, a in zip(c.stages, c.axes, strict=True)]
    flat = {b.name: Buffer(b.name, b.dtype, (b.size,), b.space) for b in (*c.params, *c.scratch)}
    b = Var("tile_block")
    base = minimum(b * c.block, const(c.extent - c.block, "i64"))
    scratch = [Alloc(flat[x.name]) for x in c.scratch]
    loops = [s for kernel, _ in scheduled for s in kernel.body]
    read = {x.name for s in loops for x in loaded(s)}
    past = past_caches((x for x in c.params if x.name in read), (x for x in c.params if x.name not in read), machine)
    streamed = frozenset(x.name for x in past)
    stages = [_inside(s, flat, streamed) for s in loops]
    body = loop("parallel", b, 0, -(-c.extent // c.block), Let(BASE, base), *scratch, *stages)
    how = f"{c.block} of {c.extent} at a time: " + "; ".join(text for _, text in scheduled)
    return Kernel(c.name, tuple(flat[x.name] for x in c.params), (body,)), how


def _of_block(c: Computation, axis: str, block: int) -> Computation:
    """The computation at `block` points of an axis, from BASE on."""
    axes = tuple(replace(a, extent=block, hi=const(block, "i64")) if a.name == axis else a for a in c.axes)
    return map_computation(c, {axis: BASE + Var(axis)}, axes)


def _inside(s: Stmt, flat: dict[str, Buffer], streamed: frozenset[str]) -> Stmt:
    """A statement of a kernel as one inside of a parallel loop: its loops serial, and the buffers of `flat`, which
    schedules see in shapes of their own, one-dimensional. Those `streamed` are stored past the caches."""

    def linear(buffer: Buffer, index: tuple[Expr, ...]) -> tuple[Expr, ...]:
        total: Expr = const(0, "i64")
        for e, stride in zip(index, buffer.strides, strict=True):
            total = total + e * stride
        return (total,)

    def leaf(e: Expr) -> Expr | None:
        if isinstance(e, Load) and e.buffer.name in flat:
            return Load(flat[e.buffer.name], linear(e.buffer, tuple(on(i) for i in e.index)))
        return None

    def on(e: Expr) -> Expr:
        return transform(e, leaf)

    match s:
        case For():
            kind = "serial" if s.kind == "parallel" else s.kind
            body = tuple(_inside(x, flat, streamed) for x in s.body)
            return replace(s, start=on(s.start), stop=on(s.stop), kind=kind, body=body)
        case If():
            both = (tuple(_inside(x, flat, streamed) for x in block) for block in (s.then, s.orelse))
            return replace(s, cond=on(s.cond), then=next(both), orelse=next(both))
        case Shares(first, last, extent, body):  # one thread has them all
            whole = (Let(first, const(0, "i64")), Let(last, const(extent, "i64")))
            return loop("serial", "share", 0, 1, *whole, *(_inside(x, flat, streamed) for x in body))
        case Prefetch() if s.buffer.name in flat:
            return Prefetch(flat[s.buffer.name], linear(s.buffer, tuple(on(i) for i in s.index)))
        case Store() if s.buffer.name in flat:
            index = linear(s.buffer, tuple(on(i) for i in s.index))
            return Store(flat[s.buffer.name], index, on(s.value), s.buffer.name in streamed)
    return map_expressions(s, on)
