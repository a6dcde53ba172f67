"""Philox against the known answers that its authors publish (Random123, kat_vectors)."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.expr import const
from graphnet.evaluate import evaluate
from graphnet.ops.random import bernoulli, fold_in, key, philox, philox_reference, uniform

from .targets import Point

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
    for dtype in ("float32", "float64"):
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
