"""How long compilation takes, by the size of the graph: chains of layers, and a very deep network, with their
gradients. The passes and lowering, stage by stage, and the whole way to machine code."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import graphnet as gn

from ..function import Function
from ..models import MODELS
from ..node import Node

BATCH = 8


def elementwise(n: int) -> Function:
    """The gradient of n activations and sums, one after another."""
    x = gn.input("x", ("N", 16))
    y = x
    for k in range(n):
        y = gn.tanh(y) if k % 2 else y + 0.5
    return gn.compile(gn.gradient(gn.mean(y), x), [x])


def dense(n: int) -> Function:
    """A training step of n dense layers with ReLU."""
    x = gn.input("x", ("N", 16))
    y: Node = x
    weights = [gn.parameter(f"w{k}", (16, 16)) for k in range(n)]
    for w in weights:
        y = gn.relu(y @ w)
    loss = gn.mean(y * y)
    return gn.compile(loss, [x], gn.optim.sgd(weights, gn.gradient(loss, weights), 0.1))


def recurrent(steps: int) -> Function:
    """A training step of an LSTM over so many steps."""
    x = gn.input("x", (steps, "N", 16))
    params = [gn.parameter(name, shape) for name, shape in (("w", (1, 128, 16)), ("r", (1, 128, 32)), ("b", (1, 256)))]
    y, _, _ = gn.lstm(x, *params)
    loss = gn.mean(y * y)
    return gn.compile(loss, [x], gn.optim.sgd(params, gn.gradient(loss, params), 0.1))


def deep(name: str) -> Function:
    """A network's training step."""
    m = MODELS[name]()
    params = list(m.params.values())
    updates = gn.optim.momentum(params, gn.gradient(m.loss, params), 0.1)
    return gn.compile(m.loss, [m.x, m.y], updates | m.statistics)


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    declare: Callable[[], Function]


CASES = (
    *(Case(f"elementwise, {n:,} layers", partial(elementwise, n)) for n in (100, 1000, 10_000)),
    *(Case(f"dense, {n:,} layers", partial(dense, n)) for n in (100, 1000, 10_000)),
    *(Case(f"LSTM, {n:,} steps", partial(recurrent, n)) for n in (10, 100, 1000)),
    Case("ResNet-164, training", partial(deep, "resnet164")),
)


def study(
    threads: int, against: Sequence[str], seconds: float, on_case: Callable[[], object], cases: Sequence[Case] = CASES
) -> dict[str, Any]:
    """Every case once, with no code on disk from before. There are no peers (`against`), and a compilation takes as
    long as it takes (`seconds`)."""
    found = []
    for case in cases:
        start = time.perf_counter()
        function = case.declare()
        declared = time.perf_counter() - start
        with _nothing_on_disk():
            spec = function.specialise({"N": BATCH})
        code = sum(spec.seconds[part] for part in ("canonical", "compile", "values"))
        found.append(
            {
                "case": case.name,
                "nodes": len(spec.module.graph.nodes()),
                "kernels": spec.steps,
                "distinct_kernels": len(spec.kernels.distinct),
                "seconds": {"declare": declared, "passes": sum(spec.seconds.values()) - code, "code": code},
                "passes": dict(spec.seconds),
            }
        )
        on_case()
    return {"study": "compile-time", "threads": threads, "batch": BATCH, "cases": found}


@contextmanager
def _nothing_on_disk() -> Iterator[None]:
    before = os.environ.get("GRAPHNET_CACHE")
    os.environ["GRAPHNET_CACHE"] = "off"
    try:
        yield
    finally:
        if before is None:
            del os.environ["GRAPHNET_CACHE"]
        else:
            os.environ["GRAPHNET_CACHE"] = before


def text(r: dict[str, Any]) -> str:
    columns = (("nodes", 7), ("kernels", 7), ("distinct", 8), ("declare", 8), ("passes", 8), ("code", 8))
    lines = [f"{'':24}" + "".join(f"  {name:>{width}}" for name, width in columns) + "  seconds"]
    for c in r["cases"]:
        counts = f"{c['nodes']:>7,}  {c['kernels']:>7,}  {c['distinct_kernels']:>8,}"
        times = "  ".join(f"{c['seconds'][k]:>8.2f}" for k in ("declare", "passes", "code"))
        lines.append(f"{c['case']:24}  {counts}  {times}  {1e6 * c['seconds']['passes'] / c['nodes']:,.0f} us a node")
    return "\n".join(lines)
