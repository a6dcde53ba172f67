"""Sorting and cumulative sums against NumPy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn
from graphnet.errors import GradientError, GraphnetError, ShapeError
from graphnet.types import DTYPES

rng = np.random.default_rng(0)


def run(nodes: object, *arrays: np.ndarray, target: str = "cpu") -> list[np.ndarray]:
    inputs = [gn.input(f"x{k}", a.shape, a.dtype.name) for k, a in enumerate(arrays)]
    made = nodes(*inputs)
    found = gn.compile(made, inputs, target=target, threads=2)(*arrays)
    return [np.asarray(a) for a in (found if isinstance(found, tuple) else (found,))]


@pytest.mark.parametrize("dtype", DTYPES)
def test_sort_every_dtype(dtype: str) -> None:
    x = rng.integers(0, 100, (3, 41)).astype(dtype)
    if np.dtype(dtype).kind == "f" or dtype == "bfloat16":
        x = (x.astype("float32") - 50).astype(dtype)
        x[:, ::7], x[0, 3], x[1, 4] = np.nan, np.inf, -np.inf
    places, ordered = run(lambda n: [gn.argsort(n), gn.sort(n, 0, descending=True)], x)
    wide = x.astype("float32") if dtype in ("float16", "bfloat16") else x
    np.testing.assert_array_equal(places, np.argsort(wide, -1, kind="stable"))
    np.testing.assert_array_equal(ordered.astype(wide.dtype), np.flip(np.sort(wide, 0), 0))


@pytest.mark.parametrize("n", [2, 3, 1000, 100_000])
def test_sort_of_any_length(n: int) -> None:
    x = rng.integers(0, n, n).astype("float32")
    (got,) = run(gn.argsort, x)
    np.testing.assert_array_equal(got, np.argsort(x, kind="stable"))


def test_top_k() -> None:
    torch = pytest.importorskip("torch")
    x = rng.permutation(60).reshape(3, 5, 4).astype("float64")
    for axis, largest in ((0, True), (1, False), (-1, True)):
        got = run(lambda n, a=axis, big=largest: list(gn.top_k(n, 2, a, big)), x, target="emulator")
        for mine, theirs in zip(got, torch.topk(torch.tensor(x), 2, axis, largest), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    t, n = torch.tensor(x, requires_grad=True), gn.input("n", x.shape, "float64")
    values, places = gn.top_k(n, 3, 1)
    (torch.topk(t, 3, 1).values ** 3).sum().backward()
    (slope,) = gn.gradient(gn.sum(values**3), [n])
    np.testing.assert_allclose(gn.evaluate(slope, {n: x})[0], t.grad)
    with pytest.raises(GradientError):
        gn.gradient(gn.sum(gn.cast(places, "float64")), [n])
    with pytest.raises(ShapeError, match="from 0 to 5"):
        gn.top_k(n, 6, 1)
    for k in (1, 4):
        want = torch.kthvalue(torch.tensor(x), k, 1)
        for mine, theirs in zip(run(lambda m, k=k: list(gn.kth_value(m, k, 1)), x), want, strict=True):
            np.testing.assert_array_equal(mine, theirs)


def test_median_and_searchsorted() -> None:
    x = rng.normal(size=(4, 7))
    x[1, 2] = np.nan
    for axis in (0, 1):
        np.testing.assert_allclose(run(lambda n, a=axis: gn.median(n, a), x)[0], np.median(x, axis))
    v = np.sort(rng.integers(0, 20, 33)).astype("float32")
    at = np.array([[-1, 0, 3.5], [7, 19, np.nan]], "float32")
    for right in (False, True):
        (got,) = run(lambda a, b, r=right: gn.searchsorted(a, b, right=r), v, at, target="emulator")
        np.testing.assert_array_equal(got, np.searchsorted(v, at, "right" if right else "left"))


def test_histogram() -> None:
    x = np.concatenate([rng.normal(size=500), [-1, 2, 2.001, np.nan, np.inf, -np.inf, 0.5]]).astype("float32")
    (got,) = run(lambda n: gn.histogram(n, 6, (-1, 2)), x)
    np.testing.assert_array_equal(got, np.histogram(x[np.isfinite(x)], 6, (-1, 2))[0])


def test_cumulative() -> None:
    torch = pytest.importorskip("torch")
    x = rng.normal(size=(3, 6, 2))
    x[0, 2, 0] = x[1, 1, 1] = x[1, 4, 1] = 0.0
    n, t = gn.input("n", x.shape, "float64"), torch.tensor(x, requires_grad=True)
    for ours, theirs in ((gn.cumsum, torch.cumsum), (gn.cumprod, torch.cumprod)):
        y = ours(n, 1)
        np.testing.assert_allclose(run(lambda m, f=ours: f(m, 1), x)[0], theirs(t, 1).detach(), rtol=1e-12)
        (want,) = torch.autograd.grad((theirs(t, 1) ** 2 * torch.arange(6.0)[:, None]).sum(), t)
        (slope,) = gn.gradient(gn.sum(y * y * gn.constant(np.arange(6.0)[:, None])), [n])
        np.testing.assert_allclose(gn.evaluate(slope, {n: x})[0], want, rtol=1e-10, atol=1e-12)
    back = np.flip(np.cumsum(np.flip(x, 0), 0), 0)
    got = run(lambda m: [gn.cumsum(m, 0, reverse=True), gn.cumsum(m, 0, exclusive=True, reverse=True)], x)
    np.testing.assert_allclose(got[0], back, rtol=1e-12)
    np.testing.assert_allclose(got[1], back - x, rtol=1e-12, atol=1e-12)


def test_cumulative_sums_are_accurate() -> None:
    x = rng.uniform(size=1_000_000).astype("float32")
    (got,) = run(lambda n: gn.cumsum(n, 0), x)
    np.testing.assert_allclose(got, np.cumsum(x.astype("float64")), rtol=1e-7)


def test_what_depends_on_data_is_refused() -> None:
    x = gn.input("x", (3,))
    for make in (lambda: gn.nonzero(x), lambda: gn.unique(x), lambda: gn.compress(x > 0, x)):
        with pytest.raises(GraphnetError, match=r"depends on the values.*test_ordered.py"):
            make()
