"""Whether a graph is well formed: what every pass must leave behind, and every parse must make."""

from __future__ import annotations

from weakref import WeakSet

from .errors import GraphnetError, VerifyError
from .node import Graph, Input, Node, Parameter
from .site import where
from .types import Type


def verify(graph: Graph) -> None:
    """Raises VerifyError unless every node has the type that its op infers from its inputs, comes after
    them, and the leaves are where they belong."""
    done: set[Node] = set()
    listed = set(graph.inputs)
    if len(listed) != len(graph.inputs):
        raise VerifyError("an input is listed twice")
    for n in graph.nodes():
        for i in n.inputs:
            if i not in done:
                raise VerifyError(f"{n!r} uses {i!r}, which comes after it: a cycle")
        done.add(n)
        _check_type(n)
        if isinstance(n.op, Input) and n not in listed:
            raise VerifyError(f"{n!r} is needed but not among the inputs{where(n.sites)}")
    for n in graph.inputs:
        if not isinstance(n.op, Input):
            raise VerifyError(f"{n!r} is among the inputs but is no input")
    seen: set[Node] = set()
    for p, new in graph.updates:
        if not isinstance(p.op, Parameter):
            raise VerifyError(f"the update of {p!r}, which is no parameter")
        if p in seen:
            raise VerifyError(f"parameter {p.name!r} is updated twice")
        seen.add(p)
        if new.type != p.type:
            raise VerifyError(f"parameter {p.name!r} is {p.type}, its new value {new.type}{where(new.sites)}")


_right: WeakSet[Node] = WeakSet()  # nodes that had the type that their op infers: nodes do not change


def _check_type(n: Node) -> None:
    if n in _right:
        return
    if not isinstance(n.type, Type):
        raise VerifyError(f"{n.op.name} has no type but {n.type!r}")
    try:
        t = n.op.infer(*(i.type for i in n.inputs))
    except GraphnetError as e:
        raise VerifyError(f"{n!r} does not accept its inputs: {e}{where(n.sites)}") from None
    if t != n.type:
        raise VerifyError(f"{n!r} should be {t}{where(n.sites)}")
    _right.add(n)
