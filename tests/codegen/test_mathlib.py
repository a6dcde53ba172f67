"""The elementary functions against exact arithmetic and NumPy's special values."""

from __future__ import annotations

import math

import mpmath
import numpy as np
import pytest

from codegen.dtypes import numpy_dtype
from codegen.errors import CodegenError
from codegen.expr import MATH, MATH2, Bitcast, Const, Load, Var
from codegen.interpret import evaluate as interpret_expression
from codegen.mathlib import FUNCTIONS, expand, expansion
from codegen.mathlib.trigonometric import two_over_pi
from codegen.traverse import walk

from .ulp import EXACT, IN_NUMPY, NAMES, NUMPY, Array, computed, in_ulps, in_ulps_of_numpy, points, promised

DTYPES = ("f32", "f64")
TWO = ("exp", "log", "tanh", "sigmoid")  # within 2 ULP; the others within 4


def test_every_function_has_a_name_and_a_promise() -> None:
    assert set(FUNCTIONS) == {*MATH, *MATH2}
    bounds = promised()
    assert set(bounds) == {(name, dtype) for name in NAMES for dtype in DTYPES}
    assert all(bound <= (2 if name in TWO else 4) for (name, _), bound in bounds.items())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_bounds_hold_against_mpmath(name: str, dtype: str) -> None:
    assert in_ulps(name, dtype, 700) <= promised()[name, dtype]


@pytest.mark.parametrize("name", IN_NUMPY)
def test_f32_keeps_its_bound_on_many_points(name: str) -> None:
    assert in_ulps_of_numpy(name, 60_000) <= promised()[name, "f32"]


# ----------------------------------------------------------------------------------- special values

SPECIAL = (
    0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, 3.0, -3.0, 2.5, -2.5, 1e-40, -1e-40, 1e30, -1e30, 1e300, -1e300,
    16777216.0, 16777217.0, -16777215.0, 5e-324, math.inf, -math.inf, math.nan,
)  # fmt: skip


def numpy_of(name: str, *arguments: Array) -> Array:
    with np.errstate(all="ignore"):
        if name not in IN_NUMPY:  # NaN, signed zeros and mpmath
            (x,) = arguments
            want = np.array([v if np.isnan(v) else float(EXACT[name](mpmath.mpf(float(v)))) for v in x]).astype(x.dtype)
            return np.where((x == 0) & (want == 0), x, want)
        return getattr(np, NUMPY.get(name, name))(*arguments)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_special_values_are_numpys(name: str, dtype: str) -> None:
    with np.errstate(all="ignore"):
        values = np.array(SPECIAL, numpy_dtype(dtype))
    arguments = tuple(a.ravel() for a in np.meshgrid(values, values)) if name in MATH2 else (values,)
    got, want = computed(name, arguments), numpy_of(name, *arguments)
    with np.errstate(all="ignore"):
        close = np.isfinite(want) & (np.abs(got - want) <= 5 * np.spacing(np.abs(want)))
    same = (np.isnan(got) & np.isnan(want)) | ((close | (got == want)) & (np.signbit(got) == np.signbit(want)))
    exact = (want == 0) | np.isinf(want)
    wrong = ~(same & (~exact | (got == want)))
    assert not wrong.any(), [(*(a[wrong] for a in arguments), got[wrong], want[wrong])]


@pytest.mark.parametrize("dtype", DTYPES)
def test_exp_overflows_and_underflows_at_the_right_floats(dtype: str) -> None:
    kind = numpy_dtype(dtype).type
    info = np.finfo(kind)
    edge = kind(np.log(np.longdouble(info.max)))
    around = np.array([np.nextafter(edge, kind(-np.inf)), np.nextafter(edge, kind(np.inf))], kind)
    below, above = computed("exp", (around,))
    assert np.isfinite(below) and np.isinf(above)
    bottom = float(np.log(np.longdouble(info.smallest_subnormal)))
    assert computed("exp", (np.array([bottom], kind),))[0] == info.smallest_subnormal
    assert computed("exp", (np.array([bottom - 1], kind),))[0] == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "name", ["tanh", "tanh_shrink", "sinh", "asinh", "atanh", "sin", "tan", "asin", "atan", "erf", "cbrt", "expm1"]
)
def test_odd_functions_are_odd_bit_by_bit_and_bounds_are_kept(name: str, dtype: str) -> None:
    (x,) = points(name, dtype, 5_000)
    y = computed(name, (x,))
    if name == "expm1":
        assert y.min() == -1
    else:
        np.testing.assert_array_equal(computed(name, (-x,)), -y)
    if name in ("tanh", "sin", "erf"):
        assert np.abs(y).max() <= 1


def test_two_over_pi() -> None:
    assert hex(two_over_pi(96)) == "0xa2f9836e4e441529fc2757d1"  # as in the literature


@pytest.mark.parametrize("name", ["sin", "cos", "tan"])
def test_arguments_next_to_multiples_of_half_pi(name: str) -> None:
    """The hardest cases of the reduction: Muller, Elementary Functions, 2016, table 11.1; and large multiples."""
    double = np.array([6381956970095103.0 * 2.0**797, 5e22, 2.0**1023, 1e300 * math.pi])
    single = np.array([16367173.0 * 2.0**72, 2.0**127, 12345678.0], np.float32)
    for x in (double, single):
        got = computed(name, (x,))
        want = getattr(np, name)(x.astype(np.longdouble) if x is single else x)
        np.testing.assert_allclose(got, want, rtol=8 * float(np.finfo(x.dtype).eps))


# ------------------------------------------------------------------------------------------ their form


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_the_interpreter_agrees_with_the_array_evaluator(name: str, dtype: str) -> None:
    arguments = tuple(a[:: a.size // 30] for a in points(name, dtype, 50))
    e = expansion(name, dtype)
    pairs = zip(*arguments, strict=True)
    scalars = np.array([interpret_expression(e, dict(zip("xy", at, strict=False))) for at in pairs])
    # The array's fma may round once more than it should.
    np.testing.assert_allclose(scalars, computed(name, arguments), rtol=8 * float(np.finfo(arguments[0].dtype).eps))


OPERATIONS = {"exp": (20, 25), "log": (27, 40), "tanh": (26, 37), "erf": (42, 63), "exp2": (19, 24), "log1p": (40, 53)}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_the_expansions_stay_short_and_free_of_memory(name: str, dtype: str) -> None:
    nodes = walk(expansion(name, dtype))
    assert not any(isinstance(n, Load) for n in nodes)
    operations = sum(not isinstance(n, (Const, Var, Bitcast)) for n in nodes)
    assert operations <= OPERATIONS.get(name, (160, 195))[dtype == "f64"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_values_have_one_size_so_that_simd_never_converts(dtype: str) -> None:
    nodes = [n for name in NAMES for n in walk(expansion(name, dtype)) if n.dtype != "bool"]
    assert {numpy_dtype(n.dtype).itemsize for n in nodes} == {numpy_dtype(dtype).itemsize}


def test_other_operations_and_dtypes_are_refused() -> None:
    for op, dtype in (("gamma", "f32"), ("exp", "i32")):
        with pytest.raises(CodegenError, match="no expansion"):
            expand(op, Var("x", dtype))
