"""`graphnet profile`."""

from __future__ import annotations

import argparse

from .common import (
    add_batch,
    add_json,
    add_mode,
    add_model,
    add_optimizer,
    add_threads,
    arbitrary_batch,
    arguments,
    count,
    declared,
    model_of,
    print_json,
)

DESCRIPTION = """\
Runs a network's training step or its inference many times on random images, and says of each kernel how long it takes
(median, waits for other threads included), its share of the step, GFLOP/s and their part of the FMA peak, GB/s and
their part of the bandwidth of the cache, or the memory, that holds so many bytes; what it computes, and whose lines."""

EXAMPLES = """\
examples:
  graphnet profile lenet
  graphnet profile resnet18 --mode infer --batch 1 --threads 2 --order time
  graphnet profile mlp --json | python -m json.tool"""


def declare(p: argparse.ArgumentParser) -> None:
    add_model(p)
    add_mode(p)
    add_batch(p)
    add_optimizer(p)
    add_threads(p)
    p.add_argument("--runs", type=count, default=50, metavar="N", help="measured calls (default: 50)")
    p.add_argument(
        "--order", choices=("run", "time"), default="run", help="as they run, or the longest first (default: run)"
    )
    add_json(p)


def run(a: argparse.Namespace) -> None:
    model = model_of(a)
    function = declared(model, a.mode, a.optimizer, threads=a.threads)
    images, labels = arbitrary_batch(model, a.batch)
    found = function.profile(*arguments(function, images, labels), runs=a.runs)
    if a.json:
        print_json({"model": a.model, "mode": a.mode, "batch": a.batch, **found.to_dict()})
    else:
        print(found.table(found.by_time() if a.order == "time" else found.kernels))
