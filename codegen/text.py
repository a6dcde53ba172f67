"""Kernels as text, and back: `parse(print_kernel(k)) == k`.

The text is Python's syntax, read with Python's parser and never executed:

    kernel ::= "def" name "(" [name ":" T extents] {"," name ":" T extents} ")" ":" block
    block  ::= indented statements | "pass"
    s ::= "for" name "in" kind "(" e "," e ")" ":" block       kind in loops.KINDS
        | "for" name "," name "in" "shares" "(" integer ")" ":" block
        | "if" e ":" block {"elif" e ":" block} ["else" ":" block]
        | name "=" e                                           let; its dtype is that of e
        | name "[" e {"," e} "]" "=" e                         store
        | name "[" e {"," e} "]" "=" "stream" "(" e ")"        store past the caches
        | name "=" space "(" T {"," extent} ")"                space: shared, local or register
        | "prefetch" "(" name "[" e {"," e} "]" ")"
        | "barrier()"
    e ::= integer | "True" | "False"                           constants of i64 and of bool
        | T "(" number | "inf" | "-inf" | "nan" ")"            other constants, exactly: f32(0.1)
        | name                                                 a variable
        | name "[" e {"," e} "]"                               load; of no dimension: name[()]
        | "-" e | "~" e                                        neg, not
        | e + e | e - e | e * e | e / e | e // e | e % e       add sub mul div floordiv mod
        | e & e | e "|" e | e ^ e | e << e | e >> e            and or xor shl shr
        | e < e | e <= e | e == e | e != e                     lt le eq ne
        | op "(" e ["," e] ")"                                 the other ops by name: exp(x), max(a, b); neg(3)
        | select(e, e, e) | fma(e, e, e)
        | cast(e, T) | bitcast(e, T)
    T ::= a name of dtypes.DTYPES           extents ::= "[" integer {"," integer} "]" | "[()]"

Names are Python's identifiers; words of the language are told apart by their place, so they may be names too.
Operators bind as in Python, and the printer writes only the parentheses that they need. The parser builds
nodes as they are written, without the folding of `expr`'s constructors, and checks names and syntax;
`verify` checks the rest.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Callable
from typing import TypeVar

from .dtypes import DTYPES, is_float
from .errors import CodegenError
from .expr import BINARY, SPACES, UNARY, Binary, Bitcast, Buffer, Cast, Const, Expr, Fma, Load, Select, Unary, Var
from .loops import KINDS, Alloc, Barrier, For, If, Kernel, Let, Prefetch, Shares, Stmt, Store

# op: its sign and how tightly it binds, as in Python's grammar. Comparisons do not chain.
_COMPARE, _UNARY, _ATOM = 1, 8, 9
_INFIX = {
    "lt": ("<", _COMPARE),
    "le": ("<=", _COMPARE),
    "eq": ("==", _COMPARE),
    "ne": ("!=", _COMPARE),
    "or": ("|", 2),
    "xor": ("^", 3),
    "and": ("&", 4),
    "shl": ("<<", 5),
    "shr": (">>", 5),
    "add": ("+", 6),
    "sub": ("-", 6),
    "mul": ("*", 7),
    "div": ("/", 7),
    "floordiv": ("//", 7),
    "mod": ("%", 7),
}
_PREFIX = {"neg": "-", "not": "~"}

_AST_BINARY: dict[type[ast.AST], str] = {
    ast.Lt: "lt", ast.LtE: "le", ast.Eq: "eq", ast.NotEq: "ne", ast.BitOr: "or", ast.BitXor: "xor",
    ast.BitAnd: "and", ast.LShift: "shl", ast.RShift: "shr", ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul",
    ast.Div: "div", ast.FloorDiv: "floordiv", ast.Mod: "mod",
}  # fmt: skip

_Named = TypeVar("_Named", Var, Buffer)


# ---------------------------------------------------------------------------------------- printing


def print_kernel(kernel: Kernel) -> str:
    params = ", ".join(f"{b.name}: {b.dtype}[{_extents(b)}]" for b in kernel.params)
    return "\n".join([f"def {kernel.name}({params}):", *_block(kernel.body)]) + "\n"


def print_statement(s: Stmt) -> str:
    return "\n".join(_statement(s))


def print_expression(e: Expr) -> str:
    return _expression(e, 0)


def _extents(b: Buffer) -> str:
    return ", ".join(str(n) for n in b.shape) or "()"


def _block(block: tuple[Stmt, ...]) -> list[str]:
    lines = [line for s in block for line in _statement(s)] or ["pass"]
    return ["    " + line for line in lines]


def _statement(s: Stmt) -> list[str]:
    match s:
        case For(var, start, stop, kind, body):
            head = f"for {var.name} in {kind}({print_expression(start)}, {print_expression(stop)}):"
            return [head, *_block(body)]
        case Shares(first, last, extent, body):
            return [f"for {first.name}, {last.name} in shares({extent}):", *_block(body)]
        case If(cond, then, orelse):
            lines = [f"if {print_expression(cond)}:", *_block(then)]
            if len(orelse) == 1 and isinstance(orelse[0], If):
                head, *rest = _statement(orelse[0])
                return [*lines, "el" + head, *rest]
            return [*lines, "else:", *_block(orelse)] if orelse else lines
        case Let(var, value):
            return [f"{var.name} = {print_expression(value)}"]
        case Store(buffer, index, value, streams):
            stored = print_expression(value)
            return [f"{_element(buffer, index)} = {f'stream({stored}, {streams})' if streams else stored}"]
        case Alloc(b):
            return [f"{b.name} = {b.space}({', '.join([b.dtype, *map(str, b.shape)])})"]
        case Prefetch(buffer, index):
            return [f"prefetch({_element(buffer, index)})"]
        case Barrier():
            return ["barrier()"]
    raise TypeError(f"not a statement: {s!r}")


def _element(buffer: Buffer, index: tuple[Expr, ...]) -> str:
    return f"{buffer.name}[{', '.join(print_expression(i) for i in index) or '()'}]"


def _expression(e: Expr, tightness: int) -> str:
    """The text of `e`, in parentheses if it binds less tightly than its place demands."""
    text, own = _text_and_tightness(e)
    return f"({text})" if own < tightness else text


def _text_and_tightness(e: Expr) -> tuple[str, int]:
    match e:
        case Const(value, dtype):
            text = _constant(value, dtype)
            return text, _UNARY if text.startswith("-") else _ATOM
        case Var(name):
            return name, _ATOM
        case Load(buffer, index):
            return _element(buffer, index), _ATOM
        case Unary("neg", Const(_, "i64") as a):  # -3 would be a constant
            return _call("neg", a), _ATOM
        case Unary(op, a) if op in _PREFIX:
            return _PREFIX[op] + _expression(a, _UNARY), _UNARY
        case Unary(op, a):
            return _call(op, a), _ATOM
        case Binary(op, a, b) if op in _INFIX:
            sign, own = _INFIX[op]
            left = own + 1 if own == _COMPARE else own
            return f"{_expression(a, left)} {sign} {_expression(b, own + 1)}", own
        case Binary(op, a, b):
            return _call(op, a, b), _ATOM
        case Select(c, a, b):
            return _call("select", c, a, b), _ATOM
        case Fma(a, b, c):
            return _call("fma", a, b, c), _ATOM
        case Cast(a, dtype):
            return f"cast({print_expression(a)}, {dtype})", _ATOM
        case Bitcast(a, dtype):
            return f"bitcast({print_expression(a)}, {dtype})", _ATOM
    raise TypeError(f"not an expression: {e!r}")


def _call(name: str, *args: Expr) -> str:
    return f"{name}({', '.join(print_expression(a) for a in args)})"


def _constant(value: bool | int | float, dtype: str) -> str:
    if dtype == "bool":
        return str(bool(value))
    if dtype == "i64":
        return str(int(value))
    if not is_float(dtype):
        return f"{dtype}({int(value)})"
    return f"{dtype}({float(value)!r})" if math.isfinite(value) else f'{dtype}("{float(value)!r}")'


# ----------------------------------------------------------------------------------------- parsing


def parse(text: str) -> Kernel:
    """The kernel of a text; CodegenError with the line where the text is malformed."""
    try:
        module = ast.parse(text)
    except SyntaxError as e:
        raise CodegenError(f"line {e.lineno}: {e.msg}") from None
    except (ValueError, RecursionError, MemoryError) as e:
        raise CodegenError(f"line 1: Python's parser gave up: {e or type(e).__name__}") from None
    match module.body:
        case [ast.FunctionDef() as f]:
            return _Parser().kernel(f)
    raise CodegenError("line 1: expected one kernel, `def name(buffer: dtype[extents], ...):`")


def _error(node: ast.AST, message: str) -> CodegenError:
    source = ast.unparse(node).splitlines()[0]
    return CodegenError(f"line {getattr(node, 'lineno', '?')}: {message}, not `{source}`")


class _Parser:
    """One scope of names at a time: a block sees the names above it and takes its own away."""

    def __init__(self) -> None:
        self.names: dict[str, Var | Buffer] = {}

    # kernels and statements

    def kernel(self, f: ast.FunctionDef) -> Kernel:
        a = f.args
        if a.posonlyargs or a.kwonlyargs or a.vararg or a.kwarg or a.defaults or f.decorator_list or f.returns:
            raise CodegenError(f"line {f.lineno}: a kernel takes only `buffer: dtype[extents]`")
        params = tuple(self.parameter(p) for p in a.args)
        return Kernel(f.name, params, self.block(f.body))

    def parameter(self, a: ast.arg) -> Buffer:
        match a.annotation:
            case ast.Subscript(value=ast.Name(id=dtype), slice=extents) if dtype in DTYPES:
                return self.bind(Buffer(a.arg, dtype, tuple(self.extent(e) for e in _items(extents))))
        raise _error(a, f"a parameter is `buffer: dtype[extents]` with a dtype of {', '.join(DTYPES)}")

    def extent(self, node: ast.expr) -> int:
        match node:
            case ast.Constant(value=int(n)) if not isinstance(n, bool):
                return n
        raise _error(node, "expected an integer extent")

    def bind(self, x: _Named) -> _Named:
        self.names[x.name] = x
        return x

    def block(self, body: list[ast.stmt]) -> tuple[Stmt, ...]:
        outer = self.names
        self.names = dict(outer)
        statements = tuple(self.statement(s) for s in body if not isinstance(s, ast.Pass))
        self.names = outer
        return statements

    def statement(self, s: ast.stmt) -> Stmt:
        match s:
            case ast.For(
                target=ast.Name(id=name),
                iter=ast.Call(func=ast.Name(id=kind), args=[start, stop], keywords=[]),
                body=body,
                orelse=[],
            ) if kind in KINDS:
                return self.loop(name, kind, start, stop, body)
            case ast.For(
                target=ast.Tuple(elts=[ast.Name(id=first), ast.Name(id=last)]),
                iter=ast.Call(func=ast.Name(id="shares"), args=[extent], keywords=[]),
                body=body,
                orelse=[],
            ):
                return self.shares(first, last, extent, body)
            case ast.If(test=test, body=then, orelse=orelse):
                return If(self.expression(test), self.block(then), self.block(orelse))
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id=space)) as call) if (
                space in SPACES
            ):
                return Alloc(self.bind(self.allocation(name, space, call)))
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                e = self.expression(value)
                return Let(self.bind(Var(name, e.dtype)), e)
            case ast.Assign(targets=[ast.Subscript() as target], value=value):
                element = self.load(target)
                match value:
                    case ast.Call(func=ast.Name(id="stream"), args=[streamed, ast.Constant(value=int(part))]):
                        return Store(element.buffer, element.index, self.expression(streamed), part)
                return Store(element.buffer, element.index, self.expression(value))
            case ast.Expr(value=ast.Call(func=ast.Name(id="prefetch"), args=[ast.Subscript() as target], keywords=[])):
                element = self.load(target)
                return Prefetch(element.buffer, element.index)
            case ast.Expr(value=ast.Call(func=ast.Name(id="barrier"), args=[], keywords=[])):
                return Barrier()
        kinds = ", ".join((*KINDS, "shares"))
        raise _error(s, f"expected a let, a store, an allocation, `if`, `prefetch`, `barrier()` or a loop of {kinds}")

    def loop(self, name: str, kind: str, start: ast.expr, stop: ast.expr, body: list[ast.stmt]) -> For:
        bounds = self.expression(start), self.expression(stop)
        outer = self.names
        self.names = dict(outer)
        loop = For(self.bind(Var(name)), *bounds, kind, self.block(body))
        self.names = outer
        return loop

    def shares(self, first: str, last: str, extent: ast.expr, body: list[ast.stmt]) -> Shares:
        outer = self.names
        self.names = dict(outer)
        s = Shares(self.bind(Var(first)), self.bind(Var(last)), self.extent(extent), self.block(body))
        self.names = outer
        return s

    def allocation(self, name: str, space: str, call: ast.Call) -> Buffer:
        match call.args:
            case [ast.Name(id=dtype), *extents] if dtype in DTYPES and not call.keywords:
                return Buffer(name, dtype, tuple(self.extent(e) for e in extents), space)
        raise _error(call, f"expected `{space}(dtype, extents)` with a dtype of {', '.join(DTYPES)}")

    # expressions

    def expression(self, node: ast.expr) -> Expr:
        match node:
            case ast.Constant(value=bool(v)):
                return Const(v, "bool")
            case ast.Constant(value=int(v)):
                return Const(v, "i64")
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(v))) if not isinstance(v, bool):
                return Const(-v, "i64")
            case ast.Name(id=name):
                return self.named(node, name, Var)
            case ast.Subscript():
                return self.load(node)
            case ast.UnaryOp(op=ast.USub(), operand=a):
                return Unary("neg", self.expression(a))
            case ast.UnaryOp(op=ast.Invert(), operand=a):
                return Unary("not", self.expression(a))
            case ast.BinOp(left=a, op=op, right=b) if type(op) in _AST_BINARY:
                return Binary(_AST_BINARY[type(op)], self.expression(a), self.expression(b))
            case ast.Compare(left=a, ops=[op], comparators=[b]) if type(op) in _AST_BINARY:
                return Binary(_AST_BINARY[type(op)], self.expression(a), self.expression(b))
            case ast.Call(func=ast.Name(id=name), args=args, keywords=[]):
                return self.call(node, name, args)
        raise _error(node, "expected an expression of the loop language")

    def named(self, node: ast.AST, name: str, kind: type[_Named]) -> _Named:
        found = self.names.get(name)
        if isinstance(found, kind):
            return found
        line = getattr(node, "lineno", "?")
        raise CodegenError(f"line {line}: no {'variable' if kind is Var else 'buffer'} `{name}` is in scope")

    def load(self, node: ast.Subscript) -> Load:
        if not isinstance(node.value, ast.Name):
            raise _error(node, "only a buffer can be indexed")
        buffer = self.named(node, node.value.id, Buffer)
        return Load(buffer, tuple(self.expression(i) for i in _items(node.slice)))

    def call(self, node: ast.expr, name: str, args: list[ast.expr]) -> Expr:
        match name, args:
            case _, [argument] if name in DTYPES:
                return Const(_number(argument, name), name)
            case (("cast" | "bitcast"), [a, ast.Name(id=dtype)]) if dtype in DTYPES:
                return (Cast if name == "cast" else Bitcast)(self.expression(a), dtype)
        if name not in _CALLS:
            raise _error(node, f"unknown operation `{name}`: expected one of {', '.join(sorted(_CALLS))}")
        arity, build = _CALLS[name]
        if len(args) != arity:
            raise _error(node, f"{name} takes {arity} operands")
        return build(*(self.expression(a) for a in args))


def _operations() -> dict[str, tuple[int, Callable[..., Expr]]]:
    def unary(op: str) -> Callable[..., Expr]:
        return lambda a: Unary(op, a)

    def binary(op: str) -> Callable[..., Expr]:
        return lambda a, b: Binary(op, a, b)

    table: dict[str, tuple[int, Callable[..., Expr]]] = {"select": (3, Select), "fma": (3, Fma)}
    table.update({op: (1, unary(op)) for op in UNARY})
    table.update({op: (2, binary(op)) for op in BINARY})
    return table


_CALLS = _operations()


def _items(node: ast.expr) -> list[ast.expr]:
    """The indices between brackets."""
    return node.elts if isinstance(node, ast.Tuple) else [node]


def _number(node: ast.expr, dtype: str) -> bool | int | float:
    match node:
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(v) | float(v))) if not isinstance(v, bool):
            value: int | float = -v
        case ast.Constant(value=int(v) | float(v)) if not isinstance(v, bool):
            value = v
        case ast.Constant(value=("inf" | "-inf") as name) if is_float(dtype):
            return float(name)
        case ast.Constant(value="nan") if is_float(dtype):
            return math.nan  # this object, so that constants of it are equal
        case _:
            raise _error(node, f"expected a number in {dtype}(...)")
    if is_float(dtype):
        try:
            return float(value)
        except OverflowError:
            raise _error(node, f"too large a number for {dtype}") from None
    if isinstance(value, float) or dtype == "bool":
        raise _error(node, f"expected {'True or False' if dtype == 'bool' else 'an integer'}")
    return value
