"""Algorithms by measurement: which one computes a convolution fastest on this machine, measured once and kept.

`compile(..., tune=True)` has each convolution and gradient computed alone, on random data, by every algorithm that its
model finds near the cheapest; the kernels' least time counts, without the conversions of images that a network has no
need of. Times are kept on disk beside the object code, under everything that decides them: the problem, threads, the
CPU, the versions of llvmlite and of these packages. With all of them there the same program is compiled every time.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from codegen import cache
from codegen.dtypes import numpy_dtype
from codegen.machine import machine
from codegen.runtime.cpu import CpuExecutable

from .convolution import Question
from .explain import ticks
from .files import replacing
from .lower import lower
from .module import Group, Module, Settings
from .node import Node, apply, input, make_graph, parameter
from .ops.conv import InputGradient, WeightGradient
from .ops.relayout import Relayout
from .passes.memory import Plan
from .pipeline import run
from .targets import TARGETS, Kernels, Target
from .types import Shape

SECONDS = 60.0  # that `tune=True` may take
LEAST, MOST = 5, 50  # runs of an algorithm
ENOUGH = 0.1  # seconds after which it is run no more

Measure = Callable[[Question, str], float]


@dataclass(frozen=True)
class Tuner:
    """Answers questions within some seconds for a specialisation, compilation included. measure: the seconds of a
    question's node by the algorithm of a name."""

    seconds: float
    target: Target
    threads: int
    measure: Measure | None = None
    clock: Callable[[], float] = time.perf_counter

    def __call__(self, questions: Sequence[Question]) -> dict[Node, dict[str, float]]:
        """Seconds of the algorithms, for each node for which they were known or could be measured in time: those of
        most work come first."""
        end = self.clock() + self.seconds
        known: dict[str, dict[str, float] | None] = {}
        found = {}
        for q in sorted(questions, key=lambda q: -q.problem.direct):
            key = self.key(q)
            if key not in known:
                known[key] = load(key, q.names) or self.measured(q, key, end)
            times = known[key]
            if times:
                found[q.node] = times
        return found

    def key(self, q: Question) -> str:
        """Everything that decides the answer."""
        p = replace(q.problem, transformed="")
        text = f"tune {q.node.op.name} {q.node.dtype} {p} {self.threads} {q.names}"
        return cache.key(text, machine(self.target.extension))

    def measured(self, q: Question, key: str, end: float) -> dict[str, float] | None:
        """The seconds of all algorithms, which are kept; None where time is up before."""
        times = {}
        for name in q.names:
            if self.clock() >= end:
                return None
            times[name] = self.measure(q, name) if self.measure else alone(q, name, self.target, self.threads)
        save(key, times)
        return times


def alone(q: Question, name: str, target: Target, threads: int) -> float:
    """The least seconds of the kernels of the node alone, by the algorithm of this name, on random data."""
    op = q.node.op
    kernel = None if isinstance(op, WeightGradient) else 0 if isinstance(op, InputGradient) else 1
    constant = kernel if q.problem.constant else None
    inputs = [
        parameter(f"x{k}", i.shape, dtype=i.dtype) if k == constant else input(f"x{k}", i.shape, i.dtype)
        for k, i in enumerate(q.node.inputs)
    ]
    node = apply(replace(op, algorithm=name), *inputs)  # type: ignore[call-arg]
    graph = make_graph([node], [n for k, n in enumerate(inputs) if k != constant])
    module = run(Module(graph, Settings(target.family, target.lanes)))
    lowered = lower(module)
    program, plan = lowered.program, module.plan
    executable = TARGETS[target.name](program, Kernels(program, target), lowered.cost.division(threads)[0])
    assert isinstance(executable, CpuExecutable) and isinstance(plan, Plan)
    rng = np.random.default_rng(0)
    arrays = {n: rng.standard_normal(plan.slots[s].shape).astype(n.dtype) for n, s in plan.slot.items() if n in inputs}
    results = [np.empty(plan.slots[s].shape, numpy_dtype(plan.slots[s].dtype)) for s in plan.outputs]
    for n, s in plan.slot.items():
        if n.op.kind == "leaf":
            executable.bind(s, arrays[n] if n in arrays else np.ascontiguousarray(n.op.evaluate()))
    for s, result in zip(plan.outputs, results, strict=True):
        executable.bind_output(s, result)
    images = {n.shape for k, n in enumerate((*inputs, node)) if k != kernel and (kernel is not None or n is not node)}
    counted = [k for k, g in enumerate(lowered.groups) if k >= program.first and g and not _converts(g, images)]
    executable.prepare()
    best, begin = math.inf, time.perf_counter()
    for k in range(MOST):
        executable.run()
        best = min(best, float(executable.kernel_seconds(ticks())[counted].sum()))
        if k + 1 >= LEAST and time.perf_counter() - begin > ENOUGH:
            break
    return best


def _converts(g: Group, images: set[Shape]) -> bool:
    """Whether all that a kernel does is to bring an image into another order."""
    return len(g.nodes) == 1 and isinstance(g.nodes[0].op, Relayout) and g.nodes[0].shape in images


def _file(key: str) -> Path | None:
    folder = cache.folder()
    return folder and folder / "tuned" / f"{key}.json"


def load(key: str, names: Sequence[str]) -> dict[str, float] | None:
    """What was measured before, of exactly these algorithms; None if it was not, or is damaged."""
    file = _file(key)
    try:
        times = json.loads(file.read_text())["seconds"] if file else {}
        found = {str(name): float(s) for name, s in times.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    complete = set(found) == set(names) and all(0 < s < math.inf for s in found.values())
    return found if complete else None


def save(key: str, times: Mapping[str, float]) -> None:
    """Keeps the times. A folder that cannot be written only costs the next process the measurement."""
    file = _file(key)
    if file is None:
        return
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with replacing(file) as temporary:
            temporary.write_text(json.dumps({"seconds": dict(times)}))
