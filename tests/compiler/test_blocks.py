"""Transform, product and inverse in one kernel, a block of tiles at a time: the same values, less memory."""

import numpy as np
import pytest

import graphnet as gn


def network(dtype="float32", size=(20, 22), channels=(16, 32)):
    x = gn.input("x", ("N", channels[0], *size), dtype)
    w = gn.parameter("w", (channels[1], channels[0], 3, 3), init=gn.init.he_normal(), dtype=dtype)
    b = gn.parameter("b", (channels[1],), init=gn.init.normal(1.0), dtype=dtype)
    conv = gn.conv2d(x, w, padding=1, algorithm="winograd F(4x4, 3x3)")
    return x, w, b, gn.relu(conv + b[:, None, None])


def groups(f):
    return f.specializations[0].module.groups


@pytest.mark.parametrize("target", ["cpu", "cpu:simd128", "interpret"])
@pytest.mark.parametrize("n", [1, 3])
def test_inference_is_one_kernel_without_arrays_in_between(target, n):
    """30 or 90 tiles in blocks of 14: the last block overlaps the one before it."""
    x, _, _, y = network("float64")
    f = gn.compile(y, [x], target=target, threads=2)
    a = np.random.default_rng(0).standard_normal((n, 16, 20, 22))
    got = f(a)
    want = gn.evaluate(y, {"x": a}, {"w": f.state["w"], "b": f.state["b"]})[0]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(want).max())
    (chain,) = [g for g in groups(f) if g.stages]
    names = [tuple(node.op.name for node in stage) for stage in chain.stages]
    assert names == [("winograd_input",), ("matmul",), ("winograd_output", "add", "relu")]
    assert chain.block == 14 and len(chain.stored) == 1


def test_training_transforms_the_images_again_for_the_weight_gradient():
    """Neither transformed images nor products of the forward convolution are kept until the backward pass."""
    x, w, b, y = network("float64")
    results = [gn.mean(y * y), *gn.gradient(gn.mean(y * y), [w, b])]
    f = gn.compile(results, [x], threads=2)
    a = np.random.default_rng(0).standard_normal((2, 16, 20, 22))
    got = f(a)
    want = gn.evaluate(results, {"x": a}, {"w": f.state["w"], "b": f.state["b"]})
    for g, expected in zip(got, want, strict=True):
        np.testing.assert_allclose(g, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    (chain,) = [g for g in groups(f) if g.stages]
    assert [node.op.kind for node in chain.stored if node.op.kind != "elementwise"] == []
    (again,) = [k for k, g in enumerate(groups(f)) if [n.op.name for n in g.nodes] == ["winograd_input"]]
    assert again > groups(f).index(chain)


def test_a_transformed_kernel_too_large_for_the_cache_is_not_read_again_for_every_block():
    x, _, _, y = network(size=(8, 8), channels=(256, 256))
    f = gn.compile(y, [x])
    f.specialise({"N": 2})
    assert not any(g.stages for g in groups(f))


def test_the_same_bits_with_any_number_of_threads():
    x, _, _, y = network()
    f = gn.compile(y, [x], threads=1)
    a = np.random.default_rng(0).standard_normal((5, 16, 20, 22)).astype("float32")
    assert f(a).tobytes() == gn.compile(y, [x], state=f.state, threads=3)(a).tobytes()
