"""Integers and bits, remainders, classes of numbers: against NumPy and Python, over whole domains or their borders."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

import graphnet as gn

BYTES = np.meshgrid(*(np.arange(256, dtype=np.uint8),) * 2, indexing="ij")
SPECIAL = [0.0, -0.0, 1.0, -1.0, 0.1, 3.0, -3.0, 5.5, 1e20, -1e20, 1e30, 1e-30, np.inf, -np.inf, np.nan]


def in_c(x: int, y: int) -> int:
    return 0 if y == 0 else abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)


WHOLE: dict[str, Callable[[int, int], int]] = {
    "floor_divide": lambda x, y: 0 if y == 0 else x // y,
    "trunc_divide": in_c,
    "remainder": lambda x, y: 0 if y == 0 else x % y,
    "fmod": lambda x, y: 0 if y == 0 else int(math.fmod(x, y)),
    "left_shift": lambda x, y: x << y if 0 <= y < 8 else 0,
    "right_shift": lambda x, y: x >> y if 0 <= y < 8 else -(x < 0),
    "bitwise_and": lambda x, y: x & y,
    "bitwise_or": lambda x, y: x | y,
    "bitwise_xor": lambda x, y: x ^ y,
    "integer_power": lambda x, y: x**y if y >= 0 else 0 if abs(x) != 1 else x ** (-y),
}


@pytest.mark.parametrize("target", ["cpu", "emulator"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_all_pairs_of_bytes(dtype: str, target: str) -> None:
    x, y = (b.reshape(-1).view(dtype) for b in BYTES)
    p, q = gn.input("x", x.shape, dtype), gn.input("y", y.shape, dtype)
    found = gn.compile([getattr(gn, name)(p, q) for name in WHOLE], inputs=[p, q], target=target)(x, y)
    pairs = list(zip(x.tolist(), y.tolist(), strict=True))
    for (name, f), got in zip(WHOLE.items(), found, strict=True):
        want = np.array([f(a, b) & 255 for a, b in pairs], np.uint8).view(dtype)
        np.testing.assert_array_equal(got, want, err_msg=name)


@pytest.mark.parametrize("dtype", ["int32", "int64", "uint32", "uint64", "int16"])
def test_borders_of_integers(dtype: str) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    rng = np.random.default_rng(0)
    borders = np.array([low, high, low + 1, high - 1, 0, 1, 2, 3], dtype)
    some = np.concatenate([borders, rng.integers(low, high, 9, dtype)])
    x, y = (m.reshape(-1) for m in np.meshgrid(some, some))
    p, q = gn.input("x", x.shape, dtype), gn.input("y", y.shape, dtype)
    ours = {"less": gn.lt, "less_equal": gn.le, "multiply": gn.mul}
    names = ["floor_divide", "remainder", "left_shift", "right_shift", "maximum", "minimum", "add", *ours]
    found = gn.compile([ours.get(n, getattr(gn, n, None))(p, q) for n in names], inputs=[p, q])(x, y)
    for name, got in zip(names, found, strict=True):
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(got, getattr(np, name)(x, y), err_msg=name)


@pytest.mark.parametrize("target", ["cpu", "cpu:simd128", "emulator"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_remainders_of_floats_are_exact(dtype: str, target: str) -> None:
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(2, 4000)) * 10.0 ** rng.integers(-37, 37, (2, 4000))
    special = np.stack([m.reshape(-1) for m in np.meshgrid(SPECIAL, SPECIAL)])
    whole = rng.integers(-20, 20, (2, 500)).astype(float)
    x, y = np.concatenate([spread, special, whole, rng.uniform(-9, 9, (2, 4000))], axis=1).astype(dtype)
    p, q = gn.input("x", x.shape, dtype), gn.input("y", y.shape, dtype)
    ops = {"fmod": gn.fmod, "remainder": gn.remainder, "floor_divide": gn.floor_divide}
    found = gn.compile([f(p, q) for f in ops.values()], inputs=[p, q], target=target)(x, y)
    for name, got in zip(ops, found, strict=True):
        with np.errstate(all="ignore"):
            want = getattr(np, name)(x, y)
        np.testing.assert_array_equal(got, want, err_msg=name)
        np.testing.assert_array_equal(np.signbit(got[want == 0]), np.signbit(want[want == 0]), err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16"])
def test_classes_of_numbers(dtype: str) -> None:
    with np.errstate(over="ignore"):
        given = np.array([*SPECIAL, 6e-8], dtype)
    x = gn.input("x", given.shape, dtype)
    nodes = [gn.isnan(x), gn.isinf(x), gn.isfinite(x), gn.sign(x), gn.maximum(x, 0.0), gn.minimum(0.0, x)]
    nodes += [gn.isinf(x, detect_negative=False), gn.isinf(x, detect_positive=False)]
    nan, inf, finite, sign, most, least, up, down = gn.compile(nodes, inputs=[x])(given)
    wide = given.astype(np.float64)
    np.testing.assert_array_equal(nan, np.isnan(wide))
    np.testing.assert_array_equal(inf, np.isinf(wide))
    np.testing.assert_array_equal(finite, np.isfinite(wide))
    np.testing.assert_array_equal(up, wide == np.inf)
    np.testing.assert_array_equal(down, wide == -np.inf)
    for got, want in ((sign, np.sign(wide)), (most, np.maximum(wide, 0)), (least, np.minimum(wide, 0))):
        with np.errstate(invalid="ignore"):
            np.testing.assert_array_equal(got.astype(np.float64), want)


def test_operators() -> None:
    """Integers have Python's operators; bools have logic."""
    x, y = np.array([-7, 7, 12, -1], np.int32), np.array([2, -2, 5, 3], np.int32)
    p, q = gn.input("x", x.shape, "int32"), gn.input("y", y.shape, "int32")
    b, c = p > 0, q > 2
    nodes = [p // q, p % q, p & q, p | q, p ^ q, ~p, p << 2, p >> 1, 100 // q, b ^ c, ~b, b & c]
    found = gn.compile(nodes, inputs=[p, q])(x, y)
    d, e = x > 0, y > 2
    want = [x // y, x % y, x & y, x | y, x ^ y, ~x, x << 2, x >> 1, 100 // y, d ^ e, ~d, d & e]
    for got, w in zip(found, want, strict=True):
        np.testing.assert_array_equal(got, w)
