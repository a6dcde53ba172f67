"""Statements and control flow: the emitter itself."""

from __future__ import annotations

from collections.abc import Callable

from ..affine import LANE, Affine, number, ssa
from ..dtypes import DTYPES
from ..expr import Buffer
from ..loops import Alloc, Barrier, For, If, Kernel, Let, Prefetch, Shares, Stmt, Store, statements, stored
from .expressions import Expressions


class Emitter(Expressions):
    """Emits one kernel. `function()` gives the text of its definition, `declarations` what it calls."""

    # ------------------------------------------------------------------------------ the function

    def function(self) -> str:
        self.statements_top(self.kernel.body)
        if any(isinstance(s, Store) and s.streams for s in statements(self.kernel.body)):
            self.do("fence seq_cst")
        self.scopes[-1].block.end = "ret void"
        body = "\n".join(
            line for b in self.blocks for line in (f"{b.label}:", *(f"  {x}" for x in b.lines), f"  {b.end}")
        )
        return f"{self.header()} {{\n{body}\n}}\n"

    def header(self) -> str:
        args = [f"ptr noalias %p.{b.name}" for b in self.kernel.params]
        return (
            f'define void @"{self.kernel.name}"({", ".join([*args, "i64 %tid", "i64 %threads"])})'
            f" {self.dialect.attributes}"
        )

    def statements_top(self, body: tuple[Stmt, ...]) -> None:
        """Statements outside every loop: only thread 0 runs what is not divided among threads."""
        for s in body:
            if isinstance(s, (Let, Alloc, Shares)) or (isinstance(s, For) and s.kind == "parallel"):
                self.statement(s)
            else:
                first = self.new("icmp eq i64 %tid, 0", "bool")
                with self.branch(first):
                    self.statement(s)

    # -------------------------------------------------------------------------------- statements

    def statement(self, s: Stmt) -> None:
        match s:
            case Let(var, value):
                self.env[var.name] = self.operand(value)
            case Store():
                self.store(s)
            case Alloc(buffer):
                self.allocate(buffer)
            case If():
                self.conditional(s)
            case Shares():
                self.shares(s)
            case For():
                getattr(self, f"for_{s.kind}")(s)
            case Prefetch():
                self.prefetch(s)
            case Barrier():
                self.barrier()

    def block(self, body: tuple[Stmt, ...]) -> None:
        for s in body:
            self.statement(s)

    def barrier(self) -> None:
        raise self.error(f"barrier() cannot run on {self.dialect.name}: only inside thread loops of GPU targets")

    def allocate(self, buffer: Buffer) -> None:
        t = DTYPES[buffer.dtype]
        cell = "i8" if t.name == "bool" else t.llvm
        name = self.fresh()
        self.entry.lines.insert(0, f"{name} = alloca [{buffer.size} x {cell}], align 64")
        self.depth[name] = 0
        self.pointers[buffer.name] = name
        self.spaces[buffer.name] = buffer.space

    def conditional(self, s: If) -> None:
        cond = self.value(s.cond)
        if cond.text in ("true", "false"):
            with self.scope():
                self.block(s.then if cond.text == "true" else s.orelse)
            return
        if cond.lanes == 1:
            with self.branch(cond):
                self.block(s.then)
            if s.orelse:
                with self.branch(self.invert(cond)):
                    self.block(s.orelse)
            return
        for mask, body in ((cond, s.then), (self.invert(cond), s.orelse)):
            if body:
                with self.masked(mask):
                    self.block(body)

    def for_serial(self, s: For) -> None:
        start, stop = self.integer(s.start), self.integer(s.stop)
        if start.lane or stop.lane:
            raise self.error(f"bounds of loop {s.var.name} differ between vector lanes")
        if start.is_constant and stop.is_constant and stop.constant - start.constant == 1:
            with self.scope():
                self.env[s.var.name] = start
                self.block(s.body)
            return
        self.counted_loop(s.var.name, start, stop, s.body)

    def counted_loop(self, var: str, start: Affine, stop: Affine, body: tuple[Stmt, ...]) -> None:
        if start.is_constant and stop.is_constant and start.constant >= stop.constant:
            return
        first, last = self.scalar(start), self.scalar(stop)
        for buffer in set().union(*(stored(s) for s in body)):
            self.forget(buffer.name)  # what was loaded before the loop is stale from its second iteration
        before = self.scopes[-1].block
        guarded = not (start.is_constant and stop.is_constant)
        guard = self.new(f"icmp slt i64 {first.text}, {last.text}", "bool") if guarded else None
        head = self.new_block("loop")
        index = self.fresh()
        with self.scope(head):
            self.depth[index] = len(self.scopes) - 1
            self.env[var] = ssa(index)
            self.block(body)
            tail = self.scopes[-1].block
            following = self.fresh()
            tail.lines.append(f"{following} = add nsw i64 {index}, 1")
            again = self.fresh()
            tail.lines.append(f"{again} = icmp slt i64 {following}, {last.text}")
        head.lines.insert(0, f"{index} = phi i64 [ {first.text}, %{before.label} ], [ {following}, %{tail.label} ]")
        done = self.new_block("end")
        tail.end = f"br i1 {again}, label %{head.label}, label %{done.label}"
        before.end = (
            f"br i1 {guard.text}, label %{head.label}, label %{done.label}" if guard else f"br label %{head.label}"
        )
        self.continue_in(done)

    def for_parallel(self, s: For) -> None:
        extent = self.integer(s.stop) - self.integer(s.start)
        if not extent.is_constant or not self.integer(s.start).is_constant:
            raise self.error(f"parallel loop {s.var.name} needs constant bounds")
        n = extent.constant
        base = self.integer(s.start)
        if n == 1:  # one task: thread 0 has it
            with self.branch(self.new("icmp eq i64 %tid, 0", "bool")):
                self.env[s.var.name] = base
                self.block(s.body)
            return
        first, last = self.share(n)
        self.counted_loop(s.var.name, first + base, last + base, s.body)

    def share(self, n: int) -> tuple[Affine, Affine]:
        """The part of 0 .. n - 1 that this thread has: its first, and the first of the next thread."""
        bounds = []
        for t in ("%tid", self.pure("add nsw i64 %tid, 1", (), "i64").text):
            product = self.pure(f"mul nsw i64 {t}, {n}", (t,), "i64")
            bounds.append(ssa(self.pure(f"udiv i64 {product.text}, %threads", (product.text,), "i64").text))
        return bounds[0], bounds[1]

    def shares(self, s: Shares) -> None:
        first, last = self.share(s.extent)
        some = self.new(f"icmp slt i64 {self.scalar(first).text}, {self.scalar(last).text}", "bool")
        with self.branch(some):
            self.env[s.first.name], self.env[s.last.name] = first, last
            self.block(s.body)

    def for_unrolled(self, s: For) -> None:
        start, stop = self.integer(s.start), self.integer(s.stop)
        if not (start.is_constant and stop.is_constant):
            raise self.error(f"unrolled loop {s.var.name} needs constant bounds")
        for i in range(start.constant, stop.constant):
            with self.scope():
                self.env[s.var.name] = number(i)
                self.block(s.body)

    def for_vector(self, s: For) -> None:
        start, stop = self.integer(s.start), self.integer(s.stop)
        if self.lanes != 1:
            raise self.error(f"vector loop {s.var.name} inside vector loop {self.lane_var}")
        if not (stop - start).is_constant:
            raise self.error(f"vector loop {s.var.name} needs a constant extent")
        lanes = (stop - start).constant
        if lanes < 1:
            return
        with self.scope():
            if lanes == 1:
                self.env[s.var.name] = start
                self.block(s.body)
                return
            self.lanes, self.lane_var = lanes, s.var.name
            self.env[s.var.name] = start + LANE
            self.block(s.body)
            self.lanes, self.lane_var = 1, ""


def emit_functions(kernels: tuple[Kernel, ...], make: Callable[[Kernel], Emitter] = Emitter) -> str:
    """The definitions of kernels and the declarations they need, as LLVM IR text."""
    declarations: set[str] = set()
    functions = []
    for k in kernels:
        e = make(k)
        functions.append(e.function())
        declarations |= e.declarations
    return "\n".join([*sorted(declarations), "", *functions])
