"""exp, exp2, expm1 and sigmoid: argument reduction, polynomial, reconstruction (Cody and Waite, Software Manual for the
Elementary Functions, 1980; Moshier, Cephes, 1989).

    exp(x)   = 2**n * exp(r)                        n = round(x / ln 2), |r| <= ln(2)/2
    exp2(x)  = 2**n * 2**r                          n = round(x), |r| <= 1/2
    expm1(x) = 2**n * expm1(r) + (2**n - 1)
    sigmoid(x) = 1 / (1 + e) or e / (1 + e)         e = exp(-|x|)

Rounding to an integer by adding 1.5 * 2**p (p: bits of the fraction), which leaves the integer in the low bits of the
sum, is in Muller et al., Handbook of Floating-Point Arithmetic (2018), ch. 10.
"""

from __future__ import annotations

import math

from ..expr import Bitcast, Expr, Fma, Select
from .format import Coefficients, Format, absolute, clamp_above, clamp_below, horner, with_sign

# (exp(r) - 1) / r
EXP: dict[str, Coefficients] = {
    "f32": (
        1.0, 0.4999987483024597, 0.1666654348373413, 0.041700318455696106, 0.008366254158318043,
        0.0011896686628460884,
    ),
    "f64": (
        1.0, 0.5000000000000012, 0.16666666666666216, 0.041666666666517235, 0.008333333333550564,
        0.001388888894652467, 0.00019841269435561264, 2.480149044352405e-05, 2.7557627335357705e-06,
        2.7631107671602056e-07, 2.499136438107071e-08,
    ),
}  # fmt: skip
# (2**r - 1) / r
EXP2: dict[str, Coefficients] = {
    "f32": (  # 2**-25.5
        0.6931472420692444, 0.24022652208805084, 0.055503107607364655, 0.009617694653570652,
        0.0013406627112999558, 0.00015594249998684973,
    ),
    "f64": (  # 2**-54.4
        0.6931471805599457, 0.24022650695910097, 0.0555041086647904, 0.009618129107607008,
        0.0013333558153438498, 0.00015403530441563754, 1.5252727386374241e-05, 1.3215442679600578e-06,
        1.0180647251951683e-07, 7.072569716234801e-09, 4.0781236097046187e-10,
    ),
}  # fmt: skip
# (expm1(r) - r) / r**2
EXPM1: dict[str, Coefficients] = {
    "f32": (  # 2**-28.3
        0.5, 0.1666666716337204, 0.041666314005851746, 0.008333215489983559, 0.0013944313395768404,
        0.00019964970124419779,
    ),
    "f64": (  # 2**-56.6
        0.5000000000000001, 0.1666666666666667, 0.04166666666665113, 0.008333333333325576,
        0.0013888888895999105, 0.00019841269876772462, 2.480157403299832e-05, 2.755725293662364e-06,
        2.7568134658508955e-07, 2.510623627258295e-08, 1.7688357123695687e-09,
    ),
}  # fmt: skip

LIMITS = {"f32": (-104.0, 89.0), "f64": (-746.0, 710.0)}  # exp is 0 below, inf above
LIMITS2 = {"f32": (-151.0, 129.0), "f64": (-1076.0, 1025.0)}  # exp2, likewise
EXPM1_LIMITS = {"f32": (-26.0, 88.8), "f64": (-56.0, 709.9)}  # expm1 is -1 below, inf above
SPLIT = {"f32": 64, "f64": 512}  # 2**n is scaled by this, up or down, so that neither factor leaves the range
LN2 = {  # two parts; the first has few enough bits that its products with exponents are exact
    "f32": (0.693359375, -2.12194440e-4),
    "f64": (6.93145751953125e-1, 1.42860682030941723212e-6),
}


def scaled(f: Format, p: Expr, t: Expr, x: Expr) -> Expr:
    """p * 2**n for an n whose exponent is beyond the format's; the low bits of t hold n + 2 * bias, one bias for the
    exponent of each of two factors, and x has the sign of n."""
    second = Select(x < 0.0, f.c(2.0 ** -SPLIT[f.dtype]), f.c(2.0 ** SPLIT[f.dtype]))
    first = Bitcast((Bitcast(t, f.ints) << f.fraction) - Bitcast(second, f.ints), f.dtype)  # 2**n / second
    return (p * first) * second


def reduced(f: Format, y: Expr, offset: int) -> tuple[Expr, Expr, Expr]:
    """t, n and r of y = n ln 2 + r; the low bits of t hold n + offset."""
    high, low = LN2[f.dtype]
    magic = f.c(f.round_magic + offset)
    t = Fma(y, f.c(1 / math.log(2)), magic)
    n = t - magic
    return t, n, Fma(n, f.c(-low), Fma(n, f.c(-high), y))


def exp(f: Format, x: Expr) -> Expr:
    low, high = LIMITS[f.dtype]
    y = clamp_above(clamp_below(x, f.c(low)), f.c(high))
    t, _, r = reduced(f, y, 2 * f.bias)
    return scaled(f, Fma(horner(EXP[f.dtype], r), r, f.c(1.0)), t, x)


def half_exp(f: Format, x: Expr) -> Expr:
    """exp(x) / 2, which overflows where sinh and cosh do; x >= 0."""
    y = clamp_above(x, f.c(LIMITS[f.dtype][1] + 2))
    t, _, r = reduced(f, y, 2 * f.bias - 1)
    return scaled(f, Fma(horner(EXP[f.dtype], r), r, f.c(1.0)), t, y)


def exp2(f: Format, x: Expr) -> Expr:
    low, high = LIMITS2[f.dtype]
    y = clamp_above(clamp_below(x, f.c(low)), f.c(high))
    return exp2_sum(f, y, None)


def exp2_sum(f: Format, y: Expr, tail: Expr | None) -> Expr:
    """2**(y + tail) for y between the limits and a small tail."""
    magic = f.c(f.round_magic + 2 * f.bias)
    t = y + magic
    r = y - (t - magic)
    r = r if tail is None else r + tail
    return scaled(f, Fma(horner(EXP2[f.dtype], r), r, f.c(1.0)), t, y)


def expm1(f: Format, x: Expr) -> Expr:
    """Where n = 0, r is x itself, so that small results are as accurate as large ones. The last doubling is done at
    the end: 2**(n - 1) is finite wherever the result is."""
    low, high = EXPM1_LIMITS[f.dtype]
    y = clamp_above(clamp_below(x, f.c(low)), f.c(high))
    t, _, r = reduced(f, y, f.bias - 1)
    half = Bitcast(Bitcast(t, f.ints) << f.fraction, f.dtype)  # 2**n / 2
    p = Fma(r * r, horner(EXPM1[f.dtype], r), r)
    return with_sign(f, Fma(half, p, half - 0.5) * 2.0, x)


def sigmoid(f: Format, x: Expr) -> Expr:
    """A quotient of sums, corrected by what rounding e and 1 + e has lost: where e / (1 + e) is just below a power of 2
    and e just above, each unit in the last place of e is two of the result."""
    y = clamp_below(-absolute(x), f.c(LIMITS[f.dtype][0]))
    t, _, r = reduced(f, y, f.bias + SPLIT[f.dtype])
    first = Bitcast(Bitcast(t, f.ints) << f.fraction, f.dtype)
    second = f.c(2.0 ** -SPLIT[f.dtype])
    q = horner(EXP[f.dtype], r)
    p = Fma(q, r, f.c(1.0))
    e, e_low = (p * first) * second, (Fma(q, r, 1.0 - p) * first) * second
    d = 1.0 + e
    d_low = (e - (d - 1.0)) + e_low
    negative = x < 0.0
    quotient = Select(negative, e, f.c(1.0)) / d
    inverse = Select(negative, 1.0 - quotient, quotient)  # 1 / d
    return Fma(Select(negative, e_low, f.c(0.0)) - quotient * d_low, inverse, quotient)
