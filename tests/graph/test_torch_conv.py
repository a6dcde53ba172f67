"""Convolution and pooling against PyTorch, where it is installed: values, gradients and second derivatives, float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphnet as gn
from graphnet.node import Node

from .targets import run

torch = pytest.importorskip("torch")
F = torch.nn.functional


def compare(mine: Callable[..., Node], theirs: Callable[..., Any], xs: dict[str, np.ndarray], target: str) -> None:
    """The value, the gradients of sum(y^3), and those of the sum of their squares, which is a second derivative."""
    leaves = [gn.input(k, v.shape, "float64") for k, v in xs.items()]
    y = mine(*leaves)
    first = gn.gradient(gn.sum(y * y * y), leaves)
    total = sum((gn.sum(g * g) for g in first[1:]), gn.sum(first[0] * first[0]))
    got = run([y, *first, *gn.gradient(total, leaves)], dict(zip(leaves, xs.values(), strict=True)), target)

    tensors = [torch.tensor(v, requires_grad=True) for v in xs.values()]
    z = theirs(*tensors)
    once = torch.autograd.grad((z**3).sum(), tensors, create_graph=True)
    twice = torch.autograd.grad(sum((g * g).sum() for g in once), tensors)
    for ours, other in zip(got, (z, *once, *twice), strict=True):
        other = other.detach().numpy()
        assert ours.shape == other.shape
        np.testing.assert_allclose(ours, other, rtol=1e-9, atol=1e-9 * max(1.0, float(np.abs(other).max())))


def values(seed: int, **shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {k: rng.normal(size=s) for k, s in shapes.items()}


# x, w, stride, padding, dilation, groups
CONVOLUTIONS = [
    ((2, 4, 9), (6, 2, 3), 2, 1, 2, 2),
    ((1, 3, 8), (6, 1, 4), 1, 2, 1, 3),  # depthwise, two outputs a channel
    ((2, 6, 7, 8), (9, 2, 3, 2), (2, 1), (1, 0), (1, 2), 3),
    ((2, 8, 6, 6), (8, 1, 3, 3), 1, 1, 1, 8),  # depthwise
    ((1, 16, 7, 7), (16, 1, 3, 3), 2, 1, 1, 16),
    ((1, 16, 6, 5), (32, 8, 3, 3), 1, 1, 1, 2),
    ((2, 2, 4, 5, 4), (3, 2, 2, 3, 2), (1, 2, 1), (1, 0, 1), (2, 1, 1), 1),
    ((1, 8, 3, 4, 4), (16, 4, 2, 3, 3), 1, 1, 1, 2),
]


@pytest.mark.parametrize("target", ["reference", "cpu", "emulator"])
@pytest.mark.parametrize(("x", "w", "stride", "padding", "dilation", "groups"), CONVOLUTIONS)
def test_convolution(x: Any, w: Any, stride: Any, padding: Any, dilation: Any, groups: int, target: str) -> None:
    rank = len(x) - 2
    ours = (gn.conv1d, gn.conv2d, gn.conv3d)[rank - 1]
    theirs = (F.conv1d, F.conv2d, F.conv3d)[rank - 1]
    settings = {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups}
    compare(lambda x, w: ours(x, w, **settings), lambda x, w: theirs(x, w, **settings), values(0, x=x, w=w), target)


# x, window, stride, padding, dilation, ceil_mode
POOLS = [
    ((1, 2, 9), 3, 2, 1, 1, True),
    ((1, 2, 10), 2, 3, 1, 2, False),
    ((2, 3, 7, 8), (3, 2), (2, 2), (1, 1), 1, True),
    ((1, 2, 9, 8), 2, 2, 0, (3, 2), True),
    ((1, 2, 7, 17), 3, 2, 1, 1, False),
    ((1, 2, 8, 32), 2, 2, 0, 1, False),
    ((1, 1, 4, 75), 3, 2, 1, 1, True),  # blocks of vectors, pieces, edges
    ((1, 1, 4, 141), 2, 2, 0, 1, False),
    ((1, 1, 5, 4, 6), (2, 3, 2), (2, 1, 2), (1, 1, 0), 1, True),
]


@pytest.mark.parametrize("target", ["reference", "cpu", "emulator"])
@pytest.mark.parametrize(("x", "window", "stride", "padding", "dilation", "ceil_mode"), POOLS)
def test_pooling(
    x: Any, window: Any, stride: Any, padding: Any, dilation: Any, ceil_mode: bool, target: str
) -> None:
    rank = len(x) - 2
    xs = {"x": np.random.default_rng(0).integers(-3, 4, x).astype("d")}  # ties are common
    theirs = (F.max_pool1d, F.max_pool2d, F.max_pool3d)[rank - 1]
    compare(
        lambda x: gn.max_pool(x, window, stride, padding, dilation, ceil_mode),
        lambda x: theirs(x, window, stride, padding, dilation, ceil_mode),
        xs,
        target,
    )
    if dilation != 1:
        return
    theirs = (F.avg_pool1d, F.avg_pool2d, F.avg_pool3d)[rank - 1]
    for count in (True, False):
        compare(
            lambda x, count=count: gn.avg_pool(x, window, stride, padding, count, 1, ceil_mode),
            lambda x, count=count: theirs(x, window, stride, padding, ceil_mode, count),
            values(1, x=x),
            target,
        )


# x, w, stride, padding, output_padding, dilation, groups
TRANSPOSED = [
    ((2, 4, 5), (4, 3, 3), 2, 1, 1, 1, 1),
    ((1, 4, 4), (4, 1, 3), 3, 0, 2, 2, 2),
    ((2, 3, 4, 3), (3, 2, 3, 2), (2, 1), (1, 0), (1, 0), 1, 1),
    ((1, 16, 4, 4), (16, 8, 2, 2), 2, 0, 0, 1, 2),
    ((1, 2, 3, 3), (2, 2, 2, 3), (1, 2), 0, (1, 2), (2, 3), 1),  # more output padding than stride
    ((1, 2, 2, 3, 2), (2, 2, 2, 2, 3), 2, (0, 1, 1), (0, 1, 0), 1, 1),
]


@pytest.mark.parametrize("target", ["reference", "cpu", "emulator"])
@pytest.mark.parametrize(("x", "w", "stride", "padding", "extra", "dilation", "groups"), TRANSPOSED)
def test_transposed(
    x: Any, w: Any, stride: Any, padding: Any, extra: Any, dilation: Any, groups: int, target: str
) -> None:
    rank = len(x) - 2
    ours = (gn.conv_transpose1d, gn.conv_transpose2d, gn.conv_transpose3d)[rank - 1]
    theirs = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[rank - 1]
    settings = {"stride": stride, "padding": padding, "output_padding": extra, "groups": groups, "dilation": dilation}
    compare(lambda x, w: ours(x, w, **settings), lambda x, w: theirs(x, w, **settings), values(0, x=x, w=w), target)


def test_transposed_shapes() -> None:
    x, w = gn.input("x", ("N", 2, "H", 3)), gn.parameter("w", (2, 4, 3, 3))
    y = gn.conv_transpose2d(x, w, stride=2, padding=1, output_padding=1)
    assert y.shape == (x.shape[0], 4, 2 * x.shape[2], 6)
    assert gn.conv_transpose2d(x, w, stride=2, padding="same").shape == y.shape
    x = gn.input("x", (1, 2, 3, 3))
    assert gn.conv_transpose2d(x, w, stride=(3, 2), output_shape=(10, 8)).shape == (1, 4, 10, 8)
    assert gn.conv_transpose2d(x, w, stride=(3, 2), output_shape=(8, 5)).shape == (1, 4, 8, 5)
    with pytest.raises(gn.ShapeError, match=r"conv_transpose2d: padding .* leaves nothing of .*float32\[1, 2, 3, 3\]"):
        gn.conv_transpose2d(x, w, padding=3)


@pytest.mark.parametrize("target", ["reference", "cpu"])
def test_other_pools(target: str) -> None:
    xs = values(0, x=(2, 3, 7, 9))
    compare(lambda x: gn.lp_pool(x, 3, 2, 2), lambda x: F.lp_pool2d(x, 2, 3, 2), xs, target)
    positive = {"x": np.abs(xs["x"])}
    compare(lambda x: gn.lp_pool(x, (2, 3), 3.0), lambda x: F.lp_pool2d(x, 3.0, (2, 3)), positive, target)
    compare(lambda x: gn.adaptive_avg_pool(x, (3, 4)), lambda x: F.adaptive_avg_pool2d(x, (3, 4)), xs, target)
    compare(lambda x: gn.adaptive_avg_pool(x, (7, 3)), lambda x: F.adaptive_avg_pool2d(x, (7, 3)), xs, target)
    compare(lambda x: gn.global_avg_pool(x), lambda x: F.adaptive_avg_pool2d(x, 1), xs, target)
    ties = {"x": np.random.default_rng(1).integers(-3, 4, (2, 2, 7, 9)).astype("d")}
    compare(lambda x: gn.adaptive_max_pool(x, (3, 4)), lambda x: F.adaptive_max_pool2d(x, (3, 4)), ties, target)
    compare(lambda x: gn.adaptive_max_pool(x, 1), lambda x: F.adaptive_max_pool2d(x, 1), ties, target)
    compare(lambda x: gn.global_max_pool(x), lambda x: F.adaptive_max_pool2d(x, 1), xs, target)


def test_lp_pool_of_zeros_has_a_derivative() -> None:
    x = gn.input("x", (1, 1, 4), "float64")
    (g,) = run([gn.gradient(gn.sum(gn.lp_pool(x, 2)), x)], {x: np.array([[[0.0, 0.0, 3.0, 4.0]]])}, "reference")
    np.testing.assert_allclose(g, [[[0.0, 0.0, 0.6, 0.8]]])


@pytest.mark.parametrize("target", ["reference", "cpu"])
def test_indices_and_unpooling(target: str) -> None:
    a = np.random.default_rng(0).integers(-3, 4, (2, 3, 7, 8)).astype("d")
    x = gn.input("x", a.shape, "float64")
    y, i = gn.max_pool_with_indices(x, (3, 2), 2, (1, 0), ceil_mode=True)
    back = gn.max_unpool(y, i, (7, 8))
    got = run([y, i, back], {x: a}, target)
    z, j = F.max_pool2d(torch.tensor(a), (3, 2), 2, (1, 0), ceil_mode=True, return_indices=True)
    filled = np.zeros(a.shape).reshape(6, -1)
    for row, v, k in zip(filled, z.numpy().reshape(6, -1), j.numpy().reshape(6, -1), strict=True):
        row[k] = v
    for ours, theirs in zip(got, (z, j, filled.reshape(a.shape)), strict=True):
        np.testing.assert_array_equal(ours, np.asarray(theirs))
    _, whole = gn.max_pool_with_indices(x, 2, whole=True, column_major=True)
    (flat,) = run([whole], {x: a}, target)
    by_columns = np.ascontiguousarray(a.swapaxes(2, 3)).ravel()
    (pooled,) = run([gn.max_pool(x, 2)], {x: a}, target)
    np.testing.assert_array_equal(by_columns[flat], pooled)
    (again,) = run([gn.max_unpool(x[:, :, :1, :2], gn.constant(np.arange(12).reshape(2, 3, 1, 2)), (1, 2), True)],
                   {x: a}, target)
    np.testing.assert_array_equal(again, a[:, :, :1, :2])


@pytest.mark.parametrize("target", ["reference", "cpu"])
def test_unpooling_inverts(target: str) -> None:
    xs = values(0, x=(1, 2, 4, 4))
    _, j = F.max_pool2d(torch.tensor(xs["x"]), 2, return_indices=True)
    indices = gn.constant(j.numpy())
    compare(
        lambda x: gn.max_unpool(gn.max_pool(x, 2), indices, 4),
        lambda x: F.max_unpool2d(F.max_pool2d(x, 2), j, 2),
        xs,
        target,
    )


@pytest.mark.parametrize("target", ["reference", "cpu", "emulator"])
def test_integer_convolution(target: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 256, (2, 4, 5, 6)).astype("u1"), rng.integers(-128, 128, (6, 2, 3, 3)).astype("i1")
    zero = rng.integers(-5, 6, 6).astype("i1")
    x, w = gn.input("x", a.shape, "uint8"), gn.input("w", b.shape, "int8")
    y = gn.conv_integer(x, w, 7, gn.constant(zero), stride=(1, 2), padding=1, groups=2)
    shifted = torch.tensor(a.astype("d") - 7), torch.tensor(b.astype("d") - zero[:, None, None, None])
    want = F.conv2d(*shifted, stride=(1, 2), padding=1, groups=2).numpy()
    (got,) = run([y], {x: a, w: b}, target)
    assert got.dtype == np.int32
    np.testing.assert_array_equal(got, want)
    scale, bias = rng.uniform(0.01, 0.02, 6).astype("f"), rng.integers(-99, 99, 6).astype("i4")
    q = gn.conv_quantized(
        x, gn.constant(np.float32(0.5)), 7, w, gn.constant(scale), gn.constant(zero), gn.constant(np.float32(0.25)),
        gn.constant(np.uint8(128)), gn.constant(bias), stride=(1, 2), padding=1, groups=2,
    )  # fmt: skip
    (got,) = run([q], {x: a, w: b}, target)
    real = (want + bias[:, None, None]).astype("f") * (np.float32(2) * scale)[:, None, None]
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, np.clip(np.round(real) + 128, 0, 255))
