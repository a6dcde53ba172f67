"""Is a kernel well formed, and does a target take it? `verify` says where not, and what would be.

Everywhere: dtypes agree, names are defined before use and mean one thing at a time, every index has the
rank of its buffer, extents that must be known are constants. Which kinds of loops and memory each target
takes is the table TARGETS. How loops nest:

    shares              outermost
    parallel, grid      outermost: in no loop and no `if`; never both in one kernel
    thread              directly in a grid loop; outside thread loops, a grid loop stores nothing
    vector              holds serial and unrolled loops and `if`, no other loop, no barrier and no allocation
    prefetch            of global memory, not in a vector loop
    barrier             in a thread loop, in control flow that is the same for all threads: no `if` or loop
                        bound around it depends on the thread's index or on memory

and memory, by the loops around its allocation:

    shared              in a grid loop, outside thread loops: one a block
    local, register     one a thread of execution: not in a grid loop outside its thread loops, and not
                        outside a parallel or grid loop in which it is used
    register            every index is made of constants and the variables of unrolled and vector loops
"""

from __future__ import annotations

import keyword
from dataclasses import dataclass, field, replace
from typing import Any, NoReturn

from .dtypes import DTYPES, is_float, is_storage, limits, wide
from .errors import CodegenError
from .expr import BINARY, MATH, MATH2, UNARY, Binary, Bitcast, Buffer, Cast, Const, Expr, Fma, Load, Select, Unary, Var
from .loops import (
    KINDS,
    Alloc,
    Barrier,
    For,
    If,
    Kernel,
    Let,
    Prefetch,
    Shares,
    Stmt,
    Store,
    loaded,
    statements,
    stored,
)
from .text import print_statement
from .traverse import walk


@dataclass(frozen=True, slots=True)
class Target:
    """What a target takes."""

    kinds: frozenset[str]
    spaces: frozenset[str]  # of allocations


TARGETS = {
    "cpu": Target(frozenset({"serial", "parallel", "vector", "unrolled"}), frozenset({"local", "register"})),
    "gpu": Target(
        frozenset({"serial", "vector", "unrolled", "grid", "thread"}), frozenset({"shared", "local", "register"})
    ),
    "any": Target(frozenset(KINDS), frozenset({"shared", "local", "register"})),
}

CONSTANT_EXTENT = ("vector", "unrolled", "grid", "thread")  # both bounds of these loops are constants
PARTS = (0, 16, 32, 64)  # bytes of a line, that are stored past the caches
EXPANDED = ("vector", "unrolled")  # the variables of these loops become constants
OUTERMOST = ("parallel", "grid")

_OPERANDS = {  # op: the kinds of dtypes it takes (all numbers where it is not here)
    **dict.fromkeys(("sqrt", "floor", "ceil", "trunc", "rint", "div", *MATH, *MATH2), ("float",)),
    "abs": ("float", "int"),
    **dict.fromkeys(("floordiv", "mod", "shl", "shr"), ("int", "uint")),
    **dict.fromkeys(("and", "or", "xor"), ("int", "uint", "bool")),
    **dict.fromkeys(("eq", "ne"), ("float", "int", "uint", "bool")),
    "fma": ("float",),
    "not": ("int", "uint", "bool"),
}
_NUMBERS = ("float", "int", "uint")


def verify(kernel: Kernel, target: str = "any") -> None:
    """Raise CodegenError, naming the kernel and the statement, unless `target` takes the kernel."""
    if target not in TARGETS:
        raise CodegenError(f"no target {target!r}: there are {', '.join(TARGETS)}")
    _Verifier(kernel, target).run()


@dataclass(frozen=True, slots=True)
class _Scope:
    """What is known where a statement stands. `names` grows along a block; blocks inside get a copy."""

    names: dict[str, Var | Buffer]
    varying: set[str]  # variables that may differ between the threads of a block
    constant: frozenset[str] = frozenset()  # variables that are constants once loops are expanded
    loops: tuple[str, ...] = ()  # kinds of the loops around, outermost first
    depth: int = 0  # of loops and branches
    divergent: str = ""  # why threads of a block may not all be here
    checked: set[int] = field(default_factory=set)  # expressions, by id

    def inside(self, **changes: Any) -> _Scope:
        names, varying, depth = dict(self.names), set(self.varying), self.depth + 1
        return replace(self, names=names, varying=varying, checked=set(), depth=depth, **changes)

    def varies(self, *es: Expr) -> bool:
        """May the threads of a block disagree on the value of these expressions?"""
        return any(isinstance(x, Load) or (isinstance(x, Var) and x.name in self.varying) for e in es for x in walk(e))


class _Verifier:
    def __init__(self, kernel: Kernel, target: str) -> None:
        self.kernel = kernel
        self.target = target
        self.takes = TARGETS[target]
        self.threads = "thread" in self.takes.kinds
        self.at: Stmt | None = None

    def run(self) -> None:
        self.check_name(self.kernel.name, {})
        scope = _Scope({}, set())
        for b in self.kernel.params:
            self.check_buffer(b)
            self.require(b.space == "global", f"{b.name} is {b.space}: parameters are global")
            self.bind(b, scope)
        outermost = {s.kind for s in statements(self.kernel.body) if isinstance(s, For)} & set(OUTERMOST)
        self.require(len(outermost) < 2, "parallel and grid loops in one kernel: no target takes both")
        self.block(self.kernel.body, scope)

    @property
    def place(self) -> str:
        return f"`{_headline(self.at)}`" if self.at else "its parameters"

    def require(self, condition: bool, message: str) -> None:
        if not condition:
            self.fail(message)

    def fail(self, message: str) -> NoReturn:
        raise CodegenError(f"{self.kernel.name}: in {self.place}: {message}")

    # names and buffers

    def check_name(self, name: str, names: dict[str, Var | Buffer]) -> None:
        fits = name.isidentifier() and not keyword.iskeyword(name)
        self.require(fits, f"{name!r} cannot be a name: expected an identifier, and no keyword, of Python")
        self.require(name not in names, f"{name} already names something here: expected a name not in use")

    def bind(self, x: Var | Buffer, scope: _Scope) -> None:
        self.check_name(x.name, scope.names)
        scope.names[x.name] = x

    def check_buffer(self, b: Buffer) -> None:
        self.require(b.dtype in DTYPES, f"{b.name} has dtype {b.dtype}: expected one of {', '.join(DTYPES)}")
        self.require(all(n >= 0 for n in b.shape), f"{b.name} has shape {list(b.shape)}: expected no negative extent")

    # statements

    def block(self, block: tuple[Stmt, ...], scope: _Scope) -> None:
        for s in block:
            self.at = s
            self.statement(s, scope)

    def statement(self, s: Stmt, scope: _Scope) -> None:
        match s:
            case For():
                self.loop(s, scope)
            case Shares():
                self.shares(s, scope)
            case Let(var, value):
                self.expression(value, scope)
                self.require(var.type == value.dtype, f"{var.name} is {var.type}, its value is {value.dtype}")
                self.bind(var, scope)
                if self.threads and scope.varies(value):
                    scope.varying.add(var.name)
            case Store(buffer, index, value, streams):
                for e in (*index, value):
                    self.expression(e, scope)
                self.require(streams in PARTS, f"{streams} bytes are no part of a line")
                self.require(not streams or buffer.space == "global", f"{buffer.space} memory has no caches to pass")
                self.access(buffer, index, scope)
                self.require(value.dtype == buffer.dtype, f"a value of {value.dtype}: expected {buffer.dtype}")
                alone = "grid" in scope.loops and "thread" not in scope.loops
                self.require(not alone, "a grid loop stores nothing itself: expected the store in a thread loop")
            case If(cond, then, orelse):
                self.expression(cond, scope)
                self.require(cond.dtype == "bool", f"a condition of {cond.dtype}: expected bool")
                divergent = self.divergence(scope, cond)
                self.block(then, scope.inside(divergent=divergent))
                self.block(orelse, scope.inside(divergent=divergent))
            case Alloc(buffer):
                self.allocation(buffer, scope)
            case Prefetch(buffer, index):
                for e in index:
                    self.expression(e, scope)
                self.access(buffer, index, scope, bounded=False)
                self.require(buffer.space == "global", f"{buffer.name} is {buffer.space}: only global memory is far")
                self.require(self.target != "gpu", "target gpu takes no prefetch")
                self.require("vector" not in scope.loops, "prefetch(...) in a vector loop: expected it outside")
            case Barrier():
                self.require("thread" in scope.loops, "barrier() outside thread loops: expected it in one")
                self.require("vector" not in scope.loops, "barrier() in a vector loop: expected it outside")
                if scope.divergent:
                    self.fail(
                        f"threads part ways at {scope.divergent}: expected conditions and bounds that depend "
                        "neither on the thread's index nor on memory"
                    )
            case _:
                self.require(False, "expected a statement of `loops`")

    def divergence(self, scope: _Scope, *es: Expr) -> str:
        if scope.divergent or "thread" not in scope.loops or not scope.varies(*es):
            return scope.divergent
        return self.place

    def loop(self, s: For, scope: _Scope) -> None:
        for bound in (s.start, s.stop):
            self.expression(bound, scope)
            self.require(bound.dtype == "i64", f"a loop bound of {bound.dtype}: expected i64")
        self.require(s.var.type == "i64", f"a loop variable of {s.var.type}: expected i64")
        self.check_kind(s, scope)
        divergent = self.divergence(scope, s.start, s.stop)
        inner = scope.inside(
            loops=(*scope.loops, s.kind),
            divergent=divergent,
            constant=scope.constant | {s.var.name} if s.kind in EXPANDED else scope.constant,
        )
        self.bind(s.var, inner)
        if self.threads and (s.kind == "thread" or scope.varies(s.start, s.stop)):
            inner.varying.add(s.var.name)
        self.block(s.body, inner)

    def shares(self, s: Shares, scope: _Scope) -> None:
        self.require("parallel" in self.takes.kinds, f"target {self.target} takes no shares: its threads are blocks")
        self.require(scope.depth == 0, "shares must be outermost")
        self.require(s.extent >= 0, f"shares of {s.extent}: expected no negative extent")
        inner = scope.inside(loops=("parallel",))
        for var in (s.first, s.last):
            self.require(var.type == "i64", f"a bound of shares is {var.type}: expected i64")
            self.bind(var, inner)
        self.block(s.body, inner)

    def check_kind(self, s: For, scope: _Scope) -> None:
        kind, around = s.kind, scope.loops
        takes = [k for k in KINDS if k in self.takes.kinds]
        self.require(kind in takes, f"target {self.target} takes no {kind} loops: expected {', '.join(takes)}")
        if kind in CONSTANT_EXTENT:
            fixed = isinstance(s.start, Const) and isinstance(s.stop, Const)
            self.require(fixed, f"the bounds of a {kind} loop must be constants")
        if kind in OUTERMOST:
            self.require(scope.depth == 0, f"a {kind} loop must be outermost")
        if kind == "thread":
            directly = around == ("grid",) and scope.depth == 1
            self.require(directly, "a thread loop must stand directly in a grid loop")
        if "vector" in around:
            self.require(kind in ("serial", "unrolled"), f"a {kind} loop in a vector loop: expected serial or unrolled")
        if kind == "vector":
            self.require(_extent(s) > 0, "a vector loop needs at least one lane")

    def allocation(self, b: Buffer, scope: _Scope) -> None:
        self.check_buffer(b)
        spaces = sorted(self.takes.spaces)
        self.require(b.space in spaces, f"target {self.target} takes no {b.space} memory: expected {', '.join(spaces)}")
        self.require("vector" not in scope.loops, "an allocation in a vector loop: expected it outside")
        in_block = "grid" in scope.loops and "thread" not in scope.loops
        if b.space == "shared":
            self.require(in_block, "shared memory must be allocated in a grid loop, outside thread loops")
        else:
            self.require(not in_block, f"{b.space} memory belongs to one thread: allocate it in the thread loop")
        self.bind(b, scope)
        if b.space != "shared" and not scope.loops:
            divided = [s for s in self.kernel.body if isinstance(s, Shares) or _is_outermost(s)]
            shared = any(_uses(s, b) for s in divided)
            self.require(not shared, f"{b.space} memory belongs to one thread: allocate it in the loop that uses it")

    # expressions

    # (The checks of expressions run for every node: they build a message only when one fails.)

    def expression(self, e: Expr, scope: _Scope) -> None:
        for x in walk(e, seen=scope.checked):
            self.node(x, scope)

    def node(self, x: Expr, scope: _Scope) -> None:
        match x:
            case Binary(op, a, b):
                self.operands(op, BINARY, a, b)
            case Const(value, dtype):
                if not _fits(value, dtype):
                    self.fail(f"{value!r} is no constant of {dtype}")
            case Var(name, dtype):
                known = scope.names.get(name)
                if not isinstance(known, Var):
                    self.fail(f"no variable {name} is in scope")
                if known.type != dtype:
                    self.fail(f"{name} is {known.type} here, not {dtype}")
            case Load(buffer, index):
                self.access(buffer, index, scope)
            case Unary(op, a):
                self.operands(op, UNARY, a)
            case Fma(a, b, c):
                self.operands("fma", ("fma",), a, b, c)
            case Select(cond, a, b):
                if cond.dtype != "bool":
                    self.fail(f"select: a condition of {cond.dtype}: expected bool")
                if a.dtype != b.dtype:
                    self.fail(f"select: {a.dtype} or {b.dtype}: expected one dtype")
            case Cast(_, dtype):
                if dtype not in DTYPES:
                    self.fail(f"cast to {dtype}: expected one of {', '.join(DTYPES)}")
            case Bitcast(a, dtype):
                if dtype not in DTYPES or "bool" in (a.dtype, dtype) or DTYPES[dtype].bytes != DTYPES[a.dtype].bytes:
                    self.fail(f"bitcast of {a.dtype} to {dtype}: expected dtypes of one size, not bool")

    def operands(self, op: str, ops: tuple[str, ...], *args: Expr) -> None:
        if op not in ops:
            self.fail(f"unknown operation {op}: expected one of {', '.join(ops)}")
        dtype = args[0].dtype
        if any([a.dtype != dtype for a in args]):
            self.fail(f"{op}: operands of {' and '.join(a.dtype for a in args)}: expected one dtype")
        kinds = _OPERANDS.get(op, _NUMBERS)
        if DTYPES[dtype].kind not in kinds:
            takes = ", ".join(d.name for d in DTYPES.values() if d.kind in kinds and not d.wide)
            self.fail(f"{op} of {dtype}: expected {takes}")
        if is_storage(dtype):
            self.fail(f"{op} of {dtype}, a storage type: expected its operands cast to {wide(dtype)}")

    def access(self, b: Buffer, index: tuple[Expr, ...], scope: _Scope, bounded: bool = True) -> None:
        """A load, store or prefetch; the indices have been checked as expressions."""
        known = scope.names.get(b.name)
        if not isinstance(known, Buffer):
            self.fail(f"no buffer {b.name} is in scope")
        if known != b:
            self.fail(f"{b.name} is declared as {_declaration(known)}, not as {_declaration(b)}")
        if len(index) != len(b.shape):
            self.fail(f"{b.name} has {len(b.shape)} dimensions, not {len(index)}")
        for position, (i, n) in enumerate(zip(index, b.shape, strict=True)):
            if i.dtype != "i64":
                self.fail(f"index {position} of {b.name} is {i.dtype}: expected i64")
            if bounded and isinstance(i, Const) and not 0 <= i.value < n:
                self.fail(f"index {i.value} of {b.name} is not in 0 .. {n - 1}")
            if b.space == "register" and not all(_is_expanded(x, scope) for x in walk(i)):
                self.fail(
                    f"index {position} of register buffer {b.name}: expected only constants and variables of "
                    "unrolled and vector loops (or local memory)"
                )


def _is_expanded(x: Expr, scope: _Scope) -> bool:
    """Is this node of an index a constant once unrolled and vector loops are expanded?"""
    return not isinstance(x, Load) and not (isinstance(x, Var) and x.name not in scope.constant)


def _declaration(b: Buffer) -> str:
    return f"{b.space} {b.dtype}{list(b.shape)}"


def _headline(s: Stmt) -> str:
    if isinstance(s, (For, Shares)):
        s = replace(s, body=())
    elif isinstance(s, If):
        s = replace(s, then=(), orelse=())
    line = print_statement(s).split("\n")[0]
    return line if len(line) <= 120 else line[:117] + "..."


def _is_outermost(s: Stmt) -> bool:
    return isinstance(s, For) and s.kind in OUTERMOST


def _extent(s: For) -> int:
    assert isinstance(s.start, Const) and isinstance(s.stop, Const)
    return int(s.stop.value) - int(s.start.value)


def _uses(s: Stmt, b: Buffer) -> bool:
    return b in loaded(s) | stored(s)


def _fits(value: bool | int | float, dtype: str) -> bool:
    if dtype not in DTYPES:
        return False
    if DTYPES[dtype].kind == "bool":
        return value in (0, 1)
    if is_float(dtype):
        return isinstance(value, (int, float))
    lowest, highest = limits(dtype)
    return isinstance(value, int) and lowest <= value <= highest
