"""Cases of single ops: everyone computes the same, and what is counted is what the case says."""

from __future__ import annotations

import importlib.util
import json
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from graphnet.bench import algorithms, cases, harness, ops
from graphnet.bench.cases import CASES, PARTS, Case, Conv, Gemm, Pass
from graphnet.cli import bench, main
from graphnet.models import MODELS

from .test_bench import INSTALLED, installed

PEERS = [p for p in (*INSTALLED, *installed("scipy")) if harness.PEERS[p].ops]
IMAGES = (4, 3, 6, 8)
ROOT = Path(__file__).parent.parent

TINY: dict[str, Case] = {
    **{f"conv-{part}": Conv(part, 4, 3, 5, (8, 9), (3, 3)) for part in PARTS},
    **{f"conv1d-{part}": Conv(part, 2, 3, 4, (1, 50), (1, 9)) for part in PARTS},
    **{f"gemm{t}": Gemm(5, 7, 3, t) for t in ("", "a", "b")},
    **{name: Pass(name, IMAGES, c.operands, c.travels) for name, c in CASES.items() if isinstance(c, Pass)},
    "softmax": Pass("softmax", (6, 10), ("x",), 2),
}


@pytest.mark.parametrize("name", TINY)
def test_every_peer_does_each_case_as_we_do(name: str) -> None:
    case = TINY[name]
    _, expected = ops.ours(case, threads=1)
    field = harness.Field()
    for peer in PEERS:
        field.enter(partial(ops.op_configurations, peer, case, 1), peer, [expected])
    without = {"scipy"} if "scipy" in PEERS and name.startswith(("conv-", *cases.PASSES)) else set()
    assert set(field.left_out) == without
    if "torch" in PEERS:
        images = name != "softmax" and "gemm" not in name
        assert "torch" in field.steps and ("torch channels_last" in field.steps) == images


@pytest.mark.parametrize("part", PARTS)
def test_a_convolution_is_that_of_its_formula(part: str) -> None:
    """y[n,k,i,j] = sum of x[n,c,i+r-1,j+s-1] w[k,c,r,s]; gradients are its transposes: <y(x,w), dy> is the same."""
    case = TINY[f"conv-{part}"]
    assert isinstance(case, Conv)
    arrays = {p: Conv(p, case.n, case.c, case.k, case.size, case.window).arrays() for p in PARTS}
    a = {**arrays["forward"], **arrays["weight-gradient"]}
    (x, w, dy), (h, v) = (a[name].astype(np.float64) for name in ("x", "w", "dy")), case.size
    y = np.zeros((case.n, case.k, h, v))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    for r, s in np.ndindex(3, 3):
        y += np.einsum("nchv,kc->nkhv", padded[:, :, r : r + h, s : s + v], w[:, :, r, s])
    inputs = {name: a[name] for name in arrays[part]}
    got = cases.function(case, 1)(**inputs)
    other = {"forward": dy, "input-gradient": x, "weight-gradient": w}[part]
    assert np.sum(got * other) == pytest.approx(np.sum(y * dy), rel=1e-4)


def test_the_table_counts_what_travels_and_what_is_computed() -> None:
    conv, gemm, norm = CASES["conv-k3-forward"], CASES["gemm-64x784x512-weight-gradient"], CASES["batch-norm"]
    assert conv.flops == 2 * 16 * 64 * 64 * 56 * 56 * 9 and conv.bytes == 0
    assert gemm.flops == 2 * 64 * 784 * 512 and {a.shape for a in gemm.arrays().values()} == {(64, 784), (64, 512)}
    x = norm.arrays()["x"]
    assert norm.bytes == 3 * x.nbytes and x.nbytes < 32 << 20
    assert set(CASES) >= {f"conv-k{k}-{part}" for k in (3, 5, 7, 13, 31) for part in PARTS}


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "pin", lambda threads: None)
    for name, case in {"conv-k3-forward": TINY["conv-forward"], "chain": TINY["chain"]}.items():
        monkeypatch.setitem(CASES, name, case)


@pytest.mark.usefixtures("tiny")
def test_bench_of_a_case_in_operations_or_in_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "conv-k3-forward", "--threads", "1", "--rounds", "1", "--burst", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    own = said["results"]["graphnet"]
    assert said["mflop"] == pytest.approx(2 * 4 * 3 * 5 * 72 * 9 / 1e6, abs=1e-3) and "copies" not in said
    assert own["steps"] == 2 and said["arrays"] == {"x": [4, 3, 8, 9], "w": [5, 3, 3, 3]}

    assert main(["bench", "chain", "--threads", "1", "--rounds", "1", "--burst", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    own, best = said["results"]["graphnet"], max(said["copies"].values())
    assert set(said["results"]) == {"graphnet"} and set(said["copies"]) == {"copy: graphnet", "copy: numpy, one thread"}
    assert own["percent_of_bandwidth"] == pytest.approx(100 * own["gbytes"] / best, abs=2)

    assert main(["bench", "chain", "--threads", "1", "--rounds", "1", "--burst", "2"]) == 0
    table = capsys.readouterr().out
    assert "of copying" in table and "GFLOP/s" not in table and "copies of as many, GB/s: graphnet" in table


def test_bench_says_what_there_is_and_what_a_case_does_not_take(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "conv-k4"]) == 2
    assert "there is no network, case or study 'conv-k4'; there are lenet, mlp," in capsys.readouterr().err
    assert main(["bench", "chain", "--batch", "4"]) == 2
    assert "argument --batch: for networks; chain says all by its name" in capsys.readouterr().err


@pytest.fixture
def small_studies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "pin", lambda threads: None)
    shapes = [Conv(part, 16, 32, 32, (12, 12), (3, 3)) for part in PARTS]
    monkeypatch.setattr(algorithms, "GRID", tuple(shapes))
    monkeypatch.setattr(algorithms, "CROSSOVER", (shapes[0], Conv("forward", 16, 8, 8, (12, 12), (4, 4))))


@pytest.mark.usefixtures("small_studies")
def test_bench_selection_compares_the_choice_with_every_algorithm_that_can(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "selection", "--threads", "1", "--seconds", "0.01", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["of"] == 3 and [row["part"] for row in said["shapes"]] == list(PARTS)
    for row in said["shapes"]:
        times = row["milliseconds"]
        assert {name.split()[0] for name in times} >= {"direct", "winograd"} and row["chosen"] in times
        assert row["loss"] == pytest.approx(times[row["chosen"]] / min(times.values()), abs=2e-3)
    assert said["within_10_percent"] == sum(row["loss"] <= 1.1 for row in said["shapes"])
    assert main(["bench", "selection", "--threads", "1", "--seconds", "0.01"]) == 0
    assert "of 3 (" in capsys.readouterr().out.splitlines()[-1]
    assert main(["bench", "selection", "--output", "there.png"]) == 2
    assert "there is no picture of selection" in capsys.readouterr().err


@pytest.mark.usefixtures("small_studies")
def test_bench_of_the_crossover_leaves_out_what_does_not_apply(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    line = "bench conv-crossover --threads 1 --seconds 0.01 --json"
    if "torch" in PEERS:
        line += " --against torch"
    if importlib.util.find_spec("matplotlib"):
        line += f" --output {tmp_path}/crossover.svg"
    assert main(line.split()) == 0
    three, four = json.loads(capsys.readouterr().out)["kernels"]
    assert set(three["modelled_gop"]) == set(three["milliseconds"]) and three["chosen"] in three["milliseconds"]
    assert any(name.startswith("winograd") for name in three["milliseconds"])
    assert not any(name.startswith("winograd") for name in four["milliseconds"])
    assert any(name.startswith("winograd") and why for name, why in four["left_out"].items())
    assert four["modelled_gop"]["direct"] > 0 and ("torch" in three["peers"]) == ("torch" in PEERS)
    if importlib.util.find_spec("matplotlib"):
        drawn = (tmp_path / "crossover.svg").read_text()
        assert "<!-- winograd -->" in drawn and "<!-- chosen -->" in drawn


def test_the_runner_survives_a_case_that_fails_and_says_what_was_asked(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("benchmarks_run", ROOT / "benchmarks" / "run.py")
    assert spec is not None and spec.loader is not None
    runner = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "benchmarks_run", runner)  # dataclasses look there
    spec.loader.exec_module(runner)
    known = {c.line.split()[0] for c in runner.CASES.values()}
    assert known <= {*CASES, *MODELS} and {name for name in CASES if not name.startswith("gemm")} <= known

    cases = {"small": "gemm-64", "none": "conv-k4", "copied": "chain"}
    own = {name: runner.Case(line, "", 0.9, share=name == "copied") for name, line in cases.items()}
    monkeypatch.setattr(runner, "CASES", own)
    options = ["--threads", "1", "--rounds", "1", "--only", "small,none"]
    monkeypatch.setattr(sys, "argv", ["run.py", str(tmp_path), *options])
    assert runner.main() == 1
    small, none = (tmp_path / "results.md").read_text().splitlines()[2:]
    assert small.startswith("| small | ") and "% of peak |" in small and small.endswith("| 0.9x |  |")
    assert "there is no network, case or study 'conv-k4'" in none
    found = json.loads((tmp_path / "results.json").read_text())
    assert set(found) == {"small", "none"} and found["small"]["results"]["graphnet"]["median"] > 0
    assert capsys.readouterr().out.count("\n") == 4

    results = {"graphnet": {"median": 1.0, "percent_of_bandwidth": 95.0}, "torch": {"median": 2.0}}
    seen = {"results": results, "best_peer": "torch", "ratio_to_best_peer": 2.0}
    assert runner.row("copied", own["copied"], seen) == (
        "| copied | 1.000 | 95% of a copy | torch 2.000 | 2.00x | 90% of a copy | yes |"
    )
