"""Graphs for other libraries' algorithms: networkx. Imported on request, since networkx takes a while to load."""

from __future__ import annotations

import networkx

from .node import Graph


def to_networkx(graph: Graph) -> networkx.MultiDiGraph:
    """The graph as a networkx.MultiDiGraph: nodes are `Node` objects with attributes op, kind, shape, dtype and
    lines; an edge leads from an input to its user, with attribute `position` among the user's inputs. Updates are
    edges from the new value to the parameter, with attribute `update`."""
    out = networkx.MultiDiGraph()
    for n in graph.nodes():
        lines = tuple(map(str, n.sites))
        out.add_node(n, op=n.op.name, kind=n.op.kind, shape=n.shape, dtype=n.dtype, lines=lines)
    for n in graph.nodes():
        for position, i in enumerate(n.inputs):
            out.add_edge(i, n, position=position)
    for p, new in graph.updates:
        out.add_edge(new, p, update=True)
    return out
