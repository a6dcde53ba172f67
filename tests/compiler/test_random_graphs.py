"""Random graphs: what every target computes is what the ops' NumPy references say.

A graph grows from two inputs (one with a symbolic batch) and a parameter by ops drawn at random, so that
views, broadcasts, reductions, products and pooling meet in combinations that nobody thought of.
"""

import numpy as np
import pytest

import graphnet as gn
from graphnet.evaluate import evaluate

TARGETS = ("cpu", "cpu:simd128", "emulator")


def grow(seed, steps):
    """(inputs, parameters, a few outputs, a scalar that depends on everything)."""
    rng = np.random.default_rng(seed)
    x = gn.input("x", ("N", 4, 6, 6), dtype="float64")
    z = gn.input("z", ("N", 8), dtype="float64")
    w = gn.parameter("w", (3, 4, 3, 3), init=gn.init.normal(0.5), dtype="float64")
    v = gn.parameter("v", (8, 5), init=gn.init.normal(0.5), dtype="float64")
    pool = [x, z, gn.conv2d(x, w, padding="same"), z @ v]

    def pick(rank=None):
        candidates = [n for n in pool if rank is None or n.rank == rank]
        return candidates[rng.integers(len(candidates))]

    def unary(n):
        return [gn.tanh, gn.relu, gn.exp, gn.neg, gn.square, gn.sigmoid][rng.integers(6)](gn.tanh(n))

    def combine(n):
        same = [m for m in pool if m.shape == n.shape]
        m = same[rng.integers(len(same))]
        return [gn.add, gn.sub, gn.mul, gn.maximum, gn.minimum][rng.integers(5)](n, m)

    def reduced(n):
        axis = int(rng.integers(n.rank))
        fold = [gn.sum, gn.mean, gn.max][rng.integers(3)](n, axis=axis, keepdims=True)
        return n - fold if rng.random() < 0.5 else gn.broadcast_to(fold, n.shape) * n

    def moved(n):
        kind = rng.integers(4)
        if n.rank == 4 and kind == 0:
            return gn.transpose(gn.transpose(n, (0, 2, 3, 1)), (0, 3, 1, 2)) * 2.0
        if n.rank == 4 and kind == 1:
            return gn.pad(n[:, :, 1:-1, 1:], [(0, 0), (0, 0), (1, 1), (0, 1)])
        if kind == 2:
            return gn.flip(n, axis=1)
        return gn.concatenate([n[:, 1:], n[:, :1]], axis=1)

    def contracted(n):
        if n.rank == 2:
            return gn.softmax(n @ gn.transpose(n), axis=-1) @ n
        c = n.shape[1]
        kernel = gn.constant(rng.standard_normal((c, c, 3, 3)) * 0.3)
        return gn.conv2d(n, kernel, padding="same")

    def pooled(n):
        if n.rank != 4:
            return gn.log_softmax(n, axis=1)
        small = gn.max_pool2d(n, 2) if rng.random() < 0.5 else gn.avg_pool2d(n, 2)
        return n + gn.reshape(gn.broadcast_to(gn.mean(small, axis=(2, 3), keepdims=True), n.shape), n.shape)

    def indexed(n):
        kind, axis = rng.integers(5), int(rng.integers(1, n.rank))
        rows = gn.constant(rng.integers(-n.shape[axis], n.shape[axis], n.shape[axis]))
        if kind == 0:
            return gn.take(n, rows, axis)
        if kind == 1:
            return gn.index_add(n, rows, gn.tanh(n), axis)
        if kind == 2:
            return gn.cumsum(n, axis, reverse=bool(rng.integers(2)))
        if kind == 3:
            return gn.linear_recurrence(gn.tanh(n), n, axis)
        return gn.pad(gn.sort(n, axis)[:, 1:], [(0, 0), (1, 0), *[(0, 0)] * (n.rank - 2)], mode="reflect")

    makers = (unary, combine, reduced, moved, contracted, pooled, indexed)
    for _ in range(steps):
        pool.append(makers[rng.integers(len(makers))](pick()))
    total = gn.constant(0.0, "float64")
    for n in pool[2:]:
        total = total + gn.mean(gn.tanh(n))
    return [x, z], [w, v], pool[-3:], total


def close(got, want):
    """Relative to the result's scale, float64."""
    scale = max(1.0, float(np.abs(want).max(initial=0.0)))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-10 * scale)


@pytest.mark.parametrize("seed", range(24))
def test_every_target_agrees_with_the_references(seed):
    inputs, params, outputs, total = grow(seed, steps=3 + seed % 9)
    results = [*outputs, total, *gn.gradient(total, params)]
    rng = np.random.default_rng(seed)
    n = (1, 3, 8, 16)[seed % 4]
    feed = {"x": rng.standard_normal((n, 4, 6, 6)), "z": rng.standard_normal((n, 8))}
    state = gn.State(seed)
    want = evaluate(results, feed, {p: state.array(p) for p in params})
    for target in TARGETS:
        got = gn.compile(results, inputs, target=target, state=state, threads=2)(feed["x"], feed["z"])
        for g, expected in zip(got, want, strict=True):
            close(g, expected)


@pytest.mark.parametrize("seed", range(4))
def test_updates_change_parameters_only_after_everything_has_read_them(seed):
    inputs, params, _, total = grow(100 + seed, steps=4)
    grads = gn.gradient(total, params)
    # Each new value reads the other parameter too, and one is swapped with its own gradient's sign.
    w, v = params
    new = {w: w - 0.1 * grads[0] + gn.sum(v), v: v * 0.5 + gn.sum(w) - grads[1]}
    rng = np.random.default_rng(seed)
    feed = {"x": rng.standard_normal((4, 4, 6, 6)), "z": rng.standard_normal((4, 8))}
    state = gn.State(seed)
    before = {p: state.array(p).copy() for p in params}
    want = evaluate([total, *new.values()], feed, before)
    got = gn.compile(total, inputs, updates=new, state=state, threads=2)(feed["x"], feed["z"])
    close(got, want[0])
    for p, expected in zip(new, want[1:], strict=True):
        close(state.array(p), expected)
