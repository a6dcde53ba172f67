"""Replaces composite ops by the graphs that define them, until only ops with a body are left, and those that a later
pass expands, knowing sizes."""

from __future__ import annotations

from ..module import Module
from ..node import Node
from ..ops.reduce import CentredSquares
from ..rewrite import decisions, rewrite
from ..site import derived

LATER = (CentredSquares,)


def expand(m: Module) -> Module:
    graph, firings = rewrite(m.graph, _expansion)
    return m.with_graph(graph).decided(*decisions("expand", firings))


def _expansion(node: Node) -> tuple[Node, str] | None:
    if node.op.kind != "composite" or isinstance(node.op, LATER):
        return None
    with derived(node.sites):
        return node.op.graph(*node.inputs), f"{node.op.name} as the graph that defines it"
