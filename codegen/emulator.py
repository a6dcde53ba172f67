"""GPU loops -> CPU loops: the same kernel, block by block, with its thread loop split at barriers.

A barrier makes all threads of a block meet. Run the threads one after another instead, and a barrier is
the end of a loop over them ("fission", as in POCL):

    for block in grid(0, n):                    for block in parallel(0, n):
        part = shared(f32, 256)                     part = local(f32, 256)
        for t in thread(0, 256):                    acc_of = local(f32, 256, 1)
            acc = register(f32, 1)                  for t in serial(0, 256):
            x = t * 2                        ->         x = t * 2
            acc[0] = a[x]                               acc_of[t, 0] = a[x]
            part[t] = acc[0]                            part[t] = acc_of[t, 0]
            barrier()                               for t in serial(0, 256):
            b[x] = part[255 - t]                        x = t * 2
                                                        b[x] = part[255 - t]

A loop or branch that contains a barrier must be uniform (all threads agree on it), so it moves outside
the loops over threads and its body is split in turn; its bounds are evaluated for thread 0. What a
thread keeps across a barrier is either computed again (lets that load nothing) or lives in an array with
one entry a thread.

For programs without races, this is the meaning of the original. `checks` finds races.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from .errors import CodegenError
from .expr import Buffer, Const, Expr, Load, Var, const
from .loops import (
    Alloc,
    Barrier,
    For,
    If,
    Kernel,
    Let,
    Stmt,
    Store,
    expressions,
    map_expressions,
    statements,
    store,
)
from .traverse import transform, variables, walk

Body = tuple[Stmt, ...]


def to_cpu(kernel: Kernel, parallel: bool = True) -> Kernel:
    """The CPU kernel with the meaning of a GPU kernel. With `parallel` off, blocks run in order."""
    kind = "parallel" if parallel else "serial"
    return replace(kernel, body=tuple(_block_level(kernel, s, kind) for s in kernel.body))


def _block_level(kernel: Kernel, s: Stmt, kind: str) -> Stmt:
    match s:
        case For(kind="grid"):
            body: list[Stmt] = []
            for inner in s.body:
                if isinstance(inner, For) and inner.kind == "thread":
                    body += _Fission.of(kernel, inner).run()
                else:
                    body.append(inner)
            return replace(s, kind=kind, body=map_buffers(tuple(body), _of_block))
        case For(kind="thread"):
            raise CodegenError(f"kernel {kernel.name}: a thread loop stands outside a grid loop")
    return s


def _of_block(b: Buffer) -> Buffer:
    """Shared buffers become memory of the CPU thread that runs the block."""
    return replace(b, space="local") if b.space == "shared" else b


def map_buffers(body: Body, f: Callable[[Buffer], Buffer]) -> Body:
    """A block with every buffer replaced."""
    memo: dict[int, Expr] = {}
    kept: list[Expr] = []  # `memo` is keyed by id: its expressions must stay alive

    def leaf(e: Expr) -> Expr | None:
        if isinstance(e, Load) and f(e.buffer) is not e.buffer:
            return Load(f(e.buffer), tuple(expr(i) for i in e.index))
        return None

    def expr(e: Expr) -> Expr:
        kept.append(e)
        return transform(e, leaf, memo)

    def stmt(s: Stmt) -> Stmt:
        match s:
            case Alloc(b):
                return Alloc(f(b))
            case Store(b, index, value):
                return Store(f(b), tuple(expr(i) for i in index), expr(value))
            case Let(var, value):
                return Let(var, expr(value))
            case For():
                return replace(s, start=expr(s.start), stop=expr(s.stop), body=tuple(stmt(x) for x in s.body))
            case If(cond, then, orelse):
                return If(expr(cond), tuple(stmt(x) for x in then), tuple(stmt(x) for x in orelse))
        return s

    return tuple(stmt(s) for s in body)


def has_barrier(s: Stmt) -> bool:
    return any(isinstance(x, Barrier) for x in statements((s,)))


def used_variables(block: Iterable[Stmt]) -> set[str]:
    """Names that a block reads, whether or not it binds them itself."""
    return {v for s in statements(tuple(block)) for e in expressions(s) for v in variables(e)}


def used_buffers(block: Iterable[Stmt]) -> set[Buffer]:
    found: set[Buffer] = set()
    for s in statements(tuple(block)):
        if isinstance(s, Store):
            found.add(s.buffer)
        found |= {x.buffer for e in expressions(s) for x in walk(e) if isinstance(x, Load)}
    return found


def _loads(e: Expr) -> bool:
    return any(isinstance(x, Load) for x in walk(e))


def all_names(kernel: Kernel) -> set[str]:
    """Every variable and buffer name in a kernel."""
    names = {b.name for b in kernel.params}
    for s in statements(kernel.body):
        if isinstance(s, (For, Let)):
            names.add(s.var.name)
        elif isinstance(s, Alloc):
            names.add(s.buffer.name)
    return names


@dataclass
class _Fission:
    """Splits one thread loop. Lets and allocations at its top level, and in the barrier loops inside it,
    are seen by several pieces; everything deeper stays within one."""

    kernel: Kernel
    thread: Var
    count: int
    body: Body
    names: set[str]
    again: list[Let] = field(default_factory=list)  # lets in scope that each piece computes again, in order
    saved: dict[str, Buffer] = field(default_factory=dict)  # lets in scope that live in arrays over threads
    private: dict[Buffer, Buffer] = field(default_factory=dict)  # allocations that became arrays over threads

    @classmethod
    def of(cls, kernel: Kernel, s: For) -> _Fission:
        if not (isinstance(s.start, Const) and isinstance(s.stop, Const) and s.start.value == 0):
            raise CodegenError(f"kernel {kernel.name}: the thread loop {s.var.name} needs constant bounds from 0")
        return cls(kernel, s.var, int(s.stop.value), s.body, all_names(kernel))

    def run(self) -> list[Stmt]:
        return self.level(self.body)

    def fresh(self, name: str) -> str:
        candidate, i = name, 1
        while candidate in self.names:
            i += 1
            candidate = f"{name}{i}"
        self.names.add(candidate)
        return candidate

    # A level is a block that contains barriers: its own statements are uniform in control.

    def level(self, block: Body) -> list[Stmt]:
        pieces = _pieces(block)
        outer = list(self.again), dict(self.saved), dict(self.private)
        allocations = self.classify(block, pieces)
        result: list[Stmt] = [Alloc(b) for b in allocations]
        for piece in pieces:
            match piece:
                case [For() as s] if has_barrier(s):
                    # The pieces inside still see this level's lets; `s.var` is bound outside the thread loops.
                    inner = tuple(self.level(s.body))
                    result.append(replace(s, start=self.uniform(s.start), stop=self.uniform(s.stop), body=inner))
                case [If() as s] if has_barrier(s):
                    cond = self.uniform(s.cond)
                    result.append(If(cond, tuple(self.level(s.then)), tuple(self.level(s.orelse))))
                case _:
                    result += self.threads(piece)
        self.again, self.saved, self.private = outer
        return result

    def classify(self, block: Body, pieces: Sequence[list[Stmt]]) -> list[Buffer]:
        """Decides where each let and allocation of a level lives; returns the arrays to allocate."""
        arrays: list[Buffer] = []
        where: dict[int, int] = {id(s): i for i, piece in enumerate(pieces) for s in piece}
        for s in block:
            match s:
                case Let(var, value):
                    if not _loads(value):
                        self.again.append(s)
                    elif any(i > where[id(s)] and var.name in used_variables(p) for i, p in enumerate(pieces)):
                        array = Buffer(self.fresh(f"{var.name}_of"), var.dtype, (self.count,), "local")
                        self.saved[var.name] = array
                        arrays.append(array)
                case Alloc(buffer) if buffer.space == "shared":
                    arrays.append(buffer)  # one a block, wherever it is written
                case Alloc(buffer):
                    users = [i for i, p in enumerate(pieces) if buffer in used_buffers(p)]
                    if any(i != where[id(s)] or has_barrier(pieces[i][0]) for i in users):
                        array = Buffer(
                            self.fresh(f"{buffer.name}_of"), buffer.dtype, (self.count, *buffer.shape), "local"
                        )
                        self.private[buffer] = array
                        arrays.append(array)
        return arrays

    def uniform(self, e: Expr) -> Expr:
        """An expression on which all threads agree, as thread 0 has it."""
        values: dict[str, Expr] = {self.thread.name: const(0, "i64")}
        for name, array in self.saved.items():
            values[name] = array[0]
        for let in self.again:
            values[let.var.name] = self.rewritten(let.value, values, const(0, "i64"))
        return self.rewritten(e, values, const(0, "i64"))

    def rewritten(self, e: Expr, values: dict[str, Expr], thread: Expr) -> Expr:
        """`e` with variables replaced, and private buffers indexed by the thread as well."""

        def leaf(x: Expr) -> Expr | None:
            if isinstance(x, Var):
                return values.get(x.name)
            if isinstance(x, Load) and x.buffer in self.private:
                index = tuple(self.rewritten(i, values, thread) for i in x.index)
                return Load(self.private[x.buffer], (thread, *index))
            return None

        return transform(e, leaf)

    def threads(self, piece: list[Stmt]) -> list[Stmt]:
        """One piece as a loop over threads."""
        body: list[Stmt] = []
        for s in piece:
            match s:
                case Alloc(buffer) if buffer in self.private or buffer.space == "shared":
                    continue
                case Let(var):
                    body.append(s)
                    if var.name in self.saved:
                        body.append(store(self.saved[var.name], (self.thread,), var))
                case _:
                    body.append(s)
        # Lets of this level and those around it that the piece reads, and what those read in turn.
        bound = {s.var.name for s in piece if isinstance(s, Let)}
        needed = used_variables(body) - bound
        lets: list[Stmt] = []
        for let in reversed(self.again):
            if let.var.name in needed:
                lets.insert(0, let)
                needed |= used_variables((let,))
        kept = [Let(Var(n, a.dtype), a[self.thread]) for n, a in self.saved.items() if n in needed]
        whole = (*kept, *lets, *body)
        if not any(isinstance(s, (Store, For, If)) for s in whole):
            return []  # only lets: every piece that needs them has them
        inner = tuple(map_expressions(s, lambda e: self.rewritten(e, {}, self.thread)) for s in whole)
        return [For(self.thread, const(0, "i64"), const(self.count, "i64"), "serial", self.stores_by_thread(inner))]

    def stores_by_thread(self, block: Body) -> Body:
        result: list[Stmt] = []
        for s in block:
            match s:
                case Store(buffer, index, value) if buffer in self.private:
                    result.append(Store(self.private[buffer], (self.thread, *index), value))
                case For():
                    result.append(replace(s, body=self.stores_by_thread(s.body)))
                case If(cond, then, orelse):
                    result.append(If(cond, self.stores_by_thread(then), self.stores_by_thread(orelse)))
                case _:
                    result.append(s)
        return tuple(result)


def _pieces(block: Body) -> list[list[Stmt]]:
    """Runs of statements without barriers; a statement with one inside is a piece by itself."""
    pieces: list[list[Stmt]] = [[]]
    for s in block:
        if isinstance(s, Barrier):
            pieces.append([])
        elif has_barrier(s):
            pieces += [[s], []]
        else:
            pieces[-1].append(s)
    return [p for p in pieces if p]
