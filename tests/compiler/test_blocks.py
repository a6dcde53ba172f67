"""Transform, product and inverse in one kernel, a block of tiles at a time: the same values, less memory."""

import numpy as np
import pytest

import graphnet as gn
from graphnet.node import apply
from graphnet.ops.tile_products import TileProducts
from graphnet.ops.transform import WinogradCotangent, WinogradInput


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


def gradient(n, channels, size, dtype, window=3):
    x = gn.input("x", (n, channels[0], *size), dtype)
    dy = gn.input("dy", (n, channels[1], *size), dtype)
    w = gn.input("w", (channels[1], channels[0], window, window), dtype)
    form = f"winograd F(4x4, {window}x{window})"
    y = gn.conv2d(x, w, padding=window // 2, algorithm=form)
    return [x, dy], gn.gradient(gn.sum(y * dy), [w])


@pytest.mark.parametrize(
    ("target", "n", "channels", "size", "window"),
    [
        ("cpu", 3, (32, 17), (28, 36), 3),
        ("cpu", 2, (16, 16), (62, 40), 5),
        ("cpu:simd128", 3, (16, 32), (30, 46), 3),
    ],
)
def test_a_weight_gradient_sums_up_parts_of_the_tiles(target, n, channels, size, window):
    """The last of the blocks overlaps the one before it; what it has again is summed up once."""
    inputs, results = gradient(n, channels, size, "float64", window)
    f = gn.compile(results, inputs, target=target, threads=2)
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(i.shape) for i in inputs)
    got = f(a, b)
    (want,) = gn.evaluate(results, {"x": a, "dy": b}, {})
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(want).max())
    (chain,) = [g for g in groups(f) if g.stages]
    names = [tuple(node.op.name for node in stage) for stage in chain.stages]
    assert names == [("winograd_input",), ("winograd_cotangent",), ("tile_products",)]
    assert chain.stored == chain.nodes[-1:] and chain.nodes[-1].shape[0] == chain.nodes[-1].op.parts == 8
    tiles = chain.nodes[0].shape[1]
    assert tiles > 8 * chain.block and tiles % chain.block


@pytest.mark.parametrize(("block", "parts"), [(2, 3), (4, 2), (5, 1), (6, 1)])
def test_the_loops_of_such_sums_are_right_in_the_interpreter(block, parts):
    """Six tiles, by definition: of transformed images, in blocks that divide them or do not."""
    x, dy = gn.input("x", (1, 3, 4, 6), "float64"), gn.input("dy", (1, 2, 4, 6), "float64")
    v = apply(WinogradInput((2, 2), (3, 3), (2, 3), (1, 1)), x)
    d = apply(WinogradCotangent((2, 2), (3, 3), (2, 3)), dy)
    sums = apply(TileProducts(block, parts), v, d)
    f = gn.compile(sums, [x, dy], target="interpret")
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(i.shape) for i in (x, dy))
    got = f(a, b)
    (want,) = gn.evaluate([sums], {"x": a, "dy": b}, {})
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)
    (chain,) = [g for g in groups(f) if g.stages]
    assert chain.block == block and got.shape[0] == parts


def test_sums_of_parts_have_the_same_bits_with_any_number_of_threads():
    inputs, results = gradient(3, (17, 19), (50, 52), "float32")
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(i.shape).astype("float32") for i in inputs)
    got = [gn.compile(results, inputs, threads=t)(a, b).tobytes() for t in (1, 2, 3, 4)]
    assert len(set(got)) == 1


def test_training_keeps_no_transformed_images_where_sums_go_in_parts():
    """Forward pass, input gradient and weight gradient are a kernel of stages each; nothing is transformed alone."""
    x, w, b, y = network("float64", (40, 44))
    second = gn.parameter("v", (16, 32, 3, 3), init=gn.init.he_normal(), dtype="float64")
    z = gn.conv2d(y, second, padding=1, algorithm="winograd F(4x4, 3x3)")
    results = [gn.mean(z * z), *gn.gradient(gn.mean(z * z), [w, b, second])]
    f = gn.compile(results, [x], threads=2)
    a = np.random.default_rng(0).standard_normal((3, 16, 40, 44))
    got = f(a)
    want = gn.evaluate(results, {"x": a}, {"w": f.state["w"], "b": f.state["b"], "v": f.state["v"]})
    for g, expected in zip(got, want, strict=True):
        np.testing.assert_allclose(g, expected, rtol=0, atol=1e-12 * np.abs(expected).max())
    assert len([g for g in groups(f) if g.stages]) == 5
    alone = [g.nodes[0].op.name for g in groups(f) if not g.stages and g.nodes[0].op.kind == "transform"]
    assert set(alone) <= {"winograd_weight", "winograd_kernel"}


def test_few_tiles_for_many_channels_are_summed_up_at_once():
    """The sums of eight parts would be more to write than what is transformed."""
    inputs, results = gradient(2, (64, 64), (16, 16), "float32")
    f = gn.compile(results, inputs)
    f.specialise({})
    assert not any(g.stages for g in groups(f))


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
