"""Which algorithm computes each convolution and gradient: the cheapest of those that can, by their own models.

The costs are in floating-point operations; a byte between kernels counts as some of them, on every machine alike,
so that the choice (and with it the bits of the result) never depends on a measurement, unless the user asks for that
(`tune`): then those that the model finds near the cheapest are measured. What every algorithm was expected to cost, or
why it was refused, stays in the record.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from ..convolution import Algorithm, Batch, Problem, Question, problem
from ..errors import GraphnetError
from ..fft_conv import ERROR, fft_algorithms
from ..module import Candidate, Decision, Module
from ..node import Node, apply, rebuild
from ..ops.conv import PREFER, Convolution, InputGradient
from ..site import derived, where
from ..winograd_conv import WINOGRAD
from .prepare import preparable

REACH = 5.0  # times the cheapest one's modelled cost: up to that an algorithm is worth measuring
MOST = 4  # that are measured for a node, and the cheapest of each kind

ORDERED = 50.0  # operations for a byte of a kernel, which is brought into the order of direct sums


def _direct(p: Problem) -> float:
    """Operations of direct sums, and of a kernel that is put in order at every call."""
    free = p.constant or p.gradient == "weight"
    return p.direct + (0.0 if free else ORDERED * 4.0 * p.k * (p.c // p.groups) * math.prod(p.window))


DIRECT = Algorithm("direct", 1e-5, lambda p: None, _direct, None, groups=True, axes=3)
FFT = Algorithm("fft", ERROR, lambda p: None, lambda p: p.direct, None)  # in general, where there are no tiles to name


def algorithms(p: Problem, wanted: str) -> tuple[Algorithm, ...]:
    """The rows of the table for one problem; the one that is `wanted` by name among them, if there is one."""
    return (DIRECT, *WINOGRAD, *(fft_algorithms(p, wanted) if len(p.window) <= FFT.axes else (FFT,)))


def choose_conv(m: Module) -> Module:
    """The cheapest algorithm for each convolution on CPUs; elsewhere, and for the highest precision, direct sums.

    Raises GraphnetError where the user asked for an algorithm that cannot be had."""
    only = "" if m.settings.target == "cpu" else "GPUs"
    only = 'precision="highest"' if m.settings.precision == "highest" else only
    batch: Batch = dict(m.batch_axes)
    constant = preparable(m.graph)
    transformed: dict[object, str] = {}  # images by the algorithm of the convolution that reads them
    decisions: list[Decision] = []

    def problem_of(n: Node) -> Problem:
        # The batch may lie innermost: in the result, or in what a weight gradient sums over.
        batched = 0 in (m.batch_axes.get(n), m.batch_axes.get(n.inputs[0]))
        kernel = n.inputs[0 if isinstance(n.op, InputGradient) else 1]
        return problem(n, m.settings.lanes, batched, kernel in constant)

    tuner = None if only else m.settings.tuner
    asked = (Question(n, p, near) for n, p in _free(m, problem_of) if len(near := _near(p)) > 1) if tuner else ()
    questions = {q.node: q for q in asked}
    times = tuner(tuple(questions.values())) if tuner else {}

    def visit(n: Node, inputs: tuple[Node, ...]) -> Node:
        new = None
        if isinstance(n.op, Convolution):
            p = problem_of(n)
            image = (inputs[0], p.window, p.padding, p.stride, p.dilation)
            p = replace(p, transformed=transformed.get(image, "") if p.gradient == "weight" else "")
            chosen, decision = _choose(n, n.op.algorithm, p, only, times.get(n, {}), n in questions)
            if not p.gradient:
                transformed[image] = chosen.name
            decisions.append(decision)
            if chosen.build is not None:
                with derived(n.sites):
                    new = chosen.build(p, inputs, batch)
        if new is None:
            with derived(n.sites):
                new = n if inputs == n.inputs else apply(n.op, *inputs)
        if n in m.batch_axes:
            batch[new] = m.batch_axes[n]
        return new

    graph = rebuild(m.graph, visit)
    return replace(m, graph=graph, batch_axes=batch).decided(*decisions)


def _free(m: Module, problem_of: Callable[[Node], Problem]) -> Iterator[tuple[Node, Problem]]:
    """The convolutions and gradients for which no algorithm is asked."""
    for n in m.graph.nodes():
        if isinstance(n.op, Convolution) and n.op.algorithm == "auto":
            yield n, problem_of(n)


def _near(p: Problem) -> tuple[str, ...]:
    """The algorithms that may be the fastest, the one of least cost first."""
    costs = sorted((a.cost(p), a.name, a.kind) for a in algorithms(p, "auto") if not a.refused(p))
    first = {kind: name for _, name, kind in reversed(costs)}
    reached = [(k, name, kind) for k, (cost, name, kind) in enumerate(costs) if cost <= REACH * costs[0][0]]
    return tuple(name for k, name, kind in reached if k < MOST or first[kind] == name)


def _choose(
    n: Node, wanted: str, p: Problem, only: str, times: Mapping[str, float], measurable: bool
) -> tuple[Algorithm, Decision]:
    """The algorithm for one node, and why. `only`: what allows nothing but direct sums, if something does. times:
    seconds that were measured; where none were of what is `measurable`, time was up."""
    name = wanted.removeprefix(PREFER)
    rows = algorithms(p, name)
    candidates = []
    for a in rows:
        why = f"{only}: direct sums only" if only and a is not DIRECT else a.refused(p)
        candidates.append(Candidate(a.name, None if why else a.cost(p), why, times.get(a.name)))
    able = [(a, c) for a, c in zip(rows, candidates, strict=True) if c.cost is not None]
    asked = [(a, c) for a, c in able if name in (a.kind, a.name)]
    if not asked and name != wanted:
        asked = [(a, c) for a, c in able if name.split()[0] == a.kind]
    if not asked and name == wanted and name != "auto":
        refused = [c for a, c in zip(rows, candidates, strict=True) if name in (a.kind, a.name)]
        why = "; ".join(f"{c.name}: {c.refused}" for c in refused)
        known = ", ".join(a.name for a in rows)
        text = why or f"there is none of this name; there are auto, {known}"
        raise GraphnetError(f"{n.op.name}: algorithm {name!r} cannot be used: {text}{where(n.sites)}")
    fastest = [(a, c) for a, c in able if c.seconds is not None]
    if fastest:
        chosen, best = min(fastest, key=lambda x: x[1].seconds or 0.0)
    else:
        chosen, best = min(asked or able, key=lambda x: x[1].cost or 0.0)
    reasons = [f"asked for {wanted!r}"] if asked else []
    if measurable:
        reasons.append(f"measured {(best.seconds or 0.0) * 1e3:.3g} ms" if fastest else "no time was left to measure")
    reasons.append(f"modelled {(best.cost or 0.0) / 1e9:.3g} Gop")
    reasons += [str(c) for a, c in able if c is not best]
    first = {a.kind: c for a, c in reversed(list(zip(rows, candidates, strict=True))) if c.refused}
    reasons += [str(c) for kind, c in first.items() if all(a.kind != kind for a, _ in able)]
    return chosen, Decision("choose_conv", n, chosen.name, "; ".join(reasons), tuple(candidates))
