"""The float types of two bytes, and back: conversions as expressions on bits, rounded to nearest even.

Fabian Giesen, "float->half variants" (2012): a normal float16 is a float32 with another bias, and a float32 that
becomes a subnormal one is rounded by adding 0.5, whose last bit is worth what that of a subnormal is. A bfloat16 is the
upper half of a float32. NaN stays NaN; its payload may change.

A float64 is rounded to a float32 "to odd" first, so that rounding again is as good as rounding once (S. Boldo,
G. Melquiond, "When double rounding is odd", 2005). Integers go through float32, as in NumPy: two roundings.
"""

from __future__ import annotations

from .dtypes import DTYPES
from .expr import Bitcast, Expr, binary, cast, const, eq, ne, select, unary

# Bits of float32.
INFINITY = 0x7F800000
SMALLEST = 113 << 23  # 2^-14, the least normal float16
TOO_LARGE = 143 << 23  # 2^16: rounds to infinity


def convert(a: Expr, dtype: str) -> Expr:
    """`a` as `dtype`, where one of the two is a storage type; in casts between other types, and operations on bits."""
    if DTYPES[a.dtype].wide:
        bits = cast(Bitcast(a, "u16"), "i32")
        x = from_float16(bits) if a.dtype == "f16" else Bitcast(bits << 16, "f32")
        return convert(x, dtype) if DTYPES[dtype].wide else cast(x, dtype)
    bits = _to_odd(a) if a.dtype == "f64" else Bitcast(cast(a, "f32"), "i32")
    rounded = to_float16(bits) if dtype == "f16" else to_bfloat16(bits)
    return Bitcast(cast(rounded, "u16"), dtype)


def from_float16(h: Expr) -> Expr:
    """The float32 of the bits of a float16, which are in an i32."""
    magnitude = (h & 0x7FFF) << 13
    scaled = Bitcast(Bitcast(magnitude, "f32") * 2.0**112, "i32")  # the other bias; exact, subnormals too
    special = binary("le", const(0x7C00 << 13, "i32"), magnitude)
    return Bitcast(select(special, magnitude | INFINITY, scaled) | ((h & 0x8000) << 16), "f32")


def to_float16(bits: Expr) -> Expr:
    """The bits of a float16, in an i32, from those of a float32."""
    u = bits & 0x7FFFFFFF
    normal = (u + ((15 - 127) * (1 << 23) + 0xFFF) + ((u >> 13) & 1)) >> 13
    half = const(0.5, "f32")
    subnormal = Bitcast(Bitcast(u, "f32") + half, "i32") - (126 << 23)
    special = select(const(INFINITY, "i32") < u, const(0x7E00, "i32"), const(0x7C00, "i32"))
    small = select(u < SMALLEST, subnormal, normal)
    return select(u < TOO_LARGE, small, special) | ((bits >> 16) & 0x8000)


def to_bfloat16(bits: Expr) -> Expr:
    """The bits of a bfloat16, in an i32, from those of a float32."""
    nan = const(INFINITY, "i32") < (bits & 0x7FFFFFFF)
    rounded = (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16
    return select(nan, (bits >> 16) | 0x40, rounded) & 0xFFFF


def _to_odd(x: Expr) -> Expr:
    """The bits of the float32 next to a float64: itself, or the one of two neighbours whose last bit is 1."""
    nearest = cast(x, "f32")
    bits, back = Bitcast(nearest, "i32"), cast(nearest, "f64")
    even_and_inexact = eq(bits & 1, 0) & ne(back, x) & eq(x, x)
    return select(even_and_inexact, select(unary("abs", back) < unary("abs", x), bits + 1, bits - 1), bits)
