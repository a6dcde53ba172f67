"""Differentiation of graphs. Each op's own derivative is tested in test_ops_generated."""

from __future__ import annotations

import time

import numpy as np
import pytest

from graphnet.errors import DTypeError, GradientError, ShapeError
from graphnet.evaluate import evaluate
from graphnet.gradient import gradient, vjp
from graphnet.node import Node, apply, constant, input, parameter, toposort
from graphnet.ops.activation import Relu, Sigmoid, Softplus, StopGradient, Tanh
from graphnet.ops.arithmetic import maximum
from graphnet.ops.broadcast import sum
from graphnet.ops.compare import where
from graphnet.ops.conv2d import conv2d
from graphnet.ops.loss import bce_with_logits, binary_cross_entropy, cross_entropy
from graphnet.ops.max_pool import max_pool2d
from graphnet.ops.positions import one_hot
from graphnet.ops.power import Exp, Log
from graphnet.ops.random import dropout, fold_in, key
from graphnet.ops.rectifier import LeakyRelu
from graphnet.ops.reduce import argmax, max, mean, prod
from graphnet.ops.softmax import logsumexp, softmax


def value(node: Node, **feed: object) -> np.ndarray:
    return evaluate(node, feed)[0]


def test_structures() -> None:
    p, q = parameter("p", (2, 3)), parameter("q", (3,))
    loss = sum(p * q)
    assert gradient(loss, p).type == p.type
    assert set(gradient(loss, {"a": p, "b": q})) == {"a", "b"}
    assert isinstance(gradient(loss, (p, q)), tuple) and isinstance(gradient(loss, [p, q]), list)
    assert gradient(loss, [p, q])[1] is gradient(loss, q)


def test_gradient_is_graph() -> None:
    x = input("x", ())
    dx = gradient(x**3, x)
    d3 = gradient(gradient(dx, x), x)
    assert value(dx, x=2.0) == 12 and value(d3, x=2.0) == 6


def test_sites_of_the_backward_graph() -> None:
    x = input("backward", ("N",))
    h = apply(Exp(), x)
    g = gradient(sum(h), x)
    roles = {str(s) for n in toposort([g]) if n.inputs and n not in toposort([h]) for s in n.sites}
    lines = {str(s) for s in h.sites}
    assert any(f"{line} (gradient)" in roles for line in lines)
    assert all(r.endswith("(gradient)") for r in roles)


def test_a_node_used_twice_adds_up() -> None:
    x = input("x", ())
    assert value(gradient(x * x + x, x), x=3.0) == 7


def test_an_intermediate_node() -> None:
    x = input("x", ())
    h = x * 2.0
    both = gradient(h * x, [h, x])
    assert [float(v) for v in evaluate(both, {"x": 3.0})] == [3, 12]


def test_errors() -> None:
    x, n = input("x", (3,)), input("n", (3,), "int32")
    p = parameter("unused weight", (3,))
    with pytest.raises(GradientError, match=r"must be a scalar.*float32\[3\].*test_gradient.py"):
        gradient(x, x)
    with pytest.raises(GradientError, match=r"the loss must be float, but.*int32"):
        gradient(sum(n), x)
    with pytest.raises(GradientError, match="does not depend on unused weight"):
        gradient(sum(x), [x, p])
    with pytest.raises(GradientError, match="does not depend on 'w'"):
        gradient(sum(x), {"w": p})
    with pytest.raises(GradientError, match="only without derivative"):
        gradient(sum(one_hot(argmax(x, 0), 3)) + sum(apply(StopGradient(), x)), x)
    with pytest.raises(DTypeError, match="only floats"):
        gradient(sum(x), n)
    with pytest.raises(GradientError, match="wrt must be"):
        gradient(sum(x), "x")
    with pytest.raises(ShapeError, match="cotangent"):
        vjp([x], [x], [sum(x)])


def test_ten_thousand_nodes() -> None:
    x = input("x", ())
    y = x
    for k in range(10_000):
        y = y * 1.0001 if k % 2 else y + 0.001
    start = time.perf_counter()
    g = gradient(y, x)
    assert time.perf_counter() - start < 5
    assert value(g, x=1.0) == pytest.approx(1.0001**5000, rel=1e-3)


def test_ties() -> None:
    x = input("x", (3,), "float64")
    a = [1.0, 2.0, 2.0]
    np.testing.assert_array_equal(value(gradient(max(x), x), x=a), [0, 0.5, 0.5])
    np.testing.assert_array_equal(value(gradient(sum(maximum(x, 2.0)), x), x=a), [0, 0.5, 0.5])
    np.testing.assert_array_equal(value(gradient(sum(apply(Relu(), x - 2.0)), x), x=a), [0, 0, 0])
    np.testing.assert_array_equal(value(gradient(sum(abs(x - 2.0)), x), x=a), [-1, 0, 0])
    image = input("i", (1, 1, 2, 4), "float64")
    g = gradient(sum(max_pool2d(image, 2)), image)
    np.testing.assert_array_equal(value(g, i=np.ones((1, 1, 2, 4)))[0, 0], [[1, 0, 1, 0], [0, 0, 0, 0]])


def test_product_with_zeros() -> None:
    x = input("x", (3, 3), "float64")
    a = np.array([[2.0, 3.0, 4.0], [0.0, 3.0, 4.0], [0.0, 0.0, 4.0]])
    np.testing.assert_array_equal(value(gradient(sum(prod(x, 1)), x), x=a), [[12, 8, 6], [12, 0, 0], [0, 0, 0]])


def test_dropout_uses_one_mask() -> None:
    x = input("x", (100, 100), "float64")
    y = dropout(x, 0.3, fold_in(key(7), 1))
    out, dx = evaluate([y, gradient(sum(y), x)], {"x": np.ones((100, 100))})
    np.testing.assert_array_equal(out, dx)
    assert set(np.unique(out)) == {0.0, 1 / 0.7}
    assert abs((out > 0).mean() - 0.7) < 3 * np.sqrt(0.3 * 0.7 / 10_000)


def test_finite_at_the_ends() -> None:
    """Values and first derivatives of the activations and losses stay finite where they must be."""
    x = input("x", (5,))
    ends = np.array([-100, -30, 0, 30, 100], "f")
    functions = (Sigmoid(), Tanh(), Relu(), LeakyRelu(0.1), Softplus())
    for y in (*(apply(f, x) for f in functions), softmax(x)):
        for v in evaluate([y, gradient(sum(y * y), x)], {"x": ends}):
            assert np.isfinite(v).all(), y
    y = input("y", (5,))
    t = np.array([0, 1, 0, 1, 0], "f")
    for loss, at in (
        (bce_with_logits(x, y), ends * 1e3),
        (binary_cross_entropy(x, y), np.array([0, 1, 1, 0, 0.5], "f")),
    ):
        for v in evaluate([loss, gradient(loss, x)], {"x": at, "y": t}):
            assert np.isfinite(v).all(), loss
    assert value(bce_with_logits(x, y), x=np.full(5, 20.0), y=np.ones(5)) == pytest.approx(2.0611537e-9, rel=1e-5)
    big = logsumexp(x * 1e30, 0)
    assert value(big, x=ends) == np.float32(1e32)
    assert value(logsumexp(x, 0), x=np.full(5, -np.inf)) == -np.inf


def test_decks_binary_cross_entropy_chain() -> None:
    """dz2 = p - y after a sigmoid, and da1 = W^T dz2."""
    rng = np.random.default_rng(0)
    a, w, t = rng.normal(size=(4, 3)), rng.normal(size=(3, 1)), rng.integers(0, 2, (4, 1)).astype("d")
    x, v, y = input("x", a.shape, "float64"), input("w", w.shape, "float64"), input("y", t.shape, "float64")
    z = x @ v
    p = apply(Sigmoid(), z)
    loss = binary_cross_entropy(p, y)
    dz, da, dw = evaluate(gradient(loss, [z, x, v]), {"x": a, "w": w, "y": t})
    q = 1 / (1 + np.exp(-a @ w))
    np.testing.assert_allclose(dz, (q - t) / 4, rtol=1e-12)
    np.testing.assert_allclose(da, (q - t) / 4 @ w.T, rtol=1e-12)
    np.testing.assert_allclose(dw, a.T @ (q - t) / 4, rtol=1e-12)


def test_labels_out_of_range_are_never_ignored() -> None:
    x, y = input("x", ("N", 3)), input("y", ("N",), "int32")
    loss = cross_entropy(x, y)
    for label in (-1, 3, 2**31 - 1):
        out, dx = evaluate([loss, gradient(loss, x)], {"x": np.zeros((2, 3)), "y": [0, label]})
        assert np.isnan(out) and np.isnan(dx[1]).all() and np.isfinite(dx[0]).all()


def test_corner_pixels_are_used_less() -> None:
    x = input("x", (1, 1, 6, 6))
    used = gradient(sum(conv2d(x, constant(np.ones((1, 1, 3, 3), "f")))), x)
    counts = value(used, x=np.zeros((1, 1, 6, 6)))[0, 0]
    assert counts[0, 0] == 1 and counts[2, 2] == 9 and counts[0, 2] == 3


def test_where_does_not_leak() -> None:
    """The side not taken contributes 0, as long as its own derivative is finite."""
    x = input("x", (2,), "float64")
    y = where(x > 0, apply(Log(), where(x > 0, x, 1.0)), 0.0)
    np.testing.assert_array_equal(value(gradient(sum(y), x), x=[-1.0, 2.0]), [0, 0.5])


def test_mean_of_a_symbolic_size() -> None:
    x = input("x", ("N", 2))
    g = gradient(mean(x), x)
    np.testing.assert_allclose(evaluate(g, {x: np.ones((5, 2))})[0], np.full((5, 2), 0.1, "f"))
