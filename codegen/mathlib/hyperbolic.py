"""sinh, cosh, tanh and their inverses.

    sinh(x)  = E - 1 / (4 E), E = exp(x) / 2       where x >= 1; x + x**3 p(x**2) below
    cosh(x)  = E + 1 / (4 E)
    tanh(x)  = 1 - 2 / (exp(2x) + 1)               where x > 0.55; x + x**3 p(x**2) below
    asinh(x) = log1p(x + x**2 / (1 + sqrt(1 + x**2)))
    acosh(x) = log1p(t + sqrt(t (t + 2))), t = x - 1
    atanh(x) = log1p(2 x / (1 - x)) / 2

for x >= 0: the odd ones get the sign of x back. Where squares lose the 1, asinh and acosh are log(x) + ln 2.
"""

from __future__ import annotations

import math

from ..expr import Bitcast, Expr, Fma, Select, Unary
from .exponential import half_exp
from .format import Coefficients, Format, absolute, clamp_above, horner, with_sign
from .logarithm import log1p

# (sinh(x) / x - 1) / x**2 in powers of x**2, for |x| < 1
SINH: dict[str, Coefficients] = {
    "f32": (  # 2**-25.3
        0.1666671633720398, 0.008330270648002625, 0.00020373376901261508,
    ),
    "f64": (  # 2**-61.8
        0.16666666666666669, 0.008333333333332912, 0.00019841269841593413, 2.7557319106754813e-06,
        2.5052130999404857e-08, 1.60566590258385e-10, 7.776610094673029e-13,
    ),
}  # fmt: skip
TANH_MAX = {"f32": 10.0, "f64": 20.0}  # tanh is 1 above
# (tanh(x) / x - 1) / x**2 in powers of x**2, for |x| < 0.55
TANH_SMALL: dict[str, Coefficients] = {
    "f32": (-0.3333294689655304, 0.13320714235305786, -0.05267105624079704, 0.016436098143458366),
    "f64": (
        -0.3333333333333231, 0.13333333333168249, -0.05396825387585318, 0.021869485969366945, -0.008863194430489846,
        0.0035917190980845693, -0.0014532137608768963, 0.000579128025153806, -0.0002102875377013004,
        5.101108093695094e-05,
    ),
}  # fmt: skip
# exp(2r), |r| <= ln(2)/4
TANH_LARGE: dict[str, Coefficients] = {
    "f32": (
        1.0, 2.0, 1.999999761581421, 1.3333144187927246, 0.666688084602356, 0.26797425746917725, 0.08859900385141373,
    ),
    "f64": (
        1.0, 2.0, 2.000000000000005, 1.3333333333332973, 0.6666666666642758, 0.26666666667361805, 0.08888888925775788,
        0.025396824877518417, 0.006349181553542157, 0.0014109505195703145, 0.00028294254255720506,
        5.118231425243281e-05,
    ),
}  # fmt: skip

# (x - tanh(x)) / x**3 in powers of x**2, for |x| < 1.2
TANH_SHRINK: dict[str, Coefficients] = {
    "f32": (  # 2**-25.0
        0.3333333432674408, -0.13333402574062347, 0.05397602543234825, -0.021899256855249405,
        0.008898277767002583, -0.003539278404787183, 0.001248078653588891, -0.0003171912394464016,
        3.9864717109594494e-05,
    ),
    "f64": (  # 2**-54.0
        0.3333333333333333, -0.1333333333333255, 0.05396825396770107, -0.021869488520621778,
        0.008863235298829349, -0.0035921259356647963, 0.0014558216753536334, -0.0005899733521697203,
        0.00023896104740838754, -9.652378872225028e-05, 3.858108046188288e-05, -1.4956983642912845e-05,
        5.412328465555605e-06, -1.726313564786623e-06, 4.5104782580616965e-07, -8.798101700780786e-08,
        1.1153311159702982e-08, -6.797262825953973e-10,
    ),
}  # fmt: skip


def sinh(f: Format, x: Expr) -> Expr:
    y = absolute(x)
    z = y * y
    small = Fma(y * z, horner(SINH[f.dtype], z), y)
    e = half_exp(f, y)
    return with_sign(f, Select(y < 1.0, small, e - 0.25 / e), x)


def cosh(f: Format, x: Expr) -> Expr:
    e = half_exp(f, absolute(x))
    return e + 0.25 / e


def tanh(f: Format, x: Expr) -> Expr:
    y = clamp_above(absolute(x), f.c(TANH_MAX[f.dtype]))
    z = y * y
    small = Fma(y * z, horner(TANH_SMALL[f.dtype], z), y)
    magic = f.c(f.round_magic + f.bias)  # the low bits of t hold the exponent field of 2**n
    t = Fma(y, f.c(2 / math.log(2)), magic)
    # 2y = n ln 2 + 2r. One step of reduction is enough: where n is large, tanh hardly depends on r.
    r = Fma(t - magic, f.c(-math.log(2) / 2), y)
    scale = Bitcast(Bitcast(t, f.ints) << f.fraction, f.dtype)
    e = Fma(horner(TANH_LARGE[f.dtype], r), scale, f.c(1.0))  # exp(2y) + 1
    return with_sign(f, Select(y < 0.55, small, 1.0 - 2.0 / e), x)


def tanh_shrink(f: Format, x: Expr) -> Expr:
    """x - tanh(x), which cancels where x is small."""
    y = absolute(x)
    z = y * y
    return with_sign(f, Select(y < 1.2, (y * z) * horner(TANH_SHRINK[f.dtype], z), y - tanh(f, y)), x)


def _is_large(f: Format, x: Expr) -> Expr:
    return x > 2.0 ** (f.fraction + 3)


def asinh(f: Format, x: Expr) -> Expr:
    y = absolute(x)
    z = y * y
    large = _is_large(f, y)
    a = Select(large, y, y + z / (1.0 + Unary("sqrt", 1.0 + z)))
    return with_sign(f, log1p(f, a) + Select(large, f.c(math.log(2)), f.c(0.0)), x)


def acosh(f: Format, x: Expr) -> Expr:
    t = x - 1.0
    large = _is_large(f, x)
    a = Select(large, x, t + Unary("sqrt", t * (t + 2.0)))
    result = log1p(f, a) + Select(large, f.c(math.log(2)), f.c(0.0))
    return Select(x < 1.0, f.c(math.nan), result)


def atanh(f: Format, x: Expr) -> Expr:
    y = absolute(x)
    return with_sign(f, 0.5 * log1p(f, (y + y) / (1.0 - y)), x)
