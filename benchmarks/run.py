"""Every case of docs/performance.md, one interleaved run each: `python benchmarks/run.py [folder] [--only TEXT]`.

Each case is a process of its own (`graphnet bench ... --json`), so that no case inherits threads or caches from
the one before. Needs the extra [bench]. Writes one JSON file a case into the folder, and prints a table.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

# Arguments of `graphnet bench`; larger networks get fewer rounds.
CASES = {
    "lenet-train-64": "lenet --mode train --batch 64",
    "lenet-train-1": "lenet --mode train --batch 1",
    "lenet-infer-1": "lenet --mode infer --batch 1",
    "mlp-train-64": "mlp --mode train --batch 64",
    "mlp-train-64-sgd": "mlp --mode train --batch 64 --optimizer sgd",
    "alexnet-train-16": "alexnet --mode train --batch 16 --rounds 4",
    "alexnet-infer-1": "alexnet --mode infer --batch 1 --rounds 4",
    "alexnet-infer-16": "alexnet --mode infer --batch 16 --rounds 4",
    "resnet18-train-8": "resnet18 --mode train --batch 8 --rounds 4",
    "resnet18-infer-1": "resnet18 --mode infer --batch 1 --rounds 4",
    "resnet18-infer-16": "resnet18 --mode infer --batch 16 --rounds 4",
    "vgg16-infer-1": "vgg16 --mode infer --batch 1 --rounds 4",
    "vgg16-infer-8": "vgg16 --mode infer --batch 8 --rounds 4",
}


def main() -> int:
    """Runs the cases; 1 if one of them failed."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("folder", nargs="?", default="benchmarks/results", help="where the JSON files go")
    p.add_argument("--only", default="", help="cases whose name contains this")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--against", default="torch,jax")
    a = p.parse_args()
    folder = Path(a.folder)
    folder.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name, case in CASES.items():
        if a.only not in name:
            continue
        command = [sys.executable, "-m", "graphnet.cli", "bench", *case.split(), "--json"]
        command += ["--threads", str(a.threads), "--against", a.against]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        if done.returncode:
            failed = 1
            print(f"{name:20} failed", flush=True)
            continue
        (folder / f"{name}.json").write_text(done.stdout)
        found = json.loads(done.stdout)
        times = {k: v["median"] for k, v in found["results"].items()}
        best = times[found["best_peer"]]
        print(f"{name:20} {times['graphnet']:10.3f} ms  {found['best_peer']:20} {best:10.3f} ms", end="  ")
        print(f"{found['ratio_to_best_peer']:6.2f}x", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
