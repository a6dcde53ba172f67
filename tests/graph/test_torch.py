"""Against PyTorch, where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

from graphnet.evaluate import evaluate
from graphnet.gradient import gradient
from graphnet.node import Node, apply, input
from graphnet.ops.activation import Relu, Sigmoid
from graphnet.ops.avg_pool import avg_pool2d
from graphnet.ops.broadcast import sum
from graphnet.ops.conv2d import conv2d
from graphnet.ops.distance import mse
from graphnet.ops.loss import bce_with_logits, binary_cross_entropy, cross_entropy
from graphnet.ops.max_pool import max_pool2d
from graphnet.ops.rectifier import LeakyRelu
from graphnet.ops.reduce import max, prod
from graphnet.ops.softmax import log_softmax, logsumexp, softmax

torch = pytest.importorskip("torch")
F = torch.nn.functional


def compare(node: Node, xs: dict[str, np.ndarray], theirs: object) -> None:
    """Value and gradients of sum(node * node), float64."""
    tensors = {k: torch.tensor(v, requires_grad=v.dtype == np.float64) for k, v in xs.items()}
    y = theirs(**tensors)  # type: ignore[operator]
    leaves = {k: input(k, v.shape, v.dtype.name) for k, v in xs.items() if v.dtype == np.float64}
    loss = sum(node * node)
    (y * y).sum().backward()
    got, *grads = evaluate([node, *gradient(loss, list(leaves.values()))], xs)
    np.testing.assert_allclose(got, y.detach().numpy(), rtol=1e-10, atol=1e-12)
    for k, g in zip(leaves, grads, strict=True):
        np.testing.assert_allclose(g, tensors[k].grad.numpy(), rtol=1e-10, atol=1e-10, err_msg=k)


@pytest.mark.parametrize("seed", range(40))
def test_conv2d(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n, c, k, h, w, r, s = (int(i) for i in rng.integers((1, 1, 1, 6, 6, 1, 1), (4, 4, 4, 13, 13, 5, 5)))
    stride, dilation = (tuple(int(i) for i in rng.integers(1, 4, 2)) for _ in range(2))
    pad = tuple(int(i) for i in rng.integers(0, 5, 2))
    if h + 2 * pad[0] < dilation[0] * (r - 1) + 1 or w + 2 * pad[1] < dilation[1] * (s - 1) + 1:
        dilation = (1, 1)
    xs = {"x": rng.normal(size=(n, c, h, w)), "w": rng.normal(size=(k, c, r, s))}
    x, v = (input(name, a.shape, "float64") for name, a in xs.items())
    node = conv2d(x, v, stride=stride, padding=((pad[0],) * 2, (pad[1],) * 2), dilation=dilation)
    compare(node, xs, lambda x, w: F.conv2d(x, w, stride=stride, padding=pad, dilation=dilation))


def test_conv2d_same_and_flip() -> None:
    rng = np.random.default_rng(0)
    xs = {"x": rng.normal(size=(2, 3, 7, 8)), "w": rng.normal(size=(4, 3, 5, 3))}
    x, v = (input(name, a.shape, "float64") for name, a in xs.items())
    compare(conv2d(x, v, padding="same"), xs, lambda x, w: F.conv2d(x, w, padding="same"))
    compare(conv2d(x, v, flip=True), xs, lambda x, w: F.conv2d(x, w.flip(2, 3)))


@pytest.mark.parametrize("seed", range(20))
def test_pooling(seed: int) -> None:
    rng = np.random.default_rng(seed)
    k, s = (tuple(int(i) for i in rng.integers(1, 5, 2)) for _ in range(2))
    p = (int(rng.integers(0, k[0] // 2 + 1)), int(rng.integers(0, k[1] // 2 + 1)))
    shape = tuple(int(i) for i in rng.integers((1, 1, 5, 5), (3, 3, 10, 10)))
    x = input("x", shape, "float64")
    pads = ((p[0],) * 2, (p[1],) * 2)
    # Few distinct values, so that ties are common.
    xs = {"x": rng.integers(-3, 4, shape).astype("d")}
    compare(max_pool2d(x, k, s, pads), xs, lambda x: F.max_pool2d(x, k, s, p))
    for count in (True, False):
        mine = avg_pool2d(x, k, s, pads, count_include_pad=count)
        compare(mine, xs, lambda x, c=count: F.avg_pool2d(x, k, s, p, count_include_pad=c))


def test_nan_in_max_pool() -> None:
    a = np.arange(16.0).reshape(1, 1, 4, 4)
    a[0, 0, 0, 1] = a[0, 0, 3, 3] = np.nan
    compare(max_pool2d(input("x", a.shape, "float64"), 2), {"x": a}, lambda x: F.max_pool2d(x, 2))


def test_losses() -> None:
    rng = np.random.default_rng(0)
    x = input("x", (6, 5), "float64")
    labels = rng.integers(0, 5, 6).astype(np.int32)
    y = input("y", (6,), "int32")
    xs = {"x": rng.normal(size=(6, 5)) * 5}
    compare(cross_entropy(x, y), {**xs, "y": labels}, lambda x, y: F.cross_entropy(x, y.long()))
    t = input("t", (6, 5), "float64")
    both = {**xs, "t": rng.uniform(size=(6, 5))}
    compare(bce_with_logits(x, t), both, lambda x, t: F.binary_cross_entropy_with_logits(x, t))
    compare(mse(x, t), both, lambda x, t: F.mse_loss(x, t))
    inside = {"x": rng.uniform(0.01, 0.99, (6, 5)), "t": both["t"]}
    compare(binary_cross_entropy(x, t), inside, lambda x, t: -(t * x.log() + (1 - t) * (1 - x).log()).mean())


def test_functions() -> None:
    rng = np.random.default_rng(0)
    x = input("x", (3, 4), "float64")
    xs = {"x": np.round(rng.normal(size=(3, 4)) * 2) / 2}  # with ties and zeros
    compare(max(x, 1), xs, lambda x: x.amax(1))
    compare(prod(x, 1), xs, lambda x: x.prod(1))
    compare(softmax(x), xs, lambda x: x.softmax(1))
    compare(log_softmax(x, 0), xs, lambda x: x.log_softmax(0))
    compare(logsumexp(x, 0), xs, lambda x: x.logsumexp(0))
    compare(apply(Relu(), x), xs, lambda x: x.relu())
    compare(apply(Sigmoid(), x), xs, lambda x: x.sigmoid())
    compare(apply(LeakyRelu(0.1), x), xs, lambda x: F.leaky_relu(x, 0.1))
