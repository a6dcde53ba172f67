"""Every case that was promised, one interleaved run each: `python benchmarks/run.py [folder] [--only TEXT]`.

Each case is a process of its own (`graphnet bench ... --json`), so that no case inherits threads or caches from the
one before, and one that fails stops no other. Needs the extra [bench]. Writes results.json and results.md into the
folder after every case: ours, the best peer, the ratio between them, and the ratio that was asked for.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PARTS = ("forward", "input-gradient", "weight-gradient")
TRAINING, INFERENCE = "torch,torch.compile,jax", "torch,torch.compile,jax,onnxruntime,openvino"
OPS, MEMORY = "torch,jax,scipy", "torch,torch.compile,jax"


@dataclass(frozen=True, slots=True)
class Case:
    """A line of `graphnet bench`, and what was asked for: how many times as fast as the best peer, or what share of
    the bandwidth of a copy."""

    line: str
    against: str
    asked: float
    share: bool = False


def _train(line: str, asked: float) -> Case:
    return Case(f"{line.split()[0]} --mode train --batch {line.split()[1]}", TRAINING, asked)


def _infer(line: str, asked: float) -> Case:
    return Case(f"{line.split()[0]} --mode infer --batch {line.split()[1]}", INFERENCE, asked)


CASES: dict[str, Case] = {
    "lenet-train-64": _train("lenet 64", 3.5),
    "lenet-train-1": _train("lenet 1", 3.0),
    "mlp-train-64": _train("mlp 64", 1.3),
    "lenet-infer-1": _infer("lenet 1", 1.2),
    "alexnet-train-16": _train("alexnet 16", 1.8),
    "alexnet-infer-1": _infer("alexnet 1", 1.15),
    "alexnet-infer-16": _infer("alexnet 16", 1.8),
    "resnet18-train-8": _train("resnet18 8", 1.6),
    "resnet18-infer-1": _infer("resnet18 1", 1.5),
    "resnet18-infer-16": _infer("resnet18 16", 1.7),
    "vgg16-infer-1": _infer("vgg16 1", 1.7),
    "vgg16-infer-8": _infer("vgg16 8", 2.0),
    **{
        f"conv-k{k}-{part}": Case(f"conv-k{k}-{part}", OPS, asked)
        for k, asked in ((3, 1.5), (5, 2.0), (7, 2.5), (13, 5.0), (31, 20.0))
        for part in PARTS
    },
    **{f"conv1d-k1025-{part}": Case(f"conv1d-k1025-{part}", OPS, 2.0) for part in PARTS},
    **{
        f"gemm-{m}": Case(f"gemm-{m}", OPS, 1.2 if m < 128 else 0.97)
        for m in (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)
    },
    **{
        f"gemm-{shape}{of}": Case(f"gemm-{shape}{of}", OPS, 0.97)
        for shape in ("64x784x512", "64x512x256", "64x256x10", "16x9216x4096", "1x9216x4096", "1x400x120")
        for of in ("", "-input-gradient", "-weight-gradient")
    },
    **{
        op: Case(op, MEMORY, 0.9, share=True)
        for op in ("chain", "swish", "batch-norm", "batch-norm-train", "softmax", "max-pool", "max-pool-3", "avg-pool")
    },
}


def measured(case: Case, a: argparse.Namespace) -> dict[str, Any]:
    """What the case's process printed, or {"failed": why}."""
    command = [sys.executable, "-m", "graphnet.cli", "bench", *case.line.split(), "--json"]
    command += ["--threads", str(a.threads), "--against", a.against or case.against]
    command += ["--rounds", str(a.rounds), "--seconds", str(a.seconds)]
    start = time.perf_counter()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=a.timeout)
    except subprocess.TimeoutExpired:
        return {"failed": f"took longer than {a.timeout:g} s"}
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        return {"failed": said[-1]}
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "seconds": round(time.perf_counter() - start, 1)}


def row(name: str, case: Case, found: Mapping[str, Any]) -> str:
    """A line of the table in Markdown."""
    asked = f"{case.asked:.0%} of a copy" if case.share else f"{case.asked:g}x"
    if "failed" in found:
        return f"| {name} | | | {found['failed']} | | {asked} | |"
    results, peer = found["results"], found["best_peer"]
    own = min((r for n, r in results.items() if n.split()[0] == "graphnet"), key=lambda r: r["median"])
    got = own["percent_of_bandwidth"] / 100 if case.share else found["ratio_to_best_peer"]
    ratio = "" if peer is None else f"{found['ratio_to_best_peer']:.2f}x"
    reached = "" if got is None else "yes" if got >= case.asked else "**no**"
    rate = f"{own['percent_of_bandwidth']:.0f}% of a copy" if case.share else f"{own['percent_of_peak']:.0f}% of peak"
    theirs = "" if peer is None else f"{peer} {results[peer]['median']:.3f}"
    return f"| {name} | {own['median']:.3f} | {rate} | {theirs} | {ratio} | {asked} | {reached} |"


HEAD = "| case | graphnet, ms | rate | best peer, ms | ratio | asked | reached |\n|---|---|---|---|---|---|---|"


def main() -> int:
    """Runs the cases; 1 if one of them failed."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("folder", nargs="?", default="benchmarks/results", help="where results.json and results.md go")
    p.add_argument("--only", default="", metavar="TEXT,...", help="cases whose name contains one of these")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--against", help="other peers than those that each case is made for")
    p.add_argument("--rounds", type=int, default=10)
    p.add_argument("--seconds", type=float, default=40.0, help="begin no more rounds after so long")
    p.add_argument("--timeout", type=float, default=600.0, help="seconds after which a case has failed")
    a = p.parse_args()
    folder = Path(a.folder)
    folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    print(HEAD)
    for name, case in CASES.items():
        if not any(text in name for text in a.only.split(",")):
            continue
        found[name] = {**measured(case, a), "asked": case.asked}
        print(row(name, case, found[name]), flush=True)
        (folder / "results.json").write_text(json.dumps(found, indent=1))
        lines = [HEAD, *(row(n, CASES[n], f) for n, f in found.items())]
        (folder / "results.md").write_text("\n".join(lines) + "\n")
    return int(any("failed" in f for f in found.values()))


if __name__ == "__main__":
    sys.exit(main())
