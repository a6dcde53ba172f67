"""exp, log and tanh against exact arithmetic, in units of the last place."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest

from codegen.dtypes import numpy_dtype
from codegen.errors import CodegenError
from codegen.expr import Bitcast, Const, Expr, Load, Var
from codegen.interpret import evaluate as interpret_expression
from codegen.mathlib import expand
from codegen.traverse import walk

from .numpy_eval import evaluate

Array = np.ndarray[Any, np.dtype[Any]]

# What the docstring of mathlib promises.
ULPS = {
    ("exp", "f32"): 1.1, ("exp", "f64"): 1.0, ("log", "f32"): 1.2, ("log", "f64"): 1.5,
    ("tanh", "f32"): 1.7, ("tanh", "f64"): 1.8,
}  # fmt: skip
CASES = sorted(ULPS)

# Where each function is neither constant nor trivial: most of the random points go there.
RANGES: dict[tuple[str, str], list[tuple[float, float]]] = {
    ("exp", "f32"): [(-104, 89), (-88, -87), (-1, 1)],
    ("exp", "f64"): [(-746, 710), (-709, -708), (-1, 1)],
    ("log", "f32"): [(0.5, 2), (0.7, 0.71), (0.99, 1.01), (1.41, 1.42)],
    ("log", "f64"): [(0.5, 2), (0.7, 0.71), (0.99, 1.01), (1.41, 1.42)],
    ("tanh", "f32"): [(0, 0.6), (0.5, 0.6), (0.6, 3), (-10, 10)],
    ("tanh", "f64"): [(0, 0.6), (0.5, 0.6), (0.6, 3), (-20, 20)],
}


def apply(op: str, x: Array) -> Array:
    dtype = {"float32": "f32", "float64": "f64"}[x.dtype.name]
    return evaluate(expand(op, Var("x", dtype)), {"x": x})


def points(op: str, dtype: str, count: int) -> Array:
    """All exponents with random fractions, and uniform points of the interesting ranges; log's are positive."""
    rng = np.random.default_rng(0)
    kind = numpy_dtype(dtype)
    everywhere: Array = rng.integers(0, 2 ** (8 * kind.itemsize - 1), count // 2).astype(f"i{kind.itemsize}").view(kind)
    if op != "log":
        everywhere[::2] = -everywhere[::2]
    ranges = RANGES[op, dtype]
    inside = [rng.uniform(low, high, count // 2 // len(ranges)).astype(kind) for low, high in ranges]
    x: Array = np.concatenate([everywhere, *inside])
    return x[np.isfinite(x)]


def ulps(got: Array, exact: Array, rounded: Array) -> Array:
    """|got - exact| in units of the spacing of floats at the exact value (`rounded`, to the dtype)."""
    in_ulps: Array = np.abs(got.astype(exact.dtype) - exact) / np.spacing(np.abs(rounded)).astype(exact.dtype)
    return in_ulps


@pytest.mark.parametrize("op", ["exp", "log", "tanh"])
def test_f32_keeps_its_bound_on_half_a_million_points(op: str) -> None:
    x = points(op, "f32", 500_000)
    with np.errstate(all="ignore"):
        exact = getattr(np, op)(x.astype(np.float64))  # 2**-29 of an f32 ULP is error enough
        rounded = exact.astype(np.float32)
    got = apply(op, x)
    finite = np.isfinite(rounded)
    assert ulps(got[finite], exact[finite], rounded[finite]).max() <= ULPS[op, "f32"]
    np.testing.assert_array_equal(got[~finite], rounded[~finite])


@pytest.mark.parametrize("op, dtype", CASES)
def test_bounds_hold_against_mpmath(op: str, dtype: str) -> None:
    x = points(op, dtype, 40_000)
    got = apply(op, x)
    kind = numpy_dtype(dtype).type
    with mpmath.workprec(120), np.errstate(all="ignore"):
        exact = [getattr(mpmath, op)(mpmath.mpf(float(v))) for v in x]
        # mpmath's exponents have no limits: what leaves the dtype's range becomes inf there
        rounded = np.array([float(v) for v in exact]).astype(kind)
        for g, e, r in zip(got, exact, rounded, strict=True):
            if np.isfinite(r):
                assert abs(float(g) - e) <= ULPS[op, dtype] * float(np.spacing(abs(r)))
            else:
                assert g == r


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_special_values(dtype: str) -> None:
    kind = numpy_dtype(dtype).type
    largest, tiniest = np.finfo(kind).max, np.finfo(kind).smallest_subnormal
    inf, nan = np.inf, np.nan
    table = {
        "exp": [(0.0, 1), (-0.0, 1), (inf, inf), (-inf, 0.0), (largest, inf), (-largest, 0.0), (tiniest, 1)],
        "log": [(1, 0.0), (0.0, -inf), (-0.0, -inf), (inf, inf), (-1, nan), (-inf, nan), (-tiniest, nan)],
        "tanh": [(0.0, 0.0), (-0.0, -0.0), (inf, 1), (-inf, -1), (largest, 1), (tiniest, tiniest), (30, 1), (-30, -1)],
    }
    for op, values in table.items():
        for x, expected in [*values, (nan, nan)]:
            got = apply(op, np.array([x], kind))[0]
            np.testing.assert_equal(got, kind(expected), err_msg=f"{op}({x})")
            assert np.isnan(expected) or np.signbit(got) == np.signbit(expected), f"sign of {op}({x})"


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_exp_overflows_and_underflows_at_the_right_floats(dtype: str) -> None:
    kind = numpy_dtype(dtype).type
    info = np.finfo(kind)
    edge = kind(np.log(np.longdouble(info.max)))
    around = np.array([np.nextafter(edge, kind(-np.inf)), np.nextafter(edge, kind(np.inf))], kind)
    below, above = apply("exp", around)
    assert np.isfinite(below) and np.isinf(above)
    bottom = float(np.log(np.longdouble(info.smallest_subnormal)))
    assert apply("exp", np.array([bottom], kind))[0] == info.smallest_subnormal
    assert apply("exp", np.array([bottom - 1], kind))[0] == 0


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_tanh_is_odd_never_leaves_one_and_exp_never_goes_below_zero(dtype: str) -> None:
    x = points("tanh", dtype, 100_000)
    y = apply("tanh", x)
    np.testing.assert_array_equal(apply("tanh", -x), -y)
    assert np.abs(y).max() == 1
    assert apply("exp", x).min() >= 0


@pytest.mark.parametrize("op, dtype", CASES)
def test_the_interpreter_agrees_with_the_array_evaluator(op: str, dtype: str) -> None:
    x = points(op, dtype, 200)
    e = expand(op, Var("x", dtype))
    scalars = np.array([interpret_expression(e, {"x": v}) for v in x])
    arrays = apply(op, x)
    assert np.mean(scalars == arrays) > 0.99  # the array's fma may round once more than it should
    np.testing.assert_allclose(scalars, arrays, rtol=2 * float(np.finfo(x.dtype).eps))


OPERATIONS = {
    ("exp", "f32"): 20, ("exp", "f64"): 25, ("log", "f32"): 27, ("log", "f64"): 40,
    ("tanh", "f32"): 26, ("tanh", "f64"): 37,
}  # fmt: skip


@pytest.mark.parametrize("op, dtype", CASES)
def test_the_expansions_stay_short_and_free_of_memory(op: str, dtype: str) -> None:
    nodes = list(walk(expand(op, Var("x", dtype))))
    assert not any(isinstance(n, Load) for n in nodes)
    assert sum(not isinstance(n, (Const, Var, Bitcast)) for n in nodes) <= OPERATIONS[op, dtype]


@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_all_values_have_one_size_so_that_simd_never_converts(dtype: str) -> None:
    sizes = {numpy_dtype(n.dtype).itemsize for op in ("exp", "log", "tanh") for n in nodes_of(op, dtype)}
    assert sizes == {numpy_dtype(dtype).itemsize}


def nodes_of(op: str, dtype: str) -> list[Expr]:
    return [n for n in walk(expand(op, Var("x", dtype))) if n.dtype != "bool"]


def test_other_operations_and_dtypes_are_refused() -> None:
    for op, dtype in (("sin", "f32"), ("exp", "i32")):
        with pytest.raises(CodegenError, match="no expansion"):
            expand(op, Var("x", dtype))
