"""`graphnet explain`."""

from __future__ import annotations

import argparse

from ..targets import parse_target
from .common import (
    add_batch,
    add_json,
    add_mode,
    add_model,
    add_optimizer,
    add_threads,
    arbitrary_batch,
    call,
    count,
    declared,
    model_of,
    print_json,
)

DESCRIPTION = """\
Compiles a network, runs it on random images, and lists the kernels in the order in which they run: the ops and the
source lines that each serves, its arithmetic (MFLOP) and memory traffic (KB), the least time this machine could take
for that (floor), and the time that the last run took (us). Below the list: why each was made as it was."""

EXAMPLES = """\
examples:
  graphnet explain lenet
  graphnet explain mlp --mode infer --batch 1 --threads 1
  graphnet explain resnet18 --mode infer --batch 1
  graphnet explain lenet --json | python -m json.tool"""


def declare(p: argparse.ArgumentParser) -> None:
    add_model(p)
    add_mode(p)
    add_batch(p)
    add_optimizer(p)
    add_threads(p)
    p.add_argument("--target", default="cpu", help="cpu (default), cpu:avx2, cpu:simd128, emulator, cuda")
    p.add_argument("--steps", type=count, default=20, metavar="N", help="runs before the measured one (default: 20)")
    add_json(p)


def run(a: argparse.Namespace) -> None:
    parse_target(a.target)
    model = model_of(a)
    function = declared(model, a.mode, a.optimizer, target=a.target, threads=a.threads)
    images, labels = arbitrary_batch(model, a.batch)
    for _ in range(a.steps):  # the first runs find cold caches and sleeping threads
        call(function, images, labels)
    explanation = function.explain()
    if a.json:
        print_json({"model": a.model, "mode": a.mode, "batch": a.batch, **explanation.to_dict()})
    else:
        print(explanation)
