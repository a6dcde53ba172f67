"""One interleaved run of several ways to do the same work: A A A B B B C C C, A A A B B B C C C, ...

Machines drift (clock, neighbours), so figures compare only within one such run. Turns are short bursts
rather than single steps: the thread pools of frameworks spin for a while after their last work, and the
first steps of each burst, which pay for that and for caches the others filled, are not counted.
"""

from __future__ import annotations

import glob
import importlib
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import numpy as np

from graphnet.errors import GraphnetError

OPTIMIZERS = ("adam", "sgd", "momentum")


@dataclass(frozen=True, slots=True, eq=False)
class Workload:
    """The same work for everyone: a model of `graphnet.models`, its first weights, one batch.

    Dense weights are (in, out), convolutions (out channels, in channels, height, width).
    optimizer: "adam" (betas 0.9, 0.999; eps 1e-8), "sgd" (no momentum) or "momentum" (0.9). mode: "train" or
    "infer". statistics: running means and variances of batch normalisation, which a training step updates too."""

    model: str
    mode: str
    threads: int
    weights: Mapping[str, np.ndarray]
    images: np.ndarray  # (batch, channels, height, width)
    labels: np.ndarray  # (batch,)
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    statistics: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def batch(self) -> int:
        return len(self.labels)


# A step does the whole work once and returns when it is done.
Step = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Configuration:
    """One way to do the work. `make` prepares all that is not timed; `read` brings what a step returns, an array or a
    tuple of them, into the order of axes that ours has."""

    make: Callable[[], Step]
    read: Callable[[Any], Any] = lambda result: result


Configurations = dict[str, Configuration]  # by name


@dataclass(frozen=True, slots=True)
class Peer:
    """A framework. Its modules are imported only when asked for: each is as large as the rest of the machine's
    Python together. `make(work)` in the one for networks, and `make(case, threads)` in the one for single ops, return
    its Configurations; "" where it does not do them."""

    networks: str
    ops: str = ""
    trains: bool = True


PEERS = {
    "torch": Peer("torch_peer", "torch_ops"),
    "torch.compile": Peer("torch_compile_peer", "torch_compile_ops"),
    "jax": Peer("jax_peer", "jax_ops"),
    "onnxruntime": Peer("onnxruntime_peer", trains=False),
    "openvino": Peer("openvino_peer", trains=False),
    "scipy": Peer("", "scipy_ops"),
}
TOLERANCE = 1e-3  # of a result's greatest value: float32, by whatever algorithm


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds a step; `count` steps were timed."""

    median: float
    lower: float  # quartiles
    upper: float
    minimum: float
    count: int

    def milliseconds(self) -> dict[str, float]:
        return {k: round(1e3 * getattr(self, k), 4) for k in ("median", "lower", "upper", "minimum")}


def extra(module: str) -> ModuleType:
    """A module of this package that needs the extra [bench]. Raises GraphnetError where that is missing."""
    try:
        return importlib.import_module(f"graphnet.bench.{module}")
    except ImportError as e:
        raise GraphnetError(f"{e.name or e} is not installed: pip install 'graphnet[bench]'") from None


def peer_configurations(peer: str, work: Workload) -> Configurations:
    """A peer's ways to train or infer. Raises GraphnetError for one that is unknown, not installed, or does not do
    that. Call `pin` first."""
    if peer not in PEERS:
        raise GraphnetError(f"unknown peer {peer!r}; there are {', '.join(PEERS)}")
    if not PEERS[peer].networks:
        raise GraphnetError("it has no networks")
    if work.mode == "train" and not PEERS[peer].trains:
        raise GraphnetError("it infers only")
    found: Configurations = extra(PEERS[peer].networks).make(work)
    return found


@dataclass(slots=True)
class Field:
    """Who takes part: steps by name, and why the others do not."""

    steps: dict[str, Step] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def enter(self, find: Callable[[], Configurations], peer: str, expected: Sequence[Any]) -> None:
        """Adds the configurations of a peer whose first results are the expected ones, ours."""
        try:
            found = find()
        except Exception as e:
            self.left_out[peer] = _one_line(e)
            return
        for name, configuration in found.items():
            try:
                step = configuration.make()
                for want in expected:
                    check(configuration.read(step()), want)
            except Exception as e:  # whatever a framework raises where it cannot do something
                self.left_out[name] = _one_line(e)
            else:
                self.steps[name] = step


def check(got: Any, want: Any) -> None:
    """Raises GraphnetError where two results, or tuples of results, are not the same within TOLERANCE."""
    if isinstance(want, tuple):
        for g, w in zip(got, want, strict=True):
            check(g, w)
        return
    got, want = np.asarray(got), np.asarray(want)
    if got.shape != want.shape:
        raise GraphnetError(f"its result has the shape {got.shape}, ours {want.shape}")
    error = float(np.abs(got - want).max() / max(float(np.abs(want).max()), 1e-30))
    if not error <= TOLERANCE:
        raise GraphnetError(f"its result differs from ours by {error:.2g} of the greatest value")


def _one_line(e: Exception) -> str:
    """What went wrong, for a line of a table: compilers say a lot."""
    said = " ".join(str(e).split())
    return said[:160] if isinstance(e, GraphnetError) else f"{type(e).__name__}: {said[:160]}"


def pin(threads: int) -> None:
    """Restricts this process to `threads` CPUs, one a core where there are enough cores.

    Before the first import of a peer: JAX has no option for its number of threads, it takes one for each CPU
    that the process may use (or NPROC); pinning everyone alike is also what makes the comparison fair."""
    if threads < 1:
        raise GraphnetError(f"threads: at least 1, not {threads}")
    os.environ["NPROC"] = str(threads)
    if not hasattr(os, "sched_setaffinity"):
        return
    allowed = sorted(os.sched_getaffinity(0))
    core_of = {c: _siblings(c) for c in allowed}
    first_of_core = sorted({core: cpu for cpu, core in reversed(core_of.items())}.values())
    chosen = (first_of_core + [c for c in allowed if c not in first_of_core])[:threads]
    os.sched_setaffinity(0, chosen)


def _siblings(cpu: int) -> str:
    for path in glob.glob(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list"):
        with open(path) as f:
            return f.read().strip()
    return str(cpu)


# Seconds: the threads of OpenMP and oneTBB spin for up to 0.2 s after their last work, on the cores of whoever is next.
REST = 0.25
WAKE = 0.015  # after which cores that have rested are at their usual rate


def interleave(
    steps: Mapping[str, Step],
    rounds: int = 10,
    burst: int = 12,
    settle: int = 3,
    warmup: int = 5,
    seconds: float = math.inf,
    on_round: Callable[[int], None] = lambda done: None,
    rest: float = REST,
) -> dict[str, Timing]:
    """Times every step `rounds` times `burst` times, in turns; before each burst nobody works for `rest` seconds, and
    its first steps are extra, untimed: `settle` of them, and for WAKE seconds.

    No round is begun when the rounds before it have taken `seconds`."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(warmup):
            step()
    begun = time.perf_counter()
    for done in range(rounds):
        if done and time.perf_counter() - begun > seconds:
            break
        for name, step in steps.items():
            time.sleep(rest)
            untimed, until = 0, time.perf_counter() + (WAKE if rest else 0.0)
            while untimed < settle or time.perf_counter() < until:
                step()
                untimed += 1
            for _ in range(burst):
                start = time.perf_counter()
                step()
                times[name].append(time.perf_counter() - start)
        on_round(done + 1)
    return {name: _summary(t) for name, t in times.items()}


def _summary(seconds: list[float]) -> Timing:
    lower, median, upper = (float(q) for q in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return Timing(median, lower, upper, min(seconds), len(seconds))
