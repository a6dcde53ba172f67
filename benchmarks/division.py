"""How far each network's work can be divided among threads, on a machine of fewer cores than that.

    python benchmarks/division.py [--threads 16] [--only TEXT,...]

A kernel is told which thread it is and how many there are. Here every thread's share of every kernel runs by itself,
one after the other, and is timed: with a core for each thread, a step would take the longest share of each kernel, one
kernel after the other, and its waits. What that leaves out is what cores share: memory's bandwidth and the last cache.
"""

from __future__ import annotations

import argparse
import ctypes
import time
from collections.abc import Callable

import numpy as np

from codegen.cpu import compile_ir
from codegen.runtime.cpu import CpuExecutable
from graphnet.lower import BARRIER
from graphnet.models import MODELS
from graphnet.training import inference, training_step

NETWORKS = (
    ("lenet", "train", 64),
    ("mlp", "train", 64),
    ("alexnet", "train", 16),
    ("resnet18", "train", 8),
    ("alexnet", "infer", 16),
    ("resnet18", "infer", 1),
    ("resnet18", "infer", 16),
    ("vgg16", "infer", 8),
)
ROUNDS = 5
Share = Callable[[int, int, int, int], None]  # of a kernel: slots, their numbers, thread, threads
KIND = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
NOTHING = "define void @nothing(ptr %a, ptr %b, i64 %c, i64 %d) {\n  ret void\n}\n"


def seconds(share: Share, *arguments: int) -> float:
    start = time.perf_counter()
    share(*arguments)
    return time.perf_counter() - start


def shares(executable: CpuExecutable, threads: int) -> np.ndarray:
    """Seconds of each share (kernel, thread) of a step, the least of ROUNDS steps."""
    idle = compile_ir(NOTHING)
    nothing: Share = KIND(idle.address("nothing"))
    call = min(seconds(nothing, 0, 0, 0, 1) for _ in range(1000))
    table, steps = executable.table.ctypes.data, executable.steps[executable.first :]
    found = np.empty((ROUNDS, len(steps), threads))
    for n in range(ROUNDS):
        for k, (kernel, numbers, _) in enumerate(steps):
            share: Share = KIND(int(kernel))
            for t in range(threads):
                found[n, k, t] = seconds(share, table, int(numbers), t, threads)
    return np.maximum(found.min(axis=0) - call, 0.0)


def row(name: str, mode: str, batch: int, threads: int) -> str:
    """A line of the table."""
    model = MODELS[name]()
    f = training_step(model, threads=threads) if mode == "train" else inference(model, threads=threads)
    images = np.random.default_rng(0).random((batch, *model.x.shape[1:]), dtype=np.float32)
    arguments = (images, np.zeros(batch, np.int32))[: len(f.graph.inputs)]
    f(*arguments)
    (spec,) = f.specializations
    executable = spec.executable
    assert isinstance(executable, CpuExecutable)
    results = spec.results()  # the call's own are gone
    for (slot, _), array in zip(spec.outputs, results, strict=True):
        executable.bind_output(slot, array)
    each = shares(executable, threads)
    work, longest = float(each.sum()), float(each.max(axis=1).sum())
    waits = spec.artifact.cost.waits
    divided = longest + BARRIER * np.log2(threads) * waits
    cells = (f"{name}, {mode}, batch {batch}", len(each), waits, f"{1e3 * work:.3f}", f"{1e3 * longest:.3f}")
    return "| " + " | ".join(map(str, (*cells, f"{work / longest:.1f}x", f"{work / divided:.1f}x"))) + " |"


def main() -> None:
    p = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    p.add_argument("--threads", type=int, default=16)
    p.add_argument("--only", default="", metavar="TEXT,...", help="networks whose name and mode contain one of these")
    a = p.parse_args()
    print("| network | kernels | waits | all shares, ms | longest, ms | division allows | with waits |")
    print("|---|---|---|---|---|---|---|")
    for name, mode, batch in NETWORKS:
        if any(text in f"{name} {mode} {batch}" for text in a.only.split(",")):
            print(row(name, mode, batch, a.threads), flush=True)


if __name__ == "__main__":
    main()
