"""exp, log and tanh as expressions of the loop language.

They need no libm, hold no table and no branch other than `select`, so they vectorise, and every target
computes the same bits. All are branch-free argument reduction + polynomial + reconstruction:

    exp(x)  = 2**n * exp(r)                     n = round(x / ln 2), |r| <= ln(2)/2
    log(x)  = e * ln 2 + log1p(f)               x = 2**e * (1 + f), sqrt(1/2) <= 1 + f < sqrt(2)
    tanh(x) = 1 - 2 / (exp(2x) + 1)             where x > 0.55; x + x**3 * p(x**2) below

The reductions are those of Cody and Waite (Software Manual for the Elementary Functions, 1980) and of
Cephes (Moshier, 1989); rounding to an integer by adding 1.5 * 2**p (p: bits of the fraction), which leaves
the integer in the low bits of the sum, is in Muller et al., Handbook of Floating-Point Arithmetic (2018),
ch. 10. The polynomials are our own minimax fits (Remez exchange at 200 bits for the relative error, then
rounded to the dtype). Their relative error, and the error of the whole expression against mpmath (the
tests hold it over all exponents, edges and special values):

                    polynomial      whole function
    exp   f32       2**-26.0        1.1 ULP
          f64       2**-56.2        1.0 ULP
    log   f32       2**-24.8        1.2 ULP
          f64       2**-54.0        1.5 ULP
    tanh  f32       2**-24.6        1.7 ULP
          f64       2**-55.4        1.8 ULP

Subnormal arguments and results are exact to the same bound, NaN gives NaN, exp overflows to inf and
underflows gradually to 0, log(0) = -inf, log(x < 0) = nan, tanh is odd bit by bit and keeps the sign of 0.

Integer arithmetic here wraps, as everywhere in the language. Subexpressions that are used twice are one
Python object: an emitter that memoises by `id` computes them once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from .dtypes import DTYPES
from .errors import CodegenError
from .expr import Bitcast, Const, Expr, Fma, Select, Unary, cast, eq


@dataclass(frozen=True, slots=True)
class _Format:
    """An IEEE format and the constants fitted for it. Polynomials are listed from the constant term."""

    dtype: str
    ints: str  # the integer dtype of the same size
    fraction: int  # bits of the fraction
    bias: int
    split: int  # exp scales by 2**(n -+ split) * 2**(+-split), so that neither factor leaves the range
    exp_min: float  # exp is 0 below, inf above
    exp_max: float
    exp_poly: tuple[float, ...]  # (exp(r) - 1) / r
    sqrt_half: int  # the bits of sqrt(1/2)
    log_poly: tuple[float, ...]  # (log1p(f) - f + f**2/2) / f**3
    tanh_max: float  # tanh is 1 above
    tanh_small: tuple[float, ...]  # (tanh(x) / x - 1) / x**2 in powers of x**2, for |x| < 0.55
    tanh_large: tuple[float, ...]  # (exp(2r) - 1) / r
    ln2_high: float  # few enough bits that n * ln2_high is exact
    ln2_low: float

    @property
    def round_magic(self) -> float:
        """Adding it rounds to an integer; its low bits are 0."""
        return 1.5 * 2.0**self.fraction


_F32 = _Format(
    dtype="f32",
    ints="i32",
    fraction=23,
    bias=127,
    split=64,
    exp_min=-104.0,
    exp_max=89.0,
    exp_poly=(
        1.0, 0.4999987483024597, 0.1666654348373413, 0.041700318455696106, 0.008366254158318043,
        0.0011896686628460884,
    ),
    sqrt_half=0x3F3504F3,
    log_poly=(
        0.3333390951156616, -0.2500133812427521, 0.19963063299655914, -0.1657758504152298, 0.14914768934249878,
        -0.14267487823963165, 0.08700436353683472,
    ),
    tanh_max=10.0,
    tanh_small=(-0.3333294689655304, 0.13320714235305786, -0.05267105624079704, 0.016436098143458366),
    tanh_large=(
        2.0, 1.999999761581421, 1.3333144187927246, 0.666688084602356, 0.26797425746917725, 0.08859900385141373,
    ),
    ln2_high=0.693359375,
    ln2_low=-2.12194440e-4,
)

_F64 = _Format(
    dtype="f64",
    ints="i64",
    fraction=52,
    bias=1023,
    split=512,
    exp_min=-746.0,
    exp_max=710.0,
    exp_poly=(
        1.0, 0.5000000000000012, 0.16666666666666216, 0.041666666666517235, 0.008333333333550564,
        0.001388888894652467, 0.00019841269435561264, 2.480149044352405e-05, 2.7557627335357705e-06,
        2.7631107671602056e-07, 2.499136438107071e-08,
    ),
    sqrt_half=0x3FE6A09E667F3BCD,
    log_poly=(
        0.33333333333328524, -0.250000000000063, 0.20000000001652854, -0.16666666666733948, 0.14285714094108196,
        -0.12499999814587934, 0.11111121744370143, -0.10000018342812532, 0.09090589321069902, -0.08332554881872649,
        0.07697635584825326, -0.0716016871529965, 0.06622101823118608, -0.06042041775683631, 0.059722087462772216,
        -0.06783509020881337, 0.06324999518730672, -0.028325399509300155,
    ),
    tanh_max=20.0,
    tanh_small=(
        -0.3333333333333231, 0.13333333333168249, -0.05396825387585318, 0.021869485969366945, -0.008863194430489846,
        0.0035917190980845693, -0.0014532137608768963, 0.000579128025153806, -0.0002102875377013004,
        5.101108093695094e-05,
    ),
    tanh_large=(
        2.0, 2.000000000000005, 1.3333333333332973, 0.6666666666642758, 0.26666666667361805, 0.08888888925775788,
        0.025396824877518417, 0.006349181553542157, 0.0014109505195703145, 0.00028294254255720506,
        5.118231425243281e-05,
    ),
    ln2_high=6.93145751953125e-1,
    ln2_low=1.42860682030941723212e-6,
)  # fmt: skip

_FORMATS = {"f32": _F32, "f64": _F64}


def expand(op: str, x: Expr) -> Expr:
    """`op(x)`, op one of "exp", "log", "tanh", in arithmetic that every target has."""
    if op not in _EXPANSIONS or x.dtype not in _FORMATS:
        raise CodegenError(
            f"no expansion of {op} in {x.dtype}: there are {', '.join(_EXPANSIONS)} in {', '.join(_FORMATS)}"
        )
    return _EXPANSIONS[op](_FORMATS[x.dtype], x)


def _exp(f: _Format, x: Expr) -> Expr:
    def c(value: float) -> Expr:
        return Const(value, f.dtype)

    # `a < b ? b : a` is one instruction on x86 and, unlike min and max, gives NaN back without a test.
    y = _clamp_above(_clamp_below(x, c(f.exp_min)), c(f.exp_max))
    # The low bits of `t` hold n + 2 * bias: one bias for the exponent of each of the two factors below.
    magic = c(f.round_magic + 2 * f.bias)
    t = Fma(y, c(1 / math.log(2)), magic)
    n = t - magic
    r = Fma(n, c(-f.ln2_low), Fma(n, c(-f.ln2_high), y))
    p = Fma(_horner(f.exp_poly, r), r, c(1.0))
    second = Select(x < 0.0, c(2.0**-f.split), c(2.0**f.split))
    first = Bitcast((Bitcast(t, f.ints) << f.fraction) - Bitcast(second, f.ints), f.dtype)  # 2**n / second
    return (p * first) * second


def _log(f: _Format, x: Expr) -> Expr:
    def c(value: float) -> Expr:
        return Const(value, f.dtype)

    smallest_normal = 2.0 ** (1 - f.bias)
    tiny = x < smallest_normal
    normal = x * Select(tiny, c(2.0**f.fraction), c(1.0))
    bits = Bitcast(normal, f.ints)
    # Counting from the bits of sqrt(1/2) makes the exponent field of the difference e, the fraction field f.
    scaled = f.sqrt_half + (f.fraction << f.fraction)
    e = (bits - Select(tiny, Const(scaled, f.ints), Const(f.sqrt_half, f.ints))) >> f.fraction
    mantissa = ((bits - f.sqrt_half) & ((1 << f.fraction) - 1)) + f.sqrt_half
    m = Bitcast(mantissa, f.dtype) - 1.0
    log1p = Fma(m * m, Fma(m, _horner(f.log_poly, m), c(-0.5)), m)
    if f is _F32:  # 24 bits of ln 2 err by 0.06 ULP of the smallest result
        main: Expr = Fma(cast(e, f.dtype), c(math.log(2)), log1p)
    else:  # i64 -> f64 is slow or absent in SIMD: the rounding trick, backwards
        magic = c(f.round_magic)
        n = Bitcast(e + _bits_of_magic(f), f.dtype) - magic
        main = Fma(n, c(f.ln2_high), Fma(n, c(f.ln2_low), log1p))
    positive = Select(x < math.inf, main, x)  # inf and NaN are their own logarithms
    return Select(x <= 0.0, Select(eq(x, 0.0), c(-math.inf), c(math.nan)), positive)


def _tanh(f: _Format, x: Expr) -> Expr:
    def c(value: float) -> Expr:
        return Const(value, f.dtype)

    y = _clamp_above(Unary("abs", x), c(f.tanh_max))
    z = y * y
    small = Fma(y * z, _horner(f.tanh_small, z), y)
    magic = c(f.round_magic + f.bias)  # the low bits of t hold the exponent field of 2**n
    t = Fma(y, c(2 / math.log(2)), magic)
    # 2y = n ln 2 + 2r. One step of reduction is enough: where n is large, tanh hardly depends on r.
    r = Fma(t - magic, c(-math.log(2) / 2), y)
    scale = Bitcast(Bitcast(t, f.ints) << f.fraction, f.dtype)
    e = Fma(_horner((1.0, *f.tanh_large), r), scale, c(1.0))  # exp(2y) + 1
    large = 1.0 - 2.0 / e
    magnitude = Select(y < 0.55, small, large)
    sign = Const(-(1 << (8 * DTYPES[f.dtype].bytes - 1)), f.ints)
    return Bitcast(Bitcast(magnitude, f.ints) | (Bitcast(x, f.ints) & sign), f.dtype)


_EXPANSIONS: dict[str, Callable[[_Format, Expr], Expr]] = {"exp": _exp, "log": _log, "tanh": _tanh}


def _clamp_below(x: Expr, low: Expr) -> Expr:
    return Select(x < low, low, x)


def _clamp_above(x: Expr, high: Expr) -> Expr:
    return Select(high < x, high, x)


def _horner(coefficients: tuple[float, ...], x: Expr) -> Expr:
    """sum of coefficients[i] * x**i, one fma a degree."""
    value: Expr = Const(coefficients[-1], x.dtype)
    for a in reversed(coefficients[:-1]):
        value = Fma(value, x, Const(a, x.dtype))
    return value


def _bits_of_magic(f: _Format) -> int:
    """The bits of 1.5 * 2**fraction."""
    return ((f.bias + f.fraction) << f.fraction) | (1 << (f.fraction - 1))
