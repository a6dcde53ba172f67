"""One interleaved run of several ways to do the same work: A A A B B B C C C, A A A B B B C C C, ...

Machines drift (clock, neighbours), so figures compare only within one such run. Turns are short bursts
rather than single steps: the thread pools of frameworks spin for a while after their last work, and the
first steps of each burst, which pay for that and for caches the others filled, are not counted.
"""

from __future__ import annotations

import glob
import importlib
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from graphnet.errors import GraphnetError

# Imported only when asked for: each is as large as the rest of the machine's Python together.
PEERS: dict[str, str] = {"torch": "graphnet.bench.torch_peer", "jax": "graphnet.bench.jax_peer"}
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
Step = Callable[[], object]


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


def peer_steps(peer: str, work: Workload, compiled: bool = False) -> dict[str, Step]:
    """The configurations of a peer, by name. `compiled` adds the slow starters (torch.compile).

    Raises GraphnetError for a peer that is unknown or not installed. Call `pin` first."""
    if peer not in PEERS:
        raise GraphnetError(f"unknown peer {peer!r}; there are {', '.join(PEERS)}")
    try:
        module = importlib.import_module(PEERS[peer])
    except ImportError as e:
        raise GraphnetError(f"{peer} is not installed ({e}): pip install 'graphnet[bench]'") from None
    steps: dict[str, Step] = module.make(work, compiled)
    return steps


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


def interleave(
    steps: Mapping[str, Step],
    rounds: int = 10,
    burst: int = 12,
    settle: int = 3,
    warmup: int = 5,
    on_round: Callable[[int], None] = lambda done: None,
) -> dict[str, Timing]:
    """Times every step `rounds` times `burst` times, in turns; the first `settle` of a burst are extra, untimed."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        for _ in range(warmup):
            step()
    for done in range(rounds):
        for name, step in steps.items():
            for _ in range(settle):
                step()
            for _ in range(burst):
                start = time.perf_counter()
                step()
                times[name].append(time.perf_counter() - start)
        on_round(done + 1)
    return {name: _summary(t) for name, t in times.items()}


def _summary(seconds: list[float]) -> Timing:
    lower, median, upper = (float(q) for q in np.quantile(seconds, (0.25, 0.5, 0.75)))
    return Timing(median, lower, upper, min(seconds), len(seconds))
