"""Quotients rounded down or toward zero, and what they leave: of integers and floats.

Integers divided by 0 give 0 and leave 0, as in NumPy; the least integer divided by -1 wraps to itself.

The remainder of floats is exact, as that of C's fmod: x - q y for the whole quotient q, in steps of 52 bits of q from
the highest on, each of which an fma does without rounding. Six steps are enough for all float32, whose quotients are
below 2^277; they go through float64. Where |x / y| of float64 reaches 2^312, the result is NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.dtypes import DTYPES, is_float
from codegen.expr import Bitcast, Expr, Fma, cast, const, eq, ne, select, unary

from ..node import Node, apply
from ..op import Sample
from ..types import INTEGERS
from .elementwise import Binary, pair

STEPS, BITS = 6, 52


def float_fmod(x: Expr, y: Expr) -> Expr:
    """The remainder of floats with the sign of x: the module's formula."""
    if x.dtype == "f32":
        return cast(float_fmod(cast(x, "f64"), cast(y, "f64")), "f32")
    rest, divisor = unary("abs", x), unary("abs", y)
    for step in reversed(range(STEPS)):
        part = divisor * 2.0 ** (BITS * step)
        quotient = unary("floor", rest / part)
        left: Expr = Fma(-quotient, part, rest)
        left = select(left < 0.0, left + part, left)  # the quotient was rounded up
        unchanged = eq(quotient, const(0.0, "f64"))  # also where `part` is infinite
        rest = select(unchanged, rest, left)
    rest = select(rest < divisor, rest, math.nan)
    return select(x < 0.0, -rest, select(eq(x, 0.0) & eq(rest, 0.0), x, rest))


def float_remainder(x: Expr, y: Expr) -> Expr:
    """The remainder of floats with the sign of y."""
    left = float_fmod(x, y)
    zero = select(y < 0.0, -0.0, const(0.0, x.dtype))
    differ = ne(left < 0.0, y < 0.0)
    return select(eq(left, 0.0), zero, select(differ, left + y, left))


def float_floor_divide(x: Expr, y: Expr) -> Expr:
    """floor(x / y) of floats, from the exact remainder, as NumPy has it."""
    left = float_fmod(x, y)
    differ = ne(left, 0.0) & ne(left < 0.0, y < 0.0)
    nearly = (x - left) / y
    ratio = select(differ, nearly - 1.0, nearly)
    whole = unary("floor", ratio)
    whole = select(const(0.5, x.dtype) < ratio - whole, whole + 1.0, whole)
    negative = Bitcast(x / y, "i32" if x.dtype == "f32" else "i64") < 0
    zero = select(negative, -0.0, const(0.0, x.dtype))
    return select(eq(y, 0.0), x / y, select(eq(ratio, 0.0), zero, whole))


def whole_divisor(y: Expr) -> Expr:
    """A divisor that no target minds: 1 in place of 0 and -1."""
    refused = eq(y, 0) | eq(y, -1) if DTYPES[y.dtype].kind == "int" else eq(y, 0)
    return select(refused, 1, y)


def whole_floor_divide(x: Expr, y: Expr) -> Expr:
    quotient = x // whole_divisor(y)
    if DTYPES[y.dtype].kind == "int":
        quotient = select(eq(y, -1), -x, quotient)
    return select(eq(y, 0), 0, quotient)


def whole_remainder(x: Expr, y: Expr) -> Expr:
    return x % whole_divisor(y)


@dataclass(frozen=True)
class Division(Binary):
    """Base: of all numbers."""

    def remainder_partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        """x - q y for a whole q, which is constant around almost all points."""
        return g, g * ((node - x) / y)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        whole = cls.accepts == "integer"
        if not whole:
            yield Sample(cls(), ((3, 4), (3, 4)), low=0.3, high=3.0, differentiable=cls.smooth())
            yield Sample(cls(), ((3, 4), (3, 4)), low=-3.0, high=3.0, differentiable=False)
        yield Sample(cls(), ((4, 5), (5,)), dtypes=("int32", "int32"), low=-5, high=6, differentiable=False)
        yield Sample(cls(), ((4, 9), (4, 9)), dtypes=("int8", "int8"), low=-128, high=128, differentiable=False)
        yield Sample(cls(), ((0, 5), (5,)), dtypes=("uint16", "uint16"), low=0, high=9, differentiable=False)

    @classmethod
    def smooth(cls) -> bool:
        return True


@dataclass(frozen=True)
class FloorDivide(Division):
    """floor(x / y): rounded down; x // y. Its derivative is 0 almost everywhere. numpy.floor_divide."""

    name = "floor_divide"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.floor_divide(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return float_floor_divide(x, y) if is_float(x.dtype) else whole_floor_divide(x, y)

    @classmethod
    def smooth(cls) -> bool:
        return False


@dataclass(frozen=True)
class TruncDivide(Division):
    """x / y rounded toward zero, of integers: division in C."""

    name = "trunc_divide"
    accepts = "integer"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        down, left = np.divmod(x, y)
        return down + ((left != 0) & ((x < 0) != (y < 0))).astype(x.dtype)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        down = whole_floor_divide(x, y)
        if DTYPES[x.dtype].kind == "uint":
            return down
        return select(ne(whole_remainder(x, y), 0) & ne(x < 0, y < 0), down + 1, down)


@dataclass(frozen=True)
class Remainder(Division):
    """x - floor(x / y) y, with the sign of y; x % y. Derivatives 1 and -floor(x / y). numpy.remainder."""

    name = "remainder"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.remainder(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return float_remainder(x, y) if is_float(x.dtype) else whole_remainder(x, y)

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        return self.remainder_partials(node, g, x, y)


@dataclass(frozen=True)
class FMod(Division):
    """x - trunc(x / y) y, with the sign of x. Derivatives 1 and -trunc(x / y). numpy.fmod."""

    name = "fmod"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        if x.dtype.name not in INTEGERS:
            return np.fmod(x, y)
        safe = np.where(y == 0, 1, y).astype(y.dtype)  # numpy.fmod traps where the least integer meets -1
        left = np.remainder(x, safe)
        return np.where((left != 0) & ((left < 0) != (x < 0)), left - safe, left)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        if is_float(x.dtype):
            return float_fmod(x, y)
        left = whole_remainder(x, y)
        if DTYPES[x.dtype].kind == "uint":
            return left
        return select(ne(left, 0) & ne(left < 0, x < 0), left - y, left)

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        return self.remainder_partials(node, g, x, y)


# ------------------------------------------------------------------------------------ user functions


def floor_divide(x: Any, y: Any) -> Node:
    """floor(x / y)."""
    return apply(FloorDivide(), *pair(x, y))


def trunc_divide(x: Any, y: Any) -> Node:
    """x / y of integers, rounded toward zero."""
    return apply(TruncDivide(), *pair(x, y))


def remainder(x: Any, y: Any) -> Node:
    """x - floor(x / y) y: the sign is that of y."""
    return apply(Remainder(), *pair(x, y))


def fmod(x: Any, y: Any) -> Node:
    """x - trunc(x / y) y: the sign is that of x."""
    return apply(FMod(), *pair(x, y))
