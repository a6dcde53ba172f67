"""Pieces that the CPU schedules share: dividing work among threads and cutting axes into tiles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import TypeVar

from ..compute import Axis, Computation, Reduce
from ..dtypes import DTYPES, wide
from ..expr import Binary, Buffer, Const, Expr, Var, const, lift
from ..loops import LINE, For, Let, Stmt, Store, loop, substitute_block
from ..machine import Machine
from ..traverse import loads, substitute, variables

T = TypeVar("T")

MUCH_MORE = 2  # times
KEPT = 4  # results of at most one of so many parts of the last cache are stored to it
FAR = 1 << 20  # bytes of what is read from beyond a core's own caches
ENOUGH_TASKS = 32  # parallel iterations after which no more axes are put into the parallel loop


def too_large(b: Buffer, machine: Machine) -> bool:
    """Whether a result had better be stored past the caches: a store to them first reads a line, and little of it would
    be found there later."""
    return b.space == "global" and b.size * DTYPES[b.dtype].bytes > machine.cache_bytes // KEPT


def past_caches(read: Iterable[Buffer], written: Iterable[Buffer], machine: Machine) -> frozenset[Buffer]:
    """Of the results of a kernel that it does not read, those that had better be stored past the caches: large ones,
    and all where the kernel touches much more than they hold. Whoever reads them next then fetches them from memory
    anyway, and a plain store would first fetch what it overwrites."""
    read, written = frozenset(read), frozenset(written)
    touched = sum(b.size * DTYPES[b.dtype].bytes for b in read | written if b.space == "global")
    beyond = touched > MUCH_MORE * machine.cache_bytes
    return frozenset(b for b in written - read if beyond or too_large(b, machine))


def results_past(c: Computation, machine: Machine) -> frozenset[Buffer]:
    """Those of a computation's results that `past_caches` names."""
    exprs = [e for r in c.reductions for e in (r.reduce.value, r.reduce.where) if e is not None]
    read = (x.buffer for x in loads(*exprs, *c.point_expressions()))
    return past_caches(read, (s.buffer for s in c.all_stores()), machine)


def streamed(block: Iterable[Stmt], past: frozenset[Buffer], part: int = LINE) -> tuple[Stmt, ...]:
    """The block, with stores to those buffers past the caches, where `part` bytes are aligned."""
    return tuple(replace(s, streams=part) if isinstance(s, Store) and s.buffer in past else s for s in block)


def widest_dtype(c: Computation) -> str:
    """The widest dtype that flows through vectors; it decides the number of lanes."""
    exprs = [r.reduce.value for r in c.reductions] + c.point_expressions()
    # Indices are i64 but live in scalar registers: only loaded and computed values count.
    found = {x.dtype for x in loads(*exprs)} | {s.buffer.dtype for s in c.all_stores()}
    return max({wide(d) for d in found} or {"f32"}, key=lambda d: DTYPES[d].bytes)


def parallel_over(axes: Iterable[tuple[Var, int]], body: tuple[Stmt, ...]) -> For:
    """The axes as one parallel loop, outermost first, decoded by division."""
    axes = list(axes)
    total = 1
    for _, extent in axes:
        total *= extent
    t = Var("task")
    lets: list[Stmt] = []
    rest: Expr = t
    for k, (var, extent) in enumerate(reversed(axes)):
        lets.append(Let(var, rest if k == len(axes) - 1 else rest % extent))
        rest = rest // extent
    return loop("parallel", t, 0, total, *lets, *body)


def serial_over(s: For) -> For:
    """A loop of `parallel_over` as serial ones, one in another, for what one thread does: it need not divide. LLVM,
    which looks for the best way to step through addresses, takes ten times as long where they depend on quotients."""
    axes: list[tuple[Var, int]] = []  # innermost first
    rest: Expr = s.var
    left = int(s.stop.value) if isinstance(s.stop, Const) else 0
    for n, step in enumerate(s.body):
        match step:
            case Let(var, value) if axes and value == rest:
                inner = s.body[n + 1 :]
                for axis, extent in axes:
                    inner = (loop("serial", axis, 0, extent, *inner),)
                return loop("serial", var, 0, left, *inner)
            case Let(var, Binary("mod", x, Const(extent))) if x == rest:
                axes.append((var, int(extent)))
                rest, left = rest // int(extent), left // int(extent)
            case _:
                break
    return replace(s, kind="serial")


def nest(axes: Iterable[tuple[Var, int]], body: tuple[Stmt, ...]) -> For:
    """Axes outermost first: enough of them parallel, the rest serial. Dividing only outer axes keeps
    each thread's walk through memory long, and the decoding out of the inner loops."""
    axes = list(axes)
    total, split = 1, 0
    while split < len(axes) and total < ENOUGH_TASKS:
        total *= axes[split][1]
        split += 1
    for var, extent in reversed(axes[split:]):
        body = (loop("serial", var, 0, extent, *body),)
    return parallel_over(axes[:split], body)


def rows_first(axes: list[T]) -> list[T]:
    """Channels, rows, columns as rows, channels, columns: images are divided among threads by rows, as
    convolutions divide them, so that a thread reads from its own cache what it wrote."""
    return [axes[1], axes[0], *axes[2:]] if len(axes) >= 3 else axes


@dataclass(frozen=True, slots=True)
class Segment:
    """Part of an axis cut into `count` tiles of `tile` iterations, from `start`."""

    start: int
    count: int
    tile: int


def cut(extent: int, tile: int) -> list[Segment]:
    """Full tiles, then a smaller one for what remains."""
    full, rest = divmod(extent, tile)
    segments = [Segment(0, full, tile)] if full else []
    return segments + ([Segment(full * tile, 1, rest)] if rest else [])


def epilogue(c: Computation, values: dict[str, Expr]) -> tuple[Stmt, ...]:
    """The computation's lets and stores with variables replaced."""
    memo: dict[int, Expr] = {}
    lets: list[Stmt] = [Let(v, substitute(e, values, memo)) for v, e in c.lets]
    return (*lets, *substitute_block(c.stores, values, memo))


def round_up(n: int, k: int) -> int:
    return -(-n // k) * k


def loop_axes(axes: Iterable[Axis], values: dict[str, Expr], kind: str, body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    """Reduction axes as a loop nest, bounds with variables replaced."""
    for a in reversed(list(axes)):
        body = (For(a.var, substitute(lift(a.lo, "i64"), values), substitute(lift(a.hi, "i64"), values), kind, body),)
    return body


def free_bounds(r: Reduce, name: str, at: dict[str, Expr]) -> tuple[tuple[Axis, ...], Expr | None]:
    """Reduction axes whose bounds do not depend on `name`, and the mask that replaces those that did, with
    variables replaced."""
    axes, mask = [], None
    for a in r.axes:
        if name in variables(a.lo) | variables(a.hi):
            inside = (substitute(a.lo, at) <= a.var) & (a.var < substitute(a.hi, at))
            mask = inside if mask is None else mask & inside
            a = Axis(a.name, a.extent, const(0, "i64"), const(a.extent, "i64"))
        axes.append(a)
    return tuple(axes), mask
