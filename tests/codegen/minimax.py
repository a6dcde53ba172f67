"""The polynomials of codegen/mathlib: minimax fits, printed as Python tuples. (Those of exp, log and tanh are older.)

    python tests/codegen/minimax.py [NAME ...]

Remez's exchange (E. Remes, 1934; Muller, Elementary Functions, 2016, ch. 3) at 200 bits on a dense Chebyshev grid:
min over c of max |w(u) (g(u) - sum c_i u**i)|. The coefficients are rounded to the dtype from the constant term up,
and where u >= 0 the rest is fitted again after each rounding, so that most of what rounding costs is won back.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import mpmath
import numpy as np
from mpmath import mpf

PRECISION = 200


@dataclass(frozen=True)
class Fit:
    """g on [low, high], with the weight w; how many coefficients float32 and float64 get."""

    g: Callable[[mpf], mpf]
    w: Callable[[mpf], mpf]
    low: float
    high: float
    terms: tuple[int, int]
    high64: float | None = None  # where float64's interval is longer


def solve(points: list[mpf], g: list[mpf], w: list[mpf], basis: list[int]) -> tuple[list[mpf], mpf]:
    """Coefficients whose weighted errors at len(basis) + 1 points alternate with one size, and that size."""
    n = len(basis) + 1
    a, b = mpmath.matrix(n, n), mpmath.matrix(n, 1)
    for i, (u, gi, wi) in enumerate(zip(points, g, w, strict=True)):
        for j, power in enumerate(basis):
            a[i, j] = wi * u**power
        a[i, n - 1] = (-1) ** i
        b[i] = wi * gi
    c = mpmath.lu_solve(a, b)
    return list(c)[:-1], c[n - 1]


def remez(grid: list[mpf], g: list[mpf], w: list[mpf], basis: list[int]) -> list[mpf]:
    """Exchange until the levelled error is the largest one, to 1 %."""
    n = len(basis) + 1
    chosen = [round(i * (len(grid) - 1) / (n - 1)) for i in range(n)]
    for _ in range(30):
        c, size = solve([grid[i] for i in chosen], [g[i] for i in chosen], [w[i] for i in chosen], basis)
        value = [mpmath.polyval(c[::-1], u) * u ** basis[0] for u in grid]
        error = [wi * (gi - vi) for gi, wi, vi in zip(g, w, value, strict=True)]
        peaks: list[int] = []
        for i, e in enumerate(error):  # the largest error of each run of one sign
            if peaks and mpmath.sign(error[peaks[-1]]) == mpmath.sign(e):
                if abs(e) > abs(error[peaks[-1]]):
                    peaks[-1] = i
            else:
                peaks.append(i)
        while len(peaks) > n:
            peaks.pop(0 if abs(error[peaks[0]]) < abs(error[peaks[-1]]) else -1)
        worst = max(abs(e) for e in error)
        if len(peaks) < n or worst < abs(size) * mpf("1.01"):
            break
        chosen = peaks
    return c


def fit(f: Fit, terms: int, kind: type, high: float) -> tuple[list[float], float]:
    """The rounded coefficients, and log2 of the largest weighted error."""
    with mpmath.workprec(PRECISION):
        count = 24 * (terms + 2)
        half = (mpf(high) - f.low) / 2
        grid = [f.low + half * (1 - mpmath.cos(mpmath.pi * (i + mpf("0.5")) / count)) for i in range(count)]
        g, w = [f.g(u) for u in grid], [f.w(u) for u in grid]
        left, rounded = list(g), []
        for k in range(terms):
            c = remez(grid, left, w, list(range(k, terms)))
            if f.low < 0:  # u, u**2, ... all vanish at 0: the exchange holds only for the whole basis
                rounded += [float(kind(float(x))) for x in c]
                break
            rounded.append(float(kind(float(c[0]))))
            left = [x - mpf(rounded[k]) * u**k for x, u in zip(left, grid, strict=True)]
        worst = max(
            abs(wi * (gi - mpmath.polyval([mpf(x) for x in rounded[::-1]], u)))
            for u, gi, wi in zip(grid, g, w, strict=True)
        )
        return rounded, float(mpmath.log(worst, 2))


def erfcx(x: mpf) -> mpf:
    return mpmath.erfc(x) * mpmath.exp(x * x)


def sqrt(z: mpf) -> mpf:
    return mpmath.sqrt(z)


K = mpf("1.5")  # of erfc: q = 1 / (x + K)
LN2 = float(np.log(2))

FITS = {
    # 2**r = 1 + r p(r)
    "exp2": Fit(lambda r: mpmath.expm1(r * mpmath.ln(2)) / r, lambda r: r / mpf(2) ** r, -0.5, 0.5, (6, 11)),
    # expm1(r) = r + r**2 p(r)
    "expm1": Fit(lambda r: (mpmath.expm1(r) - r) / r**2, lambda r: r**2 / mpmath.expm1(r), -0.35, 0.35, (6, 11)),
    # sin(r) = r + r z p(z), cos(r) = 1 - z / 2 + z**2 p(z); z = r**2 from here on
    "sin": Fit(
        lambda z: (mpmath.sin(sqrt(z)) / sqrt(z) - 1) / z,
        lambda z: z * sqrt(z) / mpmath.sin(sqrt(z)), 0, 0.62, (3, 6),
    ),
    "cos": Fit(
        lambda z: (mpmath.cos(sqrt(z)) - 1 + z / 2) / z**2, lambda z: z**2 / mpmath.cos(sqrt(z)), 0, 0.62, (3, 6)
    ),
    # asin(x) = x + x z p(z), |x| <= 1/2
    "asin": Fit(
        lambda z: (mpmath.asin(sqrt(z)) / sqrt(z) - 1) / z,
        lambda z: z * sqrt(z) / mpmath.asin(sqrt(z)), 0, 0.25, (5, 12),
    ),
    # atan(x) = x + x z p(z), |x| <= 1
    "atan": Fit(
        lambda z: (mpmath.atan(sqrt(z)) / sqrt(z) - 1) / z,
        lambda z: z * sqrt(z) / mpmath.atan(sqrt(z)), 0, 1, (9, 20),
    ),
    # sinh(x) = x + x z p(z), |x| <= 1
    "sinh": Fit(
        lambda z: (mpmath.sinh(sqrt(z)) / sqrt(z) - 1) / z,
        lambda z: z * sqrt(z) / mpmath.sinh(sqrt(z)), 0, 1, (3, 7),
    ),
    # x - tanh(x) = x z p(z), |x| <= 1.2
    "tanh_shrink": Fit(
        lambda z: (1 - mpmath.tanh(sqrt(z)) / sqrt(z)) / z,
        lambda z: z * sqrt(z) / (sqrt(z) - mpmath.tanh(sqrt(z))), 0, 1.44, (9, 18),
    ),
    # erf(x) = x + x p(z), |x| <= 1
    "erf": Fit(lambda z: mpmath.erf(sqrt(z)) / sqrt(z) - 1, lambda z: sqrt(z) / mpmath.erf(sqrt(z)), 0, 1, (7, 12)),
    # erf(x) = 1 - exp(p(x)), x >= 1
    "erf_tail": Fit(
        lambda x: mpmath.log(mpmath.erfc(x)), lambda x: mpmath.erfc(x) / mpmath.erf(x), 1, 4, (7, 18), 6.0
    ),
    # erfc(x) = exp(-x**2) q p(t), q = 1 / (x + K), t = 1 - 2 K q, x >= 3/4
    "erfc": Fit(
        lambda t: erfcx(K * (1 + t) / (1 - t)) * (2 * K / (1 - t)),
        lambda t: 1 / (erfcx(K * (1 + t) / (1 - t)) * (2 * K / (1 - t))),
        -0.3334, 0.751, (10, 24), 0.8985,
    ),
    # log((1 + s) / (1 - s)) = 2 s (1 + z / 3 + z**2 p(z)), z = s**2
    "pow": Fit(
        lambda z: (mpmath.atanh(sqrt(z)) / sqrt(z) - 1 - z / 3) / z**2, lambda z: z**2, 0, 0.02945, (3, 8)
    ),
}  # fmt: skip


def main(names: list[str]) -> None:
    for name in names or list(FITS):
        f = FITS[name]
        for kind, terms, high in zip((np.float32, np.float64), f.terms, (f.high, f.high64 or f.high), strict=True):
            coefficients, error = fit(f, terms, kind, high)
            print(f"{name} {kind.__name__} 2**{error:.1f}: {tuple(coefficients)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
