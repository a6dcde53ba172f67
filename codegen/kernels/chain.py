"""CPU schedule of computations in stages: each in its own schedule, over a block of a common axis at a time.

    for b in parallel(blocks):
        base = min(b * block, extent - block)        the last block may overlap the one before it
        scratch
        for stage in stages: its loops, over `block` iterations of the axis from `base` on

Where blocks overlap, the same values are computed twice, which is cheaper than a second copy of the code.

Where the last stage sums over the axis, threads divide parts of it, each of some blocks in order:

    for part in parallel(parts):
        for b in serial(the part's blocks):
            the same; and the last stage, over what no block before had of the axis:
            results of the part = sums over this block + (results of the part unless this block is its first)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ..compute import BASE, PART, Chain, Computation
from ..dtypes import DTYPES
from ..expr import Buffer, Const, Expr, Load, Var, const, minimum, select
from ..loops import (
    LINE,
    Alloc,
    For,
    If,
    Kernel,
    Let,
    Prefetch,
    Shares,
    Stmt,
    Store,
    loaded,
    loop,
    map_expressions,
    statements,
)
from ..machine import Machine
from ..traverse import transform, variables, walk
from .analysis import map_computation
from .common import past_caches, serial_over
from .product import products

BLOCK = Var("tile_block")
FIRST, LAST = Var("first_block"), Var("last_block")  # of a part: the first, and the one after the last

Schedule = Callable[[Computation, Machine], tuple[Kernel, str]]


def schedule(c: Chain, machine: Machine, one: Schedule) -> tuple[Kernel, str]:
    """Loops for the stages, each scheduled by `one`, and a sentence on how."""
    scheduled = [one(_of_block(c, s, a), machine) for s, a in zip(c.stages, c.axes, strict=True)]
    flat = {b.name: Buffer(b.name, b.dtype, (b.size,), b.space) for b in (*c.params, *c.scratch)}
    base = minimum(BLOCK * c.block, const(c.extent - c.block, "i64"))
    scratch = [Alloc(flat[x.name]) for x in c.scratch]
    loops = [s for x, (kernel, _) in zip(c.stages, scheduled, strict=True) for s in _fetching(c, x, kernel.body)]
    loops = _asking_last(loops)
    read = {x.name for s in loops for x in loaded(s)}
    past = past_caches((x for x in c.params if x.name in read), (x for x in c.params if x.name not in read), machine)
    streamed = frozenset(x.name for x in past)
    stages = [_inside(s, flat, streamed, {}) for s in loops]
    blocks = -(-c.extent // c.block)
    how = f"{c.block} of {c.extent} at a time: " + "; ".join(text for _, text in scheduled)
    if c.parts:
        bounds = (Let(v, (PART + n) * blocks // c.parts) for n, v in enumerate((FIRST, LAST)))
        body = loop("serial", BLOCK, FIRST, LAST, Let(BASE, base), *stages)
        body = loop("parallel", PART, 0, c.parts, *bounds, *scratch, body)
        how = f"{c.parts} parts, {how}"
    else:
        body = loop("parallel", BLOCK, 0, blocks, Let(BASE, base), *scratch, *stages)
    return Kernel(c.name, tuple(flat[x.name] for x in c.params), (body,)), how


def _asking_last(loops: list[Stmt]) -> list[Stmt]:
    """Of what several of them ask for, only the last does: the first waits for memory, the others do not."""
    later: set[str] = set()
    found: list[Stmt] = []
    for s in reversed(loops):
        asked = {x.buffer.name for x in statements((s,)) if isinstance(x, Prefetch)}
        found.append(_without_asking(s, later))
        later |= asked
    return found[::-1]


def _without_asking(s: Stmt, names: set[str]) -> Stmt:
    if not isinstance(s, For):
        return s
    kept = (x for x in s.body if not (isinstance(x, Prefetch) and x.buffer.name in names))
    return replace(s, body=tuple(_without_asking(x, names) for x in kept))


def _fetching(c: Chain, stage: Computation, loops: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """The loops of a product ask memory on the way for what the next block reads: of arrays that lie along the axis,
    the share that a block has of it. Products wait for nothing, and transforms for little else."""
    if not any(p.rows and p.columns for p in products(stage)):
        return loops
    tasks = [int(s.stop.value) if isinstance(s, For) and isinstance(s.stop, Const) else 0 for s in loops]
    arrays, turn = _along(c), Var("turn")
    found: list[Stmt] = []
    for n, (s, count) in enumerate(zip(loops, tasks, strict=True)):
        if isinstance(s, For) and count:
            fetches = []
            for a in arrays:
                line = LINE // DTYPES[a.dtype].bytes
                each = -(-a.size * c.block // (c.extent * line * sum(tasks)))  # lines for one iteration of a loop
                first = (BASE + c.block) * (a.size // c.extent) + (s.var + sum(tasks[:n])) * (each * line)
                flat = Buffer(a.name, a.dtype, (a.size,), a.space)
                fetches.append(loop("serial", turn, 0, each, Prefetch(flat, (first + turn * line,))))
            s = replace(s, body=(*fetches, *s.body))
        found.append(s)
    return tuple(found)


def _along(c: Chain) -> list[Buffer]:
    """The arrays that others made of which a block reads what lies at its own points of the axis."""
    made = {x.buffer for s in c.stages for x in s.all_stores()}
    found: dict[Buffer, None] = {}
    for s, axis in zip(c.stages, c.axes, strict=True):
        for e in (*(r.reduce.value for r in s.reductions), *s.point_expressions()):
            for x in walk(e):
                if isinstance(x, Load) and x.buffer.space == "global" and any(axis in variables(i) for i in x.index):
                    found[x.buffer] = None
    return [b for b in found if b not in made]


def _of_block(chain: Chain, c: Computation, axis: str) -> Computation:
    """The computation at the points of a block of an axis, from BASE on."""
    if all(a.name != axis for a in c.axes):
        return _sums_of_block(chain, c, axis)
    block = chain.block
    axes = tuple(replace(a, extent=block, hi=const(block, "i64")) if a.name == axis else a for a in c.axes)
    return map_computation(c, {axis: BASE + Var(axis)}, axes)


def _sums_of_block(chain: Chain, c: Computation, axis: str) -> Computation:
    """The computation, which sums over an axis, summing over a block of it: for one part, which is its first axis."""
    part, *axes = c.axes
    c = map_computation(c, {axis: BASE + Var(axis), part.name: PART}, tuple(axes))
    (folded,), (stored,) = c.reductions, c.all_stores()
    # where the last block overlaps the one before it
    had = const(0, "i64") if chain.extent % chain.block == 0 else BLOCK * chain.block - BASE
    (summed,) = folded.reduce.axes
    over = replace(summed, extent=chain.block, lo=had, hi=const(chain.block, "i64"))
    before = select(FIRST < BLOCK, Load(stored.buffer, stored.index), 0.0)
    return replace(
        c,
        reductions=(replace(folded, reduce=replace(folded.reduce, axes=(over,))),),
        stores=(replace(stored, value=stored.value + before),),
    )


def _inside(s: Stmt, flat: dict[str, Buffer], streamed: frozenset[str], memo: dict[int, Expr]) -> Stmt:
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
        return transform(e, leaf, memo)

    match s:
        case For():
            s = serial_over(s) if s.kind == "parallel" else s
            body = tuple(_inside(x, flat, streamed, memo) for x in s.body)
            return replace(s, start=on(s.start), stop=on(s.stop), body=body)
        case If():
            both = (tuple(_inside(x, flat, streamed, memo) for x in block) for block in (s.then, s.orelse))
            return replace(s, cond=on(s.cond), then=next(both), orelse=next(both))
        case Shares(first, last, extent, body):  # one thread has them all
            whole = (Let(first, const(0, "i64")), Let(last, const(extent, "i64")))
            return loop("serial", "share", 0, 1, *whole, *(_inside(x, flat, streamed, memo) for x in body))
        case Prefetch() if s.buffer.name in flat:
            return Prefetch(flat[s.buffer.name], linear(s.buffer, tuple(on(i) for i in s.index)))
        case Store() if s.buffer.name in flat:
            index = linear(s.buffer, tuple(on(i) for i in s.index))
            return Store(flat[s.buffer.name], index, on(s.value), LINE if s.buffer.name in streamed else 0)
    return map_expressions(s, on)
