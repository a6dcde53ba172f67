"""What shares a kernel: counted, because a fusion that no longer happens is a fusion that no longer helps."""

import numpy as np
import pytest

import graphnet as gn
from graphnet.models import DIGITS, MODELS


def kernels(outputs, inputs, updates=None, sizes=None):
    """The ops of each kernel, in order; checked nothing but counted."""
    f = gn.compile(outputs, inputs, updates=updates)
    f.specialise(sizes or {})
    return [tuple(n.op.name for n in g.nodes) if g else ("copy",) for g in f.specializations[0].lowered.groups]


x = gn.input("x", (32, 48))
image = gn.input("image", (16, 3, 8, 8))


def test_an_elementwise_chain_is_one_kernel():
    assert len(kernels(gn.exp(gn.tanh(x * 2.0 + 1.0)) / 3.0, [x])) == 1


def test_views_cost_no_kernel():
    y = gn.transpose(gn.reshape(x[2:, ::2], (30, 2, 12)), (2, 0, 1)) + 1.0
    assert kernels(y, [x]) == [("add",)]


def test_a_producer_is_computed_inside_the_sum_that_alone_uses_it():
    assert kernels(gn.sum(gn.exp(x) * x, axis=1), [x]) == [("sum",)]


def test_a_sum_and_what_follows_it_at_its_index_are_one_kernel():
    assert kernels(gn.tanh(gn.sum(x, axis=0)) + 1.0, [x]) == [("sum", "tanh", "add")]


def test_bias_and_activation_are_the_epilogue_of_a_product():
    w, b = gn.parameter("w", (48, 10)), gn.parameter("b", (10,))
    assert kernels(gn.relu(x @ w + b), [x]) == [("matmul", "add", "relu")]


def test_bias_and_activation_are_the_epilogue_of_a_convolution():
    w, b = gn.parameter("w", (4, 3, 3, 3)), gn.parameter("b", (4,))
    assert kernels(gn.relu(gn.conv2d(image, w) + b[:, None, None]), [image]) == [("conv2d", "add", "relu")]


def test_what_two_kernels_need_is_computed_once():
    y = gn.tanh(x)
    names = kernels([gn.sum(y, axis=0), gn.sum(y, axis=1)], [x])
    assert sum("tanh" in n for n in names) == 1


def test_what_reads_one_stored_value_is_computed_where_it_is_needed():
    """x less its mean has two users, but storing it would only add bytes: whoever reads it can read x."""
    centred = x - gn.mean(x, axis=0)
    assert kernels([gn.sum(centred * centred, axis=0), gn.exp(centred)], [x]) == [
        ("sum", "div"), ("sum",), ("exp",),
    ]  # fmt: skip


def test_sums_of_the_same_values_over_the_same_axes_share_a_loop():
    y = gn.input("y", (32, 48))
    assert kernels([gn.sum(x, axis=0), gn.sum(x * y, axis=0)], [x, y]) == [("sum", "sum")]
    assert kernels([gn.sum(x, axis=0), gn.sum(y, axis=0)], [x, y]) == [("sum",), ("sum",)]


def test_pooling_and_its_index_share_a_loop():
    y = gn.max_pool2d(image, 2)
    (g,) = (gn.gradient(gn.sum(y * y), [image]),)
    names = kernels([y, *g], [image])
    assert ("max_pool", "max_pool_index") in [n[:2] for n in names]


def test_a_kernel_is_not_fused_across_a_cycle():
    """y needs max(x) twice over: x - max must wait for the reduction of what it would join."""
    h = x * 2.0
    y = h - gn.max(h, axis=1, keepdims=True)
    f = gn.compile(y, [x])
    a = np.random.default_rng(0).standard_normal((32, 48)).astype("f")
    np.testing.assert_array_equal(f(a), 2 * a - (2 * a).max(1, keepdims=True))


@pytest.mark.parametrize("model", DIGITS)
def test_the_optimiser_runs_where_its_gradient_is_made(model):
    """No gradient of a weight is stored: its sum's kernel ends with Adam's update, in place."""
    m = MODELS[model]()
    params = list(m.params.values())
    step = gn.compile([m.loss], [m.x, m.y], gn.optim.adam(params, gn.gradient(m.loss, params), learning_rate=1e-3))
    spec = step.specialise({"N": 64})
    assert all(g is not None for g in spec.lowered.groups)  # no copies
    weights = [p for p in m.params.values() if p.rank > 1]
    anchored = [g for g in spec.lowered.groups if g.anchors and g.anchors[0].op.kind == "contract" and len(g.nodes) > 9]
    assert len(anchored) == len(weights)
    for g in anchored:
        assert g.anchors[0] not in g.stored
    assert len(spec.lowered.groups) <= {"lenet": 36, "mlp": 23}[model]


def test_batch_normalisation_reads_x_twice_forward_and_twice_backward():
    """Statistics in one pass, by parts; then x and what follows in another. The gradients likewise."""
    x, dy = gn.input("x", (16, 64, 32, 32)), gn.input("dy", (16, 64, 32, 32))
    scale, shift = gn.parameter("scale", (64,)), gn.parameter("shift", (64,))
    y = gn.batch_norm(x, scale, shift)
    relu = gn.relu(y + dy)
    assert len(kernels(relu, [x, dy])) == 4  # of parts; their mean; their variance; normalised, added, relu
    grads = gn.gradient(gn.sum(y * dy), [x, scale, shift])
    f = gn.compile([y, *grads], [x, dy])
    f.specialise({})
    spec = f.specializations[0]
    slot = {name: spec.module.plan.slot[n] for name, n in (("x", x), ("dy", dy))}
    reads = [[name for name, s in slot.items() if s in step.reads] for step in spec.program.steps]
    assert [r for r in reads if r] == [["x"], ["x"], ["x", "dy"], ["x", "dy"]]


def test_long_reductions_are_divided_among_threads():
    x = gn.input("x", (64, 32, 56, 56))
    assert kernels(gn.sum(x), [x]) == [("sum",), ("sum", "cast")]  # in float64
    assert kernels(gn.max(x, axis=(1, 2, 3)), [x]) == [("max",)]  # 64 results are enough for all threads
    assert kernels(gn.sum(gn.input("v", (1 << 20,))), [gn.input("v", (1 << 20,))]) == [("sum",), ("sum", "cast")]
