"""Gradient descent: plain, with momentum in both forms, Nesterov's."""

from __future__ import annotations

from typing import Any

from ..errors import GraphnetError
from ..node import Node
from ..site import located
from .common import Updates, check_fraction, check_rate, like, pairs, state


@located
def sgd(params: Any, grads: Any, learning_rate: float | Node) -> Updates:
    """p - learning_rate * g."""
    check_rate("sgd", learning_rate)
    return {p: p - g * like(learning_rate, p) for p, g in pairs("sgd", params, grads)}


@located
def momentum(
    params: Any, grads: Any, learning_rate: float | Node, beta: float = 0.9, dampening: float = 0.0
) -> Updates:
    """v = beta * v + (1 - dampening) * g, p - learning_rate * v, from v = 0.

    dampening 0 is the classical form (Polyak 1964); dampening = beta makes v the moving average of the
    gradients. (PyTorch starts from v = g instead, which differs in the second form.)"""
    check_rate("momentum", learning_rate)
    check_fraction("momentum: beta", beta)
    if not (isinstance(dampening, (int, float)) and 0 <= dampening <= 1):
        raise GraphnetError(f"momentum: dampening must be in [0, 1], not {dampening!r}")
    updates: Updates = {}
    for p, g in pairs("momentum", params, grads):
        v = state(p, "velocity")
        new = v * beta + (g if dampening == 0 else g * (1 - dampening))
        updates[v] = new
        updates[p] = p - new * like(learning_rate, p)
    return updates


@located
def nesterov(params: Any, grads: Any, learning_rate: float | Node, beta: float = 0.9) -> Updates:
    """v = beta * v + g, p - learning_rate * (g + beta * v), from v = 0: Nesterov's accelerated gradient in the variable
    p + beta * (last step), at which g is taken (Sutskever, Martens, Dahl, Hinton 2013; Bengio and others 2013, section
    3.1). As PyTorch's SGD(nesterov=True)."""
    check_rate("nesterov", learning_rate)
    check_fraction("nesterov: beta", beta)
    updates: Updates = {}
    for p, g in pairs("nesterov", params, grads):
        v = state(p, "velocity")
        updates[v] = v * beta + g
        updates[p] = p - (g + updates[v] * beta) * like(learning_rate, p)
    return updates
