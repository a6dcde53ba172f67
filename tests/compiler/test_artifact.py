"""Programs on disk: the first call of the next process runs no pass, and everything that decides a program is in its
entry's name."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

import graphnet as gn
from graphnet import artifact
from graphnet.digest import digest
from graphnet.models import MODELS
from graphnet.node import make_graph
from graphnet.op import OPS
from graphnet.ops.elementwise import Unary
from graphnet.training import training_step


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAPHNET_CACHE", str(tmp_path))
    return tmp_path / "objects"


def network(width=6, scale=2.0, name="w", init=None, table=(1.0, 2.0, 3.0)):
    """A training step with a parameter, a prepared value, and a constant."""
    x = gn.input("x", ("N", 3))
    w = gn.parameter(name, (3, width), init=init)
    frozen = gn.parameter("frozen", (3,), init=[1.0, 2.0, 3.0])
    y = gn.tanh((x * gn.exp(frozen) + gn.constant(np.array(table, "f"))) @ w) * scale
    loss = gn.mean(y * y)
    return {"outputs": [loss, y], "inputs": [x], "updates": {w: w - 0.1 * gn.gradient(loss, [w])[0]}}


def first_call(settings=None, batch=2, **how):
    """(outputs and new parameters, whether its program was on disk)."""
    graph = settings or network()
    f = gn.compile(**graph, **how)
    values = f(np.linspace(-1, 1, 3 * batch, dtype="f").reshape(batch, 3))
    (spec,) = f.specializations
    assert ("load" in spec.seconds) == (spec.known is None)
    return [*values, *(v.copy() for _, v in f.state.items())], spec.known is None


def same(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)


@pytest.mark.parametrize("target", ["cpu", "cpu:simd128", "emulator"])
def test_the_second_function_runs_no_pass(target):
    first, kept = first_call(target=target)
    assert not kept
    second, kept = first_call(target=target)
    assert kept
    same(first, second)


SCRIPT = """
import numpy as np
from graphnet.models import MODELS
from graphnet.training import training_step

step = training_step(MODELS["lenet"](), seed=3)
x = np.random.default_rng(0).standard_normal((4, 1, 28, 28)).astype("f")
losses = [step(x, np.arange(4, dtype="int32")).tobytes().hex() for _ in range(3)]
print(*losses, *step.specializations[0].seconds)
"""


def test_the_first_call_of_a_second_process_runs_no_pass():
    out = [
        subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout.split()
        for _ in range(2)
    ]
    assert out[0][:3] == out[1][:3] and len(set(out[0][:3])) == 3
    assert out[0][3] == "unroll" and out[1][3:] == ["load", "values"]


def test_entries_do_not_depend_on_the_process(folder):
    """Neither on where its objects lie nor on how it hashes texts."""
    for k in range(2):
        environment = dict(os.environ, PYTHONHASHSEED=str(k), GRAPHNET_CACHE=str(folder / str(k)))
        junk = f"junk = [object() for _ in range({k * 99991})]\n"
        subprocess.run([sys.executable, "-c", junk + SCRIPT], check=True, env=environment, capture_output=True)
    a, b = ({f.name: f.read_bytes() for f in (folder / str(k) / "objects").iterdir()} for k in range(2))
    assert a == b


@pytest.mark.parametrize(
    "other",
    [
        {"settings": network(width=7)},
        {"settings": network(scale=2.5)},
        {"settings": network(name="v")},
        {"settings": network(table=(1.0, 2.0, 4.0))},
        {"settings": network() | {"updates": {}}},
        {"batch": 3},
        {"precision": "highest"},
        {"max_bytes": 1 << 20},
        {"target": "cpu:simd128"},
        {"target": "emulator"},
    ],
)
def test_another_one_has_an_entry_of_its_own(other):
    first_call()
    _, kept = first_call(**other)
    assert not kept


@pytest.mark.parametrize("other", [{"seed": 1}, {"threads": 1}, {"settings": network(init=gn.init.ones())}])
def test_what_does_not_change_the_program_does_not_change_the_entry(other):
    """Values differ, where they should: they are no part of it."""
    a, _ = first_call(threads=2)
    b, kept = first_call(**{"threads": 2, **other})
    assert kept
    assert ("threads" in other) == all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_the_number_of_threads_is_decided_at_each_start(monkeypatch):
    monkeypatch.setattr("graphnet.lower.START", 1.0)
    f = gn.compile(**network(), threads=2)
    assert f.specialise({"N": 2}).threads == 1
    monkeypatch.setattr("graphnet.lower.START", 0.0)
    monkeypatch.setattr("graphnet.lower.BARRIER", 0.0)
    spec = gn.compile(**network(), threads=2).specialise({"N": 2})
    assert spec.threads == 2 and spec.known is None and spec.division.startswith("threads: 2 of 2")


def told(f):
    """explain() without times."""
    said = replace(f.explain(), compile_seconds={}).to_dict()
    return [{k: v for k, v in row.items() if k != "measured"} for row in said.pop("kernels")], said


def test_everything_can_be_seen_as_before():
    step = [training_step(MODELS["lenet"](), threads=2) for _ in range(2)]
    specs = [f.specialise({"N": 4}) for f in step]
    assert specs[0].known and not specs[1].known
    assert repr(specs[0])[:20] == repr(specs[1])[:20]
    assert step[0].memory() == step[1].memory()
    assert not specs[1].known
    assert told(step[0]) == told(step[1])
    for kind in ("graph", "loops", "llvm", "ptx"):
        assert step[0].source(kind) == step[1].source(kind)
    assert specs[1].known


def test_prepared_values_follow_writes():
    """What is computed from parameters alone is computed again when one of them was written."""

    def results():
        f = gn.compile(**network())
        x = np.ones((2, 3), "f")
        out = [f(x)[0]]
        f.state["frozen"] = np.zeros(3, "f")
        return [*out, f(x)[0]], f.specializations[0]

    (first, one), (second, two) = results(), results()
    same(first, second)
    assert one.sources == two.sources == ("frozen",) and two.known is None


def test_constants_of_the_graph_and_of_the_passes_are_there_again():
    """One table is the graph's own; the other is folded from two."""
    a, b, c = np.random.default_rng(0).standard_normal((3, 7)).astype("f")

    def results():
        x = gn.input("x", ("N", 7))
        f = gn.compile([x * gn.constant(a), x @ (gn.constant(b) + gn.constant(c))], [x])
        return f(np.ones((2, 7), "f")), f.specializations[0]

    (first, one), (second, two) = results(), results()
    same(first, second)
    assert one.known and not two.known
    assert len(two.artifact.constants) == len(two.artifact.folded) == 1


def test_an_entry_is_read_as_it_was_written():
    kept = gn.compile(**network()).specialise({"N": 2}).artifact
    assert artifact.to_bytes(artifact.from_bytes(artifact.to_bytes(kept))) == artifact.to_bytes(kept)
    again = artifact.from_bytes(artifact.to_bytes(replace(kept, folded=((7, np.arange(5, dtype="u1")),))))
    assert again.folded[0][0] == 7 and again.folded[0][1].tolist() == [0, 1, 2, 3, 4]


def test_with_a_kernel_gone_the_program_is_made_again(folder):
    first, _ = first_call()
    programs = [f for f in folder.iterdir() if re.match(rb"\{", f.read_bytes()[32:])]
    assert len(programs) == 1
    next(f for f in folder.iterdir() if f not in programs).unlink()
    second, kept = first_call()
    assert not kept
    same(first, second)
    assert first_call()[1]


def test_errors_of_the_passes_are_not_kept():
    graph = network()
    for _ in range(2):
        with pytest.raises(gn.GraphnetError, match="max_bytes=100 is too little"):
            gn.compile(**graph, max_bytes=100).specialise({"N": 2})


def test_two_parameters_of_one_name_are_refused_every_time():
    x = gn.input("x", (3,))
    y = x * gn.parameter("w", (3,), init=1.0) + gn.parameter("w", (3,), init=2.0)
    for _ in range(2):
        with pytest.raises(gn.GraphnetError, match="two parameters are called 'w'"):
            gn.compile(y, [x])(np.ones(3, "f"))


def test_observers_see_every_pass():
    first_call()
    seen = []
    _, kept = first_call(observers=[lambda name, module: seen.append(name)])
    assert not kept and seen[0] == "unroll" and seen[-1] == "memory"


def test_nothing_is_kept_where_the_cache_is_off(monkeypatch):
    monkeypatch.setenv("GRAPHNET_CACHE", "off")
    first_call()
    assert not first_call()[1]


def test_tuned_programs_are_not_kept():
    for _ in range(2):
        assert not first_call(tune=1.0)[1]


def test_ops_of_the_users_own_are_not_kept():
    """Their code is in no digest."""

    @dataclass(frozen=True)
    class Own(Unary):
        """Two times x."""

        name = "own"

        def evaluate(self, x):
            return x + x

        def scalar(self, x):
            return x + x

    try:
        x = gn.input("x", (3,))
        y = gn.apply(Own(), x)
        assert digest(make_graph([y], [x])) is None
        for _ in range(2):
            f = gn.compile(y, [x])
            assert f(np.ones(3, "f")).tolist() == [2, 2, 2] and f.specializations[0].known
    finally:
        del OPS["own"]


# ------------------------------------------------------------------------------------------- the digest


def of(y, *inputs, updates=()):
    return digest(make_graph([y] if not isinstance(y, list) else y, inputs, updates))


X = gn.input("x", ("N", 4))
W, V = gn.parameter("w", (4,)), gn.parameter("v", (4,))
FLOAT16 = gn.input("x", ("N", 4), "float16")


DIFFERENT = {
    "an op": of(gn.tanh(X), X),
    "another": of(gn.relu(X), X),
    "an attribute": of(gn.sum(X, axis=0), X),
    "another attribute": of(gn.sum(X, axis=1), X),
    "the order of inputs": of(X - W, X),
    "the other": of(W - X, X),
    "sharing": of(gn.tanh(X) - gn.tanh(X), X),
    "another parameter": of(X - V, X),
    "a type": of(gn.tanh(FLOAT16), FLOAT16),
    "a named size": of(gn.tanh(gn.input("x", ("M", 4))), gn.input("x", ("M", 4))),
    "a constant": of(X + gn.constant(np.arange(4, dtype="f")), X),
    "its bytes": of(X + gn.constant(np.arange(1, 5, dtype="f")), X),
    "minus zero": of(X + gn.constant(-0.0), X),
    "zero": of(X + gn.constant(0.0), X),
    "an update": of(gn.tanh(X), X, updates={W: W + V}),
    "of another": of(gn.tanh(X), X, updates={V: W + V}),
    "two": of(gn.tanh(X), X, updates={W: W + V, V: W + V}),
    "in another order": of(gn.tanh(X), X, updates={V: W + V, W: W + V}),
    "outputs": of([gn.tanh(X), gn.relu(X)], X),
    "outputs in another order": of([gn.relu(X), gn.tanh(X)], X),
    "an output twice": of([gn.tanh(X), gn.tanh(X)], X),
    "an input that nobody reads": of(gn.tanh(X), X, gn.input("unread", (3,))),
    "the order of arguments": of(gn.tanh(X), gn.input("unread", (3,)), X),
}


def test_digests_tell_graphs_apart():
    assert len(set(DIFFERENT.values())) == len(DIFFERENT) and None not in DIFFERENT.values()
    assert of(X - W, X) == DIFFERENT["the order of inputs"]
    assert of(X - gn.parameter("w", (4,), init=gn.init.ones()), X) == DIFFERENT["the order of inputs"]


def test_bodies_of_loops_are_told_apart():
    x = gn.input("x", (5, 4))

    def result(factor):
        return of(gn.scan(lambda h, row: (h * factor + row, h), gn.constant(np.zeros(4, "f")), x)[0], x)

    assert result(0.5) == result(0.5) != result(0.25)


@pytest.mark.parametrize("name", [name for name, op in OPS.items() if op.__module__.startswith("graphnet.")])
def test_every_op_of_the_package_has_a_digest(name):
    found = []
    for sample in OPS[name].samples():
        kinds = sample.input_dtypes("float32")
        xs = [gn.input(f"x{k}", s, d) for k, (s, d) in enumerate(zip(sample.shapes, kinds, strict=True))]
        found.append(of(gn.apply(sample.op, *xs), *xs))
    assert None not in found
