"""erf, erfc, and ndtr: the normal distribution function.

    erf(x)  = x + x p(x**2)                                          |x| < 1
            = 1 - exp(p(x))                                          above
    erfc(x) = 1 - erf(x)                                             |x| < 3/4
            = exp(-x**2) q p(1 - 2 K q), q = 1 / (x + K), K = 3/2      above

    ndtr(x) = erfc(-x / sqrt 2) / 2, with exp(-x**2 / 2)

The variable of erfc's last form maps x >= 0 to a finite interval (Shepherd and Laframboise, Mathematics of Computation
36, 1981). x**2 is taken exactly, in two parts: an error of it is one of the exponent.
"""

from __future__ import annotations

from ..expr import Expr, Fma, Select
from .exponential import exp
from .format import Coefficients, Format, absolute, clamp_above, horner, two_product, two_sum, with_sign

# erf(x) / x - 1 in powers of x**2
ERF: dict[str, Coefficients] = {
    "f32": (  # 2**-29.4
        0.12837916612625122, -0.3761262595653534, 0.11283578723669052, -0.026853347197175026,
        0.005187162198126316, -0.0007997853099368513, 7.80690461397171e-05,
    ),
    "f64": (  # 2**-56.0
        0.12837916709551256, -0.37612638903183343, 0.11283791670936945, -0.026866170641957024,
        0.005223977596706745, -0.0008548325482986492, 0.00012055280417055975, -1.4924463731265576e-05,
        1.6444122284710613e-06, -1.6183738453981006e-07, 1.3615452584712357e-08, -7.605206009080283e-10,
    ),
}  # fmt: skip
# log(erfc(x)) in powers of x, for x >= 1
ERF_TAIL: dict[str, Coefficients] = {
    "f32": (  # 2**-29.8
        -0.00034166043042205274, -1.1270886659622192, -0.6381456255912781, -0.10310615599155426,
        0.021837832406163216, -0.00294761685654521, 0.00018637676839716733,
    ),
    "f64": (  # 2**-56.4
        -5.02912912955123e-07, -1.1283740888799114, -0.6366436307077784, -0.10270343240360026,
        0.018990165469455113, 0.00041064644156497824, -0.0019159629467089474, 0.0007706593916535313,
        -0.00013506090480892098, -2.0261231774575536e-05, 2.2820293659569214e-05, -8.666458949298538e-06,
        2.1355027984405502e-06, -3.7326999344647507e-07, 4.641834181732276e-08, -3.9338264507151174e-09,
        2.0447088106195537e-10, -4.927933899895647e-12,
    ),
}  # fmt: skip
# exp(x**2) erfc(x) (x + K) in powers of 1 - 2 K / (x + K), for x >= 3/4
ERFC: dict[str, Coefficients] = {
    "f32": (  # 2**-28.7
        0.9647562503814697, -0.5078499913215637, 0.07562163472175598, 0.047767359763383865,
        -0.008112996816635132, -0.00945112481713295, -0.000903562584426254, 0.0018218818586319685,
        0.0012686868431046605, -0.0007268395856954157,
    ),
    "f64": (  # 2**-54.0
        0.9647562493629525, -0.507850010230088, 0.07562180627476148, 0.04776836961291119,
        -0.008119797884985498, -0.009461374772595179, -0.0008103169129915728, 0.001771876390514619,
        0.0008841760693350391, -4.627694915225006e-05, -0.0002568331704939774, -0.0001263781660274818,
        9.784592529586003e-07, 3.85847062997531e-05, 2.407070578006992e-05, 5.625881567780443e-06,
        -2.7277944196369736e-06, -1.3754447346344471e-05, 4.044697005618858e-06, 1.400156869932242e-05,
        -3.5801481106237766e-05, 3.804161055890937e-05, -1.828531060797219e-05, 3.3153280670717366e-06,
    ),
}  # fmt: skip
K = 1.5
SQRT_HALF = {"f32": (0.7071067690849304, 1.2101617485882343e-08), "f64": (0.7071067811865476, -4.833646656726457e-17)}
ERF_MAX = {"f32": 4.0, "f64": 6.0}  # erf is 1 above
ERFC_MAX = {"f32": 10.5, "f64": 28.0}  # erfc is 0 above


def _erf_small(f: Format, y: Expr) -> Expr:
    return Fma(y, horner(ERF[f.dtype], y * y), y)


def erf(f: Format, x: Expr) -> Expr:
    y = clamp_above(absolute(x), f.c(ERF_MAX[f.dtype]))
    large = 1.0 - exp(f, horner(ERF_TAIL[f.dtype], y))
    return with_sign(f, Select(y < 1.0, _erf_small(f, y), large), x)


def _tail(f: Format, y: Expr, y_low: Expr, square: Expr, rest: Expr) -> Expr:
    """erfc of y + y_low >= 3/4, whose square is given in two parts too."""
    e = exp(f, -square)
    total, lost = two_sum(y, f.c(K))
    q = 1.0 / total
    # q is off by a relative error of `wrong`, and so belongs to another x, where erfc(x) exp(x**2) is off by about 1.2
    # times that.
    wrong = Fma(-q, total, f.c(1.0)) - q * (lost + y_low)
    return Fma(e, wrong * 1.2 - rest, e) * (q * horner(ERFC[f.dtype], Fma(q, f.c(-2 * K), f.c(1.0))))


def erfc(f: Format, x: Expr) -> Expr:
    y = clamp_above(absolute(x), f.c(ERFC_MAX[f.dtype]))
    tail = _tail(f, y, f.c(0.0), *two_product(y, y))
    large = Select(x < 0.0, 2.0 - tail, tail)
    return Select(y < 0.75, 1.0 - with_sign(f, _erf_small(f, y), x), large)


def ndtr(f: Format, x: Expr) -> Expr:
    size = clamp_above(absolute(x), f.c(1.5 * ERFC_MAX[f.dtype]))
    root, root_low = SQRT_HALF[f.dtype]
    y = size * root
    y_low = Fma(size, f.c(root_low), Fma(size, f.c(root), -y))
    square, rest = two_product(size, size)
    tail = 0.5 * _tail(f, y, y_low, square * 0.5, rest * 0.5)
    large = Select(x > 0.0, 1.0 - tail, tail)
    return Select(y < 0.75, Fma(with_sign(f, _erf_small(f, y), x), f.c(0.5), f.c(0.5)), large)
