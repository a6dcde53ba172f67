"""Reductions against NumPy and PyTorch: accuracy of long sums, ties, statistics, norms, and nothing at all."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn
from graphnet.errors import GraphnetError
from graphnet.evaluate import evaluate

RNG = np.random.default_rng(0)
MANY = 10_000_000


@pytest.mark.parametrize("target", ["cpu", "cpu:simd128", "emulator"])
@pytest.mark.parametrize("n", [MANY, MANY - 9])  # the second is prime
def test_long_sums_and_means(n: int, target: str) -> None:
    """Within 1e-6 even where all terms are rounded alike; and the same bits for any number of threads."""
    x = gn.input("x", ("N",))
    drawn = RNG.random(n, dtype=np.float32)
    for given in (drawn, np.full(n, 0.1, np.float32), drawn + np.float32(1000)):
        exact = float(given.sum(dtype=np.float64))
        found = [
            gn.compile([gn.sum(x), gn.mean(x)], inputs=[x], target=target, threads=t)(given)
            for t in ((1, 2, 3) if target == "cpu" else (2,))
        ]
        total, mean = found[0]
        assert abs(float(total) - exact) <= 1e-6 * exact and abs(float(mean) - exact / n) <= 1e-6 * exact / n
        assert all(f[0] == total and f[1] == mean for f in found)


@pytest.mark.parametrize("target", ["cpu", "emulator"])
def test_long_sums_along_the_outer_axis(target: str) -> None:
    given = np.full((MANY // 10, 10), 0.1, np.float32)
    x = gn.input("x", given.shape)
    found = gn.compile(gn.sum(x, axis=0), inputs=[x], target=target)(given)
    np.testing.assert_allclose(found, given.sum(axis=0, dtype=np.float64), rtol=1e-6)


@pytest.mark.parametrize("target", ["cpu", "emulator"])
@pytest.mark.parametrize("dtype", ["float32", "float16", "int8", "uint8", "int64"])
def test_first_and_last_extremes(dtype: str, target: str) -> None:
    given = RNG.integers(0 if dtype == "uint8" else -3, 4, (7, 33)).astype(dtype)
    x = gn.input("x", ("N", 33), dtype)
    low, high = gn.argmin(x, 1), gn.argmax(x, 1)
    nodes = [low, high, gn.argmin(x, 1, select_last_index=True), gn.argmax(x, 1, True, select_last_index=True)]
    first_low, first_high, last_low, last_high = gn.compile(nodes, inputs=[x], target=target)(given)
    np.testing.assert_array_equal(first_low, given.argmin(1))
    np.testing.assert_array_equal(first_high, given.argmax(1))
    np.testing.assert_array_equal(last_low, 32 - given[:, ::-1].argmin(1))
    np.testing.assert_array_equal(last_high, 32 - given[:, ::-1].argmax(1, keepdims=True))


@pytest.mark.parametrize("target", ["cpu", "emulator"])
def test_extremes_at_the_borders_of_integers(target: str) -> None:
    for dtype in ("int8", "uint8", "int16", "uint32", "int64", "uint64"):
        low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
        for given in (np.full(40, low, dtype), np.full(40, high, dtype), np.array([0, high, low, 1], dtype)):
            x = gn.input("x", given.shape, dtype)
            nodes = [gn.max(x), gn.min(x), gn.argmax(x), gn.argmin(x)]
            found = gn.compile(nodes, inputs=[x], target=target)(given)
            assert [int(f) for f in found] == [given.max(), given.min(), given.argmax(), given.argmin()]


def test_nan_is_an_extreme() -> None:
    given = np.array([[1, np.nan, -5, np.nan], [3, 2, 1, 0]], np.float32)
    x = gn.input("x", given.shape)
    for node in (gn.argmin(x, 1), gn.argmax(x, 1)):
        assert gn.compile(node, inputs=[x])(given)[0] == 1


@pytest.mark.parametrize("axis", [None, 0, (0, 2), (1,)])
def test_statistics_and_norms(axis: int | tuple[int, ...] | None) -> None:
    torch = pytest.importorskip("torch")
    given = RNG.normal(size=(3, 4, 5)) + 2
    x = gn.input("x", ("N", 4, 5), "float64")
    t = torch.tensor(given, requires_grad=True)
    dim = tuple(range(3)) if axis is None else axis
    pairs = [
        (gn.var(x, axis), torch.var(t, dim, correction=0)),
        (gn.var(x, axis, ddof=1, keepdims=True), torch.var(t, dim, correction=1, keepdim=True)),
        (gn.std(x, axis, ddof=1), torch.std(t, dim, correction=1)),
        (gn.logsumexp(x, axis), torch.logsumexp(t, dim)),
        (gn.sum_square(x, axis), (t * t).sum(dim)),
        (gn.log_sum(x * x, axis), (t * t).sum(dim).log()),
        *(
            (gn.vector_norm(x, axis, ord=p), torch.linalg.vector_norm(t, p, dim))
            for p in (2, 1, np.inf, -np.inf, 3, 0.5)
        ),
    ]
    for node, expected in pairs:
        (slope,) = gn.gradient(gn.sum(node * node), [x])
        got, g = gn.compile([node, slope], inputs=[x])(given)
        (want,) = torch.autograd.grad((expected * expected).sum(), t)
        np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(g, want.numpy(), rtol=1e-9, atol=1e-9)


def test_norm_of_zero_has_no_slope() -> None:
    x = gn.input("x", (3,))
    (g,) = gn.gradient(gn.vector_norm(x), [x])
    assert gn.compile(g, inputs=[x])(np.zeros(3, np.float32)).tolist() == [0, 0, 0]


def test_quantifiers_of_numbers() -> None:
    given = np.array([[0, 1, 2], [0, 0, 0], [1, np.nan, 3]], np.float32)
    x = gn.input("x", given.shape)
    some, every, both = gn.compile([gn.any(x, 1), gn.all(x, 1, keepdims=True), gn.all(gn.any(x, 1))], inputs=[x])(given)
    assert some.tolist() == [True, False, True] and every.tolist() == [[False], [False], [True]] and not both


@pytest.mark.parametrize("target", ["cpu", "emulator"])
def test_of_nothing(target: str) -> None:
    """Sums, products and quantifiers of no elements are neutral; extremes and means are errors."""
    x = gn.input("x", (0, 3))
    nodes = [gn.sum(x, 0), gn.prod(x, 0), gn.any(x, 0), gn.all(x, 0), gn.vector_norm(x, 0), gn.max(x, 1), gn.mean(x, 1)]
    given = np.zeros((0, 3), np.float32)
    for got, want in zip(gn.compile(nodes, inputs=[x], target=target)(given), evaluate(nodes, {x: given}), strict=True):
        np.testing.assert_array_equal(got, want)
    for f in (gn.max, gn.min, gn.mean, gn.argmax, gn.argmin):
        with pytest.raises(GraphnetError, match="over no elements"):
            f(gn.input("x", (0, 3)), 0)
