"""Loads of elements that are not neighbours, as vectors and shuffles: every distance, length and dtype."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn

STEPS = (2, 3, 4, 5, 9, 17)  # shuffled, and one by one


@pytest.mark.parametrize("target", ["cpu", "cpu:simd128"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int8"])
def test_steps_and_reversals(dtype: str, target: str) -> None:
    a = np.arange(3 * 331).reshape(3, 331).astype(dtype)
    x = gn.input("x", a.shape, dtype)
    ys = [x[:, start::step] + x[:, start::step] for step in STEPS for start in (0, 1)]
    ys += [gn.flip(x, 1) + gn.flip(x, 1), gn.flip(x[:, 3:99], 1) + gn.flip(x[:, 3:99], 1)]
    wants = [2 * a[:, start::step] for step in STEPS for start in (0, 1)]
    wants += [2 * a[:, ::-1], 2 * a[:, 98:2:-1]]
    for got, want in zip(gn.compile(ys, [x], target=target)(a), wants, strict=True):
        np.testing.assert_array_equal(got, want.astype(dtype))


def test_pooling_and_its_gradient_gather_nothing() -> None:
    x = gn.input("x", (2, 4, 64, 100))
    for y in (gn.max_pool2d(x, 2), gn.avg_pool2d(x, 3, 2)):
        f = gn.compile([y, gn.gradient(gn.sum(y), x)], [x], target="cpu:simd128")
        f.specialise({})
        assert "gather" not in f.source("llvm") and "scatter.v" not in f.source("llvm")
