"""The interpreter: what each construct of the loop language means."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from codegen.errors import CodegenError
from codegen.expr import Binary, Bitcast, Cast, Const, Expr, Select, Unary, Var
from codegen.interpret import evaluate, fma, interpret
from codegen.text import parse

Array = np.ndarray[Any, np.dtype[Any]]


def run(text: str, *arrays: Array) -> None:
    interpret(parse(text), arrays)


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


def value(e: Expr, **variables: Any) -> Any:
    return evaluate(e, variables)


def test_a_matrix_product() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((4, 5)), rng.standard_normal((5, 3))
    c = np.zeros((4, 3))
    run(
        """
def matmul(a: f64[4, 5], b: f64[5, 3], c: f64[4, 3]):
    for i in parallel(0, 4):
        acc = register(f64, 3)
        for j in vector(0, 3):
            acc[j] = f64(0.0)
        for k in serial(0, 5):
            for j in vector(0, 3):
                acc[j] = fma(a[i, k], b[k, j], acc[j])
        for j in vector(0, 3):
            c[i, j] = acc[j]
""",
        a, b, c,
    )  # fmt: skip
    np.testing.assert_allclose(c, a @ b, rtol=1e-14)


@pytest.mark.parametrize("kind, expected", [("serial", [0, 0, 0, 0]), ("vector", [0, 0, 1, 2])])
def test_vector_lanes_all_read_before_any_writes(kind: str, expected: list[float]) -> None:
    x = f32(0, 1, 2, 3)
    run(f"def shift(x: f32[4]):\n    for v in {kind}(0, 3):\n        x[v + 1] = x[v]\n", x)
    assert x.tolist() == expected


def test_vector_lanes_go_statement_by_statement_through_branches_and_loops() -> None:
    """Lane v loops v times; each step adds what its neighbour had before the step."""
    x, y = f32(1, 1, 1, 1), f32(0, 0, 0, 0)
    run(
        """
def k(x: f32[4], y: f32[4]):
    for v in vector(0, 4):
        for i in serial(0, v):
            x[v] = x[v] + x[(v + 1) % 4]
        if v % 2 == 0:
            y[v] = x[v]
        else:
            y[v] = y[v - 1]
""",
        x, y,
    )  # fmt: skip
    expected = [1.0] * 4
    for i in range(3):
        old = list(expected)
        for v in range(i + 1, 4):
            expected[v] = old[v] + old[(v + 1) % 4]
    assert x.tolist() == expected
    assert y.tolist() == [expected[0], expected[0], expected[2], expected[2]]


REVERSE = """
def reverse(x: f32[2, 4]):
    for b in grid(0, 2):
        s = shared(f32, 4)
        for t in thread(0, 4):
            s[t] = x[b, t]
            {barrier}
            x[b, t] = s[3 - t]
"""


def test_threads_exchange_values_across_a_barrier() -> None:
    x = f32(*range(8)).reshape(2, 4)
    run(REVERSE.format(barrier="barrier()"), x)
    assert x.tolist() == [[3, 2, 1, 0], [7, 6, 5, 4]]


def test_without_the_barrier_a_thread_sees_memory_not_yet_written() -> None:
    x = f32(*range(8)).reshape(2, 4)
    run(REVERSE.format(barrier="pass"), x)
    assert np.isnan(x[0, 0])


@pytest.mark.parametrize("others", ["pass", "barrier()"])
def test_a_barrier_that_not_all_threads_reach_is_an_error(others: str) -> None:
    text = f"""
def k():
    for b in grid(0, 1):
        for t in thread(0, 4):
            if t < 2:
                barrier()
            else:
                {others}
"""
    with pytest.raises(CodegenError, match="not reached by all threads: 0 and 2"):
        run(text)


def test_threads_may_meet_many_times() -> None:
    """A tree sum: log2(n) barriers in a serial loop."""
    x = f32(*range(1, 9))
    run(
        """
def total(x: f32[8]):
    for b in grid(0, 1):
        for t in thread(0, 8):
            for step in serial(0, 3):
                half = 4 >> step
                if t < half:
                    x[t] = x[t] + x[t + half]
                barrier()
""",
        x,
    )
    assert x[0] == 36


@pytest.mark.parametrize("index", ["n", "-1", "0 - 9"])
def test_every_access_is_checked(index: str) -> None:
    text = f"def k(x: f32[2, 4]):\n    n = 4\n    x[1, {index}] = f32(0.0)\n"
    with pytest.raises(CodegenError, match=r"k: index \[1, -?\d\] is outside x, of shape \[2, 4\]"):
        run(text, np.zeros((2, 4), np.float32))


def test_select_computes_only_the_side_it_takes() -> None:
    x = f32(5)
    run("def k(x: f32[1]):\n    for i in serial(0, 3):\n        x[0] = select(i < 1, x[i], x[0] + f32(1.0))\n", x)
    assert x[0] == 7


def test_arrays_must_match_the_parameters() -> None:
    text = "def k(x: f32[2]):\n    pass\n"
    for arrays in ([], [np.zeros(2)], [np.zeros(3, np.float32)]):
        with pytest.raises(CodegenError, match="k: "):
            run(text, *arrays)


@pytest.mark.parametrize("a", [-7, 7])
@pytest.mark.parametrize("b", [-3, 3])
def test_integer_division_rounds_down(a: int, b: int) -> None:
    x, y = Var("x"), Var("y")
    lanes = {"x": np.int64(a), "y": np.int64(b)}
    assert value(x // y, **lanes) == a // b
    assert value(x % y, **lanes) == a % b


def test_integers_wrap_and_keep_their_dtype() -> None:
    x = np.int32(2**31 - 1)
    result = value(Var("x", "i32") + 1, x=x)
    assert result == -(2**31) and result.dtype == np.int32
    assert value(Var("y", "u8") + 100, y=np.uint8(200)) == 44


def test_folding_constants_wraps_as_running_does() -> None:
    assert Const(200, "u8") + Const(100, "u8") == Const(44, "u8")
    assert Const(2**31 - 1, "i32") + Const(1, "i32") == Const(-(2**31), "i32")
    assert value(Var("y", "u8") - 1, y=np.uint8(0)) == 255


@pytest.mark.parametrize("op", ["min", "max"])
def test_min_and_max_propagate_nan_and_order_zeros(op: str) -> None:
    a, b = Var("a", "f32"), Var("b", "f32")
    e = Binary(op, a, b)
    nan, zero, minus = np.float32(np.nan), np.float32(0), np.float32(-0.0)
    assert np.isnan(value(e, a=nan, b=zero)) and np.isnan(value(e, a=zero, b=nan))
    for x, y in ((zero, minus), (minus, zero)):
        assert np.signbit(value(e, a=x, b=y)) == (op == "min")


def test_casts_truncate_toward_zero_and_refuse_what_does_not_fit() -> None:
    x = Var("x", "f32")
    assert value(Cast(x, "i32"), x=np.float32(-2.7)) == -2
    assert value(Cast(x, "bool"), x=np.float32(0.5)) == np.True_
    for bad in (np.nan, 3e9, -np.inf):
        with pytest.raises(CodegenError, match="to i32, which does not hold it"):
            value(Cast(x, "i32"), x=np.float32(bad))


@pytest.mark.parametrize("e", [Var("x") // Var("x"), Var("x") % Var("x"), Const(1, "i64") << (Var("x") + 64)])
def test_undefined_integer_arithmetic_is_an_error(e: Expr) -> None:
    with pytest.raises(CodegenError):
        value(e, x=np.int64(0))


def test_bitcast_keeps_bits_and_sqrt_is_ieee() -> None:
    x = Var("x", "f32")
    assert value(Bitcast(x, "i32"), x=np.float32(1)) == 0x3F800000
    assert np.isnan(value(Unary("sqrt", x), x=np.float32(-1)))


def test_shared_subexpressions_are_computed_once() -> None:
    e: Expr = Var("x")
    for _ in range(200):  # 2**200 steps as a tree
        e = Binary("add", e, e)
    assert value(e, x=np.int64(0)) == 0
    assert value(Select(Const(True, "bool"), e, e), x=np.int64(0)) == 0


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_fma_rounds_once(dtype: Any) -> None:
    """Against exact rationals: no float lies nearer to a * b + c, ties go to even."""
    rng = random.Random(0)

    def draw(spread: int) -> Any:
        return dtype(rng.choice([-1, 1]) * rng.random() * 2.0 ** rng.randint(-spread, spread))

    for trial in range(3000):
        a, b = draw(20), draw(20)
        c = dtype(-float(a) * float(b)) if trial % 3 == 0 else draw(60)
        exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
        got = fma(a, b, c)
        error = abs(Fraction(float(got)) - exact)
        for towards in (-np.inf, np.inf):
            neighbour = np.nextafter(got, dtype(towards))
            other = abs(Fraction(float(neighbour)) - exact)
            assert error < other or (error == other and got.view(f"i{got.itemsize}") % 2 == 0)


def test_fma_of_special_values() -> None:
    for dtype in (np.float32, np.float64):
        big, inf, zero = np.finfo(dtype).max, dtype(np.inf), dtype(0)
        assert fma(big, big, -inf) == -inf
        assert fma(big, big, zero) == inf
        assert fma(big, dtype(2), -big) == big
        assert np.isnan(fma(inf, zero, zero)) and np.isnan(fma(inf, dtype(1), -inf))
        assert np.signbit(fma(zero, dtype(-1), -zero)) and not np.signbit(fma(dtype(1), dtype(1), dtype(-1)))
