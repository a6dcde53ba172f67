"""Symbolic differentiation, reverse mode: graph in, graph out.

`vjp` walks the graph from outputs to inputs once. It keeps one cotangent for every node that lies between
`wrt` and the outputs, hands it to the op's `gradient`, and adds up what comes back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .errors import DTypeError, GradientError, ShapeError
from .node import Node, constant, toposort
from .op import SeveralResults
from .ops.arithmetic import add
from .ops.broadcast import broadcast_to
from .site import derived, located, where
from .types import Type


@located
def vjp(outputs: Sequence[Node], wrt: Sequence[Node], cotangents: Sequence[Node]) -> list[Node | None]:
    """For each node of `wrt`, the sum over the outputs of cotangent * d output / d node; None where
    no derivative arrives."""
    for out, g in zip(outputs, cotangents, strict=True):
        if out.type != g.type:
            raise ShapeError(f"the cotangent {g!r} has not the type of its output {out!r}")
        check_float("vjp", out)
    order = toposort(outputs)
    active = set(wrt)  # nodes whose cotangent can reach `wrt`
    together: dict[object, list[Node]] = {}  # the results of one op, in this order
    for node in order:
        if node.type.is_float and any(i in active for i in node.inputs):
            active.add(node)
        if isinstance(node.op, SeveralResults):
            together.setdefault(_family(node), []).append(node)
    total: dict[Node, Node] = {}

    def accumulate(node: Node, g: Node) -> None:
        total[node] = add(total[node], g) if node in total else g

    for out, g in zip(outputs, cotangents, strict=True):
        if out in active:
            accumulate(out, g)
    for node in reversed(order):
        if not any(i in active for i in node.inputs):
            continue
        results = together[_family(node)] if isinstance(node.op, SeveralResults) else [node]
        given = [n for n in results if n in total]
        if node is not results[0] or not given:  # all cotangents are complete at the first result
            continue
        with derived(node.sites, "gradient"):
            for i, part in zip(node.inputs, _partials(given, [total[n] for n in given]), strict=True):
                if part is not None and i in active:
                    accumulate(i, part)
    return [total.get(node) for node in wrt]


def _family(node: Node) -> object:
    """The same for all results of one op on the same inputs."""
    assert isinstance(node.op, SeveralResults)
    return replace(node.op, result=0), node.inputs


def _partials(nodes: Sequence[Node], cotangents: Sequence[Node]) -> Sequence[Node | None]:
    """The op's own gradient, checked. Several nodes are several results of one op."""
    node = nodes[0]
    try:
        if isinstance(node.op, SeveralResults):
            each = {n.op.result: g for n, g in zip(nodes, cotangents, strict=True) if isinstance(n.op, SeveralResults)}
            found = node.op.gradients(node.inputs, each)
        else:
            found = node.op.gradient(node, cotangents[0])
    except GradientError as e:
        raise GradientError(f"{e}: {node!r}{where(node.sites)}") from None
    for i, g in zip(node.inputs, found, strict=True):
        if g is not None and g.type != i.type:
            raise GradientError(f"gradient of {node.op.name} gave {g.type} for an input of {i.type}: a bug in the op")
    return found


def check_float(what: str, node: Node) -> None:
    """Raises GradientError for the derivative of integers."""
    if not node.type.is_float:
        raise GradientError(
            f"{what}: {node!r} has no derivative: {node.op.name} gives {node.dtype}, not a float{where(node.sites)}"
        )


def obstacle(output: Node, wrt: Node) -> Node | None:
    """The first node between the two through which no derivative passes; None if there is nothing between them."""
    reached = {wrt}
    for node in toposort([output]):
        through = [k for k, i in enumerate(node.inputs) if i in reached]
        if node in reached or not through:
            continue
        if not node.type.is_float:
            return node
        with derived(node.sites, "gradient"):
            found = _partials([node], [zeros(node.type)])
        if all(found[k] is None for k in through):
            return node
        reached.add(node)
    return None


def zeros(t: Type) -> Node:
    """Zero, of any type."""
    return broadcast_to(constant(0, t.dtype), t.shape)


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
        raise GradientError(f"gradient: the loss must be float, but {loss!r} is {loss.type}{where(loss.sites)}")
    named = named_nodes("gradient", wrt)
    nodes = [node for _, node in named]
    with derived(loss.sites, "gradient"):
        one = constant(1.0, loss.dtype)
    found = vjp([loss], nodes, [one])
    for (name, node), g in zip(named, found, strict=True):
        if g is None:
            at = obstacle(loss, node)
            if at is None:
                what = f"{name}, {node!r}{where(node.sites)}"
                raise GradientError(f"gradient: the loss {loss!r} does not depend on {what}")
            raise GradientError(
                f"gradient: the loss depends only without derivative on {name}, {node!r}: nothing passes through "
                f"{at.op.name}, {at!r}{where(at.sites)}"
            )
    return like(wrt, found)


def like(wrt: Any, found: Sequence[Any]) -> Any:
    """Values in the structure of `wrt`."""
    if isinstance(wrt, Node):
        return found[0]
    if isinstance(wrt, Mapping):
        return dict(zip(wrt, found, strict=True))
    return tuple(found) if isinstance(wrt, tuple) else found


def named_nodes(what: str, wrt: Any) -> list[tuple[str, Node]]:
    """The nodes of `wrt`, which must have derivatives, with names for messages."""
    if isinstance(wrt, Node):
        named = [(wrt.name, wrt)]
    elif isinstance(wrt, Mapping):
        named = [(repr(k), v) for k, v in wrt.items()]
    elif isinstance(wrt, (list, tuple)):
        named = [(v.name if isinstance(v, Node) else f"item {i}", v) for i, v in enumerate(wrt)]
    else:
        raise GradientError(f"{what}: wrt must be a node, or a list, tuple or dict of nodes, not {type(wrt).__name__}")
    for name, node in named:
        if not isinstance(node, Node):
            raise GradientError(f"{what}: {name} is not a graph node but {type(node).__name__}")
        if not node.type.is_float:
            raise DTypeError(f"{what}: {name} is {node.type}; only floats have derivatives{where(node.sites)}")
    return named
