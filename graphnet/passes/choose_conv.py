"""Which algorithm computes each convolution and gradient: the cheapest of those that can, by their own models.

The costs are in floating-point operations; a byte between kernels counts as some of them, on every machine alike,
so that the choice (and with it the bits of the result) never depends on a measurement. What every algorithm was
expected to cost, or why it was refused, stays in the record.
"""

from __future__ import annotations

from dataclasses import replace

from ..convolution import Algorithm, Batch, Problem, problem
from ..errors import GraphnetError
from ..fft_conv import ERROR, fft_algorithms
from ..module import Candidate, Decision, Module
from ..node import Node, apply, rebuild
from ..ops.conv import PREFER, Convolution, InputGradient
from ..site import derived, where
from ..winograd_conv import WINOGRAD
from .prepare import preparable

DIRECT = Algorithm("direct", 1e-5, lambda p: None, lambda p: p.direct, None, groups=True, axes=3)
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

    def visit(n: Node, inputs: tuple[Node, ...]) -> Node:
        new = None
        if isinstance(n.op, Convolution):
            # The batch may lie innermost: in the result, or in what a weight gradient sums over.
            batched = 0 in (m.batch_axes.get(n), m.batch_axes.get(n.inputs[0]))
            kernel = n.inputs[0 if isinstance(n.op, InputGradient) else 1]
            p = problem(n, m.settings.lanes, batched, kernel in constant)
            image = (inputs[0], p.window, p.padding, p.stride, p.dilation)
            p = replace(p, transformed=transformed.get(image, "") if p.gradient == "weight" else "")
            chosen, decision = _choose(n, n.op.algorithm, p, only)
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


def _choose(n: Node, wanted: str, p: Problem, only: str) -> tuple[Algorithm, Decision]:
    """The algorithm for one node, and why. `only`: what allows nothing but direct sums, if something does."""
    name = wanted.removeprefix(PREFER)
    rows = algorithms(p, name)
    candidates = []
    for a in rows:
        why = f"{only}: direct sums only" if only and a is not DIRECT else a.refused(p)
        candidates.append(Candidate(a.name, None if why else a.cost(p), why))
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
    chosen, best = min(asked or able, key=lambda x: x[1].cost or 0.0)
    reasons = [f"asked for {wanted!r}"] if asked else []
    reasons.append(f"modelled {(best.cost or 0.0) / 1e9:.3g} Gop")
    reasons += [str(c) for a, c in able if c is not best]
    first = {a.kind: c for a, c in reversed(list(zip(rows, candidates, strict=True))) if c.refused}
    reasons += [str(c) for kind, c in first.items() if all(a.kind != kind for a, _ in able)]
    return chosen, Decision("choose_conv", n, chosen.name, "; ".join(reasons), tuple(candidates))
