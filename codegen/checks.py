"""Checked emulation: GPU loops -> GPU loops that watch their own accesses to memory.

`instrument` puts two checks before every access and gives the kernel two kinds of further parameters:
`report`, where the first finding is written, and a shadow for every global buffer that is written.

    bounds    an index outside its buffer is reported, and the access does not happen: a load gives 0
    races     two threads touch one word, at least one writes, and no barrier lies between them
              (or they belong to different blocks, which nothing orders)

Each word of a shadowed buffer has two stamps, of its last writer and of its readers since:

    stamp = (block + 1) * 2**32 + epoch * 2**11 + thread            0: nobody yet

where epoch counts the barriers that the block has passed. An access by (block, epoch, thread) conflicts
with a stamp of another block, or of the same block and epoch but another thread. Several readers in one
epoch are the thread 2047, which is nobody in particular; readers in several blocks likewise. All pairs of
accesses in an epoch meet, whatever the order in which threads run: a schedule that happens to hide a
missing barrier does not hide it from this check.

Run instrumented kernels on one thread, since shadows belong to all blocks:

    checked = instrument(kernel)
    ... to_cpu(checked.kernel, parallel=False), with checked.extra_arrays() after the kernel's own arrays
    checked.verify(report)              raises CodegenError naming kernel, buffer, index and threads
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from .dtypes import numpy_dtype
from .emulator import all_names
from .errors import CodegenError
from .expr import Buffer, Const, Expr, Load, Select, Var, binary, const, eq, ne, select
from .kernels.gpu_common import ceil_div, neutral
from .loops import Alloc, Barrier, For, If, Kernel, Let, Stmt, Store, loop, statements, store
from .traverse import children, with_children

Body = tuple[Stmt, ...]

BOUNDS, RACE = 1, 2
_REPORT = 16  # kind, buffer, writes, block, thread, other block + 1, other thread, -, then the index
_INDEX = 8
_THREAD_BITS, _BLOCK_BITS = 11, 32
_MANY = 2**_THREAD_BITS - 1
_MANY_BLOCKS = 2**62


ZERO = Const(0, "i64")


@dataclass(frozen=True, slots=True)
class Checked:
    """An instrumented kernel. `buffers` are the original's, in the order by which the report numbers them."""

    kernel: Kernel
    original: Kernel
    buffers: tuple[Buffer, ...]

    def extra_arrays(self) -> list[np.ndarray]:
        """Zeroed arrays for the parameters that the original does not have: report first, then shadows."""
        extra = self.kernel.params[len(self.original.params) :]
        return [np.zeros(b.shape, numpy_dtype(b.dtype)) for b in extra]

    def verify(self, report: np.ndarray) -> None:
        """Raises CodegenError for the first finding, if there is one."""
        message = self.describe(report)
        if message:
            raise CodegenError(message)

    def describe(self, report: np.ndarray) -> str:
        kind, number, writes, block, thread, other_block, other_thread = (int(x) for x in report[:7])
        if not kind:
            return ""
        buffer = self.buffers[number]
        index = ", ".join(str(int(i)) for i in report[_INDEX : _INDEX + len(buffer.shape)])
        where = f"kernel {self.original.name}: thread {thread} of block {block}"
        access = f"{'writes' if writes else 'reads'} {buffer.name}[{index}]"
        if kind == BOUNDS:
            return f"{where} {access}, outside its shape {buffer.shape}"
        who = "several threads" if other_thread == _MANY else f"thread {other_thread}"
        whose = "this block" if other_block == block + 1 else f"block {other_block - 1}"
        if other_block >= _MANY_BLOCKS >> _BLOCK_BITS:
            who, whose = "threads", "several blocks"
        return f"{where} {access}, which {who} of {whose} used with no barrier between (race)"


def instrument(kernel: Kernel, bounds: bool = True, races: bool = True) -> Checked:
    """`kernel` with checks before every access."""
    return _Instrument(kernel, bounds, races).run()


def count_barriers(kernel: Kernel) -> int:
    """Barriers in the text of a kernel."""
    return sum(isinstance(s, Barrier) for s in statements(kernel.body))


def remove_barrier(kernel: Kernel, n: int) -> Kernel:
    """The kernel without its n-th barrier (from 0, as written): for tests of the race check."""
    seen = 0

    def without(block: Body) -> Body:
        nonlocal seen
        kept: list[Stmt] = []
        for s in block:
            match s:
                case Barrier():
                    seen += 1
                    if seen - 1 != n:
                        kept.append(s)
                case For():
                    kept.append(replace(s, body=without(s.body)))
                case If(cond, then, orelse):
                    kept.append(If(cond, without(then), without(orelse)))
                case _:
                    kept.append(s)
        return tuple(kept)

    body = without(kernel.body)
    if not 0 <= n < seen:
        raise ValueError(f"kernel {kernel.name} has {seen} barriers, so none numbered {n}")
    return replace(kernel, body=body)


@dataclass
class _Instrument:
    kernel: Kernel
    bounds: bool
    races: bool
    buffers: list[Buffer] = field(default_factory=list)
    shadows: dict[Buffer, Buffer] = field(default_factory=dict)
    block: Expr = ZERO
    thread: Expr = ZERO
    made_safe: dict[int, tuple[Expr, Expr]] = field(default_factory=dict)  # by id; keeps alive what it is keyed by

    def run(self) -> Checked:
        self.names = all_names(self.kernel)
        self.buffers = [*self.kernel.params, *(s.buffer for s in statements(self.kernel.body) if isinstance(s, Alloc))]
        self.report = Buffer(self.fresh("report"), "i64", (_REPORT,))
        self.epoch = Buffer(self.fresh("epoch"), "i64", (1,), "local")
        # What nobody writes cannot race.
        written = {s.buffer for s in statements(self.kernel.body) if isinstance(s, Store)}
        for b in self.buffers:
            if self.races and b in written and b.space in ("global", "shared"):
                self.shadows[b] = Buffer(self.fresh(f"shadow_{b.name}"), "i64", (max(1, b.size), 2), b.space)
        extra = (self.report, *(s for s in self.shadows.values() if s.space == "global"))
        body = self.within(self.kernel.body)
        checked = replace(self.kernel, params=(*self.kernel.params, *extra), body=body)
        return Checked(checked, self.kernel, tuple(self.buffers))

    def fresh(self, name: str) -> str:
        while name in self.names:
            name += "_"
        self.names.add(name)
        return name

    # -------------------------------------------------------------------------------- statements

    def within(self, block: Iterable[Stmt]) -> Body:
        return tuple(t for s in block for t in self.statement(s))

    def statement(self, s: Stmt) -> list[Stmt]:
        """The checks of a statement, then the statement with harmless loads."""
        match s:
            case For(kind="grid"):
                self.block = s.var
                shared = [Alloc(b) for b in self.shadows.values() if b.space == "shared"]
                return [replace(s, body=(*shared, *self.within(s.body)))]
            case For(kind="thread"):
                self.thread = s.var
                return [replace(s, body=(*self.prologue(s), *self.within(s.body)))]
            case For():
                checks = self.reads(s.start, s.stop)
                return [*checks, replace(s, start=self.safe(s.start), stop=self.safe(s.stop), body=self.within(s.body))]
            case Let(var, value):
                return [*self.reads(value), Let(var, self.safe(value))]
            case If(cond, then, orelse):
                return [*self.reads(cond), If(self.safe(cond), self.within(then), self.within(orelse))]
            case Store(buffer, index, value):
                checks = self.reads(*index, value)
                place = tuple(self.safe(i) for i in index)
                store_it = Store(buffer, place, self.safe(value))
                inside = _inside(buffer, place)
                write = (*self.touch(buffer, place, writes=True), store_it)
                return [*checks, *self.outside(buffer, place, writes=True), *_when(inside, write)]
            case Barrier():
                return [s, store(self.epoch, (0,), self.epoch[0] + 1)]
        return [s]

    def prologue(self, s: For) -> list[Stmt]:
        """Nobody has touched the shared words of this block yet, and no barrier has passed."""
        assert isinstance(s.stop, Const)
        threads = int(s.stop.value)
        body: list[Stmt] = [Alloc(self.epoch), store(self.epoch, (0,), ZERO)]
        for shadow in self.shadows.values():
            if shadow.space == "shared":
                words = shadow.shape[0]
                i, word = Var(self.fresh("i")), Var(self.fresh("word"))
                clear = (store(shadow, (word, 0), ZERO), store(shadow, (word, 1), ZERO))
                share = (Let(word, i * threads + s.var), If(word < words, clear))
                body.append(loop("serial", i, 0, ceil_div(words, threads), *share))
        return [*body, Barrier()]

    # ----------------------------------------------------------------------------------- accesses

    def reads(self, *expressions: Expr, seen: frozenset[int] = frozenset()) -> list[Stmt]:
        """The checks of every load in expressions, each once, where it would be evaluated: what a select
        does not take is not checked. `seen` has the ids of expressions that are checked already."""
        done = set(seen)
        checks: list[Stmt] = []

        def visit(e: Expr) -> None:
            if id(e) in done:
                return
            if isinstance(e, Select):
                visit(e.cond)
                then, orelse = (tuple(self.reads(x, seen=frozenset(done))) for x in (e.a, e.b))
                if then or orelse:
                    checks.append(If(self.safe(e.cond), then, orelse))
                return
            done.add(id(e))
            for c in children(e):
                visit(c)
            if isinstance(e, Load):
                place = tuple(self.safe(i) for i in e.index)
                checks.extend(self.outside(e.buffer, place, writes=False))
                checks.extend(_when(_inside(e.buffer, place), self.touch(e.buffer, place, writes=False)))

        for e in expressions:
            visit(e)
        return checks

    def safe(self, e: Expr) -> Expr:
        """`e` in which a load outside its buffer is 0 instead."""
        if isinstance(e, (Const, Var)):
            return e
        if id(e) not in self.made_safe:
            new = with_children(e, tuple(self.safe(c) for c in children(e)))
            inside = _inside(new.buffer, new.index) if isinstance(new, Load) else None
            if inside is not None:
                new = select(inside, new, neutral("sum", new.dtype))
            self.made_safe[id(e)] = e, new
        return self.made_safe[id(e)][1]

    def outside(self, buffer: Buffer, place: tuple[Expr, ...], writes: bool) -> list[Stmt]:
        inside = _inside(buffer, place)
        if not self.bounds or inside is None:
            return []
        return [If(inside, (), self.note(BOUNDS, buffer, place, writes, ZERO))]

    def touch(self, buffer: Buffer, place: tuple[Expr, ...], writes: bool) -> Body:
        """Compares an access with the stamps of its word, and leaves its own."""
        shadow = self.shadows.get(buffer)
        if shadow is None:
            return ()
        word: Expr = ZERO
        for i, stride in zip(place, buffer.strides, strict=True):
            word = word + i * stride
        at, mine = Var(self.fresh("at")), Var(self.fresh("stamp"))
        last_writer, reader = Var(self.fresh("writer")), Var(self.fresh("reader"))
        epoch_of_block = (self.block + 1) * 2**_BLOCK_BITS + self.epoch[0] * 2**_THREAD_BITS
        setup = (
            Let(at, word),
            Let(mine, epoch_of_block + self.thread),
            Let(last_writer, shadow[at, 0]),
            Let(reader, shadow[at, 1]),
        )
        found = [If(_conflict(mine, last_writer), self.note(RACE, buffer, place, writes, last_writer))]
        if writes:
            found.append(If(_conflict(mine, reader), self.note(RACE, buffer, place, writes, reader)))
            leave = store(shadow, (at, 0), mine)
        else:
            other_block = binary("and", ne(reader, 0), ne(_block_of(reader), _block_of(mine)))
            together = binary("and", eq(_epoch_of(reader), _epoch_of(mine)), ne(reader, mine))
            several = select(together, (_epoch_of(mine) << _THREAD_BITS) + _MANY, mine)
            leave = store(shadow, (at, 1), select(other_block, const(_MANY_BLOCKS, "i64"), several))
        # A block of its own: lets are visible to its end only.
        return (If(Const(True, "bool"), (*setup, *found, leave)),)

    def note(self, kind: int, buffer: Buffer, place: Sequence[Expr], writes: bool, other: Expr) -> Body:
        """Writes the report unless something is in it already."""
        facts: list[Expr | int] = [kind, self.buffers.index(buffer), int(writes), self.block, self.thread]
        facts += [_block_of(other), other & _MANY, 0, *place]
        fill = tuple(store(self.report, (i,), x) for i, x in enumerate(facts))
        return (If(eq(self.report[0], 0), fill),)


def _block_of(stamp: Expr) -> Expr:
    return stamp >> _BLOCK_BITS


def _epoch_of(stamp: Expr) -> Expr:
    return stamp >> _THREAD_BITS


def _conflict(mine: Expr, other: Expr) -> Expr:
    elsewhere = ne(_block_of(mine), _block_of(other))
    same_epoch = binary("and", eq(_epoch_of(mine), _epoch_of(other)), ne(mine, other))
    return binary("and", ne(other, 0), binary("or", elsewhere, same_epoch))


def _inside(buffer: Buffer, place: tuple[Expr, ...]) -> Expr | None:
    """Whether an index is within its buffer; None where that is plain."""
    result: Expr | None = None
    for i, extent in zip(place, buffer.shape, strict=True):
        for holds in (binary("le", ZERO, i), i < extent):
            if not (isinstance(holds, Const) and holds.value):
                result = holds if result is None else binary("and", result, holds)
    return result


def _when(cond: Expr | None, block: Iterable[Stmt]) -> Body:
    body = tuple(block)
    return body if cond is None or not body else (If(cond, body),)
