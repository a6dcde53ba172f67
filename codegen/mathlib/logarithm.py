"""log, log2, log10 and log1p.

    log(x) = e ln 2 + log1p(f)               x = 2**e (1 + f), sqrt(1/2) <= 1 + f < sqrt(2)
    log1p(x) is log of the exact sum 1 + x = u + c: log u + c / u, where 1 / (1 + f) = 1 - f + f**2 is close enough

The exponent is split off as in Cephes (Moshier, 1989); 1 + x with its rounding error as in Kahan's log1p.
"""

from __future__ import annotations

import math

from ..expr import Bitcast, Const, Expr, Fma, Select, cast, eq
from .exponential import LN2
from .format import F32, Coefficients, Format, horner, sign_bit, two_sum

# (log1p(f) - f + f**2/2) / f**3: 2**-24.8 and 2**-54.0 of log1p(f)
LOG: dict[str, Coefficients] = {
    "f32": (
        0.3333390951156616, -0.2500133812427521, 0.19963063299655914, -0.1657758504152298, 0.14914768934249878,
        -0.14267487823963165, 0.08700436353683472,
    ),
    "f64": (
        0.33333333333328524, -0.250000000000063, 0.20000000001652854, -0.16666666666733948, 0.14285714094108196,
        -0.12499999814587934, 0.11111121744370143, -0.10000018342812532, 0.09090589321069902, -0.08332554881872649,
        0.07697635584825326, -0.0716016871529965, 0.06622101823118608, -0.06042041775683631, 0.059722087462772216,
        -0.06783509020881337, 0.06324999518730672, -0.028325399509300155,
    ),
}  # fmt: skip
SQRT_HALF = {"f32": 0x3F3504F3, "f64": 0x3FE6A09E667F3BCD}  # the bits of sqrt(1/2)

# In two parts: 1 / ln 2, 1 / ln 10, and log10(2), whose first part has few enough bits for exact products.
LOG2_E = {"f32": (1.4426950216293335, 1.925963033500011e-08), "f64": (1.4426950408889634, 2.0355273740931033e-17)}
LOG10_E = {"f32": (0.4342944920063019, -1.0103049952192578e-08), "f64": (0.4342944819032518, 1.098319650216765e-17)}
LOG10_2 = {"f32": (0.301025390625, 4.605039066518657e-06), "f64": (0.3010299956640665, -8.532344317057107e-14)}


def split(f: Format, x: Expr, may_be_tiny: bool = True) -> tuple[Expr, Expr, Expr]:
    """The integer e, e as a float, and 1 + f, of a positive x."""
    tiny = x < f.smallest_normal
    normal = x * Select(tiny, f.c(2.0**f.fraction), f.c(1.0)) if may_be_tiny else x
    bits = Bitcast(normal, f.ints)
    root = SQRT_HALF[f.dtype]
    # Counting from the bits of sqrt(1/2) makes the exponent field of the difference e, the fraction field f.
    scaled = root + (f.fraction << f.fraction)
    start = Select(tiny, Const(scaled, f.ints), Const(root, f.ints)) if may_be_tiny else Const(root, f.ints)
    e = (bits - start) >> f.fraction
    mantissa = ((bits - root) & ((1 << f.fraction) - 1)) + root
    if f is F32:
        n: Expr = cast(e, f.dtype)
    else:  # i64 -> f64 is slow or absent in SIMD: the rounding trick, backwards
        n = Bitcast(e + f.magic_bits, f.dtype) - f.round_magic
    return e, n, Bitcast(mantissa, f.dtype)


def curve(f: Format, m: Expr) -> Expr:
    """(log1p(m) - m) / m**2."""
    return Fma(m, horner(LOG[f.dtype], m), f.c(-0.5))


def times_ln2(f: Format, n: Expr, rest: Expr) -> Expr:
    """n ln 2 + rest."""
    if f is F32:  # 24 bits of ln 2 err by 0.06 ULP of the smallest result
        return Fma(n, f.c(math.log(2)), rest)
    high, low = LN2[f.dtype]
    return Fma(n, f.c(high), Fma(n, f.c(low), rest))


def with_special_values(f: Format, x: Expr, main: Expr) -> Expr:
    positive = Select(x < math.inf, main, x)  # inf and NaN are their own logarithms
    return Select(x <= 0.0, Select(eq(x, 0.0), f.c(-math.inf), f.c(math.nan)), positive)


def log(f: Format, x: Expr) -> Expr:
    _, n, mantissa = split(f, x)
    m = mantissa - 1.0
    return with_special_values(f, x, times_ln2(f, n, Fma(m * m, curve(f, m), m)))


def log2(f: Format, x: Expr) -> Expr:
    _, n, mantissa = split(f, x)
    return with_special_values(f, x, n + _scaled(f, mantissa - 1.0, LOG2_E[f.dtype]))


def log10(f: Format, x: Expr) -> Expr:
    _, n, mantissa = split(f, x)
    high, low = LOG10_2[f.dtype]
    main = Fma(n, f.c(high), Fma(n, f.c(low), _scaled(f, mantissa - 1.0, LOG10_E[f.dtype])))
    return with_special_values(f, x, main)


def _scaled(f: Format, m: Expr, factor: tuple[float, float]) -> Expr:
    """log1p(m) times a number in two parts."""
    high, low = f.c(factor[0]), f.c(factor[1])
    return Fma(m, high, Fma(m, low, (m * m) * curve(f, m) * high))


def log1p(f: Format, x: Expr) -> Expr:
    u, lost = two_sum(f.c(1.0), x)
    e, n, mantissa = split(f, u, may_be_tiny=False)
    m = mantissa - 1.0
    one = Bitcast(f.c(1.0), f.ints)
    down = Select(x < 2.0 ** (f.fraction + 2), Bitcast(one - (e << f.fraction), f.dtype), f.c(0.0))  # 2**-e
    tail = (lost * down) * Fma(m, m - 1.0, f.c(1.0))
    main = times_ln2(f, n, m + Fma(m * m, curve(f, m), tail))
    signed = Bitcast(Bitcast(main, f.ints) | sign_bit(f, x), f.dtype)  # -0 stays -0
    positive = Select(x < math.inf, signed, x)
    return Select(x <= -1.0, Select(eq(x, -1.0), f.c(-math.inf), f.c(math.nan)), positive)
