"""Optimisers: graphs of the parameters' new values, elementwise throughout so that they fuse.

Each takes parameters and gradients in the same structure (a node, or a list, tuple or dict) and returns
`{parameter: new value}` for `gn.compile(updates=...)`, the state it keeps included.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from . import init
from .errors import GraphnetError, ShapeError
from .node import Node, Parameter, parameter
from .ops.elementwise import cast
from .ops.power import power
from .site import located

Updates = dict[Node, Node]


@located
def sgd(params: Any, grads: Any, learning_rate: float | Node) -> Updates:
    """p - learning_rate * g."""
    _rate("sgd", learning_rate)
    return {p: p - g * _like(learning_rate, p) for p, g in _pairs("sgd", params, grads)}


@located
def momentum(
    params: Any, grads: Any, learning_rate: float | Node, beta: float = 0.9, dampening: float = 0.0
) -> Updates:
    """v = beta * v + (1 - dampening) * g, p - learning_rate * v, from v = 0.

    dampening 0 is the classical form (Polyak 1964); dampening = beta makes v the moving average of the
    gradients. (PyTorch starts from v = g instead, which differs in the second form.)"""
    _rate("momentum", learning_rate)
    _fraction("momentum: beta", beta)
    if not (isinstance(dampening, (int, float)) and 0 <= dampening <= 1):
        raise GraphnetError(f"momentum: dampening must be in [0, 1], not {dampening!r}")
    updates: Updates = {}
    for p, g in _pairs("momentum", params, grads):
        v = _state(p, "velocity")
        new = v * beta + (g if dampening == 0 else g * (1 - dampening))
        updates[v] = new
        updates[p] = p - new * _like(learning_rate, p)
    return updates


@located
def adam(
    params: Any,
    grads: Any,
    learning_rate: float | Node = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
) -> Updates:
    """Adam (Kingma and Ba 2015): m and v are moving averages of g and g^2, divided by 1 - beta^t;
    p - learning_rate * m' / (sqrt(v') + epsilon).

    The correction c = 1 - beta^t is kept as state, in the form c = beta * c + (1 - beta), which loses no
    accuracy in float32. Both corrections are taken out of the loop over elements, as the paper proposes at
    the end of section 2: the step is a * m / (sqrt(v) + e) with a = learning_rate * sqrt(c2) / c1 and
    e = epsilon * sqrt(c2)."""
    _rate("adam", learning_rate)
    _fraction("adam: beta1", beta1)
    _fraction("adam: beta2", beta2)
    if not (isinstance(epsilon, (int, float)) and 0 < epsilon < math.inf):
        raise GraphnetError(f"adam: epsilon must be a finite number > 0, not {epsilon!r}")
    updates: Updates = {}
    for p, g in _pairs("adam", params, grads):
        c1, c2 = (_correction(beta, p.dtype, updates) for beta in (beta1, beta2))
        root = power(c2, 0.5)
        rate, small = root * _like(learning_rate, p) / c1, root * epsilon
        m, v = _state(p, "adam_m"), _state(p, "adam_v")
        updates[m] = m * beta1 + g * (1 - beta1)
        updates[v] = v * beta2 + power(g, 2) * (1 - beta2)
        updates[p] = p - rate * updates[m] / (power(updates[v], 0.5) + small)
    return updates


def _correction(beta: float, dtype: str, updates: Updates) -> Node:
    """1 - beta^t at step t = 1, 2, ..., one scalar of state for all parameters of a dtype."""
    c = parameter(f"adam.correction_{beta}" + ("" if dtype == "float32" else f"_{dtype}"), (), init.zeros(), dtype)
    if c not in updates:
        updates[c] = c * beta + (1 - beta)
    return updates[c]


def _state(p: Node, role: str) -> Node:
    """A value that the optimiser keeps for a parameter, zero at first."""
    return parameter(f"{p.name}.{role}", p.shape, init.zeros(), p.dtype)


def _pairs(op: str, params: Any, grads: Any) -> Iterator[tuple[Node, Node]]:
    """Parameters with their gradients, checked before any is yielded."""
    if isinstance(params, Node):
        params, grads = [params], [grads]
    if isinstance(params, Mapping):
        if not isinstance(grads, Mapping) or set(grads) != set(params):
            raise GraphnetError(f"{op}: params is a dict, so grads must be one with the same keys")
        pairs = [(params[k], grads[k]) for k in params]
    else:
        params, grads = list(params), list(grads)
        if len(params) != len(grads):
            raise GraphnetError(f"{op}: {len(params)} parameters but {len(grads)} gradients")
        pairs = list(zip(params, grads, strict=True))
    for p, g in pairs:
        if not isinstance(p, Node) or not isinstance(p.op, Parameter):
            raise GraphnetError(f"{op}: {p!r} is not a parameter; declare it with gn.parameter")
        if not isinstance(g, Node) or g.type != p.type:
            raise ShapeError(f"{op}: the gradient of parameter {p.name!r}, {p.type}, is {g!r}")
    if len({p for p, _ in pairs}) != len(pairs):
        raise GraphnetError(f"{op}: a parameter is listed twice")
    return iter(pairs)


def _rate(op: str, learning_rate: Any) -> None:
    if isinstance(learning_rate, Node):
        if learning_rate.shape != () or not learning_rate.type.is_float:
            raise ShapeError(f"{op}: the learning rate must be a float scalar, not {learning_rate!r}")
    elif (
        isinstance(learning_rate, bool)
        or not isinstance(learning_rate, (int, float))
        or not 0 <= learning_rate < math.inf
    ):
        raise GraphnetError(f"{op}: the learning rate must be a finite number >= 0, not {learning_rate!r}")


def _fraction(what: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise GraphnetError(f"{what} must be in [0, 1), not {value!r}")


def _like(rate: float | Node, p: Node) -> Any:
    """A learning rate in a parameter's dtype."""
    return cast(rate, p.dtype) if isinstance(rate, Node) else float(rate)
