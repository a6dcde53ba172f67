"""The command line: what each command prints and writes."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from codegen.nvptx import find_ptxas
from graphnet import show
from graphnet.bench import harness
from graphnet.cli import COMMANDS, bench, draw, emit, main
from graphnet.data import digits
from graphnet.models import DIGITS, MODELS
from graphnet.training import Trainer

ROOT = Path(__file__).parent.parent
needs_digits = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="the digits come with the extra: pip install 'graphnet[demo]'"
)


def output(capsys: pytest.CaptureFixture[str], line: str, *more: object) -> str:
    """What a command that succeeds prints; nothing goes to stderr, which is no terminal here."""
    capsys.readouterr()
    assert main([*line.split(), *map(str, more)]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def json_output(capsys: pytest.CaptureFixture[str], line: str, *more: object) -> dict[str, Any]:
    """The one JSON object, of standard JSON, that a command prints."""
    out = output(capsys, line, *more, "--json")

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    value = json.loads(out, parse_constant=refuse)
    assert isinstance(value, dict) and out.count("\n") == 1
    return value


# --------------------------------------------------------------------------------------------- help


def test_help_says_what_each_command_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    for name, purpose in COMMANDS.items():
        assert re.search(rf"^ +{name} +{re.escape(purpose)}$", said, re.M)
    assert main([]) == 2 and capsys.readouterr().out == said


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_examples_that_parse(
    capsys: pytest.CaptureFixture[str], command: str
) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    said = capsys.readouterr().out
    examples = re.findall(rf"^  (graphnet {command} .*?)(?:  .*)?$", said, re.M)
    assert len(examples) >= 3
    for example in examples:
        words = example.split(" | ")[0].split()[1:]
        with pytest.raises(SystemExit):  # --help wins, once all before it is understood
            main([*words, "--help"])
    options = said.split("\noptions:\n")[1].split("\nexamples:")[0]
    for option in re.findall(r"^  (--[\w-]+.*)$", options, re.M):
        assert "  " in option or re.search(rf"^  {re.escape(option)}\n {{20,}}\w", options, re.M), f"no help: {option}"


def test_version_and_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "graphnet.cli", "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert re.fullmatch(r"graphnet \d+\.\d+\.\d+\n", done.stdout)


def test_help_imports_nothing_heavy() -> None:
    code = "import sys, graphnet.cli as c; c.parser('train'); print(*sorted(m for m in sys.modules if '.' not in m))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "jax", "sklearn", "onnxruntime", "networkx"} & set(done.stdout.split())


# -------------------------------------------------------------------------------------------- train


@needs_digits
def test_train_prints_a_line_an_epoch_and_the_accuracy_last(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = output(capsys, "train mlp --epochs 3 --batch 128 --save", tmp_path / "w.npz").splitlines()
    assert lines[0].startswith("mlp: 535,818 weights; digits: 1,437 images to learn, 360 held out; cpu, ")
    assert [line.split("  ")[0] for line in lines[1:4]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    found = re.fullmatch(r"test accuracy (\d+\.\d\d)%: (\d+) of 360 images never seen before", lines[5])
    assert found and float(found[1]) == pytest.approx(100 * int(found[2]) / 360, abs=0.01) and float(found[1]) > 85
    assert lines[6] == f"wrote {tmp_path / 'w.npz'}" and len(lines) == 7
    with np.load(tmp_path / "w.npz") as saved:
        assert saved["w1"].shape == (784, 512) and "w1.adam_m" in saved.files


@needs_digits
def test_train_for_machines_reports_what_the_library_does(capsys: pytest.CaptureFixture[str]) -> None:
    said = json_output(capsys, "train mlp --epochs 3 --batch 100 --optimizer momentum --seed 5 --threads 1 --steps 20")
    trainer = Trainer(MODELS["mlp"](), "momentum", seed=5, threads=1)
    history = trainer.fit(digits(), 3, 100, steps=20, schedule="step")
    assert said["losses_first"] == history.losses and said["steps"] == 20
    assert said["test_accuracy"] == history.accuracy and said["loss_last_epoch"] == history.epochs[-1].loss
    keys = ("model", "data", "epochs", "batch", "optimizer", "seed", "threads", "target")
    assert [said[k] for k in keys] == ["mlp", "digits", 3, 100, "momentum", 5, 1, "cpu"]
    assert [s["sizes"] for s in said["specializations"]] == [{"N": 100}, {"N": 37}]
    assert 0 < said["milliseconds_step"] / 1e3 < said["seconds_first_step"] < said["seconds"]


@needs_digits
def test_lenet_learns_the_digits(capsys: pytest.CaptureFixture[str]) -> None:
    said = json_output(capsys, "train lenet")
    assert said["test_accuracy"] >= 0.96 and said["steps"] == said["epochs"] * 23
    assert len(said["losses_first"]) == 50 and said["losses_first"][49] < 0.5 * said["losses_first"][0]


@needs_digits
def test_train_on_other_targets(capsys: pytest.CaptureFixture[str]) -> None:
    line = "train mlp --batch 2 --steps 1"
    on_cpu, other = (json_output(capsys, f"{line} --target {t}") for t in ("cpu", "emulator"))
    assert other["target"] == "emulator" and other["milliseconds_step"] is None
    np.testing.assert_allclose(other["losses_first"], on_cpu["losses_first"], rtol=1e-5)


@needs_digits
def test_a_terminal_gets_a_progress_bar() -> None:
    script = shutil.which("script")
    if script is None:
        pytest.skip("needs the program `script`, of util-linux")
    command = f"stty rows 24 cols 100; {sys.executable} -m graphnet.cli train mlp --epochs 2"
    done = subprocess.run([script, "-qec", command, "/dev/null"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "compiling:   0%" in done.stdout and "/46" in done.stdout and "test accuracy" in done.stdout


@pytest.mark.parametrize("model", [m for m in MODELS if m not in DIGITS])
def test_train_has_no_data_for_photographs(capsys: pytest.CaptureFixture[str], model: str) -> None:
    assert main(["train", model]) == 2
    said = "graphnet: error: there is no data set for {} here: the digits are for lenet and mlp\n"
    assert capsys.readouterr().err == said.format(model)


# ------------------------------------------------------------------------------------- bench, explain


@pytest.fixture
def unpinned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pinning cannot be undone, and this process has other tests to run."""
    monkeypatch.setattr(bench, "pin", lambda threads: None)


@pytest.mark.usefixtures("unpinned")
@pytest.mark.parametrize("mode", ["train", "infer"])
def test_bench_alone(capsys: pytest.CaptureFixture[str], mode: str) -> None:
    line = f"bench mlp --mode {mode} --batch 8 --threads 1 --rounds 2"
    said = json_output(capsys, line)
    assert said["mode"] == mode and said["threads"] == 1 and list(said["results"]) == ["graphnet"]
    own = said["results"]["graphnet"]
    assert 0 < own["minimum"] <= own["lower"] <= own["median"] <= own["upper"] and own["steps"] == 24
    assert said["best_peer"] is None and said["ratio_to_best_peer"] is None and said["left_out"] == {}
    assert own["gflops"] > 0 and own["memory_bytes"] > 4 * 535_818
    assert own["percent_of_peak"] == pytest.approx(100 * own["gflops"] / said["peak_gflops"], abs=0.2)
    table = output(capsys, line)
    assert "milliseconds a step" in table and "GFLOP/s" in table and "torch" not in table


Peers = Callable[[str, harness.Workload], harness.Configurations]


@pytest.fixture
def fake_peers(monkeypatch: pytest.MonkeyPatch) -> Callable[[Peers], None]:
    """Puts a function in the place of what finds a peer's configurations; any result of theirs will do."""
    monkeypatch.setattr(harness, "check", lambda got, want: None)
    monkeypatch.setattr(bench, "extra", lambda module: SimpleNamespace(peak_bytes=lambda work: 5 << 20))
    return lambda peers: monkeypatch.setattr(bench, "peer_configurations", peers)


@pytest.mark.usefixtures("unpinned")
def test_bench_of_photographs(capsys: pytest.CaptureFixture[str], fake_peers: Callable[[Peers], None]) -> None:
    """Defaults that suit large networks; peers get running statistics, and images and classes that fit."""
    seen: list[harness.Workload] = []

    def peers(peer: str, work: harness.Workload) -> harness.Configurations:
        seen.append(work)
        return {peer: harness.Configuration(lambda: lambda: None)}

    fake_peers(peers)
    said = json_output(capsys, "bench resnet18 --mode infer --rounds 1 --against torch")
    assert said["batch"] == 4 and said["results"]["torch"]["steps"] == bench.BURST_LARGE
    assert said["results"]["torch"]["memory_bytes"] == 5 << 20
    # Convolutions count as direct sums, however they are computed: 1.814 G multiply-adds an image.
    assert said["mflop"] == pytest.approx(4 * 2 * 1814, rel=0.02)
    (work,) = seen
    assert work.images.shape == (4, 3, 224, 224) and work.optimizer == "momentum"
    assert len(work.statistics) == 40 and not set(work.statistics) & set(work.weights)
    assert len(work.weights) == 62 and 10 < work.labels.max() < 1000


@pytest.mark.usefixtures("unpinned")
def test_bench_against_others(capsys: pytest.CaptureFixture[str], fake_peers: Callable[[Peers], None]) -> None:
    weights: list[float] = []

    def peers(peer: str, work: harness.Workload) -> harness.Configurations:
        weights.append(float(work.weights["w1"].std()))
        return {
            f"{peer} slow": harness.Configuration(lambda: lambda: sum(range(300_000))),
            peer: harness.Configuration(lambda: lambda: sum(range(100_000))),
        }

    fake_peers(peers)
    line = "bench mlp --mode infer --batch 1 --threads 1 --rounds 2 --against torch,jax"
    said = json_output(capsys, line)
    assert set(said["results"]) == {"graphnet", "torch", "torch slow", "jax", "jax slow"}
    assert said["best_peer"] in ("torch", "jax") and weights == pytest.approx([(2 / 784) ** 0.5] * 2, rel=0.01)
    own, best = (said["results"][name]["median"] for name in ("graphnet", said["best_peer"]))
    assert said["ratio_to_best_peer"] == pytest.approx(best / own, rel=0.02)
    assert "times as fast as" in output(capsys, line)


@pytest.mark.usefixtures("unpinned")
def test_bench_names_the_extra_of_a_missing_peer(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "graphnet.bench.torch_peer", raising=False)
    text = output(capsys, "bench mlp --threads 1 --rounds 1 --batch 1 --against torch")
    assert "left out: torch: torch is not installed: pip install 'graphnet[bench]'" in text
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "graphnet.bench.plot", raising=False)
    assert main(["bench", "mlp", "--threads", "1", "--rounds", "1", "--output", "mlp.png"]) == 1
    assert "matplotlib.figure is not installed: pip install 'graphnet[bench]'" in capsys.readouterr().err
    assert not Path("mlp.png").exists()


def test_explain(capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "explain mlp --batch 4 --steps 2")
    assert "kernels for cpu" in text and "mlp.py:21" in text and "(gradient)" in text and "training.py:" in text
    said = json_output(capsys, "explain mlp --mode infer --batch 4 --steps 2 --threads 1")
    assert said["sizes"] == {"N": 4} and said["threads"] == 1 and said["mode"] == "infer"
    assert all(k["measured"] >= 0 for k in said["kernels"]) and said["kernels"][0]["lines"]


def test_profile(capsys: pytest.CaptureFixture[str]) -> None:
    said = json_output(capsys, "profile mlp --batch 4 --runs 3 --threads 1")
    kernels = said["kernels"]
    assert sum(k["share"] for k in kernels) == pytest.approx(1) and said["runs"] == 3 and said["sizes"] == {"N": 4}
    assert sum(k["seconds"] for k in kernels) == pytest.approx(said["seconds"]) and said["seconds"] < said["call"]
    products = [k for k in kernels if "matmul" in k["ops"]]
    assert products and all(k["gflops"] > 0 and k["of_peak"] > 0 and k["lines"] for k in products)
    assert all(k["gbytes"] > 0 and k["of_bandwidth"] > 0 for k in kernels)

    table = output(capsys, "profile mlp --mode infer --batch 4 --runs 3 --threads 1 --order time").splitlines()
    times = [float(line.split()[1]) for line in table[1:-2]]
    assert times == sorted(times, reverse=True) and "GB/s" in table[0]
    assert re.search(r"kernels: [\d.]+ ms, [\d.]+ GFLOP/s, \d+% of \d+; a call from Python [\d.]+ ms", table[-1])


# --------------------------------------------------------------------------------------- draw, emit


def test_draw_knows_every_stage() -> None:
    assert tuple(draw.STAGES) == tuple(show.STAGES)


@pytest.mark.parametrize("model", [m for m in MODELS if m not in DIGITS])
def test_draw_networks_of_photographs(capsys: pytest.CaptureFixture[str], tmp_path: Path, model: str) -> None:
    path = tmp_path / "net.dot"
    assert output(capsys, f"draw {model} --stage gradient --output", path).startswith(f"wrote {path} (")
    assert "conv2d" in path.read_text()


@pytest.mark.parametrize("stage", draw.STAGES)
def test_draw(capsys: pytest.CaptureFixture[str], tmp_path: Path, stage: str) -> None:
    suffix = "svg" if shutil.which("dot") else "dot"
    path = tmp_path / f"{stage}.{suffix}"
    assert output(capsys, f"draw lenet --batch 8 --stage {stage} --output", path).startswith(f"wrote {path} (")
    assert ("<svg" if suffix == "svg" else "digraph") in path.read_text()
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_emit_for_the_cpu(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    said = json_output(capsys, "emit mlp --mode infer --batch 8 --output", folder)
    assert sorted(p.name for p in folder.iterdir()) == ["kernels.json", "program.ll", "program.loops", "program.s"]
    assert json.loads((folder / "kernels.json").read_text()) == said
    ll, loops = (folder / "program.ll").read_text(), (folder / "program.loops").read_text()
    for kernel in said["kernels"]:
        assert f'@"{kernel["name"]}"(' in ll and f"def {kernel['name']}(" in loops
        assert all(0 <= slot < len(said["slots"]) for slot in kernel["arguments"])
        assert loops.split(f"def {kernel['name']}(")[1].split("):")[0].count(": ") == len(kernel["arguments"])
    assert said["slots"][said["inputs"]["x"]]["shape"] == [8, 1, 28, 28]
    assert said["slots"][said["outputs"][0]]["shape"] == [8, 10]
    assert said["slots"][said["parameters"]["w1"]]["bytes"] == 4 * 784 * 512


def test_emit_for_gpus(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = json_output(capsys, "emit mlp --batch 8 --target cuda --arch sm_90 --output", tmp_path)
    assert said["arch"] == "sm_90"
    names = [kernel["file"] for kernel in said["kernels"]]
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*names, "kernels.json"])
    assert [int(n[1:].split("_")[0]) for n in names] == list(range(len(names)))
    for kernel in said["kernels"]:
        ptx = (tmp_path / kernel["file"]).read_text()
        assert ".target sm_90" in ptx and f".entry {kernel['name']}(" in ptx
        assert f".reqntid {kernel['block']}" in ptx and kernel["grid"] >= 1
        assert ptx.count(".param .u64") == len(kernel["arguments"])


def test_emitting_again_replaces_what_was_emitted_and_nothing_else(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "notes.ptx").write_text("mine")
    output(capsys, "emit mlp --batch 8 --target cuda --output", tmp_path)
    output(capsys, "emit mlp --mode infer --batch 8 --output", tmp_path)
    left = {"kernels.json", "notes.ptx", "program.ll", "program.loops", "program.s"}
    assert {p.name for p in tmp_path.iterdir()} == left
    (tmp_path / "kernels.json").write_text('{"files": {"a": "../../notes", "b": 3, "c": ".."}, "kernels": []}')
    assert emit.listed(tmp_path) == set()


@pytest.mark.skipif(find_ptxas() is None, reason="no ptxas: neither on the PATH nor in the wheel nvidia-cuda-nvcc")
@pytest.mark.parametrize("arch", ["sm_80", "sm_90"])
def test_ptxas_accepts_every_kernel_of_lenets_training_step(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arch: str
) -> None:
    said = json_output(capsys, f"emit lenet --batch 64 --target cuda --arch {arch} --check --output", tmp_path)
    for kernel in said["kernels"]:
        assert 0 < kernel["ptxas"]["registers"] <= 255 and kernel["ptxas"]["spill_store_bytes"] == 0, kernel["name"]


@pytest.mark.skipif(find_ptxas() is None, reason="no ptxas")
def test_what_ptxas_says_is_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = output(capsys, "emit mlp --mode infer --batch 8 --target cuda --check --output", tmp_path)
    assert text.startswith("registers shared B spilled B  kernel\n")
    assert "ptxas accepts all 3 kernels for sm_80" in text
