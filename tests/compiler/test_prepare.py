"""What depends on parameters alone is computed once, and again when somebody has written one of them."""

import numpy as np
import pytest

import graphnet as gn

x = gn.input("x", ("N", 4))
w = gn.parameter("w", (4, 3))
b = gn.parameter("b", (3,), gn.init.ones())
a = np.random.default_rng(0).standard_normal((2, 4)).astype("f")

TARGETS = ("cpu", "interpret", "emulator")


def prepared_ops(f):
    """The ops of each kernel that does not run at every call."""
    spec = f.specializations[-1]
    return [tuple(n.op.name for n in g.nodes) for g in spec.lowered.groups if g and g.prepared]


def want(state, x=a):
    return x @ state["w"] + np.sqrt(state["b"])


def predictor(target="cpu", **kw):
    return gn.compile(x @ w + gn.sqrt(b), [x], target=target, **kw)


@pytest.mark.parametrize("target", TARGETS)
def test_a_root_of_a_parameter_is_prepared_and_follows_every_write(target):
    f = predictor(target)
    np.testing.assert_allclose(f(a), want(f.state), rtol=1e-5)
    assert prepared_ops(f) == [("sqrt",)]
    f.state["b"] = np.full(3, 4.0, "f")
    np.testing.assert_allclose(f(a), want(f.state), rtol=1e-5)
    f.state[b] = np.full(3, 9.0, "f")
    np.testing.assert_allclose(f(a), want(f.state), rtol=1e-5)


def test_prepared_kernels_do_not_run_at_every_call():
    f = predictor()
    first = f(a)
    f.state.memory(b)[...] = 100.0  # a write that nobody tells of is not seen by what was prepared
    np.testing.assert_array_equal(f(a), first)
    f.state.wrote(["w"])  # nor does the write of another parameter concern it
    np.testing.assert_array_equal(f(a), first)
    f.state.wrote(["b"])
    np.testing.assert_allclose(f(a), want(f.state), rtol=1e-5)


@pytest.mark.parametrize("target", TARGETS)
def test_another_functions_updates_are_seen(target):
    f = predictor(target)
    step = gn.compile(gn.sum(b), [], {b: b + 1.0}, state=f.state)
    for _ in range(3):
        np.testing.assert_allclose(f(a), want(f.state), rtol=1e-5)
        step()
    assert f.state["b"][0] == 4.0


def test_parameters_that_the_function_itself_updates_are_not_prepared():
    f = gn.compile(x @ w + gn.sqrt(b), [x], {b: b + 1.0})
    for k in range(3):
        got = f(a)
        np.testing.assert_allclose(got, a @ f.state["w"] + np.sqrt(1.0 + k), rtol=1e-5)
    assert prepared_ops(f) == []


def test_frozen_parameters_are_prepared_beside_trained_ones():
    step = gn.compile(gn.sum(x @ w + gn.sqrt(b)), [x], {w: w * 0.5})
    step.state.array(w)
    for value in (1.0, 1.0, 2.0):
        step.state[b] = np.full(3, value, "f")
        expected = want(step.state).sum()
        np.testing.assert_allclose(step(a), expected, rtol=1e-5)
    assert prepared_ops(step) == [("sqrt",)]


def test_a_result_that_depends_on_parameters_alone_is_computed_at_every_call():
    f = gn.compile([gn.sqrt(b), gn.exp(gn.sqrt(b))])
    for value in (1.0, 4.0):
        f.state[b] = np.full(3, value, "f")
        root, power = f()
        np.testing.assert_allclose(root, np.sqrt(f.state["b"]))
        np.testing.assert_allclose(power, np.exp(root), rtol=1e-6)


def test_kernels_transformed_for_winograd_are_prepared():
    image = gn.input("image", ("N", 64, 16, 16))
    k = gn.parameter("k", (64, 64, 3, 3))
    f = gn.compile(gn.conv2d(image, k, padding=1), [image])
    f(np.ones((16, 64, 16, 16), "f"))
    assert prepared_ops(f) == [("winograd_weight",)]
    assert f.memory().prepared == 36 * 64 * 64 * 4
    assert sum(k.prepared for k in f.explain().kernels) == 1
    assert "1 more only when parameters were written" in str(f.explain())


def test_batch_normalisation_is_one_multiplication_and_one_addition_at_inference():
    image = gn.input("image", (2, 3, 4, 4))
    k, positive = gn.parameter("k", (5, 3, 3, 3)), np.linspace(0.5, 1.0, 5).astype("f")
    scale, shift, mean = (gn.parameter(n, (5,), positive) for n in ("scale", "shift", "mean"))
    variance = gn.parameter("variance", (5,), positive)
    y = gn.relu(gn.batch_norm_inference(gn.conv2d(image, k, padding=1), scale, shift, mean, variance))
    f = gn.compile(y, [image])
    pixels = np.random.default_rng(1).standard_normal((2, 3, 4, 4)).astype("f")
    got, values = f(pixels), dict(f.state.items())
    np.testing.assert_allclose(got, gn.evaluate(y, {"image": pixels}, values)[0], rtol=1e-4, atol=1e-5)
    each = [tuple(n.op.name for n in g.nodes) for g in f.specializations[0].lowered.groups if not g.prepared]
    assert each == [("pad",), ("conv2d", "mul", "add", "relu")]


def test_values_are_read_through_views_that_cannot_be_written():
    f = predictor()
    f(a)
    for view in (f.state["w"], f.state.array(w), dict(f.state.items())["w"]):
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 0.0
