"""Adam, and AdamW."""

from __future__ import annotations

from typing import Any

from .. import init
from ..node import Node, parameter
from ..ops.power import power
from ..site import located
from .common import Updates, check_fraction, check_not_negative, check_positive, check_rate, like, pairs, state


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
    return _adam("adam", params, grads, learning_rate, beta1, beta2, epsilon, 0.0)


@located
def adamw(
    params: Any,
    grads: Any,
    learning_rate: float | Node = 1e-3,
    beta1: float = 0.9,
    beta2: float = 0.999,
    epsilon: float = 1e-8,
    weight_decay: float = 1e-2,
) -> Updates:
    """Adam with weight decay that does not pass through the moments: Adam's step from (1 - learning_rate *
    weight_decay) * p (Loshchilov and Hutter 2019, algorithm 2, with the product of rate and decay as in PyTorch's
    AdamW)."""
    check_not_negative("adamw: weight_decay", weight_decay)
    return _adam("adamw", params, grads, learning_rate, beta1, beta2, epsilon, weight_decay)


def _adam(
    op: str,
    params: Any,
    grads: Any,
    learning_rate: float | Node,
    beta1: float,
    beta2: float,
    epsilon: float,
    weight_decay: float,
) -> Updates:
    check_rate(op, learning_rate)
    check_fraction(f"{op}: beta1", beta1)
    check_fraction(f"{op}: beta2", beta2)
    check_positive(f"{op}: epsilon", epsilon)
    updates: Updates = {}
    for p, g in pairs(op, params, grads):
        c1, c2 = (_correction(beta, p.dtype, updates) for beta in (beta1, beta2))
        root = power(c2, 0.5)
        rate, small = root * like(learning_rate, p) / c1, root * epsilon
        m, v = state(p, "adam_m"), state(p, "adam_v")
        updates[m] = m * beta1 + g * (1 - beta1)
        updates[v] = v * beta2 + power(g, 2) * (1 - beta2)
        old = p * (1.0 - like(learning_rate, p) * weight_decay) if weight_decay else p
        updates[p] = old - rate * updates[m] / (power(updates[v], 0.5) + small)
    return updates


def _correction(beta: float, dtype: str, updates: Updates) -> Node:
    """1 - beta^t at step t = 1, 2, ..., one scalar of state for all parameters of a dtype."""
    c = parameter(f"adam.correction_{beta}" + ("" if dtype == "float32" else f"_{dtype}"), (), init.zeros(), dtype)
    if c not in updates:
        updates[c] = c * beta + (1 - beta)
    return updates[c]
