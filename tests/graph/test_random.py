"""Philox against the known answers that its authors publish (Random123, kat_vectors)."""

from __future__ import annotations

import math

import numpy as np
import pytest

from codegen.expr import const
from graphnet.errors import GraphnetError
from graphnet.evaluate import evaluate
from graphnet.node import constant
from graphnet.ops.random import (
    bernoulli,
    categorical,
    fold_in,
    key,
    normal,
    philox,
    philox_reference,
    randint,
    uniform,
)

from .targets import Point, run

KNOWN = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text: str) -> list[int]:
    return [int(w, 16) for w in text.split()]


@pytest.mark.parametrize(("counter", "k", "want"), KNOWN)
def test_known_answers(counter: str, k: str, want: str) -> None:
    low, high = words(k)
    k64 = int(np.array(low | high << 32, dtype=np.uint64).astype(np.int64))
    got = philox_reference(k64, np.array(words(counter), dtype=np.uint64)[:, None])[:, 0]
    assert got.tolist() == words(want)
    out = philox(const(k64, "i64"), tuple(const(c, "i64") for c in words(counter)))  # type: ignore[arg-type]
    at = Point({}, {})
    assert [at.value(w) for w in out] == words(want)


def test_uniform_is_uniform() -> None:
    for dtype in ("float32", "float64", "float16"):
        (u,) = evaluate(uniform(key(1), (200, 500), dtype))
        assert u.dtype == dtype and u.min() >= 0 and u.max() < 1
        counts = np.histogram(u, 100, (0, 1))[0]
        assert np.sum((counts - 1000) ** 2 / 1000) < 160  # chi squared, 99 degrees of freedom: 1 in 10^4
        assert abs(np.corrcoef(u[:, :-1].ravel(), u[:, 1:].ravel())[0, 1]) < 0.015


def test_keys_differ() -> None:
    streams = [evaluate(uniform(k, (1000,)))[0] for k in (key(0), key(1), fold_in(key(0), 0), fold_in(key(0), 1))]
    for i, a in enumerate(streams):
        for b in streams[:i]:
            assert abs(np.corrcoef(a, b)[0, 1]) < 0.15
    np.testing.assert_array_equal(streams[0], evaluate(uniform(key(0), (1000,)))[0])


def test_bernoulli() -> None:
    (b,) = evaluate(bernoulli(key(5), 0.2, (100, 100)))
    assert b.dtype == bool and abs(b.mean() - 0.2) < 3 * 0.004


def test_bernoulli_of_probabilities() -> None:
    (b,) = evaluate(bernoulli(key(5), constant(np.repeat(np.array([0.0, 0.3, 1.0], np.float32), 4000))))
    never, sometimes, always = b.reshape(3, -1).mean(axis=1)
    assert never == 0 and always == 1 and abs(sometimes - 0.3) < 0.025


@pytest.mark.parametrize("target", ["cpu", "emulator"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
def test_normal_is_normal(dtype: str, target: str) -> None:
    """Moments, Kolmogorov and Smirnov's distance, and no correlation of neighbours."""
    n = 200_000
    (drawn,) = run([normal(key(7), (n,), dtype)], {}, target)
    z = np.sort(drawn.astype(np.float64))
    error = 1 / math.sqrt(n)
    assert abs(z.mean()) < 4 * error and abs(z.var() - 1) < 4 * math.sqrt(2) * error
    assert abs((z**3).mean()) < 4 * math.sqrt(15) * error and abs((z**4).mean() - 3) < 4 * math.sqrt(96) * error
    if dtype != "bfloat16":  # whose steps are wider than the distance
        cumulated = np.array([(1 + math.erf(x / math.sqrt(2))) / 2 for x in z])
        assert np.abs(cumulated - (np.arange(n) + 0.5) / n).max() < 1.95 * error  # 1 in 1000
    pairs = drawn.astype(np.float64).reshape(-1, 2)
    assert abs(np.corrcoef(pairs[:, 0], pairs[:, 1])[0, 1]) < 4 * math.sqrt(2) * error


def test_scaled() -> None:
    u, z = evaluate([uniform(key(3), (50_000,), low=-2, high=6), normal(key(4), (50_000,), mean=5, std=3)])
    assert u.min() >= -2 and u.max() <= 6 and abs(u.mean() - 2) < 0.05
    assert abs(z.mean() - 5) < 0.06 and abs(z.std() - 3) < 0.05


def test_integers_and_categories() -> None:
    (n,) = evaluate(randint(key(2), (70_000,), -3, 4))
    counts = np.bincount(n + 3, minlength=7)
    assert counts.size == 7 and np.sum((counts - 10_000) ** 2 / 10_000) < 27  # 6 degrees of freedom: 1 in 10^4
    p = np.array([0.5, 0.2, 0.3])
    (c,) = evaluate(categorical(key(2), constant(np.tile(np.log(p), (20_000, 1)))))
    np.testing.assert_allclose(np.bincount(c, minlength=3) / 20_000, p, atol=0.015)
    with pytest.raises(GraphnetError, match="randint"):
        randint(key(2), (3,), 4, 4)
