"""The harness counts and pins; the peers compute the same thing as each other."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from graphnet.bench import harness
from graphnet.errors import GraphnetError
from graphnet.state import State

from . import test_models as nets

PEERS = [p for p in harness.PEERS if importlib.util.find_spec(p)]

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
    timings = harness.interleave(steps, rounds=2, burst=3, settle=1, warmup=0, on_round=rounds.append)
    assert "".join(calls) == "aaaabbbbaaaabbbb"
    assert rounds == [1, 2]
    t = timings["a"]
    assert t.count == 6 and 0 < t.minimum <= t.lower <= t.median <= t.upper
    assert set(t.milliseconds()) == {"median", "lower", "upper", "minimum"}


def test_a_missing_peer_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, harness.PEERS["torch"], raising=False)
    with pytest.raises(GraphnetError, match=r"torch is not installed .*pip install 'graphnet\[bench\]'"):
        harness.peer_steps("torch", workload("mlp"))
    with pytest.raises(GraphnetError, match="unknown peer 'caffe'; there are torch, jax"):
        harness.peer_steps("caffe", workload("mlp"))


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system cannot pin a process to CPUs")
def test_pin_leaves_as_many_cpus_as_threads() -> None:
    # In a process of its own: pinning cannot be undone.
    code = "import os; from graphnet.bench.harness import pin; pin(1); print(len(os.sched_getaffinity(0)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
    with pytest.raises(GraphnetError, match="at least 1"):
        harness.pin(0)


@pytest.mark.skipif(not PEERS, reason="no peer is installed: pip install 'graphnet[bench]'")
@pytest.mark.parametrize(
    ("model", "optimizer"),
    [*((m, o) for m in SHAPES for o in harness.OPTIMIZERS), ("alexnet", "momentum"), ("resnet18", "momentum")],
)
def test_every_configuration_of_every_peer_learns_the_same(model: str, optimizer: str) -> None:
    work = workload(model, optimizer=optimizer)
    losses = {}
    for peer in PEERS:
        for name, step in harness.peer_steps(peer, work).items():
            losses[name] = [step() for _ in range(5)]
    first = next(iter(losses.values()))
    assert first[-1] < first[0]
    for name, seen in losses.items():
        np.testing.assert_allclose(seen, first, rtol=1e-4, err_msg=name)


@pytest.mark.skipif(not PEERS, reason="no peer is installed: pip install 'graphnet[bench]'")
@pytest.mark.parametrize("model", [*SHAPES, *nets.SMALL])
def test_every_configuration_of_every_peer_infers_the_same(model: str) -> None:
    work = workload(model, mode="infer")
    seen = {n: np.asarray(step()) for peer in PEERS for n, step in harness.peer_steps(peer, work).items()}
    first = next(iter(seen.values()))
    assert first.shape == ((4, 10) if model in SHAPES else (nets.SMALL[model].batch, nets.CLASSES))
    for name, logits in seen.items():
        np.testing.assert_allclose(logits, first, rtol=1e-4, atol=1e-5, err_msg=name)
