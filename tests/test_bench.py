"""The harness counts and pins; the peers compute the same thing as each other."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from graphnet.bench import harness, report
from graphnet.errors import GraphnetError
from graphnet.state import State

from . import test_models as nets

# Without torch.compile, which takes half a minute to start; it has a test of its own.
NEEDS = {"torch": ["torch"], "jax": ["jax"], "onnxruntime": ["onnxruntime", "onnx"], "openvino": ["openvino", "onnx"]}


def installed(*packages: str) -> list[str]:
    return [p for p in packages if importlib.util.find_spec(p)]


INSTALLED = [peer for peer, packages in NEEDS.items() if installed(*packages) == packages]

SHAPES = {
    "lenet": {
        "w1": (6, 1, 5, 5), "b1": (6,), "w2": (16, 6, 5, 5), "b2": (16,), "w3": (400, 120), "b3": (120,),
        "w4": (120, 84), "b4": (84,), "w5": (84, 10), "b5": (10,),
    },
    "mlp": {"w1": (784, 512), "b1": (512,), "w2": (512, 256), "b2": (256,), "w3": (256, 10), "b3": (10,)},
}  # fmt: skip


def workload(model: str, mode: str = "train", optimizer: str = "adam") -> harness.Workload:
    if model not in SHAPES:
        declared, (images, labels), state = nets.small(model), nets.batch(model), State(0)
        weights = {name: state.array(p) for name, p in declared.params.items()}
        statistics = {p.name: state.array(p) for p in declared.statistics}
        return harness.Workload(model, mode, 1, weights, images, labels, optimizer, statistics=statistics)
    rng = np.random.default_rng(0)
    weights = {k: (rng.standard_normal(s) * 0.1).astype(np.float32) for k, s in SHAPES[model].items()}
    images = rng.random((4, 1, 28, 28), dtype=np.float32)
    return harness.Workload(model, mode, 1, weights, images, rng.integers(0, 10, 4).astype(np.int32), optimizer)


def test_steps_take_turns_and_every_timed_step_is_counted() -> None:
    calls: list[str] = []
    steps = {name: lambda name=name: calls.append(name) for name in ("a", "b")}
    rounds: list[int] = []
    timings = harness.interleave(steps, rounds=2, burst=3, settle=1, warmup=0, on_round=rounds.append, rest=0)
    assert "".join(calls) == "aaaabbbbaaaabbbb"
    assert rounds == [1, 2]
    t = timings["a"]
    assert t.count == 6 and 0 < t.minimum <= t.lower <= t.median <= t.upper
    assert set(t.milliseconds()) == {"median", "lower", "upper", "minimum"}


def test_rounds_end_with_the_time_they_were_given() -> None:
    calls: list[str] = []
    steps = {"a": lambda: calls.append("a")}
    assert harness.interleave(steps, rounds=100, burst=2, settle=0, warmup=0, seconds=1e-9, rest=0)["a"].count == 2


def test_a_peer_that_cannot_run_or_computes_something_else_is_left_out_with_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def cannot() -> harness.Step:
        raise RuntimeError("no compiler,\n  none at all")

    ours = np.array([1.0, 2.0])
    ways = {
        "right": lambda: lambda: ours + 1e-5,
        "wrong": lambda: lambda: ours + 0.01,
        "wrong shape": lambda: lambda: ours[:1],
        "not a number": lambda: lambda: ours * np.nan,
        "cannot": cannot,
    }
    field = harness.Field({"graphnet": lambda: ours})
    field.enter(lambda: {name: harness.Configuration(way) for name, way in ways.items()}, "peer", [ours])
    assert set(field.steps) == {"graphnet", "right"}
    assert field.left_out == {
        "wrong": "its result differs from ours by 0.005 of the greatest value",
        "wrong shape": "its result has the shape (1,), ours (2,)",
        "not a number": "its result differs from ours by nan of the greatest value",
        "cannot": "RuntimeError: no compiler, none at all",
    }

    for peer in ("torch", "caffe", "openvino"):
        monkeypatch.setitem(sys.modules, "torch", None)
        monkeypatch.delitem(sys.modules, "graphnet.bench.torch_peer", raising=False)
        field.enter(partial(harness.peer_configurations, peer, workload("mlp")), peer, [])
    assert field.left_out["torch"] == "torch is not installed: pip install 'graphnet[bench]'"
    assert field.left_out["caffe"].startswith("unknown peer 'caffe'; there are torch, torch.compile, jax")
    assert field.left_out["openvino"] == "it infers only"


def test_a_comparison_counts_the_best_of_each_side() -> None:
    def timing(seconds: float) -> harness.Timing:
        return harness.Timing(seconds, seconds * 0.9, seconds * 1.1, seconds * 0.8, 10)

    timings = {"graphnet": timing(2e-3), "graphnet CHWN": timing(1e-3), "torch": timing(3e-3), "jax": timing(4e-3)}
    found = report.compared(timings, flops=1e9, peak=2000.0, left_out={"openvino": "it infers only"})
    assert found["best_peer"] == "torch" and found["ratio_to_best_peer"] == 3.0
    assert found["results"]["graphnet"]["ratio"] == 2.0
    assert found["results"]["graphnet CHWN"]["gflops"] == 1000.0
    assert found["results"]["graphnet CHWN"]["percent_of_peak"] == 50.0
    text = report.table("title", found)
    assert [line.split()[0] for line in text.splitlines() if " - " in line] == ["graphnet", "graphnet", "torch", "jax"]
    assert "left out: openvino: it infers only\ngraphnet is 3.00 times as fast as torch" in text


def test_a_comparison_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    timings = {name: harness.Timing(1e-3, 0.9e-3, 1.1e-3, 0.8e-3, 10) for name in ("graphnet", "torch")}
    harness.extra("plot").bars(tmp_path / "bars.svg", "who is faster", report.compared(timings, 1e9, 100.0, {}))
    drawn = (tmp_path / "bars.svg").read_text()
    assert drawn.count("1.00x -->") == 2 and "<!-- who is faster -->" in drawn


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin a process to CPUs")
def test_pin_leaves_as_many_cpus_as_threads() -> None:
    # In a process of its own: pinning cannot be undone.
    code = "import os; from graphnet.bench.harness import pin; pin(1); print(len(os.sched_getaffinity(0)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    with pytest.raises(GraphnetError, match="at least 1"):
        harness.pin(0)


def first_results(model: str, steps: int, **settings: str) -> dict[str, list[np.ndarray]]:
    """Of every configuration that can be tried quickly, of every peer that is installed."""
    work = workload(model, **settings)
    found = {}
    for peer in INSTALLED:
        if work.mode == "infer" or harness.PEERS[peer].trains:
            for name, way in harness.peer_configurations(peer, work).items():
                step = way.make()
                found[name] = [np.asarray(way.read(step())) for _ in range(steps)]
    return found


@pytest.mark.skipif(not INSTALLED, reason="no peer is installed: pip install 'graphnet[bench]'")
@pytest.mark.parametrize(
    ("model", "optimizer"),
    [*((m, o) for m in SHAPES for o in harness.OPTIMIZERS), ("alexnet", "momentum"), ("resnet18", "momentum")],
)
def test_every_configuration_of_every_peer_learns_the_same(model: str, optimizer: str) -> None:
    losses = first_results(model, 5, optimizer=optimizer)
    first = next(iter(losses.values()))
    assert first[-1] < first[0]
    for name, seen in losses.items():
        np.testing.assert_allclose(seen, first, rtol=1e-4, err_msg=name)


@pytest.mark.skipif(not INSTALLED, reason="no peer is installed: pip install 'graphnet[bench]'")
@pytest.mark.parametrize("model", [*SHAPES, *nets.SMALL])
def test_every_configuration_of_every_peer_infers_the_same(model: str) -> None:
    seen = first_results(model, 1, mode="infer")
    (first,) = next(iter(seen.values()))
    assert first.shape == ((4, 10) if model in SHAPES else (nets.SMALL[model].batch, nets.CLASSES))
    for name, (logits,) in seen.items():
        np.testing.assert_allclose(logits, first, rtol=1e-4, atol=1e-5, err_msg=name)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize("mode", ["train", "infer"])
def test_compiled_pytorch_computes_what_pytorch_does(mode: str) -> None:
    pytest.importorskip("torch")
    work = workload("lenet", mode)
    eager = harness.peer_configurations("torch", work)["torch"].make()
    field = harness.Field()
    field.enter(partial(harness.peer_configurations, "torch.compile", work), "torch.compile", [eager(), eager()])
    assert set(field.steps) == {"torch.compile", "torch.compile channels_last"} and not field.left_out


def test_the_peak_memory_of_pytorch_holds_weights_gradients_and_the_state_of_adam() -> None:
    torch_peer = pytest.importorskip("graphnet.bench.torch_peer")
    weights = 4 * 535_818
    adam, sgd = (torch_peer.peak_bytes(workload("mlp", optimizer=o)) for o in ("adam", "sgd"))
    assert 4 * weights < adam < 5 * weights
    assert 2 * weights < sgd < 3 * weights
    assert weights < torch_peer.peak_bytes(workload("mlp", mode="infer")) < 1.2 * weights
