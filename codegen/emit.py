"""Loops -> LLVM IR, as text. One emitter for all targets; a `Dialect` holds what differs.

How a loop becomes code:

    serial      a bottom-tested loop
    parallel    the same over [extent * tid / n, extent * (tid + 1) / n) of this thread
    unrolled    its body once for each value
    vector      its body once, on LLVM vectors of `extent` lanes; conditions that differ between
                lanes become masks, uniform values stay scalar until a lane needs them
    grid, thread    their index is a special register (see `nvptx`)

Integers of type i64 are kept as `Affine` forms. Pure integer arithmetic, addresses and splats are
numbered, so each is computed once, and are placed in the outermost block where their operands exist:
LLVM is asked to allocate registers, not to rediscover what the schedule already knew.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from . import mathlib
from .affine import LANE, Affine, number, ssa
from .dtypes import DTYPES, is_float
from .errors import CodegenError
from .expr import (
    Binary,
    Bitcast,
    Buffer,
    Cast,
    Const,
    Expr,
    Fma,
    Load,
    Select,
    Unary,
    Var,
    children,
)
from .loops import Alloc, Barrier, For, If, Kernel, Let, Stmt, Store, stored


@dataclass(frozen=True, slots=True)
class Value:
    """An LLVM value: its text, element dtype, and lanes (1 is a scalar)."""

    text: str
    dtype: str
    lanes: int = 1

    @property
    def type(self) -> str:
        t = DTYPES[self.dtype].llvm
        return t if self.lanes == 1 else f"<{self.lanes} x {t}>"

    def __str__(self) -> str:
        return f"{self.type} {self.text}"


Operand = Value | Affine


@dataclass(slots=True)
class Block:
    label: str
    lines: list[str] = field(default_factory=list)
    end: str = ""


@dataclass(slots=True)
class Scope:
    """A region of straight-line code: where to append, and what has been computed there."""

    block: Block
    known: dict[object, Value | Affine] = field(default_factory=dict)
    readers: dict[Buffer, list[object]] = field(default_factory=dict)  # keys of `known` that load from a buffer


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between targets."""

    name: str
    addrspace: dict[str, int]
    parallel_kinds: tuple[str, ...]
    attributes: str = "nounwind"


CPU = Dialect("cpu", {}, ("parallel",), 'nounwind "prefer-vector-width"="512" "no-trapping-math"="true"')

_FLOAT_OPS = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_INT_OPS = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor", "shl": "shl", "shr": "ashr"}
_FLOAT_COMPARE = {"lt": "olt", "le": "ole", "eq": "oeq", "ne": "une"}
_INT_COMPARE = {"lt": "slt", "le": "sle", "eq": "eq", "ne": "ne"}
_CASTS = {  # (from kind, to kind) -> instruction when widening, when narrowing, when the same size
    ("float", "float"): ("fpext", "fptrunc", ""),
    ("float", "int"): ("fptosi",) * 3,
    ("float", "uint"): ("fptoui",) * 3,
    ("int", "float"): ("sitofp",) * 3,
    ("uint", "float"): ("uitofp",) * 3,
    ("bool", "float"): ("uitofp",) * 3,
    ("int", "int"): ("sext", "trunc", ""),
    ("int", "uint"): ("sext", "trunc", ""),
    ("uint", "int"): ("zext", "trunc", ""),
    ("uint", "uint"): ("zext", "trunc", ""),
    ("bool", "int"): ("zext",) * 3,
    ("bool", "uint"): ("zext",) * 3,
}


def float_text(value: float, dtype: str) -> str:
    """LLVM's exact spelling: the bits of the value as a double."""
    if dtype == "f32":
        value = struct.unpack("f", struct.pack("f", value))[0]
    return f"0x{struct.unpack('Q', struct.pack('d', value))[0]:016X}"


class Emitter:
    """Emits one kernel. `function()` gives the text of its definition, `declarations` what it calls."""

    def __init__(self, kernel: Kernel, dialect: Dialect = CPU) -> None:
        self.kernel = kernel
        self.dialect = dialect
        self.declarations: set[str] = set()
        self.counter = 0
        self.entry = Block("entry")
        self.blocks = [self.entry]
        self.scopes = [Scope(self.entry)]
        self.depth: dict[str, int] = {}  # SSA name -> number of the scope that defines it
        self.env: dict[str, Operand] = {}
        self.pointers: dict[Buffer, str] = {b: f"%{b.name}" for b in kernel.params}
        self.lanes = 1
        self.lane_var = ""
        self.mask: Value | None = None
        self.expanded: dict[tuple[str, int], tuple[Expr, Expr]] = {}
        self.read_by: dict[int, tuple[Expr, frozenset[Buffer]]] = {}  # also keeps alive whose id is a key

    # ------------------------------------------------------------------------------ the function

    def function(self) -> str:
        self.statements_top(self.kernel.body)
        self.scopes[-1].block.end = "ret void"
        body = "\n".join(
            line for b in self.blocks for line in (f"{b.label}:", *(f"  {x}" for x in b.lines), f"  {b.end}")
        )
        return f"{self.header()} {{\n{body}\n}}\n"

    def header(self) -> str:
        args = [f"ptr noalias %{b.name}" for b in self.kernel.params]
        return (
            f'define void @"{self.kernel.name}"({", ".join([*args, "i64 %tid", "i64 %threads"])})'
            f" {self.dialect.attributes}"
        )

    def statements_top(self, body: tuple[Stmt, ...]) -> None:
        """Statements outside every loop: only thread 0 runs what is not divided among threads."""
        for s in body:
            if isinstance(s, (Let, Alloc)) or (isinstance(s, For) and s.kind == "parallel"):
                self.statement(s)
            else:
                first = self.new("icmp eq i64 %tid, 0", "bool")
                with self.branch(first):
                    self.statement(s)

    # ------------------------------------------------------------------------------- bookkeeping

    def fresh(self) -> str:
        self.counter += 1
        return f"%v{self.counter}"

    def new_block(self, hint: str) -> Block:
        self.counter += 1
        block = Block(f"{hint}{self.counter}")
        self.blocks.append(block)
        return block

    def new(self, instruction: str, dtype: str, lanes: int = 1) -> Value:
        """An instruction in the current block."""
        name = self.fresh()
        self.scopes[-1].block.lines.append(f"{name} = {instruction}")
        self.depth[name] = len(self.scopes) - 1
        return Value(name, dtype, lanes)

    def do(self, instruction: str) -> None:
        self.scopes[-1].block.lines.append(instruction)

    def known(self, key: object) -> Value | Affine | None:
        for scope in reversed(self.scopes):
            if key in scope.known:
                return scope.known[key]
        return None

    def pure(self, instruction: str, operands: tuple[str, ...], dtype: str, lanes: int = 1) -> Value:
        """A pure instruction: numbered, and placed in the outermost block where it can stand."""
        depth = max((self.depth.get(o, 0) for o in operands), default=0)
        scope = self.scopes[depth]
        found = scope.known.get(instruction)
        if isinstance(found, Value):
            return found
        name = self.fresh()
        scope.block.lines.append(f"{name} = {instruction}")
        self.depth[name] = depth
        value = Value(name, dtype, lanes)
        scope.known[instruction] = value
        return value

    @contextmanager
    def scope(self, block: Block | None = None) -> Iterator[None]:
        """A nested region; without a block it continues the current one (for masks)."""
        self.scopes.append(Scope(block if block is not None else self.scopes[-1].block))
        env = dict(self.env)
        yield
        self.env = env
        inner = self.scopes.pop()
        if block is None:
            self.scopes[-1].block = inner.block

    @contextmanager
    def branch(self, cond: Value) -> Iterator[None]:
        """Code that runs only if the scalar cond holds."""
        then, done = self.new_block("then"), Block("")
        self.scopes[-1].block.end = f"br i1 {cond.text}, label %{then.label}, label %"
        before = self.scopes[-1].block
        with self.scope(then):
            yield
            last = self.scopes[-1].block
        done = self.new_block("done")
        before.end += done.label
        last.end = f"br label %{done.label}"
        self.continue_in(done)

    def continue_in(self, block: Block) -> None:
        self.scopes[-1].block = block

    def error(self, what: str) -> CodegenError:
        return CodegenError(f"kernel {self.kernel.name}: {what}")

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
            case For():
                getattr(self, f"for_{s.kind}")(s)
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
        self.pointers[buffer] = name

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

    @contextmanager
    def masked(self, cond: Value) -> Iterator[None]:
        outer = self.mask
        self.mask = cond if outer is None else self.logic("and", outer, cond)
        with self.scope():
            yield
        self.mask = outer

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
            self.forget(buffer)  # what was loaded before the loop is stale from its second iteration
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
        bounds = []
        for t in ("%tid", self.pure("add nsw i64 %tid, 1", (), "i64").text):
            product = self.pure(f"mul nsw i64 {t}, {n}", (t,), "i64")
            share = self.pure(f"udiv i64 {product.text}, %threads", (product.text,), "i64")
            bounds.append(ssa(share.text) + base)
        self.counted_loop(s.var.name, bounds[0], bounds[1], s.body)

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

    # -------------------------------------------------------------------------- integers, masks

    def integer(self, e: Expr) -> Affine:
        v = self.operand(e)
        if not isinstance(v, Affine):
            raise self.error("an index differs between lanes in a way that is not affine")
        return v

    def scalar(self, a: Affine) -> Value:
        """An affine form without lanes as an i64, summed from the outermost operand inwards."""
        if a.is_constant:
            return Value(str(a.constant), "i64")
        total: Value | None = None
        for name, c in sorted(a.terms, key=lambda t: (self.depth.get(t[0], 0), t[0])):
            term = Value(name, "i64") if c == 1 else self.pure(f"mul nsw i64 {name}, {c}", (name,), "i64")
            total = (
                term
                if total is None
                else self.pure(f"add nsw i64 {total.text}, {term.text}", (total.text, term.text), "i64")
            )
        assert total is not None
        if a.constant:
            total = self.pure(f"add nsw i64 {total.text}, {a.constant}", (total.text,), "i64")
        return total

    def materialise(self, v: Operand) -> Value:
        """An i64 operand as an LLVM value, a vector if lanes differ."""
        if isinstance(v, Value):
            return v
        base = self.scalar(Affine(v.terms, 0, v.constant))
        if not v.lane:
            return base
        steps = ", ".join(f"i64 {i * v.lane}" for i in range(self.lanes))
        wide = self.splat(base)
        return self.pure(f"add nsw {wide}, <{steps}>", (wide.text,), "i64", self.lanes)

    def splat(self, v: Value) -> Value:
        """A scalar in every lane."""
        if v.lanes > 1:
            return v
        t = f"<{self.lanes} x {DTYPES[v.dtype].llvm}>"
        if not v.text.startswith("%"):
            return Value(f"splat ({v})", v.dtype, self.lanes)
        one = self.pure(f"insertelement {t} poison, {v}, i64 0", (v.text,), v.dtype, self.lanes)
        zeros = f"<{self.lanes} x i32> zeroinitializer"
        return self.pure(f"shufflevector {t} {one.text}, {t} poison, {zeros}", (one.text,), v.dtype, self.lanes)

    def unify(self, *values: Value) -> tuple[list[Value], int]:
        lanes = max(v.lanes for v in values)
        return ([self.splat(v) for v in values] if lanes > 1 else list(values)), lanes

    def logic(self, op: str, a: Value, b: Value) -> Value:
        (a, b), lanes = self.unify(a, b)
        return self.pure(f"{op} {a}, {b.text}", (a.text, b.text), "bool", lanes)

    def invert(self, a: Value) -> Value:
        if a.text in ("true", "false"):
            return Value("false" if a.text == "true" else "true", "bool")
        ones = "true" if a.lanes == 1 else "splat (i1 true)"
        return self.pure(f"xor {a}, {ones}", (a.text,), "bool", a.lanes)

    # ------------------------------------------------------------------------------- expressions

    def value(self, e: Expr) -> Value:
        return self.materialise(self.operand(e))

    def operand(self, e: Expr) -> Operand:
        key = ("e", id(e))
        found = self.known(key)
        if found is not None:
            return found
        result = self.evaluate(e)
        if not isinstance(e, (Const, Var)):
            scope = self.scopes[-1]
            scope.known[key] = result
            for buffer in self.buffers_read(e):
                scope.readers.setdefault(buffer, []).append(key)
        return result

    def evaluate(self, e: Expr) -> Operand:
        match e:
            case Const(value, dtype):
                if dtype == "i64":
                    return number(int(value))
                if dtype == "bool":
                    return Value("true" if value else "false", "bool")
                return Value(float_text(float(value), dtype) if is_float(dtype) else str(int(value)), dtype)
            case Var(name):
                if name not in self.env:
                    raise self.error(f"variable {name} is used before it is defined")
                return self.env[name]
            case Load(buffer, index):
                return self.load(buffer, index)
            case Select():
                return self.select(e)
            case Fma(a, b, c):
                (x, y, z), lanes = self.unify(self.value(a), self.value(b), self.value(c))
                return self.call("llvm.fma", (x, y, z), c.dtype, lanes)
            case Cast(a, dtype):
                return self.cast(self.operand(a), a.dtype, dtype)
            case Bitcast(a, dtype):
                x = self.value(a)
                to = Value("", dtype, x.lanes).type
                return self.new(f"bitcast {x} to {to}", dtype, x.lanes)
            case Unary(op, a):
                return self.unary(op, a)
            case Binary(op, a, b):
                return self.binary(op, a, b)
        raise self.error(f"unknown expression {e!r}")

    def call(self, intrinsic: str, args: tuple[Value, ...], dtype: str, lanes: int) -> Value:
        suffix = ("" if lanes == 1 else f"v{lanes}") + ("f" if is_float(dtype) else "i") + str(8 * DTYPES[dtype].bytes)
        name = f"@{intrinsic}.{suffix}"
        types = ", ".join(a.type for a in args)
        self.declarations.add(f"declare {args[0].type} {name}({types})")
        flags = "nsz " if intrinsic in ("llvm.minimum", "llvm.maximum") else ""
        return self.new(f"call {flags}{args[0].type} {name}({', '.join(map(str, args))})", dtype, lanes)

    def unary(self, op: str, a: Expr) -> Operand:
        if op in ("exp", "log", "tanh"):
            key = (op, id(a))
            if key not in self.expanded:
                self.expanded[key] = (a, mathlib.expand(op, a))
            return self.operand(self.expanded[key][1])
        v = self.operand(a)
        if isinstance(v, Affine):
            if op == "neg":
                return v.scale(-1)
            v = self.materialise(v)
        if op == "not":
            return self.invert(v)
        if op == "neg":
            if is_float(v.dtype):
                return self.new(f"fneg {v}", v.dtype, v.lanes)
            zero = "0" if v.lanes == 1 else "zeroinitializer"
            return self.new(f"sub {v.type} {zero}, {v.text}", v.dtype, v.lanes)
        if op == "abs" and not is_float(v.dtype):
            return self.extremum("smax", v, self.materialise(self.unary("neg", a)))
        return self.call({"abs": "llvm.fabs", "sqrt": "llvm.sqrt", "floor": "llvm.floor"}[op], (v,), v.dtype, v.lanes)

    def extremum(self, which: str, a: Value, b: Value) -> Value:
        (a, b), lanes = self.unify(a, b)
        return self.call(f"llvm.{which}", (a, b), a.dtype, lanes)

    def binary(self, op: str, a: Expr, b: Expr) -> Operand:
        x, y = self.operand(a), self.operand(b)
        if isinstance(x, Affine) and isinstance(y, Affine):
            folded = self.affine(op, x, y)
            if folded is not None:
                return folded
        p, q = self.materialise(x), self.materialise(y)
        if p.dtype == "bool":
            return self.boolean(op, p, q)
        if op in ("min", "max"):
            name = {"min": "minimum", "max": "maximum"}[op] if is_float(p.dtype) else f"s{op}"
            result = self.extremum(name, p, q)
            return ssa(result.text) if result.dtype == "i64" and result.lanes == 1 else result
        (p, q), lanes = self.unify(p, q)
        if op in _FLOAT_COMPARE:
            kind, table = ("fcmp", _FLOAT_COMPARE) if is_float(p.dtype) else ("icmp", _INT_COMPARE)
            return self.pure(f"{kind} {table[op]} {p}, {q.text}", (p.text, q.text), "bool", lanes)
        if is_float(p.dtype):
            return self.new(f"{_FLOAT_OPS[op]} {p}, {q.text}", p.dtype, lanes)
        if op in ("floordiv", "mod"):
            result = self.divide(op, p, q, lanes)
        else:
            result = self.pure(f"{_INT_OPS[op]} {p}, {q.text}", (p.text, q.text), p.dtype, lanes)
        return ssa(result.text) if result.dtype == "i64" and lanes == 1 else result

    def affine(self, op: str, x: Affine, y: Affine) -> Operand | None:
        """i64 arithmetic that stays affine, or comparisons that can be decided or need one i64."""
        if op == "add":
            return x + y
        if op == "sub":
            return x - y
        if op == "mul" and (x.is_constant or y.is_constant):
            return y.scale(x.constant) if x.is_constant else x.scale(y.constant)
        if op in ("floordiv", "mod") and y.is_constant:
            exact = x.divide(y.constant)
            if exact is not None:
                return exact[0] if op == "floordiv" else number(exact[1])
        difference = x - y
        if op in _INT_COMPARE and difference.is_constant:
            c = difference.constant
            return Value("true" if {"lt": c < 0, "le": c <= 0, "eq": c == 0, "ne": c != 0}[op] else "false", "bool")
        if op in ("lt", "le") and difference.lane in (1, -1):
            return self.lane_mask(op, difference)
        if op in ("min", "max") and difference.is_constant:
            return x if (difference.constant < 0) == (op == "min") else y
        return None

    def lane_mask(self, op: str, d: Affine) -> Value:
        """lane * d.lane + rest < 0 (or <= 0) for each lane, by a comparison of 32-bit lane numbers."""
        rest = Affine(d.terms, 0, d.constant)
        # d.lane = 1: lane < -rest;  d.lane = -1: rest < lane; "le" shifts the bound by one
        bound = rest.scale(-1) if d.lane == 1 else rest
        if op == "le":
            bound = bound + number(1 if d.lane == 1 else -1)
        if bound.is_constant:
            holds = [(i < bound.constant) if d.lane == 1 else (bound.constant < i) for i in range(self.lanes)]
            if all(holds) or not any(holds):
                return Value("true" if holds[0] else "false", "bool")
            return Value("<" + ", ".join(f"i1 {'true' if h else 'false'}" for h in holds) + ">", "bool", self.lanes)
        b = self.scalar(bound)
        self.declarations |= {"declare i64 @llvm.smin.i64(i64, i64)", "declare i64 @llvm.smax.i64(i64, i64)"}
        b = self.pure(f"call i64 @llvm.smax.i64(i64 {b.text}, i64 -1)", (b.text,), "i64")
        b = self.pure(f"call i64 @llvm.smin.i64(i64 {b.text}, i64 {self.lanes})", (b.text,), "i64")
        b = self.splat(self.pure(f"trunc i64 {b.text} to i32", (b.text,), "i32"))
        t = f"<{self.lanes} x i32>"
        lane = "<" + ", ".join(f"i32 {i}" for i in range(self.lanes)) + ">"
        first, second = (lane, b.text) if d.lane == 1 else (b.text, lane)
        return self.pure(f"icmp slt {t} {first}, {second}", (b.text,), "bool", self.lanes)

    def boolean(self, op: str, p: Value, q: Value) -> Value:
        if op in ("and", "or"):
            neutral = "true" if op == "and" else "false"
            for x, y in ((p, q), (q, p)):
                if x.text in ("true", "false"):
                    return y if x.text == neutral else x
            return self.logic(op, p, q)
        if op in ("eq", "ne", "xor"):
            different = self.logic("xor", p, q)
            return self.invert(different) if op == "eq" else different
        raise self.error(f"{op} does not take booleans")

    def divide(self, op: str, p: Value, q: Value, lanes: int) -> Value:
        """Floor division or its remainder; LLVM's divide truncates toward zero."""
        names = (p.text, q.text)
        t = p.type
        if lanes == 1 and q.text.isdigit() and int(q.text) & (int(q.text) - 1) == 0:
            shift, rest = int(q.text).bit_length() - 1, int(q.text) - 1
            if op == "floordiv":
                return self.pure(f"ashr {p}, {shift}", names, p.dtype)
            return self.pure(f"and {p}, {rest}", names, p.dtype)
        r = self.pure(f"srem {p}, {q.text}", names, p.dtype, lanes)
        bits = DTYPES[p.dtype].bytes * 8 - 1
        amount = str(bits) if lanes == 1 else f"splat ({DTYPES[p.dtype].llvm} {bits})"
        sign = self.pure(f"xor {t} {r.text}, {q.text}", (r.text, q.text), p.dtype, lanes)
        sign = self.pure(f"ashr {t} {sign.text}, {amount}", (sign.text,), p.dtype, lanes)  # -1 if signs differ
        zero = "0" if lanes == 1 else "zeroinitializer"
        inexact = self.pure(f"icmp ne {t} {r.text}, {zero}", (r.text,), "bool", lanes)
        cond = self.splat(inexact) if lanes > 1 else inexact
        fix = self.pure(
            f"select {cond}, {t} {sign.text}, {t} {zero}", (cond.text, sign.text), p.dtype, lanes
        )  # -1 where the quotient must be lowered
        if op == "floordiv":
            quotient = self.pure(f"sdiv {p}, {q.text}", names, p.dtype, lanes)
            return self.pure(f"add {t} {quotient.text}, {fix.text}", (quotient.text, fix.text), p.dtype, lanes)
        back = self.pure(f"and {t} {fix.text}, {q.text}", (fix.text, q.text), p.dtype, lanes)
        return self.pure(f"add {t} {r.text}, {back.text}", (r.text, back.text), p.dtype, lanes)

    def cast(self, v: Operand, source: str, target: str) -> Operand:
        if source == target:
            return v
        x = self.materialise(v)
        old, new = DTYPES[source], DTYPES[target]
        if target == "bool":
            zero = "zeroinitializer" if x.lanes > 1 else float_text(0.0, source) if is_float(source) else "0"
            compare = "fcmp une" if is_float(source) else "icmp ne"
            return self.pure(f"{compare} {x}, {zero}", (x.text,), "bool", x.lanes)
        which = 2 if old.bytes == new.bytes else 0 if new.bytes > old.bytes else 1
        instruction = _CASTS[old.kind, new.kind][which]
        if not instruction:
            return Value(x.text, target, x.lanes)
        to = Value("", target, x.lanes).type
        result = self.pure(f"{instruction} {x} to {to}", (x.text,), target, x.lanes)
        return ssa(result.text) if target == "i64" and x.lanes == 1 else result

    def buffers_read(self, e: Expr) -> frozenset[Buffer]:
        if id(e) not in self.read_by:
            found = frozenset((e.buffer,)) if isinstance(e, Load) else frozenset()
            self.read_by[id(e)] = (e, found.union(*(self.buffers_read(c) for c in children(e))))
        return self.read_by[id(e)][1]

    def select(self, e: Select) -> Operand:
        cond = self.value(e.cond)
        if cond.text in ("true", "false"):
            return self.operand(e.a if cond.text == "true" else e.b)
        lazy = bool(self.buffers_read(e.a) or self.buffers_read(e.b))
        if cond.lanes == 1 and lazy:
            return self.choose(cond, e)
        if cond.lanes > 1 and lazy:
            with self.masked(cond):
                a = self.value(e.a)
            with self.masked(self.invert(cond)):
                b = self.value(e.b)
        else:
            a, b = self.value(e.a), self.value(e.b)
        (a, b), lanes = self.unify(a, b) if cond.lanes == 1 else ([self.splat(a), self.splat(b)], cond.lanes)
        result = self.new(f"select {cond}, {a}, {b}", e.dtype, lanes)
        return ssa(result.text) if e.dtype == "i64" and lanes == 1 else result

    def choose(self, cond: Value, e: Select) -> Operand:
        """Only the side that is taken runs."""
        sides = []
        before = self.scopes[-1].block
        for side in (e.a, e.b):
            block = self.new_block("side")
            with self.scope(block):
                v = self.value(side)
                sides.append((block, self.scopes[-1].block, v, len(self.scopes)))
        lanes = max(v.lanes for _, _, v, _ in sides)
        values = []
        for _, last, v, _ in sides:
            if v.lanes < lanes:
                self.scopes.append(Scope(last))
                v = self.splat(v)
                self.scopes.pop()
            values.append(v)
        done = self.new_block("chosen")
        before.end = f"br i1 {cond.text}, label %{sides[0][0].label}, label %{sides[1][0].label}"
        for _, last, _, _ in sides:
            last.end = f"br label %{done.label}"
        self.continue_in(done)
        arms = ", ".join(f"[ {v.text}, %{last.label} ]" for v, (_, last, _, _) in zip(values, sides, strict=True))
        result = self.new(f"phi {values[0].type} {arms}", e.dtype, lanes)
        return ssa(result.text) if e.dtype == "i64" and lanes == 1 else result

    # ------------------------------------------------------------------------------------ memory

    def offset(self, buffer: Buffer, index: tuple[Expr, ...]) -> Operand:
        """The linear offset in elements."""
        total: Operand = number(0)
        for e, stride in zip(index, buffer.strides, strict=True):
            v = self.operand(e)
            if isinstance(v, Affine) and isinstance(total, Affine):
                total = total + v.scale(stride)
                continue
            wide = self.splat(self.materialise(v))
            t = wide.type
            factor = f"splat (i64 {stride})"
            wide = self.pure(f"mul nsw {t} {wide.text}, {factor}", (wide.text,), "i64", self.lanes)
            base = self.splat(self.materialise(total))
            total = self.pure(f"add nsw {t} {base.text}, {wide.text}", (base.text, wide.text), "i64", self.lanes)
        return total

    def address(self, buffer: Buffer, at: Affine) -> str:
        """A pointer to the element (of lane 0): variable part first, so that it is shared."""
        cell = self.cell(buffer)
        space = self.pointer_type(buffer)
        pointer = self.pointers[buffer]
        if at.terms:
            base = self.scalar(Affine(at.terms))
            pointer = self.pure(
                f"getelementptr inbounds {cell}, {space} {pointer}, i64 {base.text}", (pointer, base.text), "i64"
            ).text
        if at.constant:
            pointer = self.pure(
                f"getelementptr inbounds {cell}, {space} {pointer}, i64 {at.constant}", (pointer,), "i64"
            ).text
        return pointer

    def cell(self, buffer: Buffer) -> str:
        return "i8" if buffer.dtype == "bool" else DTYPES[buffer.dtype].llvm

    def pointer_type(self, buffer: Buffer) -> str:
        space = self.dialect.addrspace.get(buffer.space, 0)
        return f"ptr addrspace({space})" if space else "ptr"

    def pointers_of_lanes(self, buffer: Buffer, at: Operand) -> str:
        """A vector of addresses, for gathers and scatters."""
        index = self.materialise(at)
        t = self.pointer_type(buffer)
        return self.pure(
            f"getelementptr inbounds {self.cell(buffer)}, {t} {self.pointers[buffer]}, {index}", (index.text,), "i64"
        ).text

    def full_mask(self) -> Value:
        if self.mask is not None:
            return self.splat(self.mask)
        return Value("splat (i1 true)", "bool", self.lanes)

    def load(self, buffer: Buffer, index: tuple[Expr, ...]) -> Operand:
        at = self.offset(buffer, index)
        cell, t = self.cell(buffer), self.pointer_type(buffer)
        memory = "u8" if buffer.dtype == "bool" else buffer.dtype
        align = DTYPES[memory].bytes
        if isinstance(at, Affine) and not at.lane:
            v = self.load_one(buffer, at, cell, t, memory, align)
        elif isinstance(at, Affine) and at.lane == 1:
            wide = f"<{self.lanes} x {cell}>"
            pointer = self.address(buffer, at)
            if self.mask is None:
                v = self.new(f"load {wide}, {t} {pointer}, align {align}", memory, self.lanes)
            else:
                v = self.masked_load(wide, t, pointer, memory, align, self.lanes, self.full_mask())
        else:
            wide = f"<{self.lanes} x {cell}>"
            pointers = self.pointers_of_lanes(buffer, at)
            mask = self.full_mask()
            name = f"@llvm.masked.gather.{self.overload(memory, self.lanes)}.v{self.lanes}p{self.space(buffer)}"
            self.declarations.add(f"declare {wide} {name}(<{self.lanes} x {t}>, {mask.type}, {wide})")
            v = self.new(
                f"call {wide} {name}(<{self.lanes} x {t}> align {align} {pointers}, {mask}, {wide} zeroinitializer)",
                memory,
                self.lanes,
            )
        if buffer.dtype == "bool":
            v = self.new(f"trunc {v} to {Value('', 'bool', v.lanes).type}", "bool", v.lanes)
        return ssa(v.text) if v.dtype == "i64" and v.lanes == 1 else v

    def load_one(self, buffer: Buffer, at: Affine, cell: str, t: str, memory: str, align: int) -> Value:
        """One element for all lanes; under a mask that may be empty, only if some lane wants it."""
        pointer = self.address(buffer, at)
        if self.mask is None or self.mask.lanes == 1 or "true" in self.mask.text:
            return self.new(f"load {cell}, {t} {pointer}, align {align}", memory)
        self.declarations.add(f"declare i1 @llvm.vector.reduce.or.v{self.lanes}i1(<{self.lanes} x i1>)")
        some = self.new(f"call i1 @llvm.vector.reduce.or.v{self.lanes}i1({self.mask})", "bool")
        one = self.new(f"insertelement <1 x i1> poison, i1 {some.text}, i64 0", "bool")
        v = self.masked_load(f"<1 x {cell}>", t, pointer, memory, align, 1, Value(one.text, "bool"))
        return self.new(f"extractelement <1 x {cell}> {v.text}, i64 0", memory)

    def masked_load(self, wide: str, t: str, pointer: str, memory: str, align: int, lanes: int, mask: Value) -> Value:
        name = f"@llvm.masked.load.{self.overload(memory, lanes)}.p{self.address_space(t)}"
        mask_type = f"<{lanes} x i1>"
        self.declarations.add(f"declare {wide} {name}({t}, {mask_type}, {wide})")
        return self.new(
            f"call {wide} {name}({t} align {align} {pointer}, {mask_type} {mask.text}, {wide} zeroinitializer)",
            memory,
            lanes,
        )

    def overload(self, dtype: str, lanes: int) -> str:
        return f"v{lanes}{'f' if is_float(dtype) else 'i'}{8 * DTYPES[dtype].bytes}"

    def space(self, buffer: Buffer) -> int:
        return self.dialect.addrspace.get(buffer.space, 0)

    def address_space(self, pointer_type: str) -> str:
        return pointer_type.partition("(")[2].rstrip(")") or "0"

    def store(self, s: Store) -> None:
        buffer = s.buffer
        at = self.offset(buffer, s.index)
        v = self.value(s.value)
        if buffer.dtype == "bool":
            v = self.pure(f"zext {v} to {Value('', 'u8', v.lanes).type}", (v.text,), "u8", v.lanes)
        cell, t = self.cell(buffer), self.pointer_type(buffer)
        align = DTYPES[v.dtype].bytes
        if self.lanes == 1 or (isinstance(at, Affine) and not at.lane and v.lanes == 1 and self.mask is None):
            assert isinstance(at, Affine)
            self.do(f"store {v}, {t} {self.address(buffer, at)}, align {align}")
            self.forget(buffer)
            return
        v = self.splat(v)
        if isinstance(at, Affine) and at.lane == 1:
            pointer = self.address(buffer, at)
            if self.mask is None:
                self.do(f"store {v}, {t} {pointer}, align {align}")
            else:
                mask = self.full_mask()
                name = f"@llvm.masked.store.{self.overload(v.dtype, v.lanes)}.p{self.space(buffer)}"
                self.declarations.add(f"declare void {name}({v.type}, {t}, {mask.type})")
                self.do(f"call void {name}({v}, {t} align {align} {pointer}, {mask})")
        else:
            pointers = self.pointers_of_lanes(buffer, at)
            mask = self.full_mask()
            name = f"@llvm.masked.scatter.{self.overload(v.dtype, v.lanes)}.v{v.lanes}p{self.space(buffer)}"
            self.declarations.add(f"declare void {name}({v.type}, <{v.lanes} x {t}>, {mask.type})")
            self.do(f"call void {name}({v}, <{v.lanes} x {t}> align {align} {pointers}, {mask})")
        self.forget(buffer)

    def forget(self, buffer: Buffer) -> None:
        """After a store, expressions that load from the buffer must load again."""
        for scope in self.scopes:
            for key in scope.readers.pop(buffer, ()):
                scope.known.pop(key, None)


def emit_functions(kernels: tuple[Kernel, ...], make: Callable[[Kernel], Emitter] = Emitter) -> str:
    """The definitions of kernels and the declarations they need, as LLVM IR text."""
    declarations: set[str] = set()
    functions = []
    for k in kernels:
        e = make(k)
        functions.append(e.function())
        declarations |= e.declarations
    return "\n".join([*sorted(declarations), "", *functions])
