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
    x, _, y = layer("auto", stride=2)
    (d,) = decisions(gn.compile(y, [x]))
    direct = 2.0 * 16 * 16 * 16 * 9 * 6 * 6
    assert d.choice == "direct" and d.candidates[0].cost == direct
    refused = {c.name: c.refused for c in d.candidates[1:]}
    assert refused["winograd F(4x4, 3x3)"] == "only for 3x3 taps, not the 2x2 of this kernel"
    assert "winograd F(4x4, 2x2): " in d.reason


def test_a_kind_or_a_name_can_be_asked_for():
    for asked in ("winograd", "winograd F(4x4, 3x3)", "prefer winograd"):
        x, _, y = batched(asked)
        assert choices(y, x) == ["winograd F(4x4, 3x3)"]
    x, _, y = batched("direct")
    assert choices(y, x) == ["direct"]


def test_gradients_inherit_the_kind():
    for asked, got in (("winograd", "winograd F(4x4, 3x3)"), ("direct", "direct")):
        x, w, y = batched(asked)
        assert choices(gn.gradient(gn.mean(y * y), [x, w]), x) == [got] * 3


def test_what_cannot_be_had_is_an_error_that_says_why():
    x, _, y = layer("winograd", r=7)
    with pytest.raises(gn.GraphnetError, match=r"conv2d: algorithm 'winograd' cannot be used: .*3x3.*test_choose_conv"):
        gn.compile(y, [x]).specialise({})
    x, _, y = layer("winograd F(9x9, 3x3)")
    with pytest.raises(gn.GraphnetError, match=r"there is none of this name; there are auto, direct, winograd F\(4x4"):
        gn.compile(y, [x]).specialise({})
    with pytest.raises(gn.GraphnetError, match=r"algorithm must be one of auto, direct, winograd, fft, .* not 'fast'"):
        layer("fast")
    x, _, y = batched("winograd")
    with pytest.raises(gn.GraphnetError, match='precision="highest": direct sums only'):
        gn.compile(y, [x], precision="highest").specialise({"N": 16})
    with pytest.raises(gn.GraphnetError, match="GPUs: direct sums only"):
        gn.compile(y, [x], target="emulator").specialise({"N": 16})


def test_a_preference_falls_back():
    x, _, y = layer("prefer winograd", r=7)
    a = np.random.default_rng(0).standard_normal((16, 16, 12, 12)).astype(np.float32)
    f = gn.compile(y, [x])
    assert decisions(f)[0].choice == "direct"
    assert f(a).shape == (16, 16, 12, 12)
