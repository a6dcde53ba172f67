"""Errors of the elementary functions in units of the last place: points, exact values, the table of docs/numerics.md.

    python -m tests.codegen.ulp           measures it again, on ten times the points of the tests
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mpmath
import numpy as np

from codegen.dtypes import numpy_dtype
from codegen.expr import MATH
from codegen.mathlib import expansion

from .numpy_eval import evaluate

Array = np.ndarray[Any, np.dtype[Any]]
PAGE = Path(__file__).parent.parent.parent / "docs" / "numerics.md"
NAMES = (*MATH, "pow", "atan2")
IN_NUMPY = tuple(name for name in NAMES if name not in ("erf", "erfc", "ndtr", "sigmoid", "tanh_shrink"))
NUMPY = {
    "asin": "arcsin", "acos": "arccos", "atan": "arctan", "atan2": "arctan2", "asinh": "arcsinh", "acosh": "arccosh",
    "atanh": "arctanh", "pow": "power",
}  # fmt: skip


def _at_any_size(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Periodic functions, with as many bits more as the argument has."""

    def exact(x: Any) -> Any:
        with mpmath.workprec(mpmath.mp.prec + max(0, int(mpmath.mag(x)) if x else 0)):
            return +f(x)

    return exact


EXACT: dict[str, Callable[..., Any]] = {name: getattr(mpmath, name) for name in NAMES if hasattr(mpmath, name)} | {
    "exp2": lambda x: mpmath.mpf(2) ** x,
    "log2": lambda x: mpmath.log(x, 2),
    "cbrt": lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x)),
    "erfc": lambda x: mpmath.erfc(min(max(x, -40), 120)),
    "ndtr": lambda x: mpmath.erfc(min(max(-x / mpmath.sqrt(2), -40), 120)) / 2,
    "sigmoid": lambda x: 1 / (1 + mpmath.exp(-x)),
    "tanh_shrink": lambda x: x - mpmath.tanh(x) if abs(x) > 1e-9 else x**3 / 3,
    "pow": lambda x, y: x**y,
    **{name: _at_any_size(getattr(mpmath, name)) for name in ("sin", "cos", "tan")},
}

# Where each function is neither constant nor trivial, and around its thresholds: a third of the points each. Random bit
# patterns, so all exponents, are added. Infinite ends stand for the ends of the range: they depend on the dtype.
INTERVALS: dict[str, list[tuple[float, float]]] = {
    "exp": [(-1, 1), (-np.inf, np.inf)], "exp2": [(-1, 1), (-np.inf, np.inf)], "expm1": [(-1, 1), (-30, 30)],
    "log": [(0.5, 2), (0.7, 0.71), (0.99, 1.01)], "log2": [(0.5, 2), (0.99, 1.01)], "log10": [(0.5, 2), (0.99, 1.01)],
    "log1p": [(-0.99, 3), (-0.1, 0.1)], "sin": [(-10, 10), (-1e4, 1e4)], "cos": [(-10, 10), (-1e4, 1e4)],
    "tan": [(-10, 10), (-1e4, 1e4)], "asin": [(-1, 1), (0.49, 0.51)], "acos": [(-1, 1), (0.9, 1)],
    "atan": [(-3, 3), (0.9, 1.1)], "sinh": [(-3, 3), (-np.inf, np.inf)], "cosh": [(-3, 3), (-np.inf, np.inf)],
    "tanh": [(-3, 3), (0.5, 0.6)], "asinh": [(-3, 3), (-1e4, 1e4)], "acosh": [(1, 3), (1, 1e4)],
    "atanh": [(-1, 1), (-0.1, 0.1)], "erf": [(-4, 4), (0.9, 1.1)], "erfc": [(-6, 28), (0, 2)], "cbrt": [(-10, 10)],
    "ndtr": [(-38, 9), (-3, 3)], "sigmoid": [(-np.inf, 40), (-10, 3)], "tanh_shrink": [(-3, 3), (1.1, 1.3)],
    "pow": [], "atan2": [],
}  # fmt: skip
DOMAINS = {
    **dict.fromkeys(("log", "log2", "log10"), (0, np.inf)), "log1p": (-1, np.inf), "acosh": (1, np.inf),
    **dict.fromkeys(("asin", "acos", "atanh"), (-1, 1)),
}  # fmt: skip


def points(name: str, dtype: str, count: int) -> tuple[Array, ...]:
    """`count` points or so in the function's domain, for each of its arguments."""
    rng = np.random.default_rng(0)
    kind = numpy_dtype(dtype)
    most = 128 if dtype == "f32" else 1024

    def any_bits(n: int) -> Array:
        x: Array = rng.integers(0, 2 ** (8 * kind.itemsize), n, dtype=f"u{kind.itemsize}").view(kind)
        return x[np.isfinite(x)]

    if name == "atan2":
        x, y = any_bits(count), any_bits(count)
        near = rng.normal(size=(2, count)).astype(kind)
        n = min(x.size, y.size)
        return np.concatenate([x[:n], near[0]]), np.concatenate([y[:n], near[1]])
    if name == "pow":  # exponents that keep the result in range, for bases of any size and near 1
        x = np.concatenate([np.abs(any_bits(count)), rng.uniform(0.5, 2, count).astype(kind)])
        with np.errstate(all="ignore"):
            y = (rng.uniform(-1.2, 1, x.size) * most / np.log2(x.astype(np.longdouble))).astype(kind)
        inside = np.isfinite(y)
        return x[inside], y[inside]
    x = any_bits(count)
    scale = most if name == "exp2" else most * np.log(2)
    for low, high in INTERVALS[name]:
        ends = [e if np.isfinite(e) else np.sign(e) * scale * (1.1 if e < 0 else 1) for e in (low, high)]
        x = np.concatenate([x, rng.uniform(*ends, count).astype(kind)])
    low, high = DOMAINS.get(name, (-np.inf, np.inf))
    return (x[(x > low) & (x < high)],)


def computed(name: str, arguments: tuple[Array, ...]) -> Array:
    dtype = {"float32": "f32", "float64": "f64"}[arguments[0].dtype.name]
    return evaluate(expansion(name, dtype), dict(zip("xy", arguments, strict=False)))


def in_ulps(name: str, dtype: str, count: int) -> float:
    """The largest error against mpmath; infinite where a result that should be an infinity is none."""
    arguments = points(name, dtype, count)
    got = computed(name, arguments)
    kind = numpy_dtype(dtype).type
    worst = 0.0
    with mpmath.workprec(140), np.errstate(all="ignore"):
        for g, *at in zip(got, *arguments, strict=True):
            exact = EXACT[name](*(mpmath.mpf(float(a)) for a in at))
            rounded = kind(float(exact))  # mpmath's exponents have no limits: inf beyond the dtype's
            if not np.isfinite(rounded) or not np.isfinite(g):
                worst = worst if g == rounded else np.inf
            else:
                worst = max(worst, float(abs(float(g) - exact) / float(np.spacing(abs(rounded)))))
    return worst


def in_ulps_of_numpy(name: str, count: int) -> float:
    """The same for float32 against NumPy's float64, which errs by about 2**-29 float32 ULP, on many more points."""
    arguments = points(name, "f32", count)
    with np.errstate(all="ignore"):
        exact = getattr(np, NUMPY.get(name, name))(*(a.astype(np.float64) for a in arguments))
        rounded = exact.astype(np.float32)
    got = computed(name, arguments)
    finite = np.isfinite(rounded) & np.isfinite(got)
    if not np.array_equal(got[~finite], rounded[~finite]):
        return np.inf
    spacing = np.spacing(np.abs(rounded[finite])).astype(np.float64)
    return float(np.max(np.abs(got[finite].astype(np.float64) - exact[finite]) / spacing))


def promised() -> dict[tuple[str, str], float]:
    """The table of docs/numerics.md."""
    rows = re.findall(r"^\| `(\w+)` \| ([\d.]+) \| ([\d.]+) \|", PAGE.read_text(), re.MULTILINE)
    return {(name, dtype): float(v) for name, *values in rows for dtype, v in zip(("f32", "f64"), values, strict=True)}


if __name__ == "__main__":
    for function in NAMES:
        ulps = [in_ulps(function, dtype, 10_000) for dtype in ("f32", "f64")]
        if function in IN_NUMPY:
            ulps[0] = max(ulps[0], in_ulps_of_numpy(function, 2_000_000))
        print(f"| `{function}` |", " | ".join(f"{np.ceil(u * 10 + 0.5) / 10:.1f}" for u in ulps), "|", flush=True)
