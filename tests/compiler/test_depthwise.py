"""Depthwise convolution with channels innermost: schedules, edges, ragged channels, the same bits for any threads."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn
from graphnet.evaluate import evaluate


@pytest.mark.parametrize("target", ["cpu", "cpu:simd128"])
@pytest.mark.parametrize(("channels", "stride", "kernel"), [(36, 1, 3), (40, 2, 3), (32, 1, 5)])
def test_block(channels: int, stride: int, kernel: int, target: str) -> None:
    rng = np.random.default_rng(0)
    x, w = gn.input("x", (2, 16, 13, 15)), gn.input("w", (channels, 16, 1, 1))
    d = gn.input("d", (channels, 1, kernel, kernel))
    h = gn.conv2d(gn.relu(gn.conv2d(x, w)), d, stride=stride, padding=kernel // 2, groups=channels)
    loss = gn.sum(gn.tanh(h) * h)
    outputs = [loss, *gn.gradient(loss, [x, w, d])]
    feeds = {n: rng.normal(size=n.shape).astype("f") for n in (x, w, d)}
    want = evaluate(outputs, feeds)
    found = []
    for threads in (1, 2):
        f = gn.compile(outputs, [x, w, d], target=target, threads=threads)
        found.append(f(*feeds.values()))
        for got, expected in zip(found[-1], want, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4 * float(np.abs(expected).max()))
    for one, two in zip(*found, strict=True):
        np.testing.assert_array_equal(one, two)
    how = [k.how for k in f.explain().kernels]
    assert any("lanes of both operands" in h for h in how)
    assert any("row by row" in h for h in how)


def test_algorithms_that_do_not_take_groups_say_so() -> None:
    x, w = gn.input("x", (1, 32, 8, 8)), gn.parameter("w", (32, 16, 3, 3))
    f = gn.compile(gn.conv2d(x, w, groups=2, algorithm="winograd"), [x])
    with pytest.raises(gn.GraphnetError, match=r"algorithm 'winograd' cannot be used: winograd .*not for groups"):
        f.specialise({})
    x, w = gn.input("x", (1, 2, 4, 8, 8)), gn.parameter("w", (2, 2, 3, 3, 3))
    with pytest.raises(gn.GraphnetError, match=r"conv3d: algorithm 'fft' cannot be used: .*only along 2 axes, not 3"):
        gn.compile(gn.conv3d(x, w, algorithm="fft"), [x]).specialise({})
