"""Scalar expressions of the loop language.

Grammar (e: expression, T: a dtype name of `dtypes`):

    e ::= constant | variable
        | op(e)                      op in UNARY
        | e op e                     op in BINARY
        | select(e, e, e)            evaluates only the side that it takes
        | fma(e, e, e)               a * b + c, rounded once
        | cast(e, T) | bitcast(e, T)
        | buffer[e, ...]             one index a dimension

Expressions are frozen. The constructors below fold constants and neutral elements of *integer*
arithmetic, because indices are full of them; floating point is left exactly as written.
There is no vector type: a loop of kind "vector" (see `loops`) runs its body for all lanes at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

from .dtypes import DTYPES, is_float, is_storage, numpy_dtype

MATH = (  # of floats, as `mathlib` expands them
    "exp", "exp2", "expm1", "log", "log2", "log10", "log1p", "cbrt", "sin", "cos", "tan", "asin", "acos", "atan",
    "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc", "ndtr", "sigmoid", "tanh_shrink",
)  # fmt: skip
MATH2 = ("pow", "atan2")  # the same, of two arguments
UNARY = ("neg", "abs", "not", "sqrt", "floor", "ceil", "trunc", "rint", *MATH)
ARITHMETIC = ("add", "sub", "mul", "div", "floordiv", "mod", "min", "max", "and", "or", "xor", "shl", "shr")
COMPARE = ("lt", "le", "eq", "ne")
BINARY = ARITHMETIC + COMPARE + MATH2


class Expr:
    """Base of all expressions; arithmetic operators build expressions."""

    __slots__ = ()

    @property
    def dtype(self) -> str:
        raise NotImplementedError

    def __add__(self, other: object) -> Expr:
        return binary("add", self, other)

    def __radd__(self, other: object) -> Expr:
        return binary("add", lift(other, self.dtype), self)

    def __sub__(self, other: object) -> Expr:
        return binary("sub", self, other)

    def __rsub__(self, other: object) -> Expr:
        return binary("sub", lift(other, self.dtype), self)

    def __mul__(self, other: object) -> Expr:
        return binary("mul", self, other)

    def __rmul__(self, other: object) -> Expr:
        return binary("mul", lift(other, self.dtype), self)

    def __truediv__(self, other: object) -> Expr:
        return binary("div", self, other)

    def __rtruediv__(self, other: object) -> Expr:
        return binary("div", lift(other, self.dtype), self)

    def __floordiv__(self, other: object) -> Expr:
        return binary("floordiv", self, other)

    def __mod__(self, other: object) -> Expr:
        return binary("mod", self, other)

    def __and__(self, other: object) -> Expr:
        return binary("and", self, other)

    def __or__(self, other: object) -> Expr:
        return binary("or", self, other)

    def __xor__(self, other: object) -> Expr:
        return binary("xor", self, other)

    def __lshift__(self, other: object) -> Expr:
        return binary("shl", self, other)

    def __rshift__(self, other: object) -> Expr:
        return binary("shr", self, other)

    def __neg__(self) -> Expr:
        return unary("neg", self)

    def __lt__(self, other: object) -> Expr:
        return binary("lt", self, other)

    def __le__(self, other: object) -> Expr:
        return binary("le", self, other)

    def __gt__(self, other: object) -> Expr:
        return binary("lt", lift(other, self.dtype), self)

    def __ge__(self, other: object) -> Expr:
        return binary("le", lift(other, self.dtype), self)


@dataclass(frozen=True, slots=True)
class Const(Expr):
    value: bool | int | float
    type: str

    @property
    def dtype(self) -> str:
        return self.type


@dataclass(frozen=True, slots=True)
class Var(Expr):
    """A loop index (i64) or a name bound by `let`."""

    name: str
    type: str = "i64"

    @property
    def dtype(self) -> str:
        return self.type


@dataclass(frozen=True, slots=True)
class Unary(Expr):
    op: str
    a: Expr

    @property
    def dtype(self) -> str:
        return self.a.dtype


@dataclass(frozen=True, slots=True)
class Binary(Expr):
    op: str
    a: Expr
    b: Expr

    @property
    def dtype(self) -> str:
        return "bool" if self.op in COMPARE else self.a.dtype


@dataclass(frozen=True, slots=True)
class Select(Expr):
    cond: Expr
    a: Expr
    b: Expr

    @property
    def dtype(self) -> str:
        return self.a.dtype


@dataclass(frozen=True, slots=True)
class Fma(Expr):
    a: Expr
    b: Expr
    c: Expr

    @property
    def dtype(self) -> str:
        return self.c.dtype


@dataclass(frozen=True, slots=True)
class Cast(Expr):
    """Conversion by value; float to int truncates toward zero, anything to bool compares with 0."""

    a: Expr
    type: str

    @property
    def dtype(self) -> str:
        return self.type


@dataclass(frozen=True, slots=True)
class Bitcast(Expr):
    """The same bits as another dtype of the same size."""

    a: Expr
    type: str

    @property
    def dtype(self) -> str:
        return self.type


SPACES = ("global", "shared", "local", "register")


@cache
def _strides(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(math.prod(shape[n + 1 :]) for n in range(len(shape)))


@dataclass(frozen=True, slots=True)
class Buffer:
    """A dense row-major array. Spaces: "global" (kernel parameters), "shared" (one a GPU block),
    "local" (memory of one thread), "register" (one thread; every index must be a constant once
    unrolled and vector loops are expanded)."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    space: str = "global"

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def strides(self) -> tuple[int, ...]:
        """In elements."""
        return _strides(self.shape)

    def __getitem__(self, index: object) -> Load:
        items = index if isinstance(index, tuple) else (index,)
        return Load(self, tuple(lift(i, "i64") for i in items))


@dataclass(frozen=True, slots=True)
class Load(Expr):
    buffer: Buffer
    index: tuple[Expr, ...]

    @property
    def dtype(self) -> str:
        return self.buffer.dtype


# ---------------------------------------------------------------------------------- constructors


def lift(value: object, dtype: str) -> Expr:
    """A Python number as a constant of `dtype`; expressions pass through."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, bool) or dtype == "bool":
        return Const(bool(value), dtype)
    if isinstance(value, (int, float)):
        return Const(float(value) if is_float(dtype) else int(value), dtype)
    raise TypeError(f"cannot make a {dtype} expression of {value!r}")


def const(value: bool | int | float, dtype: str) -> Expr:
    return lift(value, dtype)


_INT_FOLD: dict[str, Callable[[int, int], int | bool]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "floordiv": lambda a, b: a // b,
    "mod": lambda a, b: a % b,
    "min": min,
    "max": max,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "eq": lambda a, b: a == b,
    "ne": lambda a, b: a != b,
}


def binary(op: str, a: object, b: object) -> Expr:
    """`a op b`, folded where the operands are integers or booleans."""
    if not isinstance(a, Expr):
        assert isinstance(b, Expr)
        a = lift(a, b.dtype)
    b = lift(b, a.dtype)
    if a.dtype != b.dtype:
        raise TypeError(f"{op}: operands of different dtypes, {a.dtype} and {b.dtype}")
    if is_storage(a.dtype):
        raise TypeError(f"{op}: no arithmetic on {a.dtype}, a storage type; cast to {DTYPES[a.dtype].wide}")
    if a.dtype == "bool":
        return _fold_bool(op, a, b)
    if is_float(a.dtype):
        return Binary(op, a, b)
    return _fold_int(op, a, b)


def _fold_bool(op: str, a: Expr, b: Expr) -> Expr:
    for x, y in ((a, b), (b, a)):
        if isinstance(x, Const) and op == "and":
            return y if x.value else x
        if isinstance(x, Const) and op == "or":
            return x if x.value else y
    return Binary(op, a, b)


def _wrapped(value: int, dtype: str) -> Const:
    """The constant that is left of an integer in the bits of its dtype."""
    bits = 8 * DTYPES[dtype].bytes
    value %= 1 << bits
    return Const(value - (1 << bits) if DTYPES[dtype].kind == "int" and value >> (bits - 1) else value, dtype)


def _fold_int(op: str, a: Expr, b: Expr) -> Expr:
    by_zero = op in ("floordiv", "mod") and isinstance(b, Const) and b.value == 0
    if isinstance(a, Const) and isinstance(b, Const) and op in _INT_FOLD and not by_zero:
        value = _INT_FOLD[op](int(a.value), int(b.value))
        return Const(bool(value), "bool") if op in COMPARE else _wrapped(int(value), a.dtype)
    if isinstance(b, Const):
        v = b.value
        if (op in ("add", "sub") and v == 0) or (op in ("mul", "floordiv") and v == 1):
            return a
        if (op == "mul" and v == 0) or (op == "mod" and v == 1):
            return Const(0, a.dtype)
        if op in ("add", "sub") and isinstance(a, Binary) and a.op == "add" and isinstance(a.b, Const):
            total = int(a.b.value) + (int(v) if op == "add" else -int(v))
            return binary("add", a.a, _wrapped(total, a.dtype))  # (x + c) + d -> x + (c + d)
        if op == "sub":
            return Binary("add", a, _wrapped(-int(v), a.dtype))
    if isinstance(a, Const):
        if op == "add":
            return binary("add", b, a)
        if op == "mul":
            return binary("mul", b, a)
    return Binary(op, a, b)


def unary(op: str, a: Expr) -> Expr:
    if op == "neg" and isinstance(a, Const) and not is_float(a.dtype):
        return _wrapped(-int(a.value), a.dtype)
    if op == "not" and isinstance(a, Const):
        return Const(not a.value, "bool") if a.dtype == "bool" else _wrapped(~int(a.value), a.dtype)
    return Unary(op, a)


def eq(a: Expr, b: object) -> Expr:
    """`a == b` (Python's own == compares expressions as objects)."""
    return binary("eq", a, b)


def ne(a: Expr, b: object) -> Expr:
    return binary("ne", a, b)


def minimum(a: Expr, b: object) -> Expr:
    return binary("min", a, b)


def maximum(a: Expr, b: object) -> Expr:
    return binary("max", a, b)


def select(cond: Expr, a: object, b: object) -> Expr:
    if not isinstance(a, Expr):
        assert isinstance(b, Expr)
        a = lift(a, b.dtype)
    b = lift(b, a.dtype)
    if isinstance(cond, Const):
        return a if cond.value else b
    return Select(cond, a, b)


def cast(a: Expr, dtype: str) -> Expr:
    if a.dtype == dtype:
        return a
    if isinstance(a, Cast) and is_storage(dtype) and a.a.dtype == dtype and a.type == DTYPES[dtype].wide:
        return a.a  # widened, and back
    if isinstance(a, Const) and is_storage(a.dtype) and dtype == DTYPES[a.dtype].wide:
        return Const(float(numpy_dtype(a.dtype).type(a.value)), dtype)
    if isinstance(a, Const) and not is_float(a.dtype):
        return lift(a.value, dtype) if is_float(dtype) or dtype == "bool" else _wrapped(int(a.value), dtype)
    return Cast(a, dtype)
