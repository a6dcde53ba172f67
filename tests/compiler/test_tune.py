"""Algorithms by measurement: what is measured, what is kept, and what becomes of that. No test looks at a clock."""

import json
from dataclasses import replace

import numpy as np
import pytest

import graphnet as gn
from graphnet.tune import alone, load, save


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHNET_CACHE", str(tmp_path))
    return tmp_path / "tuned"


class Fake:
    """A measurement by a rule, and a clock that it moves on."""

    def __init__(self, favourite, each=1.0):
        self.favourite, self.each, self.asked, self.now = favourite, each, [], 0.0

    def measure(self, question, name):
        self.asked.append((question.node.op.name, name))
        self.now += self.each
        return 1e-3 if name.startswith(self.favourite) else 2e-3

    def function(self, graph=None, seconds=1000.0, **settings):
        outputs, inputs = graph or layer()
        f = gn.compile(outputs, inputs, tune=seconds, **settings)
        f.tuner = replace(f.tuner, measure=self.measure, clock=lambda: self.now)
        return f


def layer(size=28, channels=64, n=8):
    x = gn.input("x", (n, channels, size, size))
    w = gn.parameter("w", (channels, channels, 3, 3))
    return [gn.conv2d(x, w, padding=1)], [x]


def training(size=28, channels=64, n=8):
    (y,), (x,) = layer(size, channels, n)
    w = gn.make_graph([y], [x]).parameters[0]
    loss = gn.mean(y * y)
    return [loss, *gn.gradient(loss, [x, w])], [x]


def decisions(f):
    module = f.module({}, stop_after="choose_conv")
    return [d for d in module.decisions if d.pass_name == "choose_conv"]


@pytest.mark.parametrize("favourite", ["direct", "winograd F(6x6", "winograd F(4x4"])
def test_the_fastest_is_chosen(folder, favourite):
    fake = Fake(favourite)
    (d,) = decisions(fake.function())
    assert d.choice.startswith(favourite)
    assert "measured 1 ms" in d.reason
    assert len(fake.asked) == len(d.candidates) - sum(c.seconds is None for c in d.candidates) >= 3


def test_what_was_measured_is_kept_on_disk(folder):
    first, second = Fake("direct"), Fake("winograd")
    assert [d.choice for d in decisions(first.function(training()))] == ["direct"] * 3
    assert first.asked and len(list(folder.iterdir())) == 3
    assert [d.choice for d in decisions(second.function(training()))] == ["direct"] * 3
    assert not second.asked


DAMAGED = [
    b"",
    b"{",
    b"[]",
    b"\xff\x00",
    b'{"seconds": 3}',
    b'{"seconds": {"direct": "x"}}',
    b'{"seconds": {"direct": 1.0}}',
    b'{"seconds": {"direct": NaN}}',
]


@pytest.mark.parametrize("content", DAMAGED)
def test_a_damaged_file_is_not_used_and_written_again(folder, content):
    decisions(Fake("direct").function())
    (file,) = folder.iterdir()
    file.write_bytes(content)
    again = Fake("winograd F(4x4")
    assert decisions(again.function())[0].choice.startswith("winograd F(4x4")
    assert again.asked and len(json.loads(file.read_text())["seconds"]) == len(again.asked)
    assert [f.name for f in folder.iterdir()] == [file.name]


def test_other_threads_are_another_question(folder):
    for threads in (1, 2):
        fake = Fake("direct")
        decisions(fake.function(threads=threads))
        assert fake.asked
    assert len(list(folder.iterdir())) == 2


def test_equal_problems_are_measured_once(folder):
    x = gn.input("x", (8, 64, 28, 28))
    h = x
    for k in range(3):
        h = gn.relu(gn.conv2d(h, gn.parameter(f"w{k}", (64, 64, 3, 3)), padding=1))
    fake = Fake("direct")
    assert [d.choice for d in decisions(fake.function(([h], [x])))] == ["direct"] * 3
    assert len(set(fake.asked)) == len(fake.asked)


def test_when_time_is_up_the_model_decides(folder):
    modelled = decisions(gn.compile(*training()))
    fake = Fake("none", each=1.0)
    found = decisions(fake.function(training(), seconds=3.5))
    assert len(fake.asked) == 4
    left = [d for d in found if "no time was left" in d.reason]
    assert len(left) >= 2
    for d in left:
        assert d.choice == next(m.choice for m in modelled if m.node is d.node)


def test_nothing_is_measured_where_there_is_no_choice(folder):
    x, w = gn.input("x", (2, 64, 14, 14)), gn.parameter("w", (64, 64, 3, 3))
    fake = Fake("direct")
    fake.function(([gn.conv2d(x, w, padding=1, algorithm="fft")], [x])).specialise({})
    fake.function(precision="highest").specialise({})
    assert not fake.asked


def test_a_measurement_is_of_the_kernels_alone(folder):
    """The real one: every algorithm runs, and whatever it chooses, the values are right."""
    f = gn.compile(*layer(14, 32, 2), tune=True, threads=2)
    a = np.random.default_rng(0).standard_normal((2, 32, 14, 14)).astype("f")
    got = f(a)
    want = gn.compile(*layer(14, 32, 2), state=f.state, precision="highest")(a)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4 * np.abs(want).max())
    (d,) = [d for d in f.specializations[0].module.decisions if d.pass_name == "choose_conv"]
    assert "measured" in d.reason and "measured" in str(f.explain())
    assert all(0 < c.seconds < 1 for c in d.candidates if c.seconds is not None)


@pytest.mark.parametrize("part", [0, 1, 2])
def test_gradients_are_measured_too(folder, part):
    asked = []
    f = gn.compile(*training(14, 32, 2), tune=True)
    f.tuner = replace(f.tuner, measure=lambda q, name: asked.append((q, name)) or 1.0)
    f.specialise({})
    q = list({q.node: q for q, _ in asked}.values())[part]
    assert 0 < alone(q, "direct", f.target, 2) < 1


def test_other_targets_refuse():
    for target in ("emulator", "interpret"):
        with pytest.raises(gn.GraphnetError, match="tune measures machine code"):
            gn.compile(*layer(), target=target, tune=True)
    for wrong in (-1, float("inf"), "long"):
        with pytest.raises(gn.GraphnetError, match="tune is True"):
            gn.compile(*layer(), tune=wrong)


def test_without_a_folder_every_process_measures(monkeypatch):
    monkeypatch.setenv("GRAPHNET_CACHE", "off")
    save("key", {"direct": 1.0})
    assert load("key", ["direct"]) is None
