"""Penalties to add to a loss, and bounds for gradients. Both take nodes in nested lists, tuples and dicts."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from ..errors import GraphnetError
from ..node import Node
from ..ops.arithmetic import add, maximum, minimum
from ..ops.broadcast import sum
from ..ops.elementwise import cast
from ..ops.power import power
from ..site import located
from ..tree import leaves, with_leaves
from .common import check_not_negative, check_positive


@located
def l1(params: Any, c: float) -> Node:
    """c * sum of |p|. Its derivative at 0 is 0."""
    check_not_negative("l1: c", c)
    return _total("l1", params, abs) * float(c)


@located
def l2(params: Any, c: float) -> Node:
    """c / 2 * sum of p^2, whose gradient is c * p: what others call a weight decay of c."""
    check_not_negative("l2: c", c)
    return _total("l2", params, lambda p: power(p, 2)) * (float(c) / 2)


@located
def elastic_net(params: Any, c1: float, c2: float) -> Node:
    """c1 * sum of |p| + c2 / 2 * sum of p^2 (Zou and Hastie 2005)."""
    return l1(params, c1) + l2(params, c2)


@located
def global_norm(grads: Any) -> Node:
    """The root of the sum of the squares of all elements of all gradients."""
    return power(_total("global_norm", grads, lambda g: power(g, 2)), 0.5)


@located
def clip_by_global_norm(grads: Any, limit: float) -> Any:
    """g * limit / max(norm, limit), norm being that of all gradients together: the direction stays (Pascanu, Mikolov,
    Bengio 2013). The gradients in their structure."""
    check_positive("clip_by_global_norm: limit", limit)
    factor = float(limit) / maximum(global_norm(grads), float(limit))
    return with_leaves(grads, (g * cast(factor, g.dtype) for g in leaves(grads)))


@located
def clip_by_value(grads: Any, limit: float) -> Any:
    """Every element of every gradient in [-limit, limit]. The gradients in their structure."""
    check_positive("clip_by_value: limit", limit)
    nodes = _nodes("clip_by_value", grads)
    return with_leaves(grads, (minimum(maximum(g, -float(limit)), float(limit)) for g in nodes))


def _total(what: str, tree: Any, f: Callable[[Node], Node]) -> Node:
    """The sum of f over all elements, in the widest dtype."""
    nodes = _nodes(what, tree)
    wide = "float64" if any(n.dtype == "float64" for n in nodes) else nodes[0].dtype
    return reduce(add, (cast(sum(f(n)), wide) for n in nodes))


def _nodes(what: str, tree: Any) -> list[Node]:
    nodes = leaves(tree)
    for n in nodes:
        if not isinstance(n, Node) or not n.type.is_float:
            raise GraphnetError(f"{what}: {n!r} is not a graph node of floats")
    if not nodes:
        raise GraphnetError(f"{what}: no nodes at all")
    return nodes
