"""Which algorithm a convolution gets: by the models, by the user, and what the record says."""

import numpy as np
import pytest

import graphnet as gn


def layer(algorithm, r=3, n=16, **settings):
    x, w = gn.input("x", (n, 16, 12, 12)), gn.parameter("w", (16, 16, r, r))
    return x, w, gn.conv2d(x, w, padding="same", algorithm=algorithm, **settings)


def decisions(f):
    f.specialise({})
    return [d for d in f.specializations[0].module.decisions if d.pass_name == "choose_conv"]


def batched(algorithm):
    x, w = gn.input("x", ("N", 16, 12, 12)), gn.parameter("w", (16, 16, 3, 3))
    return x, w, gn.conv2d(x, w, padding="same", algorithm=algorithm)


def choices(results, x):
    return [d.choice for d in gn.compile(results, [x]).module({"N": 16}).decisions if d.pass_name == "choose_conv"]


def test_the_record_has_every_candidate_with_its_cost_or_why_not():
    x, _, y = layer("auto", n=1, stride=2)
    (d,) = decisions(gn.compile(y, [x]))
    direct = 2.0 * 16 * 16 * 9 * 6 * 6
    assert d.choice == "direct" and d.candidates[0].cost == direct
    refused = {c.name: c.refused for c in d.candidates[1:]}
    assert refused["winograd F(4x4, 3x3)"] == "only for 3x3 taps, not the 2x2 of this kernel"
    assert "winograd F(4x4, 2x2) 0.000" in d.reason and "taps" not in d.reason


def test_a_kind_or_a_name_can_be_asked_for():
    for asked in ("winograd", "winograd F(4x4, 3x3)", "prefer winograd"):
        x, _, y = batched(asked)
        assert choices(y, x) == ["winograd F(4x4, 3x3)"]
    x, _, y = batched("direct")
    assert choices(y, x) == ["direct"]


def test_gradients_inherit_the_kind():
    for asked in ("winograd", "direct"):
        x, w, y = batched(asked)
        assert [c.split()[0] for c in choices(gn.gradient(gn.mean(y * y), [x, w]), x)] == [asked] * 3


def test_what_cannot_be_had_is_an_error_that_says_why():
    x, _, y = layer("winograd", r=7)
    with pytest.raises(gn.GraphnetError, match=r"conv2d: algorithm 'winograd' cannot be used: .*3x3.*test_choose_conv"):
        gn.compile(y, [x]).specialise({})
    x, _, y = layer("winograd F(9x9, 3x3)")
    with pytest.raises(gn.GraphnetError, match=r"there is none of this name; there are auto, direct, winograd F\("):
        gn.compile(y, [x]).specialise({})
    with pytest.raises(gn.GraphnetError, match=r"algorithm must be one of auto, direct, winograd, fft, .* not 'fast'"):
        layer("fast")
    x, _, y = batched("winograd")
    with pytest.raises(gn.GraphnetError, match='precision="highest": direct sums only'):
        gn.compile(y, [x], precision="highest").specialise({"N": 16})
    with pytest.raises(gn.GraphnetError, match="GPUs: direct sums only"):
        gn.compile(y, [x], target="emulator").specialise({"N": 16})


def test_a_preference_falls_back():
    x, _, y = layer("prefer winograd", r=3, dilation=2)
    a = np.random.default_rng(0).standard_normal((16, 16, 12, 12)).astype(np.float32)
    f = gn.compile(y, [x])
    assert decisions(f)[0].choice == "direct"
    assert f(a).shape == (16, 16, 12, 12)


def test_a_kernel_that_never_changes_may_be_transformed_at_no_cost():
    """One image and many channels: what is done to the kernel is much of the work, unless it is prepared."""
    x, w = gn.input("x", (1, 512, 14, 14)), gn.parameter("w", (512, 512, 3, 3))
    y = gn.conv2d(x, w, padding=1)
    once = gn.compile(y, [x]).module({})
    always = gn.compile(y, [x], updates={w: w * 0.5}).module({})
    costs = [
        {c.name: c.cost for d in m.decisions if d.pass_name == "choose_conv" for c in d.candidates}
        for m in (once, always)
    ]
    assert all(1.1 * costs[0][name] < costs[1][name] for name in ("winograd F(2x2, 3x3)", "direct"))


def test_a_weight_gradient_prefers_the_form_that_has_its_image_transformed():
    """Where tiles are too few for its sums to go in parts, which transform images for themselves."""
    forms = ("winograd F(2x2, 3x3)", "winograd F(4x4, 3x3)")
    costs = {}
    for name in forms:
        x, w = gn.input("x", (2, 64, 12, 12)), gn.parameter("w", (64, 64, 3, 3))
        y = gn.conv2d(x, w, padding="same", algorithm=name)
        m = gn.compile(gn.gradient(gn.mean(y * y), [w]), [x]).module({})
        (d,) = [d for d in m.decisions if d.pass_name == "choose_conv" and d.node.op.name == "conv2d_weight_grad"]
        costs[name] = {c.name: c.cost for c in d.candidates}
    a, b = forms
    assert costs[a][a] < costs[b][a] and costs[b][b] < costs[a][b]
