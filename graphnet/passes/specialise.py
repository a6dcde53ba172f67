"""Fills in the named sizes, and notes which axis of each value carries the batch."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np

from ..body import with_sizes
from ..errors import ShapeError
from ..module import Module
from ..node import Graph, Node, apply, constant, make_graph
from ..ops.broadcast import Size
from ..site import derived, where
from ..types import Dim, substitute


def specialise(m: Module) -> Module:
    """The graph with every symbolic extent replaced by its number from `m.settings.sizes`.

    Raises ShapeError, naming the op, where a size makes an extent empty or shapes disagree."""
    sizes = dict(m.settings.sizes)
    batch = batch_name(m.graph)
    new: dict[Node, Node] = {}
    batch_axes: dict[Node, int] = {}

    def visit(n: Node) -> Node:
        if isinstance(n.op, Size):
            value = substitute(n.op.dim, sizes)
            return constant(np.asarray(value, dtype=n.dtype))
        if not sizes:
            return n
        return apply(with_sizes(n.op, sizes), *(new[i] for i in n.inputs))

    for n in m.graph.nodes():
        with derived(n.sites):
            new[n] = visit(n)
        if any(isinstance(e, int) and e < 0 for e in new[n].shape):
            raise ShapeError(f"{n.op.name}: sizes {sizes} give the shape {list(new[n].shape)}{where(n.sites)}")
        if batch:
            axes = [a for a, e in enumerate(n.shape) if e == Dim.named(batch)]
            if len(axes) == 1:
                batch_axes[new[n]] = axes[0]
    g = m.graph
    for p, _ in g.updates:
        new.setdefault(p, p)
    graph = make_graph(
        tuple(new[n] for n in g.outputs), tuple(new[n] for n in g.inputs), tuple((new[p], new[v]) for p, v in g.updates)
    )
    return replace(m, graph=graph, batch_axes=batch_axes)


def batch_name(graph: Graph) -> str:
    """The symbolic size that leads most inputs, or ""."""
    leading: Counter[str] = Counter()
    for n in graph.inputs:
        if n.rank and isinstance(n.shape[0], Dim) and len(n.shape[0].names) == 1:
            leading[next(iter(n.shape[0].names))] += 1
    return leading.most_common(1)[0][0] if leading else ""
