"""`graphnet bench`."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

from tqdm import tqdm

from codegen.machine import available_threads
from codegen.measure import rates

from ..bench import algorithms, compile_time
from ..bench.cases import CASES
from ..bench.harness import (
    OPTIMIZERS,
    PEERS,
    Field,
    Step,
    Workload,
    extra,
    interleave,
    peer_configurations,
    pin,
)
from ..bench.ops import compare_case
from ..bench.report import OURS, compared, table
from ..files import replacing
from ..function import Function
from ..models import DIGITS, MODELS, Model
from ..node import Graph
from .common import (
    LARGE,
    UsageError,
    add_batch,
    add_json,
    add_mode,
    add_threads,
    arbitrary_batch,
    arguments,
    count,
    declared,
    model_of,
    print_json,
    rate,
    words,
)

BURST, BURST_LARGE = 12, 3
SECONDS, SECONDS_OF_SHAPES = 60.0, 3.0
RATE = 1e-3  # of learning, the same for everyone

@dataclass(frozen=True, slots=True)
class Study:
    """A question about many shapes at once."""

    purpose: str
    shapes: Callable[[], int]
    run: Callable[[int, Sequence[str], float, Callable[[], object]], dict[str, Any]]
    text: Callable[[dict[str, Any]], str]
    picture: str = ""  # the function of `bench/plot.py` that draws it


STUDIES = {
    "conv-crossover": Study(
        "each algorithm for convolution, from small to large kernels",
        lambda: len(algorithms.CROSSOVER),
        algorithms.crossover,
        algorithms.crossover_text,
        "crossover",
    ),
    "selection": Study(
        "whether the algorithm that is chosen is the fastest",
        lambda: len(algorithms.GRID),
        lambda threads, against, seconds, on_case: algorithms.selection(threads, seconds, on_case),
        algorithms.selection_text,
    ),
    "compile-time": Study(
        "how long compilation takes, by the size of the graph",
        lambda: len(compile_time.CASES),
        compile_time.study,
        compile_time.text,
    ),
}

DESCRIPTION = """\
Times a network's training step, its inference, or a single op, and, on request, the same work in other frameworks.
Everyone gets the same values, the same CPU cores, and takes turns in short bursts, so that whatever else the computer
does strikes all alike. Compare figures of one run only."""

EXAMPLES = """\
examples:
  graphnet bench lenet
  graphnet bench lenet --mode train --batch 64 --threads 2 --against torch,jax
  graphnet bench mlp --mode infer --batch 1 --threads 1 --against torch,onnxruntime,openvino --json
  graphnet bench resnet18 --mode train --batch 8 --against torch,torch.compile --rounds 5 --output resnet.png
  graphnet bench conv-k7-forward --against torch,jax
  graphnet bench softmax --against torch,torch.compile,jax
  graphnet bench conv-crossover --against torch --output crossover.png
  graphnet bench selection
  graphnet bench compile-time

The peers come with the extra: pip install 'graphnet[bench]'. Of each, every configuration that is known to be fast is
timed, and the best one counts; one that cannot run, or computes something else, is named with the reason.
torch.compile needs a C++ compiler, and up to a minute to start."""


def declare(p: argparse.ArgumentParser) -> None:
    names = ", ".join(CASES)
    studies = "; ".join(f"{name}: {study.purpose}" for name, study in STUDIES.items())
    p.add_argument(
        "what", metavar="WHAT", help=f"a network: {', '.join(MODELS)}; a case of one op: {names}; or a study: {studies}"
    )
    add_mode(p)
    add_batch(p)
    add_threads(p)
    p.add_argument(
        "--optimizer", choices=OPTIMIZERS, help=f"of the training step (default: adam; momentum {LARGE})"
    )
    p.set_defaults(mode=None)  # these three are for networks
    p.add_argument(
        "--against", type=words, default=(), metavar="PEER,...", help=f"other frameworks: {','.join(PEERS)}"
    )
    p.add_argument("--rounds", type=count, default=15, metavar="N", help="turns (default: 15)")
    bursts = f"{BURST}; {BURST_LARGE} {LARGE}; as many as take 20 ms for an op"
    p.add_argument("--burst", type=count, metavar="N", help=f"timed steps a turn (default: {bursts})")
    limits = f"{SECONDS:g}; {SECONDS_OF_SHAPES:g} for each shape of a study"
    p.add_argument("--seconds", type=rate, metavar="S", help=f"begin no more rounds after so long (default: {limits})")
    p.add_argument("--output", metavar="FILE.png", help="draw the comparison, too: .png, .svg or .pdf")
    add_json(p)


def run(a: argparse.Namespace) -> None:
    for peer in a.against:
        if peer not in PEERS:
            raise UsageError(f"argument --against: unknown peer {peer!r}; there are {', '.join(PEERS)}")
    if a.what not in (*MODELS, *CASES, *STUDIES):
        known = ", ".join([*MODELS, *CASES, *STUDIES])
        raise UsageError(f"argument WHAT: there is no network, case or study {a.what!r}; there are {known}")
    for option in ("mode", "batch", "optimizer"):
        if a.what not in MODELS and getattr(a, option) is not None:
            raise UsageError(f"argument --{option}: for networks; {a.what} says all by its name")
    if a.seconds is None:
        a.seconds = SECONDS_OF_SHAPES if a.what in STUDIES else SECONDS
    threads = min(a.threads or available_threads(), available_threads())
    rates()  # measured, if they never were, before anyone else's threads are there
    pin(threads)  # before any peer is imported
    if a.what in STUDIES:
        study(a, threads)
    else:
        comparison(a, threads)


def study(a: argparse.Namespace, threads: int) -> None:
    s = STUDIES[a.what]
    if a.output and not s.picture:
        raise UsageError(f"argument --output: there is no picture of {a.what}")
    with ExitStack() as stack:
        picture = stack.enter_context(replacing(a.output)) if a.output else None
        plot = extra("plot") if a.output else None
        bar = stack.enter_context(tqdm(total=s.shapes(), unit="shape", leave=False, disable=None, file=sys.stderr))
        found = s.run(threads, a.against, a.seconds, lambda: bar.update())
        if plot is not None:
            getattr(plot, s.picture)(picture, found)
    if a.json:
        print_json(found)
    else:
        print(s.text(found))


def comparison(a: argparse.Namespace, threads: int) -> None:
    compare, title, notes = (network, network_title, network_notes) if a.what in MODELS else (op, op_title, op_notes)
    with ExitStack() as stack:
        picture = stack.enter_context(replacing(a.output)) if a.output else None
        plot = extra("plot") if a.output else None
        bar = stack.enter_context(tqdm(total=a.rounds, unit="round", leave=False, disable=None, file=sys.stderr))
        found = compare(a, threads, lambda done: bar.update())
        if plot is not None:
            plot.bars(picture, title(found), found)
    if a.json:
        print_json(found)
        return
    print("\n".join([table(title(found), found), *notes(found)]))
    if found["versions"]:
        print(", ".join(f"{name} {version}" for name, version in found["versions"].items()))


# --------------------------------------------------------------------------------------- single ops


def op(a: argparse.Namespace, threads: int, on_round: Callable[[int], None]) -> dict[str, Any]:
    found = compare_case(a.what, threads, a.against, a.rounds, a.burst, a.seconds, on_round)
    return {**found, "versions": versions(a.against)}


def op_title(r: dict[str, Any]) -> str:
    shapes = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in r["arrays"].items())
    return f"{r['case']}: {shapes}; {r['threads']} threads: milliseconds"


def op_notes(r: dict[str, Any]) -> list[str]:
    if "copies" not in r:
        text = f"GFLOP/s count {r['mflop']:,.1f} MFLOP for everyone, convolutions as direct sums"
        return [f"{text}; the peak is {r['peak_gflops']:.0f}"]
    copies = ", ".join(f"{name.removeprefix('copy: ')} {rate:.1f}" for name, rate in r["copies"].items())
    return [f"GB/s count the {r['megabytes']:,.1f} MB that must travel; copies of as many, GB/s: {copies}"]


# ----------------------------------------------------------------------------------------- networks


@dataclass(frozen=True, slots=True, eq=False)
class Ours:
    """Our function and a step of it; the same work for the peers, and what its first steps return; the seconds of
    the first step, from declaration."""

    function: Function
    step: Step
    work: Workload
    expected: tuple[Any, ...]
    seconds: float


def ours(model: Model, a: argparse.Namespace, threads: int) -> Ours:
    images, labels = arbitrary_batch(model, a.batch)
    start = time.perf_counter()
    settings = {"learning_rate": RATE} if a.mode == "train" else {}
    function = declared(model, a.mode, a.optimizer, threads=threads, **settings)
    weights = {name: function.state.array(p).copy() for name, p in model.params.items()}
    statistics = {p.name: function.state.array(p).copy() for p in model.statistics}
    step = partial(function, *arguments(function, images, labels))
    first = step()
    seconds = time.perf_counter() - start
    work = Workload(a.model, a.mode, threads, weights, images, labels, a.optimizer, RATE, statistics)
    # A second loss tells of the first update.
    return Ours(function, step, work, (first, step()) if a.mode == "train" else (first,), seconds)


def network(a: argparse.Namespace, threads: int, on_round: Callable[[int], None]) -> dict[str, Any]:
    a.model, a.mode = a.what, a.mode or "train"
    model = model_of(a)
    own = ours(model, a, threads)
    field = Field({OURS: own.step})
    for peer in a.against:
        field.enter(partial(peer_configurations, peer, own.work), peer, own.expected)
    burst = a.burst or (BURST if a.model in DIGITS else BURST_LARGE)
    timings = interleave(
        field.steps, a.rounds, burst, settle=-(-burst // 4), warmup=min(burst, 5), seconds=a.seconds, on_round=on_round
    )
    flops = operations(own.function.module({"N": a.batch}, stop_after="specialise").graph)
    found = compared(timings, flops, rates().flops * threads / 1e9, field.left_out)
    found["results"][OURS]["memory_bytes"] = own.function.memory().total
    if "torch" in found["results"]:
        found["results"]["torch"]["memory_bytes"] = extra(PEERS["torch"].networks).peak_bytes(own.work)
    return {
        "model": a.model,
        "mode": a.mode,
        "batch": a.batch,
        "threads": threads,
        "optimizer": a.optimizer if a.mode == "train" else None,
        **found,
        "seconds_first_step": own.seconds,
        "versions": versions(a.against),
    }


def operations(graph: Graph) -> int:
    """Of all ops as they were declared: a convolution counts as direct sums, however it is computed."""
    return sum(n.op.flops(n.type, *(i.type for i in n.inputs)) for n in graph.nodes())


def versions(peers: tuple[str, ...]) -> dict[str, str]:
    """Of the peers' packages that are imported by now."""
    packages = {p.split(".")[0] for p in peers}
    return {p: str(getattr(sys.modules[p], "__version__", "unknown")) for p in sorted(packages & sys.modules.keys())}


def network_title(r: dict[str, Any]) -> str:
    optimizer = f" with {r['optimizer']}" if r["optimizer"] else ""
    return f"{r['model']}, {r['mode']}{optimizer}, batch {r['batch']}, {r['threads']} threads: milliseconds a step"


def network_notes(r: dict[str, Any]) -> list[str]:
    notes = [
        f"GFLOP/s count {r['mflop']:,.1f} MFLOP a step for everyone, convolutions as direct sums; the peak is "
        f"{r['peak_gflops']:.0f}",
        f"graphnet's first step took {r['seconds_first_step']:.2f} s",
    ]
    if any("memory_bytes" in row for name, row in r["results"].items() if name != OURS):
        notes.append("peak memory: graphnet's is exact; PyTorch's is the most that its allocator held at once")
    return notes
