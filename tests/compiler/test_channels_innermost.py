"""Images with their channels innermost: strides, windows and edges, forward and both gradients, on every CPU path."""

import numpy as np
import pytest

import graphnet as gn

CASES = [  # n, c, k, size, window, settings
    (1, 24, 32, (9, 11), (3, 3), {"padding": 1}),
    (2, 16, 40, (10, 9), (3, 3), {"padding": 1, "stride": 2}),
    (3, 20, 33, (8, 7), (1, 1), {"stride": 2}),
    (2, 3, 48, (23, 21), (7, 5), {"padding": ((3, 2), (2, 1)), "stride": (2, 3)}),
    (1, 17, 32, (12, 6), (2, 3), {"padding": ((0, 3), (2, 0)), "stride": (3, 1)}),
    (2, 16, 32, (7, 8), (4, 2), {"padding": 2, "stride": 4}),
    (2, 16, 32, (9, 8), (3, 2), {"padding": 1, "dilation": (2, 3)}),
    (2, 16, 32, (9, 11), (3, 3), {"padding": ((4, 0), (0, 5)), "stride": 2}),
]


def network(case, dtype):
    """A convolution with what stands around it in networks, its loss, and the gradients of everything."""
    n, c, k, size, window, settings = case
    x = gn.parameter("x", (n, c, *size), init=gn.init.normal(1.0), dtype=dtype)
    w = gn.parameter("w", (k, c, *window), init=gn.init.he_normal(), dtype=dtype)
    b = gn.parameter("b", (k,), init=gn.init.normal(1.0), dtype=dtype)
    y = gn.relu(gn.conv2d(x, w, algorithm="direct", **settings) + b[:, None, None])
    return [y, *gn.gradient(gn.mean(y * y), [x, w, b])], {"x": x, "w": w, "b": b}


@pytest.mark.parametrize("target", ["cpu", "cpu:simd128"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_gradients(case, target):
    results, params = network(case, "float64")
    f = gn.compile(results, [], target=target, threads=2)
    got = f()
    module = f.specializations[0].module
    assert (0, 2, 3, 1) in module.layouts.values()
    want = gn.evaluate(results, {}, {name: f.state[name] for name in params})
    for g, expected in zip(got, want, strict=True):
        np.testing.assert_allclose(g, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_same_bits_with_any_number_of_threads(case):
    results, _ = network(case, "float32")
    f = gn.compile(results, [], threads=1)
    one = f()
    three = gn.compile(results, [], threads=3, state=f.state)()
    for a, b in zip(one, three, strict=True):
        assert a.tobytes() == b.tobytes()


def test_an_input_gradient_of_a_strided_convolution_is_a_convolution_for_each_phase():
    """Of stride 2 and a 3x3 kernel: taps 2x2, 2x1, 1x2 and 1x1, whose results interleave."""
    results, _ = network((2, 16, 32, (10, 10), (3, 3), {"padding": 1, "stride": 2}), "float32")
    f = gn.compile(results[1], [])
    f.specialise({})
    kernels = [n.inputs[1].shape[2:] for n in f.specializations[0].module.graph.nodes() if n.op.name == "conv2d"]
    assert sorted(kernels) == [(1, 1), (1, 2), (2, 1), (2, 2), (3, 3)]
    assert not any(n.op.name == "conv2d_input_grad" for n in f.specializations[0].module.graph.nodes())


def test_few_channels_stay_with_the_batch_innermost():
    x = gn.input("x", ("N", 1, 12, 12))
    w = gn.parameter("w", (6, 1, 5, 5))
    f = gn.compile(gn.relu(gn.conv2d(x, w)), [x])
    f.specialise({"N": 64})
    assert (1, 2, 3, 0) in f.specializations[0].module.layouts.values()


def test_rows_of_a_kernel_do_not_meet_in_the_same_sets_of_a_cache():
    """256 channels are 1,024 bytes a row: a gap of a line after each spreads a panel of them over the cache."""
    x = gn.input("x", ("N", 16, 8, 8))
    w = gn.parameter("w", (256, 16, 3, 3), init=gn.init.he_normal())
    y = gn.conv2d(x, w, algorithm="direct")
    f = gn.compile(y, [x])
    a = np.random.default_rng(0).standard_normal((2, 16, 8, 8)).astype("float32")
    got = f(a)
    module = f.specializations[0].module
    (kernel,) = [n for n in module.graph.nodes() if n.op.name == "relayout" and n.shape == w.shape]
    slot = module.plan.slots[module.plan.slot[kernel]]
    assert slot.shape == (3, 3, 16, 256 + kernel.op.gap) and slot.bytes == 4 * np.prod(slot.shape) and kernel.op.gap
    want = gn.evaluate(y, {"x": a}, {"w": f.state["w"]})[0]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * np.abs(want).max())


TO_FEW = [(1, 6, 16, (14, 14), (5, 5), {}), (2, 3, 48, (12, 13), (3, 3), {"padding": 1, "stride": 2})]


@pytest.mark.parametrize("case", TO_FEW, ids=str)
def test_convolutions_to_few_channels_have_pixels_in_lanes(case):
    """The input gradient of a layer after few channels reads its cotangent row-major; element by element it took most
    of a LeNet step of one image."""
    results, params = network(case, "float64")
    f = gn.compile(results[1], [])
    got = f()
    (want,) = gn.evaluate([results[1]], {}, {name: f.state[name] for name in params})
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(want).max())
    kernels = [k for k in f.explain().kernels if "conv2d" in k.ops]
    assert kernels and all("register tile" in k.how for k in kernels)
