"""The loop IR: one small structured language that every target understands.

Grammar (e: expression of `expr`; b: buffer):

    kernel ::= name(parameters: buffers) statements
    s ::= for var in kind(e, e): statements     kind in KINDS, step 1
        | for var, var in shares(n): statements each thread of a CPU has its share first <= i < last of 0 .. n - 1
        | var = e                               a let: visible to the end of its block
        | b[e, ...] = e                         store
        | b[e, ...] = stream(e, bytes)          store past the caches, where nobody will read it soon: what starts at a
                                                multiple of so many bytes, the others go there as usual. A line, or a
                                                part of one whose other parts are stored so just before or after
        | if e: statements [else: statements]
        | b = space(dtype, extents)             allocation: lives to the end of its block
        | prefetch(b[e, ...])                   a hint: this element will soon be read; the index may be out of bounds
        | barrier()                             all threads of a GPU block meet here

Loop kinds:

    serial      one iteration after another
    parallel    iterations are independent; divided among the CPU's threads (outermost only)
    vector      iterations run in lockstep as the lanes of SIMD registers; constant extent, innermost
    unrolled    expanded when emitted; constant extent
    grid        iterations are GPU blocks (outermost only)
    thread      iterations are the threads of a block; may contain barriers in uniform control flow

A `shares` loop is for schedules that keep something between the tasks of one thread, such as a chunk of the
operands in its caches: the shares cover 0 .. n - 1, are contiguous, and none is empty. What is computed must not
depend on how many there are. Outermost only.

A vector or thread loop reads, statement by statement, as "all lanes do this, then all lanes do
the next". The languages of the targets differ in which kinds they take: `verify` says which.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

from .expr import Buffer, Expr, Var, lift
from .traverse import loads, substitute

LINE = 64  # bytes of a line of the caches
KINDS = ("serial", "parallel", "vector", "unrolled", "grid", "thread")


class Stmt:
    __slots__ = ()


S = TypeVar("S", bound=Stmt)


@dataclass(frozen=True, slots=True)
class For(Stmt):
    var: Var
    start: Expr
    stop: Expr
    kind: str
    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class Shares(Stmt):
    first: Var
    last: Var
    extent: int
    body: tuple[Stmt, ...]


@dataclass(frozen=True, slots=True)
class Let(Stmt):
    var: Var
    value: Expr


@dataclass(frozen=True, slots=True)
class Store(Stmt):
    buffer: Buffer
    index: tuple[Expr, ...]
    value: Expr
    streams: int = 0  # bytes


@dataclass(frozen=True, slots=True)
class If(Stmt):
    cond: Expr
    then: tuple[Stmt, ...]
    orelse: tuple[Stmt, ...] = ()


@dataclass(frozen=True, slots=True)
class Alloc(Stmt):
    buffer: Buffer


@dataclass(frozen=True, slots=True)
class Prefetch(Stmt):
    buffer: Buffer
    index: tuple[Expr, ...]


@dataclass(frozen=True, slots=True)
class Barrier(Stmt):
    pass


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel: parameters are global buffers, in the order in which a caller passes them."""

    name: str
    params: tuple[Buffer, ...]
    body: tuple[Stmt, ...]


# ------------------------------------------------------------------------------ building blocks


def loop(kind: str, var: Var | str, start: object, stop: object, *body: Stmt) -> For:
    v = Var(var) if isinstance(var, str) else var
    return For(v, lift(start, "i64"), lift(stop, "i64"), kind, tuple(body))


def store(buffer: Buffer, index: tuple[object, ...], value: object) -> Store:
    return Store(buffer, tuple(lift(i, "i64") for i in index), lift(value, buffer.dtype))


# ------------------------------------------------------------------------------------- traversal


def bodies(s: Stmt) -> tuple[tuple[Stmt, ...], ...]:
    """The blocks inside a statement."""
    match s:
        case For(body=body) | Shares(body=body):
            return (body,)
        case If(then=then, orelse=orelse):
            return (then, orelse)
    return ()


def expressions(s: Stmt) -> tuple[Expr, ...]:
    """The expressions a statement itself evaluates (not those of its blocks)."""
    match s:
        case For(start=a, stop=b):
            return (a, b)
        case Let(value=v):
            return (v,)
        case Store(index=index, value=v):
            return (*index, v)
        case Prefetch(index=index):
            return index
        case If(cond=c):
            return (c,)
    return ()


def statements(block: tuple[Stmt, ...]) -> Iterator[Stmt]:
    """Every statement of a block, outer before inner."""
    for s in block:
        yield s
        for b in bodies(s):
            yield from statements(b)


def map_expressions(s: S, f: Callable[[Expr], Expr]) -> S:
    """`s` with `f` applied to every expression in it, blocks included."""
    match s:
        case For(start=a, stop=b, body=body):
            return replace(s, start=f(a), stop=f(b), body=tuple(map_expressions(x, f) for x in body))
        case Shares(body=body):
            return replace(s, body=tuple(map_expressions(x, f) for x in body))
        case Let(value=v):
            return replace(s, value=f(v))
        case Store(index=index, value=v):
            return replace(s, index=tuple(f(i) for i in index), value=f(v))
        case Prefetch(index=index):
            return replace(s, index=tuple(f(i) for i in index))
        case If(cond=c, then=then, orelse=orelse):
            both = (tuple(map_expressions(x, f) for x in block) for block in (then, orelse))
            return replace(s, cond=f(c), then=next(both), orelse=next(both))
    return s


def substitute_block(
    block: tuple[S, ...], values: dict[str, Expr], memo: dict[int, Expr] | None = None
) -> tuple[S, ...]:
    """A block with variables replaced by name; memo as in `substitute`."""
    known = {} if memo is None else memo
    return tuple(map_expressions(s, lambda e: substitute(e, values, known)) for s in block)


def loaded(s: Stmt) -> set[Buffer]:
    """Buffers read by a statement or its blocks."""
    return {x.buffer for x in loads(*(e for t in statements((s,)) for e in expressions(t)))}


def stored(s: Stmt) -> set[Buffer]:
    """Buffers written by a statement or its blocks."""
    return {t.buffer for t in statements((s,)) if isinstance(t, Store)}
