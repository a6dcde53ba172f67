"""GPU schedules with one result a thread or one result a block.

`thread_a_point` serves maps, and reductions short or many enough to keep the machine busy:

    for block in grid(0, points / 256):
        for thread in thread(0, 256):
            point = block * 256 + thread
            if point < points:
                acc = 0
                for r in serial(lo, hi): acc += ...
                lets, stores

`block_a_point` serves few long reductions. Threads fold every 256th element, then a tree in shared
memory folds the 256 partial results; its shape is fixed, so the bits are the same in every run:

    for block in grid(0, points):
        part = shared(f32, 256)
        for thread in thread(0, 256):
            acc = 0
            for step in serial(0, elements / 256):
                acc += element step * 256 + thread
            part[thread] = acc
            barrier()
            if thread < 128: part[thread] += part[thread + 128]
            barrier()
            ...                                  64, 32, ..., 1
            sum = part[0]
            if thread == 0: lets, stores
"""

from __future__ import annotations

from ..compute import Computation
from ..expr import Buffer, eq
from ..loops import Barrier, For, If, Kernel, Let, Stmt, loop, store
from .gpu_common import THREADS, Names, Running, ceil_div, finish, frame, guarded, size, unflatten


def thread_a_point(c: Computation) -> Kernel:
    names = Names(c)
    block, thread, point = names.var("block"), names.var("tid"), names.var("point")
    blocks = max(1, ceil_div(c.points, THREADS))
    body: list[Stmt] = []
    for r in c.reductions:
        running = Running.of(r, names)
        fold = running.step
        for a in reversed(r.reduce.axes):
            fold = (For(a.var, a.lo, a.hi, "serial", fold),)
        body += [*running.start, *fold, running.result(running.private)]
    at_point = unflatten(point, c.axes, (*body, *finish(c)))
    inside = None if c.points == blocks * THREADS else point < c.points
    body = [Let(point, block * THREADS + thread), *guarded(inside, at_point)]
    return frame(c, blocks, block, (), THREADS, thread, body)


def block_a_point(c: Computation) -> Kernel:
    names = Names(c)
    block, thread = names.var("block"), names.var("tid")
    longest = max(size(r.reduce.axes) for r in c.reductions)
    threads = THREADS
    while threads > 32 and threads >= 2 * longest:  # idle threads only make the tree taller
        threads //= 2
    shared: list[Buffer] = []
    body: list[Stmt] = []
    for r in c.reductions:
        running = Running.of(r, names)
        parts = tuple(Buffer(names.fresh(f"part_{b.name}"), b.dtype, (threads,), "shared") for b in running.state)
        shared += parts
        elements = size(r.reduce.axes)
        step, element = names.var("step"), names.var("element")
        steps = ceil_div(elements, threads)
        fold = unflatten(element, r.reduce.axes, running.step)
        inside = None if steps * threads == elements else element < elements
        body += [
            *running.start,
            loop("serial", step, 0, steps, Let(element, step * threads + thread), *guarded(inside, fold)),
            *(store(p, (thread,), b[0]) for p, b in zip(parts, running.state, strict=True)),
            Barrier(),
        ]
        reach = threads // 2
        while reach:
            body += [If(thread < reach, running.merge(parts, thread, thread + reach)), Barrier()]
            reach //= 2
        # Every thread reads the result: the next reduction may use it.
        body.append(running.result(tuple(p[0] for p in parts)))
    body.append(If(eq(thread, 0), finish(c)))
    # The output axes are uniform over the block. Guards (axes with bounds that vary) therefore are, too,
    # and may stand around barriers.
    return frame(c, size(c.axes), block, shared, threads, thread, unflatten(block, c.axes, body))
