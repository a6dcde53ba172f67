"""Symbolic differentiation, reverse mode: graph in, graph out.

`vjp` walks the graph from outputs to inputs once. It keeps one cotangent for every node that lies between
`wrt` and the outputs, hands it to the op's `gradient`, and adds up what comes back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import DTypeError, GradientError, ShapeError
from .node import Node, constant, toposort
from .ops.arithmetic import add
from .site import derived, located, where


@located
def vjp(outputs: Sequence[Node], wrt: Sequence[Node], cotangents: Sequence[Node]) -> list[Node | None]:
    """For each node of `wrt`, the sum over the outputs of cotangent * d output / d node; None where
    no derivative arrives."""
    for out, g in zip(outputs, cotangents, strict=True):
        if out.type != g.type:
            raise ShapeError(f"the cotangent {g!r} has not the type of its output {out!r}")
    order = toposort(outputs)
    active = set(wrt)  # nodes whose cotangent can reach `wrt`
    for node in order:
        if node.type.is_float and any(i in active for i in node.inputs):
            active.add(node)
    total: dict[Node, Node] = {}

    def accumulate(node: Node, g: Node) -> None:
        total[node] = add(total[node], g) if node in total else g

    for out, g in zip(outputs, cotangents, strict=True):
        if out in active:
            accumulate(out, g)
    for node in reversed(order):
        if node not in total or not any(i in active for i in node.inputs):
            continue
        with derived(node.sites, "gradient"):
            for i, part in zip(node.inputs, _partials(node, total[node]), strict=True):
                if part is not None and i in active:
                    accumulate(i, part)
    return [total.get(node) for node in wrt]


def _partials(node: Node, cotangent: Node) -> Sequence[Node | None]:
    """The op's own gradient, checked."""
    try:
        found = node.op.gradient(node, cotangent)
    except GradientError as e:
        raise GradientError(f"{e}: {node!r}{where(node.sites)}") from None
    for i, g in zip(node.inputs, found, strict=True):
        if g is not None and g.type != i.type:
            raise GradientError(f"gradient of {node.op.name} gave {g.type} for an input of {i.type}: a bug in the op")
    return found


@located
def gradient(loss: Node, wrt: Any) -> Any:
    """The derivative of a scalar `loss` by each node of `wrt`: a node, or a list, tuple or dict of nodes.
    Gives nodes in the same structure; they are ordinary graph and can be differentiated again.

    Raises GradientError for a node that the loss does not depend on."""
    if not isinstance(loss, Node):
        raise GradientError(f"gradient: the loss must be a graph node, not {type(loss).__name__}")
    if loss.shape != ():
        raise GradientError(f"gradient: the loss must be a scalar, but {loss!r} is {loss.type}{where(loss.sites)}")
    if not loss.type.is_float:
        raise GradientError(f"gradient: the loss must be float32 or float64, but {loss!r} is {loss.type}")
    named = _named(wrt)
    for name, node in named:
        if not isinstance(node, Node):
            raise GradientError(f"gradient: {name} is not a graph node but {type(node).__name__}")
        if not node.type.is_float:
            raise DTypeError(f"gradient: {name} is {node.type}; only floats have derivatives{where(node.sites)}")
    nodes = [node for _, node in named]
    with derived(loss.sites, "gradient"):
        one = constant(1.0, loss.dtype)
    found = vjp([loss], nodes, [one])
    reached = set(toposort([loss])) if None in found else set()
    for (name, node), g in zip(named, found, strict=True):
        if g is None:
            how = "depends only without derivative on" if node in reached else "does not depend on"
            raise GradientError(f"gradient: the loss {loss!r} {how} {name}, {node!r}{where(node.sites)}")
    if isinstance(wrt, Node):
        return found[0]
    if isinstance(wrt, Mapping):
        return dict(zip(wrt, found, strict=True))
    return tuple(found) if isinstance(wrt, tuple) else found


def _named(wrt: Any) -> list[tuple[str, Any]]:
    """The nodes of `wrt` with names for messages."""
    if isinstance(wrt, Node):
        return [(wrt.name, wrt)]
    if isinstance(wrt, Mapping):
        return [(repr(k), v) for k, v in wrt.items()]
    if isinstance(wrt, (list, tuple)):
        return [(v.name if isinstance(v, Node) else f"item {i}", v) for i, v in enumerate(wrt)]
    raise GradientError(f"gradient: wrt must be a node, or a list, tuple or dict of nodes, not {type(wrt).__name__}")
