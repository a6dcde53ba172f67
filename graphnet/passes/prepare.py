"""What need not be computed at every call: values of constants and of parameters that the graph does not update.

Weights relaid out or transformed for a kernel, and vectors such as scale / sqrt(variance + epsilon), are *prepared*:
computed once and kept, and computed again only when somebody has written one of their parameters (`State.version`).
Results are computed at every call, and what reads a result with them.
"""

from __future__ import annotations

from ..node import Constant, Graph, Node, Parameter


def preparable(graph: Graph) -> set[Node]:
    """The nodes, leaves among them, that depend on constants and on parameters without updates alone."""
    results = set(graph.results)
    updated = {p for p, _ in graph.updates}
    found: set[Node] = set()
    for n in graph.nodes():
        if n.op.kind == "leaf":
            fixed = isinstance(n.op, (Parameter, Constant)) and n not in updated
        else:
            fixed = n not in results and all(i in found for i in n.inputs)
        if fixed:
            found.add(n)
    return found
