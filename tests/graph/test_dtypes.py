"""Element types: conversions between all of them, storage types, and what NumPy leaves undefined."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn
from graphnet.evaluate import evaluate
from graphnet.types import DTYPES, FLOATS, INTEGERS

RNG = np.random.default_rng(0)
SPECIAL = [
    *(0.0, -0.0, 1.0, np.inf, -np.inf, np.nan, -128.9, -129.0, 127.5, 128.0, 255.9, 256.0, -0.5, -1.0),
    *(65504.0, 65519.9, 65520.0, 65536.0, 6e-8, 2.98e-8, 2.0**-25, 2.0**-25 * 1.001, 6.1e-5, 3.4e38, 1e-40, 1e300),
    *(2.0**31, 2.0**31 - 100, -(2.0**31), 2.0**63, -(2.0**63), 2.0**64, 1 + 2.0**-11 + 2.0**-40, 1 + 2.0**-8),
]


def values(dtype: str) -> np.ndarray:
    """All float16 and bfloat16; of the others numbers of every size, and the borders."""
    if dtype in ("float16", "bfloat16"):
        return np.arange(1 << 16, dtype=np.uint16).view(dtype)
    if dtype in FLOATS:
        with np.errstate(over="ignore"):
            scaled = RNG.normal(size=400) * 10.0 ** RNG.integers(-9, 9, 400)
            return np.concatenate([SPECIAL, scaled, RNG.integers(-70000, 70000, 100) + 0.5]).astype(dtype)
    if dtype == "bool":
        return np.array([True, False, True])
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    drawn = RNG.integers(low, high, 300, dtype=dtype, endpoint=True)
    return np.concatenate([drawn, np.array([low, high, 0, 1, high - 1, high // 2], dtype=dtype)])


@pytest.mark.parametrize("target", ["cpu", "cpu:simd128", "emulator"])
@pytest.mark.parametrize("source", DTYPES)
def test_cast(source: str, target: str) -> None:
    """From each dtype to all: integers wrap, floats are rounded once and to nearest even, subnormals included."""
    given = values(source)
    x = gn.input("x", given.shape, source)
    casts = [gn.cast(x, d) for d in DTYPES]
    got = gn.compile(casts, inputs=[x], target=target)(given)
    for node, g, w in zip(casts, got, evaluate(casts, {x: given}), strict=True):
        assert g.dtype == w.dtype == node.dtype
        if node.type.is_float:  # NumPy knows a NaN of its own dtypes
            with np.errstate(invalid="ignore"):
                g, w = g.astype(np.float64), w.astype(np.float64)
            np.testing.assert_array_equal(np.signbit(g[w == 0]), np.signbit(w[w == 0]))
        np.testing.assert_array_equal(g, w, err_msg=repr(node))


@pytest.mark.parametrize("dtype", INTEGERS)
def test_floats_out_of_range_become_the_nearest_integer(dtype: str) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    x = gn.input("x", (5,))
    found = gn.compile(gn.cast(x, dtype), inputs=[x])(np.array([-1e30, 1e30, -np.inf, np.inf, np.nan], np.float32))
    assert found.tolist() == [low, high, low, high, 0]


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
@pytest.mark.parametrize("target", ["cpu", "emulator"])
def test_rounded_at_each_node(dtype: str, target: str) -> None:
    """Fused or not, each op is float32 arithmetic and one rounding."""
    given = RNG.normal(size=(64, 3)).astype(dtype)
    x = gn.input("x", ("N", 3), dtype)
    steps = [x * x, x * x + 0.1, gn.tanh(x * x + 0.1), gn.where(x > 0.0, gn.tanh(x * x + 0.1), x)]
    alone = gn.compile(steps, inputs=[x], target=target)(given)
    fused = gn.compile(steps[-1], inputs=[x], target=target)(given)
    np.testing.assert_array_equal(alone[-1], fused)
    square = (given.astype(np.float32) ** 2).astype(dtype)
    np.testing.assert_array_equal(alone[0], square)
    tenth = np.asarray(0.1, dtype).astype(np.float32)
    np.testing.assert_array_equal(alone[1], (square.astype(np.float32) + tenth).astype(dtype))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_folds_are_rounded_once(dtype: str) -> None:
    """Sums, products and variances in float32: of 2^20 numbers too, which go in two steps."""
    given = (RNG.normal(size=1 << 20) + 10).astype(dtype)
    a, b = RNG.normal(size=(65, 130)).astype(dtype), RNG.normal(size=(130, 34)).astype(dtype)
    x, p, q = gn.input("x", given.shape, dtype), gn.input("a", a.shape, dtype), gn.input("b", b.shape, dtype)
    mean, product = gn.compile([gn.sum(x * 2.0**-20), p @ q], inputs=[x, p, q])(given, a, b)
    scaled = (given.astype(np.float64) * 2.0**-20).astype(dtype).astype(np.float64)
    step = {"float16": 2.0**-11, "bfloat16": 2.0**-8}[dtype]
    assert abs(float(mean) - scaled.sum()) <= 1.01 * step * abs(scaled.sum())
    wide = a.astype(np.float64) @ b.astype(np.float64)
    assert np.all(np.abs(product.astype(np.float64) - wide) <= step * np.abs(wide) + 1e-4)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_training_step_and_text(dtype: str) -> None:
    """Parameters, gradients and constants of storage types, through the text form and back."""
    given = RNG.normal(size=(8, 4)).astype(dtype)
    x = gn.input("x", ("N", 4), dtype)
    w = gn.parameter("w", (4, 3), init=gn.init.he_normal(), dtype=dtype)
    loss = gn.mean(gn.tanh(x @ w + gn.constant(np.asarray([0.5, 1.5, np.inf], dtype)) * 0.5))
    (g,) = gn.gradient(loss, [w])
    assert g.dtype == dtype
    graph = gn.node.make_graph([loss, g], [x])
    assert gn.parse(gn.to_text(graph)) is graph
    step = gn.compile([loss, g], inputs=[x], updates={w: w - 0.25 * g})
    before = np.array(step.state[w])
    found, slope = step(given)
    assert found.dtype == slope.dtype == before.dtype == np.dtype(dtype)
    change = (slope.astype(np.float32) * 0.25).astype(dtype)
    want = (before.astype(np.float32) - change.astype(np.float32)).astype(dtype)
    np.testing.assert_array_equal(step.state[w], want)
