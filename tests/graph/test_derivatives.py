"""Derivatives along directions, second derivatives, Jacobians; where there are none; users' own."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn
from graphnet.models import lenet, mlp
from graphnet.node import toposort


def value(node, **feed):
    return gn.evaluate(node, feed)[0]


def softplus(x):
    return gn.log(1.0 + gn.exp(x))


@gn.custom_gradient
def stable(x):
    """softplus with a gradient that does not overflow."""
    return softplus(x), lambda g: g * gn.sigmoid(x)


# ------------------------------------------------------------------------------------ along a direction


def test_jvp_is_the_jacobian_times_the_tangent():
    rng = np.random.default_rng(0)
    x, w, t = gn.input("x", (2, 3), "float64"), gn.input("w", (3, 4), "float64"), gn.input("t", (3, 4), "float64")
    y = gn.softmax(gn.tanh(x @ w))
    found, nothing = gn.jvp([y, x], [w], [t])
    assert nothing is None
    feed = {"x": rng.normal(size=(2, 3)), "w": rng.normal(size=(3, 4)), "t": rng.normal(size=(3, 4))}
    full, along = gn.evaluate([gn.jacobian(y, w), found], feed)
    np.testing.assert_allclose(along, np.einsum("abij,ij->ab", full, feed["t"]), rtol=1e-12, atol=1e-14)


def test_the_first_pass_of_jvp_leaves_nothing_behind():
    x, t = gn.input("x", (3,)), gn.input("t", (3,))
    (found,) = gn.jvp([gn.exp(gn.tanh(x))], [x], [t])
    assert {n.name for n in toposort([found]) if n.op.name == "input"} == {"x", "t"}


def test_jvp_of_a_gradient_that_is_not_linear():
    x, t = gn.input("x", (), "float64"), gn.input("t", (), "float64")
    odd = gn.custom_gradient(lambda a: (a * 1.0, lambda g: gn.tanh(g)))
    (found,) = gn.jvp([odd(x)], [x], [t])
    assert value(found, x=1.0, t=3.0) == 3.0  # tanh'(0) * t


def test_higher_orders_of_forward_and_reverse_mode_agree():
    x, one = gn.input("x", (), "float64"), gn.constant(1.0, "float64")
    y = gn.exp(x * x)
    forward = reverse = y
    for _ in range(3):
        (forward,) = gn.jvp([forward], [x], [one])
        reverse = gn.gradient(reverse, x)
        assert value(forward, x=0.7) == pytest.approx(value(reverse, x=0.7), rel=1e-13)


# ------------------------------------------------------------------------------------------ Jacobians


@pytest.mark.parametrize("target", ["reference", "cpu"])
def test_jacobian_by_rows_and_by_columns(target):
    rng = np.random.default_rng(1)
    x, w = gn.input("x", (2, 3), "float64"), gn.input("w", (3, 7), "float64")
    y = gn.tanh(x @ w)  # 14 elements: x by columns, w by rows
    found = gn.jacobian(y, {"x": x, "w": w})
    a, b = rng.normal(size=(2, 3)), rng.normal(size=(3, 7))
    if target == "reference":
        dx, dw = gn.evaluate(list(found.values()), {x: a, w: b})
    else:
        dx, dw = gn.compile(list(found.values()), [x, w])(a, b)
    slope = 1 - np.tanh(a @ b) ** 2
    np.testing.assert_allclose(dx, np.einsum("nk,nm,jk->nkmj", slope, np.eye(2), b), rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(dw, np.einsum("nk,km,nj->nkjm", slope, np.eye(7), a), rtol=1e-12, atol=1e-14)


def test_jacobian_with_one_symbolic_side():
    x, w = gn.input("x", ("N", 3), "float64"), gn.parameter("w", (3,), dtype="float64")
    a = np.arange(6.0).reshape(2, 3)
    assert gn.jacobian(x @ gn.reshape(w, (3, 1)), w).shape[1:] == (1, 3)
    total = gn.sum(x * x, 0)
    np.testing.assert_allclose(value(gn.jacobian(total, x), x=a)[1, :, 1], 2 * a[:, 1])
    with pytest.raises(gn.ShapeError, match=r"both have symbolic extents \(N\).*test_derivatives"):
        gn.jacobian(x * x, x)


def test_hessian():
    x = gn.input("x", (3,), "float64")
    found = gn.hessian(gn.sum(x**3) + gn.prod(x, 0), x)
    a = np.array([1.0, 2.0, -3.0])
    want = np.diag(6 * a) + np.array([[0, -3, 2], [-3, 0, 1], [2, 1, 0]])
    np.testing.assert_allclose(value(found, x=a), want, rtol=1e-12)


# ---------------------------------------------------------------------- Hessian-vector products, PyTorch


def test_hessian_vector_product_structures():
    p, q, u = (gn.input(name, (2,), "float64") for name in "pqu")
    loss = gn.sum(p * p * p) + gn.sum(q)
    hp, hq = gn.hessian_vector_product(loss, (p, q), (u, u))
    assert value(hp, p=[1, 2], u=[1, 1]).tolist() == [6, 12] and value(hq).tolist() == [0, 0]
    with pytest.raises(gn.GradientError, match="structure"):
        gn.hessian_vector_product(loss, [p, q], (u, u))


def torch_logits(torch, network, x, p):
    """The layers of graphnet.models, in PyTorch."""
    w = list(p.values())
    if network == "lenet":
        h = torch.nn.functional.max_pool2d(torch.relu(torch.conv2d(x, w[0], w[1], padding=2)), 2)
        x = torch.nn.functional.max_pool2d(torch.relu(torch.conv2d(h, w[2], w[3])), 2)
        w = w[4:]
    h = x.flatten(1)
    while len(w) > 2:
        h, w = torch.relu(h @ w[0] + w[1]), w[2:]
    return h @ w[0] + w[1]


@pytest.mark.parametrize("network", ["mlp", "lenet"])
def test_hessian_vector_products_of_networks(network):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(2)
    x, y = gn.input("x", (3, 1, 28, 28), "float64"), gn.input("y", (3,), "int32")
    logits, params = (mlp if network == "mlp" else lenet)(x)
    loss = gn.cross_entropy(logits, y)
    vectors = {k: gn.input(f"v {k}", p.shape, "float64") for k, p in params.items()}
    found = gn.hessian_vector_product(loss, params, vectors)
    assert list(found) == list(params)
    images, labels = rng.normal(size=(3, 1, 28, 28)), np.array([3, 0, 7], "int32")
    weights = {k: rng.normal(size=p.shape) * (0.1 if p.rank > 1 else 1.0) for k, p in params.items()}
    directions = {k: rng.normal(size=p.shape) for k, p in params.items()}
    state = gn.State()
    for k, p in params.items():
        state[p] = weights[k]
    f = gn.compile(list(found.values()), [x, y, *vectors.values()], state=state)
    got = f(images, labels, *directions.values())
    t = {k: torch.tensor(w, requires_grad=True) for k, w in weights.items()}
    out = torch_logits(torch, network, torch.tensor(images), t)
    theirs = torch.nn.functional.cross_entropy(out, torch.tensor(labels).long())
    grads = torch.autograd.grad(theirs, list(t.values()), create_graph=True)
    dot = sum((g * torch.tensor(directions[k])).sum() for k, g in zip(t, grads, strict=True))
    want = torch.autograd.grad(dot, list(t.values()))
    for name, a, b in zip(params, got, want, strict=True):
        scale = float(b.abs().max())
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-9, atol=1e-9 * scale, err_msg=name)


# -------------------------------------------------------------------------------- where there is none


def test_integers_have_no_derivative():
    x = gn.input("x", (3, 4))
    for make in (gn.gradient, gn.jacobian, lambda y, x: gn.jvp([y], [x], [x])):
        with pytest.raises(gn.GradientError, match=r"argmax.*test_derivatives\.py:\d+"):
            make(gn.argmax(gn.argmax(x, 0) if make is not gn.jacobian else x, 0), x)
    with pytest.raises(gn.GradientError, match=r"passes through argmax.*test_derivatives\.py:\d+"):
        gn.gradient(gn.sum(gn.one_hot(gn.argmax(x, 0), 3)), x)
    with pytest.raises(gn.GradientError, match=r"passes through stop_gradient.*test_derivatives\.py:\d+"):
        gn.gradient(gn.sum(gn.tanh(gn.stop_gradient(x * 2.0))), x)
    with pytest.raises(gn.GradientError, match=r"jacobian.*no derivative by x"):
        gn.jacobian(gn.stop_gradient(x), x)


def test_stop_gradient():
    x = gn.input("x", (2,), "float64")
    y = gn.sum(x * gn.stop_gradient(x))
    np.testing.assert_array_equal(value(gn.gradient(y, x), x=[3, 4]), [3, 4])
    f = gn.compile(y, [x])
    assert f(np.array([3.0, 4.0])) == 25 and "stop_gradient" not in [n.op.name for n in f.module({}).graph.nodes()]


# ------------------------------------------------------------------------------------ users' gradients


def test_custom_gradient():
    x = gn.input("x", (3,), "float64")
    a = np.array([-2.0, 0.5, 900.0])
    y = gn.sum(stable(x))
    s = 1 / (1 + np.exp(-a))
    first = gn.gradient(y, x)
    np.testing.assert_allclose(value(first, x=a), s)
    np.testing.assert_allclose(value(gn.gradient(gn.sum(first), x), x=a), s * (1 - s), atol=1e-300)  # vjp of vjp
    f = gn.compile([y, first], [x])
    assert "custom_gradient" not in [n.op.name for n in f.module({}).graph.nodes()]
    np.testing.assert_allclose(f(a[:2].repeat(2)[:3])[1], s[[0, 0, 1]])
    graph = gn.make_graph([first, y], [x])
    assert gn.parse(gn.to_text(graph)) is graph


def test_custom_gradient_of_several_arguments():
    @gn.custom_gradient
    def pick(x, labels):
        return x * gn.cast(labels, x.dtype), lambda g: (g * 100.0, None)

    x, n = gn.input("x", (2,), "float64"), gn.input("n", (2,), "int32")
    loss = gn.sum(pick(x * 2.0, n))
    assert value(gn.gradient(loss, x), x=[1, 2], n=[3, 4]).tolist() == [200, 200]
    assert value(loss, x=[1, 2], n=[3, 4]) == 22


def test_custom_gradient_captures_what_it_reads():
    w = gn.parameter("w", (2,), gn.init.ones(), "float64")
    scaled = gn.custom_gradient(lambda x: (x * w, lambda g: g * gn.exp(w)))
    x = gn.input("x", (2,), "float64")
    loss = gn.sum(scaled(x))
    np.testing.assert_allclose(value(gn.gradient(loss, x), x=[1, 2]), [np.e, np.e])
    with pytest.raises(gn.GradientError, match=r"passes through custom_gradient.*test_derivatives"):
        gn.gradient(loss, w)


def test_custom_gradient_errors():
    x = gn.input("x", (2,))
    for f, message in (
        (lambda x: x, "must return a node and a function"),
        (lambda x: (x, lambda g: (g, g)), "1 arguments, its gradient gave 2"),
        (lambda x: (x, lambda g: gn.sum(g)), r"argument 0 .*float32\[2\].*test_derivatives"),
    ):
        with pytest.raises(gn.GraphnetError, match=message):
            gn.custom_gradient(f)(x)
