"""`graphnet bench`."""

from __future__ import annotations

import argparse
import sys
import time
from typing import Any

from tqdm import tqdm

from codegen.machine import available_threads
from codegen.measure import rates

from ..bench.harness import OPTIMIZERS, PEERS, Step, Timing, Workload, interleave, peer_steps, pin
from ..function import Function
from ..models import DIGITS, Model
from .common import (
    LARGE,
    UsageError,
    add_batch,
    add_json,
    add_mode,
    add_model,
    add_threads,
    arbitrary_batch,
    call,
    count,
    declared,
    model_of,
    print_json,
    words,
)

OURS = "graphnet"
BURST, BURST_LARGE = 12, 3
RATE = 1e-3  # of learning, the same for everyone

DESCRIPTION = """\
Times a network's training step or its inference, and, on request, the same work in other frameworks. Everyone gets
the same weights, the same batch and the same CPU cores, and they take turns in short bursts, so that whatever else
the computer does strikes all alike. Compare figures of one run only."""

EXAMPLES = """\
examples:
  graphnet bench lenet
  graphnet bench lenet --mode train --batch 64 --threads 2 --against torch,jax
  graphnet bench mlp --mode infer --batch 1 --threads 1 --against torch --json
  graphnet bench resnet18 --mode train --batch 8 --against torch --rounds 5

PyTorch and JAX come with the extra: pip install 'graphnet[bench]'. Of each, every configuration that is known to be
fast is timed (memory formats; torch.compile with --compiled), and the best one counts."""


def declare(p: argparse.ArgumentParser) -> None:
    add_model(p)
    add_mode(p)
    add_batch(p)
    add_threads(p)
    p.add_argument(
        "--optimizer", choices=OPTIMIZERS, help=f"of the training step (default: adam; momentum {LARGE})"
    )
    p.add_argument(
        "--against", type=words, default=(), metavar="PEER,...", help=f"other frameworks: {','.join(PEERS)}"
    )
    p.add_argument("--compiled", action="store_true", help="also torch.compile, which takes minutes to start")
    p.add_argument("--rounds", type=count, default=15, metavar="N", help="turns (default: 15)")
    p.add_argument(
        "--burst", type=count, metavar="N", help=f"timed steps a turn (default: {BURST}; {BURST_LARGE} {LARGE})"
    )
    add_json(p)


def run(a: argparse.Namespace) -> None:
    for peer in a.against:
        if peer not in PEERS:
            raise UsageError(f"argument --against: unknown peer {peer!r}; there are {', '.join(PEERS)}")
    threads = min(a.threads or available_threads(), available_threads())
    peak = rates().flops * threads / 1e9
    pin(threads)  # before any peer is imported
    model = model_of(a)
    burst = a.burst or (BURST if a.model in DIGITS else BURST_LARGE)
    function, step, work, first = ours(model, a, threads)
    steps: dict[str, Step] = {OURS: step}
    for peer in a.against:
        steps |= peer_steps(peer, work, a.compiled)
    with tqdm(total=a.rounds, unit="round", leave=False, disable=None, file=sys.stderr) as bar:
        timings = interleave(
            steps,
            rounds=a.rounds,
            burst=burst,
            settle=-(-burst // 4),
            warmup=min(burst, 5),
            on_round=lambda done: bar.update(),
        )
    flops = sum(k.flops for k in function.explain().kernels)
    found = report(a, threads, timings, flops, peak) | {
        "seconds_first_step": first,
        "memory_bytes": function.memory().total,
        "versions": versions(a.against),
    }
    if a.json:
        print_json(found)
    else:
        print(table(found))


def ours(model: Model, a: argparse.Namespace, threads: int) -> tuple[Function, Step, Workload, float]:
    """Our function, a step of it, the same work for the peers, and the seconds of the first step, from declaration."""
    images, labels = arbitrary_batch(model, a.batch)
    start = time.perf_counter()
    settings = {"learning_rate": RATE} if a.mode == "train" else {}
    function = declared(model, a.mode, a.optimizer, threads=threads, **settings)
    weights = {name: function.state.array(p).copy() for name, p in model.params.items()}
    statistics = {p.name: function.state.array(p).copy() for p in model.statistics}
    call(function, images, labels)
    first = time.perf_counter() - start
    work = Workload(a.model, a.mode, threads, weights, images, labels, a.optimizer, RATE, statistics)
    return function, lambda: call(function, images, labels), work, first


def report(
    a: argparse.Namespace, threads: int, timings: dict[str, Timing], flops: int, peak: float
) -> dict[str, Any]:
    """What --json prints: milliseconds, and ratios to graphnet's median (above 1, graphnet is faster)."""
    own = timings[OURS].median
    gflops = flops / own / 1e9
    peers = {name: t.median for name, t in timings.items() if name != OURS}
    best = min(peers, key=lambda name: peers[name], default=None)
    return {
        "model": a.model,
        "mode": a.mode,
        "batch": a.batch,
        "threads": threads,
        "optimizer": a.optimizer if a.mode == "train" else None,
        "rounds": a.rounds,
        "results": {
            name: {**t.milliseconds(), "steps": t.count, "ratio": round(t.median / own, 3)}
            for name, t in timings.items()
        },
        "best_peer": best,
        "ratio_to_best_peer": None if best is None else round(peers[best] / own, 3),
        "gflops": round(gflops, 1),
        "peak_gflops": round(peak, 1),
        "percent_of_peak": round(100 * gflops / peak, 1),
    }


def versions(peers: tuple[str, ...]) -> dict[str, str]:
    """Of the peers, which are imported by now."""
    return {p: str(getattr(sys.modules.get(p), "__version__", "unknown")) for p in peers}


def table(r: dict[str, Any]) -> str:
    optimizer = f" with {r['optimizer']}" if r["optimizer"] else ""
    lines = [
        f"{r['model']}, {r['mode']}{optimizer}, batch {r['batch']}, {r['threads']} threads: milliseconds a step",
        "",
        f"{'':20} {'median':>9} {'quartiles':>19} {'of graphnet':>12}",
    ]
    for name, t in sorted(r["results"].items(), key=lambda row: row[1]["median"]):
        quartiles = f"{t['lower']:.3f} - {t['upper']:.3f}"
        lines.append(f"{name:20} {t['median']:>9.3f} {quartiles:>19} {t['ratio']:>11.2f}x")
    lines += [
        "",
        f"graphnet: {r['gflops']:.1f} GFLOP/s, {r['percent_of_peak']:.0f}% of the {r['peak_gflops']:.0f} that these "
        f"cores can do; {r['memory_bytes'] / 2**20:.2f} MiB; first step {r['seconds_first_step']:.2f} s",
    ]
    if r["best_peer"] is not None:
        ratio = r["ratio_to_best_peer"]
        verdict = f"{ratio:.2f} times as fast as" if ratio >= 1 else f"{1 / ratio:.2f} times as slow as"
        tried = ", ".join(f"{peer} {version}" for peer, version in r["versions"].items())
        lines.append(f"graphnet is {verdict} {r['best_peer']} ({tried})")
    return "\n".join(lines)
