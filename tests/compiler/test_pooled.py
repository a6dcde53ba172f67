"""Pooling in the kernel of the convolution before it: the same bits, and no array in between."""

import numpy as np
import pytest

import graphnet as gn


def network(pool, size=(21, 22), algorithm="winograd F(4x4, 3x3)", dtype="float32"):
    """The result, and what is pooled."""
    x = gn.input("x", ("N", 16, *size), dtype)
    w = gn.parameter("w", (32, 16, 3, 3), init=gn.init.he_normal(), dtype=dtype)
    b = gn.parameter("b", (32,), init=gn.init.normal(1.0), dtype=dtype)
    h = gn.relu(gn.conv2d(x, w, padding=1, algorithm=algorithm) + b[:, None, None])
    return x, h, pool(h)


def images(n, size=(21, 22), dtype="float32"):
    return np.random.default_rng(0).standard_normal((n, 16, *size)).astype(dtype)


def kernels(f):
    return [[n.op.name for n in g.nodes] for g in f.specializations[0].module.groups]


WITHIN = {
    "max": (lambda h: gn.max_pool2d(h, 2), ["max_pool"]),
    "average of three": (lambda h: gn.avg_pool2d(h, (1, 3), (1, 4)), ["avg_pool"]),
    "average": (lambda h: gn.avg_pool2d(h, 2), ["avg_pool"]),
    "by another divisor": (lambda h: gn.avg_pool2d(h, 2, divisor=3), ["avg_pool"]),
    "with gaps": (lambda h: gn.max_pool2d(h, (2, 1), (2, 2)), ["max_pool"]),
    "spread": (lambda h: gn.max_pool2d(h, (2, 1), (4, 1), dilation=(2, 1)), ["max_pool"]),
    "followed by others": (lambda h: gn.tanh(gn.avg_pool2d(h, 2)) + 1.0, ["avg_pool", "tanh", "add"]),
}


@pytest.mark.parametrize(
    ("which", "target"), [*((w, "cpu") for w in WITHIN), ("max", "cpu:simd128"), ("average of three", "interpret")]
)
def test_windows_within_tiles_are_pooled_before_they_are_stored(which, target):
    """21 rows are five tiles of four and one row, 10 windows and one row that belongs to none."""
    pool, names = WITHIN[which]
    size, n = ((3, 4), 1) if target == "interpret" else ((21, 22), 2)
    x, h, y = network(pool, size)
    a = images(n, size)
    a[0, 0, 1, 2] = np.nan
    f = gn.compile(y, [x], target=target, threads=2)
    apart = gn.compile([y, h], [x], target=target, threads=2, state=f.state)
    assert f(a).tobytes() == apart(a)[0].tobytes()
    (kernel,) = [k for k in kernels(f) if "winograd_output" in k]
    assert kernel[kernel.index("winograd_output") :] == ["winograd_output", "add", "relu", *names]
    assert names[0] in [k[0] for k in kernels(apart)]


@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_of_other_dtypes(dtype):
    x, h, y = network(lambda h: gn.avg_pool2d(h, 2), (9, 12), dtype=dtype)
    a = images(3, (9, 12)).astype(y.dtype)
    f = gn.compile(y, [x])
    apart = gn.compile([y, h], [x], state=f.state)
    assert f(a).tobytes() == apart(a)[0].tobytes()
    assert any({"winograd_output", "avg_pool"} <= set(k) for k in kernels(f))


def test_the_values_are_those_of_the_definition():
    x, _, y = network(lambda h: gn.max_pool2d(h, 2), algorithm="winograd F(6x6, 3x3)", dtype="float64")
    f = gn.compile(y, [x], threads=2)
    a = images(2, dtype="float64")
    got = f(a)
    want = gn.evaluate(y, {"x": a}, {k: f.state[k] for k in ("w", "b")})[0]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-11 * np.abs(want).max())
    assert f.explain().memory["arena"] < 8 * 2 * (16 + 32) * 21 * 22  # neither the image twice nor what is pooled


APART = {
    "its windows overlap": (lambda h: gn.max_pool2d(h, 3, 2), (20, 20)),
    "its windows are padded": (lambda h: gn.max_pool2d(h, 2, padding=1), (20, 20)),
    "its windows cross the tiles of 4x4": (lambda h: gn.max_pool2d(h, 3), (20, 20)),
    "its last windows reach beyond the image": (lambda h: gn.max_pool2d(h, 2, ceil_mode=True), (21, 20)),
}


@pytest.mark.parametrize("why", APART)
def test_what_keeps_them_apart_is_said(why):
    pool, size = APART[why]
    x, _, y = network(pool, size)
    f = gn.compile(y, [x])
    f.specialise({"N": 1})
    assert any(c.startswith("pool: max_pool") and c.endswith(why) for c in f.explain().choices)
    assert any(k[0] == "max_pool" for k in kernels(f))


def test_training_keeps_what_gradients_read():
    x, _, y = network(lambda h: gn.max_pool2d(h, 2), (8, 8))
    f = gn.compile([gn.mean(y * y), *gn.gradient(gn.mean(y * y), [x])], [x])
    f.specialise({"N": 2})
    assert any(c.endswith("is read elsewhere") for c in f.explain().choices if c.startswith("pool:"))
