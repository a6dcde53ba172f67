"""Movement and indexing against NumPy and PyTorch; what the generated tests of single ops do not see."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn
from graphnet.errors import GraphnetError, ShapeError

rng = np.random.default_rng(0)
X = rng.normal(size=(5, 6, 7))


I, J = rng.integers(-4, 4, (3, 2)), rng.integers(-4, 4, (2,))  # noqa: E741
x = gn.input("x", (5, 6, 7), "float64")
i, j = gn.input("i", (3, 2), "int64"), gn.input("j", (2,), "int64")


def value(node: gn.Node) -> np.ndarray:
    """The value, which the compiler and the reference must agree on."""
    (want,) = gn.evaluate(node, {x: X, i: I, j: J})
    got = np.asarray(gn.compile(node, [x, i, j], target="cpu:simd128")(X, I, J))
    np.testing.assert_array_equal(got, want)
    return want


KEYS = [
    np.s_[::-1, 3:0:-2], np.s_[..., -1], np.s_[2, None, ::-3, ...], np.s_[-100:100:2, 4:1], np.s_[:, 4:-100:-1, 5:2:-1],
    np.s_[1, -2, 3], np.s_[None], np.s_[5:2],
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_keys(key: object) -> None:
    np.testing.assert_array_equal(value(x[key]), X[key])


def test_keys_with_nodes() -> None:
    for got, want in [
        (x[i], X[I]), (x[:, i], X[:, I]), (x[::2, None, i, 3:0:-2], X[::2, None][:, :, I][..., 3:0:-2]),
        (x[i, j], X[I, J]), (x[..., i, j], X[..., I, J]), (x[:, [0, -1]], X[:, [0, -1]]), (x[i, -2, j], X[I, -2, J]),
    ]:  # fmt: skip
        np.testing.assert_array_equal(value(got), want)
    for key in ((i, slice(None), j), (0, slice(None), i), (i, None, j)):
        with pytest.raises(GraphnetError, match=r"next to each other|stand between"):
            x[key]
    with pytest.raises(GraphnetError, match="not known before it runs"):
        x[x > 0]


def test_indices_out_of_range_are_clamped() -> None:
    far = np.array([-(2**62), -6, 5, 99, 2**62])
    wide = gn.input("far", (5,), "int64")
    found = gn.compile(gn.take(x, wide, 0), [x, wide], target="cpu")(X, far)
    np.testing.assert_array_equal(found, X[[0, 0, 4, 4, 4]])
    grid = gn.index_add(x, wide, gn.ones((5, 6, 7), "float64"))
    found = gn.compile(grid, [x, wide], target="cpu")(X, far)
    np.testing.assert_allclose(found, X + np.array([2, 0, 0, 0, 3])[:, None, None], rtol=1e-14)


def test_slice_by_bounds() -> None:
    got = value(gn.slice(x, (-1, -2, None), (None, -100, 99), (-2, -1, 3)))
    np.testing.assert_array_equal(got, X[::-2, -2:-100:-1, ::3])
    n = gn.input("n", ("N", 3))
    assert str(n[::-1, -1].type) == "float32[N]"
    with pytest.raises(ShapeError, match="must be \\[::-1\\]"):
        n[::-2]


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "symmetric", "wrap"])
def test_pad(mode: str) -> None:
    for width in ([(2, 1), (0, 3), (1, 0)], [(13, 11), (0, 0), (20, 15)]):
        np.testing.assert_array_equal(value(gn.pad(x, width, mode=mode)), np.pad(X, width, mode))
    cropped = value(gn.pad(x, [(-2, 1), (-1, -3), (0, 0)], mode=mode))
    np.testing.assert_array_equal(cropped, np.pad(X[2:, 1:-3], [(0, 1), (0, 0), (0, 0)], mode))


def test_pad_gradients() -> None:
    torch = pytest.importorskip("torch")
    for ours, theirs in (("reflect", "reflect"), ("edge", "replicate"), ("wrap", "circular")):
        y = gn.pad(x, [(0, 0), (0, 0), (3, 5)], mode=ours)
        (g,) = gn.gradient(gn.sum(y**3), [x])
        t = torch.tensor(X, requires_grad=True)
        (torch.nn.functional.pad(t, (3, 5), theirs) ** 3).sum().backward()
        np.testing.assert_allclose(gn.evaluate(g, {"x": X})[0], t.grad, rtol=1e-12)


def test_movement() -> None:
    each = [
        (gn.tile(x, (2, 1, 3)), np.tile(X, (2, 1, 3))), (gn.tile(x, (2, 1, 1, 3)), np.tile(X, (2, 1, 1, 3))),
        (gn.repeat(x, 3, 1), np.repeat(X, 3, 1)), (gn.repeat(x, 2), np.repeat(X, 2)),
        (gn.roll(x, -2, 1), np.roll(X, -2, 1)), (gn.roll(x, (3, 100), (0, 2)), np.roll(X, (3, 100), (0, 2))),
        (gn.roll(x, 5), np.roll(X, 5)), (gn.swapaxes(x, 0, -1), np.swapaxes(X, 0, -1)),
        (gn.moveaxis(x, 0, -1), np.moveaxis(X, 0, -1)),
        (gn.moveaxis(x, (2, 0), (0, 1)), np.moveaxis(X, (2, 0), (0, 1))),
        (gn.expand_dims(x, (0, -2)), np.expand_dims(X, (0, -2))), (gn.squeeze(x[:1, :, :1]), X[0, :, 0]),
        (gn.tril(x, 1), np.tril(X, 1)), (gn.triu(x, -2), np.triu(X, -2)), (gn.eye(3, 5, -1), np.eye(3, 5, -1)),
        (gn.stack(gn.unstack(x, 1), -1), np.moveaxis(X, 1, -1)),
        (gn.concatenate(gn.split(x, [1, 5], 1)[::-1], 1), np.concatenate([X[:, 1:], X[:, :1]], 1)),
        (gn.linspace(-1, 2, 7), np.linspace(-1, 2, 7, dtype="float32")),
        (gn.arange(3, 20, 4), np.arange(3, 20, 4)), (gn.zeros_like(x), 0 * X), (gn.full((2, 3), 7), np.full((2, 3), 7)),
        (gn.broadcast_arrays(x[0, 0], x)[0], np.broadcast_to(X[0, 0], X.shape)),
        *((gn.diagonal(x, k, 1, 2), np.diagonal(X, k, 1, 2)) for k in (-6, -4, 0, 1, 3, 7)),
        (gn.diagonal(x), np.diagonal(X)),
    ]  # fmt: skip
    for got, want in each:
        np.testing.assert_array_equal(value(got), want)
    np.testing.assert_allclose(value(gn.trace(x, -1)), np.trace(X, -1), rtol=1e-12)
    for indexing in ("xy", "ij"):
        a, b = np.meshgrid(np.arange(3), np.arange(4), indexing=indexing)
        for got, want in zip(gn.meshgrid(gn.arange(3), gn.arange(4), indexing=indexing), (a, b), strict=True):
            np.testing.assert_array_equal(gn.evaluate(got)[0], want)
    with pytest.raises(ShapeError, match="does not divide into 4"):
        gn.split(x, 4)


def test_blocks_of_pixels() -> None:
    torch = pytest.importorskip("torch")
    y = gn.reshape(x, (1, 30, 7, 1))[:, :24]
    Y = torch.tensor(X.reshape(1, 30, 7, 1)[:, :24].copy())
    np.testing.assert_array_equal(value(gn.depth_to_space(y, 2, "CRD")), torch.pixel_shuffle(Y, 2))
    np.testing.assert_array_equal(value(gn.space_to_depth(gn.depth_to_space(y, 2), 2)), Y)


def test_take_and_put_along_axis() -> None:
    for axis, shape in ((0, (9, 6, 7)), (1, (5, 2, 7)), (2, (1, 6, 4))):
        k = rng.integers(-X.shape[axis], X.shape[axis], shape)
        got = value(gn.take_along_axis(x, gn.constant(k), axis))
        np.testing.assert_array_equal(got, np.take_along_axis(X, k, axis))
        want = X.copy()
        np.put_along_axis(want, k, 7.0, axis)
        np.testing.assert_array_equal(value(gn.put_along_axis(x, gn.constant(k), 7.0, axis)), want)


def test_points() -> None:
    k = rng.integers(-5, 5, (4, 3, 2))
    np.testing.assert_array_equal(value(gn.gather_nd(x, gn.constant(k))), X[k[..., 0], k[..., 1]])
    batched = gn.gather_nd(x, gn.constant(rng.integers(0, 6, (5, 3, 1))), batch_dims=1)
    assert batched.shape == (5, 3, 7)
    value(batched)
    updates = rng.normal(size=(4, 3, 7))
    want = X.copy()
    np.add.at(want, (k[..., 0], k[..., 1]), updates)
    np.testing.assert_allclose(value(gn.scatter_nd(x, gn.constant(k), updates, "add")), want, rtol=1e-14)


@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
def test_scatter_gradients(reduction: str) -> None:
    torch = pytest.importorskip("torch")
    k, u = rng.integers(0, 5, (4, 6, 3)), rng.integers(-2, 3, (4, 6, 3)).astype(float)
    whole = np.round(X)  # ties and zeros
    v = gn.input("v", u.shape, "float64")
    y = gn.scatter_elements(x, gn.constant(k), v, 0, reduction)
    got = gn.evaluate(gn.gradient(gn.sum(y**2), [x, v]), {"x": whole, "v": u})
    a, b = torch.tensor(whole, requires_grad=True), torch.tensor(u, requires_grad=True)
    name = {"add": "sum", "mul": "prod", "max": "amax", "min": "amin"}[reduction]
    (a.scatter_reduce(0, torch.tensor(k), b, name) ** 2).sum().backward()
    for mine, theirs in zip(got, (a.grad, b.grad), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-12, atol=1e-12)


def test_embedding_gradient() -> None:
    table, at = gn.parameter("table", (1000, 16)), gn.input("at", ("N",), "int32")
    y = gn.embedding(at, table)
    (g,) = gn.gradient(gn.sum(y * y), [table])
    f = gn.compile([y, g], [at])
    numbers = rng.integers(0, 1000, 300).astype("int32")
    rows, slope = f(numbers)
    want = np.zeros((1000, 16), "float32")
    np.add.at(want, numbers, 2 * rows)
    np.testing.assert_allclose(slope, want, rtol=1e-5)


def test_one_hot_and_counts() -> None:
    k = gn.constant([2, 0, 5], "int32")
    hot = gn.one_hot(k, 3, axis=0, on=5, off=-1)
    np.testing.assert_array_equal(gn.evaluate(hot)[0], [[-1, 5, -1], [-1, -1, -1], [5, -1, -1]])
    np.testing.assert_array_equal(gn.evaluate(gn.bincount(gn.constant([1, 1, 3, -2, 9]), 4))[0], [0, 2, 0, 1])


def test_unfold_and_fold() -> None:
    torch = pytest.importorskip("torch")
    image = rng.normal(size=(2, 3, 7, 8))
    settings = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}
    n = gn.input("n", image.shape, "float64")
    columns = gn.unfold(n, (3, 2), **settings)
    want = torch.nn.functional.unfold(torch.tensor(image), (3, 2), **settings)
    np.testing.assert_array_equal(gn.compile(columns, [n])(image), want)
    back = gn.fold(columns, (7, 8), (3, 2), **settings)
    want = torch.nn.functional.fold(want, (7, 8), (3, 2), **settings)
    np.testing.assert_allclose(gn.compile(back, [n])(image), want, rtol=1e-13)


def test_hundreds_of_arrays_are_concatenated() -> None:
    """Their choices are nested by halves: one after the other they would exhaust the compiler's stack."""
    xs = [gn.input(f"x{k}", (2, 1 + k % 3)) for k in range(300)]
    arrays = [np.full(x.shape, k, np.float32) for k, x in enumerate(xs)]
    f = gn.compile(gn.concatenate(xs, axis=1), xs, threads=1)
    np.testing.assert_array_equal(f(*arrays), np.concatenate(arrays, axis=1))
