"""The two IEEE formats, and what all functions are built of: constants, bits, polynomials, exact sums and products.

Exact sums and products (TwoSum: Knuth, The Art of Computer Programming, vol. 2, 4.2.2; FastTwoSum: Dekker, 1971;
TwoProduct by fma: Muller et al., Handbook of Floating-Point Arithmetic, 2018, ch. 4) return a rounded result and what
rounding has lost.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..dtypes import DTYPES
from ..expr import Bitcast, Const, Expr, Fma, Select, Unary, ne

Pair = tuple[Expr, Expr]  # an unevaluated sum, the larger part first
Coefficients = tuple[float, ...]  # of a polynomial, from the constant term up


@dataclass(frozen=True, slots=True)
class Format:
    """An IEEE format."""

    dtype: str
    ints: str  # the integer dtype of the same size
    fraction: int  # bits of the fraction
    bias: int

    @property
    def size(self) -> int:
        """In bytes."""
        return DTYPES[self.dtype].bytes

    @property
    def round_magic(self) -> float:
        """Adding it rounds to an integer (to nearest, ties to even); the low bits of its pattern are 0."""
        return 1.5 * 2.0**self.fraction

    @property
    def magic_bits(self) -> int:
        return ((self.bias + self.fraction) << self.fraction) | (1 << (self.fraction - 1))

    @property
    def smallest_normal(self) -> float:
        return 2.0 ** (1 - self.bias)

    def c(self, value: float) -> Expr:
        return Const(float(value), self.dtype)


F32 = Format("f32", "i32", 23, 127)
F64 = Format("f64", "i64", 52, 1023)
FORMATS = {"f32": F32, "f64": F64}


def horner(coefficients: Coefficients, x: Expr) -> Expr:
    """sum of coefficients[i] * x**i, one fma a degree."""
    value: Expr = Const(coefficients[-1], x.dtype)
    for a in reversed(coefficients[:-1]):
        value = Fma(value, x, Const(a, x.dtype))
    return value


# `a < b ? b : a` is one instruction on x86 and, unlike min and max, gives NaN back without a test.


def clamp_below(x: Expr, low: Expr) -> Expr:
    return Select(x < low, low, x)


def clamp_above(x: Expr, high: Expr) -> Expr:
    return Select(high < x, high, x)


def absolute(x: Expr) -> Expr:
    return Unary("abs", x)


def is_nan(x: Expr) -> Expr:
    return ne(x, x)


def sign_bit(f: Format, x: Expr) -> Expr:
    """The sign of x, as an integer with no other bit."""
    return Bitcast(x, f.ints) & Const(-(1 << (8 * f.size - 1)), f.ints)


def with_sign(f: Format, magnitude: Expr, sign: Expr) -> Expr:
    """A magnitude, whose own sign is +, with the sign bit of another number."""
    return Bitcast(Bitcast(magnitude, f.ints) | sign_bit(f, sign), f.dtype)


def flip_sign(f: Format, x: Expr, sign: Expr) -> Expr:
    """x, negated where another number has its sign bit set."""
    return Bitcast(Bitcast(x, f.ints) ^ sign_bit(f, sign), f.dtype)


# ------------------------------------------------------------------------------- exact sums and products


def two_sum(a: Expr, b: Expr) -> Pair:
    """a + b exactly."""
    s = a + b
    t = s - a
    return s, (a - (s - t)) + (b - t)


def fast_two_sum(a: Expr, b: Expr) -> Pair:
    """a + b exactly, where |a| >= |b| or a = 0."""
    s = a + b
    return s, b - (s - a)


def two_product(a: Expr, b: Expr) -> Pair:
    """a * b exactly, as long as the lost part does not underflow."""
    p = a * b
    return p, Fma(a, b, -p)
