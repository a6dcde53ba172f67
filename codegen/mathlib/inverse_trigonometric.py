"""asin, acos, atan and atan2.

    asin(x)     = x + x**3 p(x**2)                                     |x| <= 1/2
                = pi/2 - 2 asin(sqrt((1 - x) / 2))                     above
    acos(x)     = pi/2 - asin(x), or 2 asin(sqrt((1 - |x|) / 2)), or pi minus that
    atan(x)     = x + x**3 p(x**2)                                     |x| <= 1
                = pi/2 - atan(1 / x)                                   above
    atan2(y, x) = atan(min / max) of |y| and |x|, then the octant by their order and signs

pi and pi/2 are taken in two parts.
"""

from __future__ import annotations

from ..expr import Bitcast, Expr, Fma, Select, Unary, eq
from .format import Coefficients, Format, absolute, horner, with_sign
from .trigonometric import HALF_PI

# (asin(x) / x - 1) / x**2 in powers of x**2
ASIN: dict[str, Coefficients] = {
    "f32": (  # 2**-27.6
        0.16666752099990845, 0.074953094124794, 0.04546916112303734, 0.024184666574001312, 0.0421585813164711,
    ),
    "f64": (  # 2**-55.9
        0.16666666666665408, 0.07500000000337163, 0.04464285682817851, 0.030381959143972175,
        0.02237175786758276, 0.017359707698270117, 0.013885205006085248, 0.0121694201976219,
        0.006527038841495032, 0.019530918337856543, -0.01622855475682801, 0.03191531225494177,
    ),
}  # fmt: skip
# (atan(x) / x - 1) / x**2 in powers of x**2
ATAN: dict[str, Coefficients] = {
    "f32": (  # 2**-28.3
        -0.33333298563957214, 0.1999852955341339, -0.14264017343521118, 0.10950904339551926,
        -0.08399428427219391, 0.05788365378975868, -0.03109821304678917, 0.01086807157844305,
        -0.0017822444206103683,
    ),
    "f64": (  # 2**-57.5
        -0.3333333333333307, 0.19999999999951754, -0.14285714282588394, 0.11111111007351072,
        -0.09090907007945254, 0.07692279890404591, -0.06666404433695922, 0.058805298601081815,
        -0.05253526978214659, 0.04722348942203105, -0.042192449316091764, 0.03664318523582329,
        -0.02990578491968708, 0.021987121360412493, -0.01390261595968051, 0.0071979092783943975,
        -0.0028856198606367588, 0.0008315625419347238, -0.00015221164411430163, 1.323003867977681e-05,
    ),
}  # fmt: skip


def _minus(f: Format, multiple: float, a: Expr) -> Expr:
    """multiple * pi/2 - a, for a multiple of 1 or 2."""
    high, low = HALF_PI[f.dtype]
    return f.c(multiple * high) + (f.c(multiple * low) - a)


def _arc(f: Format, y: Expr) -> tuple[Expr, Expr, Expr]:
    """For y = |x|: whether it is above 1/2, and asin of y or of sqrt((1 - y) / 2), once and twice."""
    large = y > 0.5
    z = Select(large, (1.0 - y) * 0.5, y * y)
    s = Select(large, Unary("sqrt", z), y)
    p = Fma(s * z, horner(ASIN[f.dtype], z), s)
    return large, p, p + p


def asin(f: Format, x: Expr) -> Expr:
    large, p, twice = _arc(f, absolute(x))
    return with_sign(f, Select(large, _minus(f, 1, twice), p), x)


def acos(f: Format, x: Expr) -> Expr:
    large, p, twice = _arc(f, absolute(x))
    return Select(large, Select(x < 0.0, _minus(f, 2, twice), twice), _minus(f, 1, with_sign(f, p, x)))


def _atan_to_one(f: Format, q: Expr) -> Expr:
    z = q * q
    return Fma(q * z, horner(ATAN[f.dtype], z), q)


def atan(f: Format, x: Expr) -> Expr:
    y = absolute(x)
    steep = y > 1.0
    a = _atan_to_one(f, Select(steep, 1.0 / y, y))
    return with_sign(f, Select(steep, _minus(f, 1, a), a), x)


def atan2(f: Format, y: Expr, x: Expr) -> Expr:
    high, wide = absolute(y), absolute(x)
    steep = high > wide
    a, b = Select(steep, wide, high), Select(steep, high, wide)
    ratio = Select(eq(a, b), Select(eq(a, 0.0), f.c(0.0), f.c(1.0)), a / b)  # 0/0 is 0 here, inf/inf 1
    angle = _atan_to_one(f, ratio)
    angle = Select(steep, _minus(f, 1, angle), angle)
    angle = Select(Bitcast(x, f.ints) < 0, _minus(f, 2, angle), angle)
    return with_sign(f, angle, y)
