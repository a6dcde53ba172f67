"""Loops as graphs: values, derivatives of any order, text, unrolling."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn
from graphnet.node import toposort
from graphnet.passes.unroll import FAN, cut, stacked
from graphnet.scan import Scan


def recurrence(dtype="float64", reverse=False, length="T"):
    """A small recurrent network, its inputs, and its loss."""
    x, h0 = gn.input("x", (length, "N", 3), dtype), gn.input("h0", ("N", 4), dtype)
    w = gn.parameter("w", (3, 4), gn.init.normal(0.5), dtype)
    r = gn.parameter("r", (4, 4), gn.init.normal(0.5), dtype)

    def step(carry, xt):
        h, k = carry["h"], carry["k"]
        h = gn.tanh(xt @ w + h @ r)
        return {"h": h, "k": k + 1}, (h * gn.cast(k, dtype), None)

    last, (ys, _) = gn.scan(step, {"h": h0, "k": gn.constant(0)}, x, reverse=reverse)
    return (x, h0, w, r), last, ys, gn.sum(ys * ys) + gn.sum(last["h"])


def by_hand(x, h, w, r, reverse):
    ys = np.zeros((len(x), *h.shape))
    for k, t in enumerate(reversed(range(len(x))) if reverse else range(len(x))):
        h = np.tanh(x[t] @ w + h @ r)
        ys[t] = h * k
    return h, len(x), ys


def arrays(length, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(length, 2, 3)), rng.normal(size=(2, 4))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("length", [1, 5, 2 * FAN + 3])
def test_values(length, reverse):
    (x, h0, w, r), last, ys, _ = recurrence(reverse=reverse)
    a, b = arrays(length)
    f = gn.compile([last["h"], last["k"], ys], [x, h0])
    want = by_hand(a, b, f.state.array(w), f.state.array(r), reverse)
    weights = {w: f.state[w], r: f.state[r]}
    for got in (f(a, b), gn.evaluate([last["h"], last["k"], ys], {x: a, h0: b}, weights)):
        for g, e in zip(got, want, strict=True):
            np.testing.assert_allclose(g, e, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("target", ["cpu", "emulator"])
@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_are_those_of_the_steps_written_out(reverse, target):
    length = 5
    (x, h0, w, r), _, _, loss = recurrence(reverse=reverse, length=length)
    written = gn.constant(0.0, "float64")
    h = h0
    for k, t in enumerate(reversed(range(length)) if reverse else range(length)):
        h = gn.tanh(x[t] @ w + h @ r)
        written = written + gn.sum((h * float(k)) ** 2)
    written = written + gn.sum(h)
    feed = dict(zip((x, h0), arrays(length), strict=True))
    wrt = [x, h0, w, r]
    mine, theirs = gn.gradient(loss, wrt), gn.gradient(written, wrt)
    f = gn.compile([loss, *mine], [x, h0], target=target)
    got, weights = f(*feed.values()), {w: f.state.array(w), r: f.state.array(r)}
    for g, e in zip(got, gn.evaluate([written, *theirs], feed, weights), strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-11, atol=1e-12)
    if not reverse:
        v = [gn.constant(np.random.default_rng(k).normal(size=n.shape)) for k, n in enumerate((w, r))]
        mine = gn.hessian_vector_product(loss, [w, r], v)
        theirs = gn.hessian_vector_product(written, [w, r], v)
        if target == "cpu":
            got = gn.compile(mine, [x, h0], state=f.state)(*feed.values())
            for g, e in zip(got, gn.evaluate(theirs, feed, weights), strict=True):
                np.testing.assert_allclose(g, e, rtol=1e-10, atol=1e-11)


def test_the_gradient_is_one_loop():
    """All results in one scan: not one for each cotangent, and no step written out."""
    (x, h0, w, r), _, _, loss = recurrence()
    order = toposort(gn.gradient(loss, [x, h0, w, r]))
    loops = {(n.op.step, n.op.reverse, n.inputs) for n in order if isinstance(n.op, Scan)}
    assert sorted(reverse for _, reverse, _ in loops) == [False, True]
    graph = gn.make_graph(gn.gradient(loss, [w, r]), [x, h0])
    assert gn.parse(gn.to_text(graph)) is graph
    assert "length=T" in gn.to_text(graph) and "def body1(" in gn.to_text(graph)


def test_the_gradient_computes_no_step_again():
    (x, h0, w, r), _, _, loss = recurrence("float32", length=6)
    f = gn.compile([loss, *gn.gradient(loss, [w, r])], [x, h0])
    m = f.module({"N": 2}, stop_after="simplify")
    assert sum(n.op.name == "tanh" for n in m.graph.nodes()) == 6


def test_equal_steps_are_compiled_once():
    def kernels(length):
        x, h0, w = gn.input("x", (length, 2, 3)), gn.input("h0", (2, 3)), gn.parameter("w", (3, 3))
        last, ys = gn.scan(lambda h, xt: (gn.tanh(xt + h @ w),) * 2, h0, x)
        loss = gn.sum(ys * ys) + gn.sum(last)
        f = gn.compile([loss, gn.gradient(loss, w)], [x, h0])
        f.specialise({})
        spec = f.specializations[0]
        return len(spec.program.steps), len(spec.kernels.distinct)

    few, many = kernels(20), kernels(60)
    assert many[0] > 2 * few[0] and many[1] <= few[1] + 15


def test_loops_inside_of_loops():
    x, y0 = gn.input("x", ("T", 3), "float64"), gn.input("y0", (), "float64")

    def outer(total, row):
        last, _ = gn.scan(lambda y, e: (gn.tanh(y + e * total), None), total, row)
        return last, last

    last, ys = gn.scan(outer, y0, x)
    a, at = np.random.default_rng(0).normal(size=(4, 3)), 0.3
    want, total = [], at
    for row in a:
        y = total
        for e in row:
            y = np.tanh(y + e * total)
        total = y
        want.append(y)
    f = gn.compile([ys, last], [x, y0])
    np.testing.assert_allclose(f(a, np.float64(at))[0], want, rtol=1e-12)
    g = gn.compile(gn.gradient(last, y0), [x, y0])
    h = 1e-6
    slope = (f(a, np.float64(at + h))[1] - f(a, np.float64(at - h))[1]) / (2 * h)
    assert g(a, np.float64(at)) == pytest.approx(slope, rel=1e-8)
    graph = gn.make_graph([ys, gn.gradient(last, y0)], [x, y0])
    assert gn.parse(gn.to_text(graph)) is graph


def test_without_sequences_or_carries():
    x = gn.input("x", (3,), "float64")
    last, ys = gn.scan(lambda c, _: (c * 2.0, c), x, length=4)
    got = gn.compile([last, ys, gn.gradient(gn.sum(ys), x)], [x])(np.ones(3))
    assert got[0].tolist() == [16] * 3 and got[1][:, 0].tolist() == [1, 2, 4, 8] and got[2].tolist() == [15] * 3
    none, doubled = gn.scan(lambda c, e: (c, e * 2.0), (), x)
    assert none == () and gn.compile(doubled, [x])(np.arange(3.0)).tolist() == [0, 2, 4]
    last, ys = gn.scan(lambda c, _: (c * 2.0, c), x, length=0)
    assert gn.compile([last, ys], [x])(np.ones(3))[1].shape == gn.evaluate(ys, {x: np.ones(3)})[0].shape == (0, 3)


@pytest.mark.parametrize("n", [1, 2, FAN, FAN + 1, FAN**2, FAN**2 + 1, 3 * FAN**2 + 5])
def test_rows_are_cut_out_and_put_together(n):
    x = gn.input("x", (n, 2))
    a = np.arange(2.0 * n, dtype="f").reshape(n, 2)
    rows = cut(x, n)
    assert len(rows) == n and all(r.shape == (2,) for r in rows)
    np.testing.assert_array_equal(gn.evaluate(stacked([gn.reshape(r, (1, 2)) for r in rows]), {x: a})[0], a)


def test_errors():
    x, h = gn.input("x", (4, 3)), gn.input("h", (3,))
    for step, init, xs, message in (
        (lambda c, e: (gn.sum(c), None), h, x, r"carry 0 is float32\[3\] at first.*must stay"),
        (lambda c, e: ((c, c), None), h, x, r"\* at first, but \(\*, \*\)"),
        (lambda c, e: c, h, x, "must return a pair"),
        (lambda c, e: (c, 1.0), h, x, "y holds graph nodes, not float"),
        (lambda c, e: (c, None), h, None, "a length is needed"),
        (lambda c, e: (c, None), h, (x, h), "different extents: 4, 3"),
        (lambda c, e: (c, None), 0.0, x, "init and xs hold graph nodes, not float"),
        (lambda c, e: (c, None), h, gn.sum(x), "leading axis"),
    ):
        with pytest.raises(gn.GraphnetError, match=message) as e:
            gn.scan(step, init, xs)
        assert "test_scan.py" in str(e.value)
