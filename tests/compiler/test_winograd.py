"""Winograd's convolution: exact in rationals, close in floats, chosen where it pays, the same on every path."""

from fractions import Fraction

import numpy as np
import pytest

import graphnet as gn
from graphnet.node import apply
from graphnet.ops.conv2d import Conv2dInputGrad
from graphnet.passes.choose_conv import DIRECT
from graphnet.winograd import transforms
from graphnet.winograd_conv import WINOGRAD


def times(matrix, vector):
    return [sum(c * x for c, x in zip(row, vector, strict=True)) for row in matrix]


@pytest.mark.parametrize(("m", "r"), [(2, 3), (4, 3), (6, 3), (2, 5), (4, 5), (3, 2), (1, 1)])
def test_the_matrices_filter_exactly(m, r):
    """In rational arithmetic F(m, r) is the sliding sum itself, not an approximation."""
    t = transforms(m, r)
    g = [Fraction(3 * k - 4, k + 2) for k in range(r)]
    d = [Fraction(k * k - 5, 2 * k + 1) for k in range(m + r - 1)]
    y = times(t.output, [a * b for a, b in zip(times(t.weight, g), times(t.input, d), strict=True)])
    assert y == [sum(g[k] * d[i + k] for k in range(r)) for i in range(m)]


def test_too_large_a_tile_is_refused():
    with pytest.raises(ValueError, match=r"F\(7, 3\) needs 8 points; there are 7"):
        transforms(7, 3)


def convolution(n, c, k, size, r, padding, stride=1, dtype="float32", algorithm="winograd"):
    """By Winograd even where it does not pay: small cases test the same code."""
    x = gn.input("x", ("N", c, *size), dtype)
    w = gn.parameter("w", (k, c, *((r, r) if isinstance(r, int) else r)), init=gn.init.he_normal(), dtype=dtype)
    b = gn.parameter("b", (k,), init=gn.init.normal(1.0), dtype=dtype)
    y = gn.relu(gn.conv2d(x, w, stride=stride, padding=padding, algorithm=algorithm) + b[:, None, None])
    a = np.random.default_rng(0).standard_normal((n, c, *size)).astype(dtype)
    return x, w, b, y, a


def algorithms(f):
    """The kind of what was chosen for each convolution."""
    decisions = f.specializations[0].module.decisions
    return [d.choice.split()[0] for d in decisions if d.pass_name == "choose_conv"]


CASES = [
    (16, 16, 24, (12, 12), 3, "same"),
    (8, 64, 48, (9, 14), 3, "valid"),  # ragged: 7 x 12 outputs
    (17, 48, 40, (11, 8), 3, ((1, 0), (2, 1))),
    (16, 16, 16, (13, 16), 5, "same"),
    (2, 3, 32, (31, 30), 7, 3, 2),  # few channels: their phases are brought together first
    (1, 3, 16, (47, 50), 11, 2, 4),
    (3, 16, 24, (14, 13), 3, 1, 2),
    (2, 24, 16, (15, 11), (1, 7), ((0, 1), (2, 1)), 1),
    (2, 144, 128, (7, 7), 3, "same"),  # many channels: kernels in panels
    (1, 64, 192, (9, 11), 3, 1, 2),
    (2, 16, 16, (12, 14), 4, 3, 2),  # an input gradient whose pixels begin inside the padding
]


@pytest.mark.parametrize("target", ["cpu", "cpu:simd128"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_are_within_the_stated_error(case, target):
    """1e-4 of the result's scale against float64 is the promise; all forms keep 3e-5 here."""
    x, _, _, y, a = convolution(*case)
    f = gn.compile(y, [x], target=target, threads=2)
    got = f(a)
    assert algorithms(f) == ["winograd"]
    wide = convolution(*case, dtype="float64")[3]
    want = gn.evaluate(wide, {"x": a}, {"w": f.state["w"], "b": f.state["b"]})[0]
    assert np.abs(got - want).max() <= 3e-5 * np.abs(want).max()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_gradients_agree_with_the_references(case):
    x, w, b, y, a = convolution(*case, dtype="float64")
    results = [gn.mean(y * y), *gn.gradient(gn.mean(y * y), [w, b, x])]
    f = gn.compile(results, [x], threads=2)
    got = f(a)
    assert algorithms(f) == ["winograd"] * 3  # forward, and both gradients
    want = gn.evaluate(results, {x: a}, {"w": f.state["w"], "b": f.state["b"]})
    for g, expected in zip(got, want, strict=True):
        np.testing.assert_allclose(g, expected, rtol=0, atol=1e-11 * np.abs(expected).max())


def test_padding_wider_than_the_kernel():
    """Its input gradient cuts rows off the cotangent instead of padding it."""
    x, w, _, y, a = convolution(8, 16, 16, (6, 7), 3, 3, dtype="float64")
    results = gn.gradient(gn.mean(y * y), [x, w])
    f = gn.compile(results, [x])
    got = f(a)
    assert algorithms(f) == ["winograd"] * 3
    want = gn.evaluate(results, {x: a}, {"w": f.state["w"], "b": f.state["b"]})
    for g, expected in zip(got, want, strict=True):
        np.testing.assert_allclose(g, expected, rtol=0, atol=1e-12 * np.abs(expected).max())


FORMS = [(a.name, a.error) for a in WINOGRAD]


@pytest.mark.parametrize(("name", "error"), FORMS, ids=[name for name, _ in FORMS])
def test_every_form_keeps_its_error(name, error):
    """Forward and both gradients, against float64; for a stride of 2 as well."""
    m, r = (tuple(map(int, part.split("x"))) for part in name.split("(")[1].strip(")").split(", "))
    for stride in (1, 2):
        window = tuple(stride * e - (stride > 1 < e) for e in r)
        case = (2, 24, 32, (3 * m[0] * stride + 2, 2 * m[1] * stride + 3), window, 1 if min(window) > 1 else 0, stride)
        x, w, _, y, a = convolution(*case, algorithm=name)
        results = [y, *gn.gradient(gn.mean(y * y), [w, x])]
        f = gn.compile(results, [x])
        got = f(a)
        assert algorithms(f) == ["winograd"] * 3
        x, w, _, y, _ = convolution(*case, dtype="float64")
        wide = [y, *gn.gradient(gn.mean(y * y), [w, x])]
        want = gn.evaluate(wide, {x: a.astype("float64")}, {"w": f.state["w"], "b": f.state["b"]})
        for g, expected in zip(got, want, strict=True):
            assert np.abs(g - expected).max() <= error * np.abs(expected).max()


ALGORITHMS = {a.name: a for a in (DIRECT, *WINOGRAD)}


@pytest.mark.parametrize(
    ("name", "r"), [("winograd F(2x2, 5x5)", 5), ("winograd F(4x4, 3x3)", 3), ("direct", 3), ("direct", 7)]
)
def test_long_sums_keep_the_error(name, r):
    """100,000 positions, 25,000 or 6,272 tiles, are added up for a weight."""
    x, w = gn.input("x", (32, 16, 56, 56)), gn.input("w", (16, 16, r, r))
    dy = gn.input("dy", (32, 16, 56, 56))

    def results(algorithm, *nodes):
        y = gn.conv2d(nodes[0], nodes[1], padding="same", algorithm=algorithm)
        return [y, *gn.vjp([y], nodes[:2], [nodes[2]])]

    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(n.shape).astype("f") for n in (x, w, dy)]
    got = gn.compile(results(name, x, w, dy), [x, w, dy])(*arrays)
    wide = [gn.input(n.name, n.shape, "float64") for n in (x, w, dy)]
    want = gn.compile(results("direct", *wide), wide)(*(a.astype("d") for a in arrays))
    for g, expected in zip(got, want, strict=True):
        assert np.abs(g - expected).max() <= ALGORITHMS[name].error * np.abs(expected).max()


def test_an_input_gradient_alone():
    w = gn.parameter("w", (48, 56, 3, 3), dtype="float64")
    dy = gn.input("dy", ("N", 48, 10, 9), "float64")
    dx = apply(Conv2dInputGrad(padding=((1, 1), (0, 2)), size=(10, 9), algorithm="winograd"), w, dy)
    a = np.random.default_rng(0).standard_normal((8, 48, 10, 9))
    f = gn.compile(dx, [dy])
    got = f(a)
    assert algorithms(f) == ["winograd"]
    want = gn.evaluate(dx, {dy: a}, {"w": f.state["w"]})[0]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(want).max())


def test_a_layer_of_a_real_network_takes_it():
    x, _, _, y, _ = convolution(1, 64, 64, (28, 28), 3, "same", algorithm="auto")
    f = gn.compile(y, [x])
    f.specialise({"N": 16})
    assert algorithms(f) == ["winograd"]
    ops = [tuple(n.op.name for n in g.nodes) for g in f.specializations[0].module.groups]
    assert ("winograd_input", "matmul", "winograd_output", "add", "relu") in ops  # the epilogue of the user's line


@pytest.mark.parametrize(
    ("case", "settings", "why"),
    [
        ((16, 3, 16, (12, 12), 3, "same"), {}, "too few channels"),
        ((1, 16, 16, (3, 3), 3, "same"), {}, "modelled"),
        ((16, 16, 16, (12, 12), 3, "same"), {"dilation": 2}, "not for dilated kernels"),
    ],
)
def test_direct_sums_where_it_does_not_pay_and_the_record_says_why(case, settings, why):
    n, c, k, size, r, padding = case
    x = gn.input("x", ("N", c, *size))
    w = gn.parameter("w", (k, c, r, r))
    f = gn.compile(gn.conv2d(x, w, padding=padding, **settings), [x])
    f.specialise({"N": n})
    decisions = [d for d in f.specializations[0].module.decisions if d.pass_name == "choose_conv"]
    assert [d.choice for d in decisions] == ["direct"] and why in decisions[0].reason


def test_the_same_bits_on_any_number_of_threads():
    x, _, _, y, a = convolution(*CASES[1])
    state = gn.State(0)
    results = [gn.compile(y, [x], threads=t, state=state)(a) for t in (1, 2, 3)]
    np.testing.assert_array_equal(results[0], results[1])
    np.testing.assert_array_equal(results[0], results[2])


def test_a_training_step_transforms_its_input_once():
    """The forward convolution and its weight gradient read the same transformed tiles."""
    x, w, _, y, _ = convolution(*CASES[0], algorithm="prefer winograd")
    f = gn.compile([gn.mean(y * y), *gn.gradient(gn.mean(y * y), [w])], [x])
    f.specialise({"N": 16})
    ops = [n.op.name for n in f.module({"N": 16}).graph.nodes()]
    assert ops.count("winograd_input") == 1 and ops.count("winograd_cotangent") == 1


def test_the_highest_precision_keeps_to_direct_sums():
    x, _, _, y, a = convolution(16, 64, 64, (28, 28), 3, "same", algorithm="auto")
    fast, exact = gn.compile(y, [x]), gn.compile(y, [x], precision="highest")
    got, near = exact(a), fast(a)
    assert algorithms(exact) == ["direct"] and algorithms(fast) == ["winograd"]
    scale = np.abs(got).max()
    assert 1e-7 * scale < np.abs(got - near).max() < 3e-5 * scale
    with pytest.raises(gn.GraphnetError, match=r"unknown precision 'low'; there are default, highest.*test_winograd"):
        gn.compile(y, [x], precision="low")


def test_an_input_that_needs_no_padding_is_brought_into_order_first():
    """The transform reads vectors of channels, and the user's channels lie one after the other."""
    x, _, _, y, a = convolution(16, 16, 16, (6, 10), 3, "valid")
    f = gn.compile(y, [x])
    exact = convolution(16, 16, 16, (6, 10), 3, "valid", algorithm="direct")[3]
    want = gn.compile(exact, [x], state=f.state)(a)
    np.testing.assert_allclose(f(a), want, rtol=0, atol=1e-4 * np.abs(want).max())
    ops = [n.op.name for n in f.module({"N": 16}).graph.nodes()]
    assert ops.index("relayout") < ops.index("winograd_input")


def test_a_sum_of_the_result_does_not_dissolve_the_transform():
    """A transform makes tiles, not elements: no other kernel can compute it one element at a time."""
    x, _, _, y, a = convolution(*CASES[0])
    f = gn.compile(gn.mean(y, axis=(2, 3)), [x])
    want = gn.compile(y, [x], state=f.state)(a).mean((2, 3))
    np.testing.assert_allclose(f(a), want, rtol=0, atol=1e-5)
