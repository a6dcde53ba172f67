"""pow(x, y) = 2**(y log2 |x|) with the logarithm in two parts, and cbrt.

    log2 |x| = e + log2(m), log(m) = 2 atanh(s) = 2 s (1 + z/3 + z**2 p(z)), s = (m - 1) / (m + 1), z = s**2

The exponent of the result is as large as 2**7 or 2**10, so the logarithm must be more accurate than its format by as
many bits; s, 1 + z/3 and the products with 1 / ln 2 and y are sums of two numbers (Dekker, 1971). Special values are
those of C's pow (ISO C, annex F.10.4.4), which are NumPy's.
"""

from __future__ import annotations

import math

from ..expr import Bitcast, Expr, Fma, Select, Unary, eq, ne
from .exponential import LIMITS2, exp2_sum
from .format import (
    F32,
    Coefficients,
    Format,
    absolute,
    clamp_above,
    clamp_below,
    fast_two_sum,
    horner,
    is_nan,
    two_product,
    two_sum,
    with_sign,
)  # fmt: skip
from .logarithm import LOG2_E, split

# (atanh(s) / s - 1 - z/3) / z**2 in powers of z = s**2
ATANH: dict[str, Coefficients] = {
    "f32": (  # 2**-36.8
        0.20000076293945312, 0.14273545145988464, 0.1170981302857399,
    ),
    "f64": (  # 2**-73.5
        0.1999999999999999, 0.14285714285721926, 0.11111111108892603, 0.0909090942235586, 0.07692279185552456,
        0.06668133480778296, 0.05837863296791923, 0.0599111620716856,
    ),
}  # fmt: skip
THIRD = {"f32": (0.3333333432674408, -9.934107758624577e-09), "f64": (1 / 3, 1.850371707708594e-17)}


def _log2(f: Format, x: Expr) -> tuple[Expr, Expr]:
    """The logarithm of a positive finite x, in two parts."""
    _, n, m = split(f, x)
    a = m - 1.0
    b, b_low = fast_two_sum(f.c(1.0), m)
    # s = a / b, and what the quotient lost
    s = a / b
    s_low = Fma(-s, b_low, Fma(-s, b, a)) / b
    z, z_low = two_product(s, s)
    z_low = Fma(s + s, s_low, z_low)
    # 1 + z (1/3 + z p(z)) in two parts: first the bracket, then its product with z
    third, third_low = THIRD[f.dtype]
    g, g_low = fast_two_sum(f.c(third), Fma(z, horner(ATANH[f.dtype], z), f.c(third_low)))
    h, h_low = two_product(z, g)
    h_low = h_low + Fma(z, g_low, z_low * g)
    # atanh(s) = s + s h
    t, t_low = two_product(s, h)
    t_low = t_low + Fma(s, h_low, s_low * h)
    w, w_low = fast_two_sum(s, t)
    w_low = w_low + (t_low + s_low)
    # log2(m) = 2 / ln 2 times that
    scale, scale_low = LOG2_E[f.dtype]
    p, p_low = two_product(w, f.c(2 * scale))
    p_low = p_low + Fma(w, f.c(2 * scale_low), w_low * (2 * scale))
    total, lost = two_sum(n, p)
    return fast_two_sum(total, lost + p_low)


def pow(f: Format, x: Expr, y: Expr) -> Expr:
    size = absolute(x)
    log, log_low = _log2(f, size)
    # The logarithms of 0 and inf; that of 1 is 0 exactly.
    log = Select(size < math.inf, Select(eq(size, 0.0), f.c(-math.inf), log), f.c(math.inf))
    low, high = LIMITS2[f.dtype]
    product = y * log
    exponent = clamp_above(clamp_below(product, f.c(low)), f.c(high))
    tail = Fma(y, log_low, Fma(y, log, -product))
    result = exp2_sum(f, exponent, Select(absolute(product) < high + 32, tail, f.c(0.0)))
    half = y * 0.5
    whole, even = eq(Unary("floor", y), y), eq(Unary("floor", half), half)
    result = with_sign(f, result, Select(even, f.c(0.0), Select(whole, x, f.c(0.0))))
    result = Select((x < 0.0) & (size < math.inf) & ne(Unary("floor", y), y), f.c(math.nan), result)
    result = Select(is_nan(x) | is_nan(y), x + y, result)
    one = eq(x, 1.0) | eq(y, 0.0) | (eq(x, -1.0) & eq(absolute(y), math.inf))
    return Select(one, f.c(1.0), result)


def cbrt(f: Format, x: Expr) -> Expr:
    """A third of the exponent and fraction, taken as one integer, is within 6 %; then Halley's iteration, which triples
    the correct digits."""
    y = absolute(x)
    shift = 24 if f is F32 else 54
    large = y > 1.0
    v = y * Select(large, f.c(2.0**-shift), f.c(2.0**shift))  # so that neither v nor 3 v leaves the normal range
    i = Bitcast(v, f.ints)
    third = (i >> 2) + (i >> 4)  # i / 3 = i (1/4 + 1/16 + ...)
    third = third + (third >> 4)
    third = third + (third >> 8)
    third = third + (third >> 16)
    r: Expr = Bitcast(third + round((2 / 3 * f.bias - 0.0327) * 2**f.fraction), f.dtype)
    for _ in range(2 if f is F32 else 3):
        cube = r * r * r
        r = r - r * ((cube - v) / (cube + cube + v))
    r = r * Select(large, f.c(2.0 ** (shift // 3)), f.c(2.0 ** -(shift // 3)))
    return with_sign(f, Select((y < math.inf) & ne(y, 0.0), r, y), x)
