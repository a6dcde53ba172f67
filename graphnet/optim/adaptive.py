"""A rate for every element, by the size of its gradients: AdaGrad, RMSProp, AdaDelta."""

from __future__ import annotations

from typing import Any

from ..node import Node
from ..ops.power import power
from ..site import located
from .common import Updates, check_fraction, check_not_negative, check_positive, check_rate, like, pairs, state


@located
def adagrad(
    params: Any, grads: Any, learning_rate: float | Node = 1e-2, epsilon: float = 1e-10, initial: float = 0.0
) -> Updates:
    """s = s + g^2, p - learning_rate * g / (sqrt(s) + epsilon), from s = initial (Duchi, Hazan, Singer 2011, in its
    diagonal form). As PyTorch's Adagrad."""
    check_rate("adagrad", learning_rate)
    check_positive("adagrad: epsilon", epsilon)
    check_not_negative("adagrad: initial", initial)
    updates: Updates = {}
    for p, g in pairs("adagrad", params, grads):
        s = state(p, "adagrad_sum", initial)
        updates[s] = s + power(g, 2)
        updates[p] = p - g * like(learning_rate, p) / (power(updates[s], 0.5) + epsilon)
    return updates


@located
def rmsprop(
    params: Any,
    grads: Any,
    learning_rate: float | Node = 1e-2,
    alpha: float = 0.99,
    epsilon: float = 1e-8,
    centered: bool = False,
    beta: float = 0.0,
) -> Updates:
    """v = alpha * v + (1 - alpha) * g^2, p - learning_rate * g / (sqrt(v) + epsilon), from v = 0 (Tieleman and Hinton
    2012, lecture 6.5).

    centered: v - m^2 instead of v, where m = alpha * m + (1 - alpha) * g: an estimate of the variance (Graves 2013,
    equations 38 to 45, where epsilon is under the root). beta: of classical momentum of the steps before they are
    multiplied by the learning rate. All as PyTorch's RMSprop."""
    check_rate("rmsprop", learning_rate)
    check_fraction("rmsprop: alpha", alpha)
    check_fraction("rmsprop: beta", beta)
    check_positive("rmsprop: epsilon", epsilon)
    updates: Updates = {}
    for p, g in pairs("rmsprop", params, grads):
        v = state(p, "rmsprop_v")
        spread = updates[v] = v * alpha + power(g, 2) * (1 - alpha)
        if centered:
            m = state(p, "rmsprop_m")
            updates[m] = m * alpha + g * (1 - alpha)
            spread = spread - power(updates[m], 2)
        step = g / (power(spread, 0.5) + epsilon)
        if beta:
            velocity = state(p, "velocity")
            step = updates[velocity] = velocity * beta + step
        updates[p] = p - step * like(learning_rate, p)
    return updates


@located
def adadelta(
    params: Any, grads: Any, learning_rate: float | Node = 1.0, rho: float = 0.9, epsilon: float = 1e-6
) -> Updates:
    """v = rho * v + (1 - rho) * g^2, d = sqrt(u + epsilon) / sqrt(v + epsilon) * g, u = rho * u + (1 - rho) * d^2,
    p - learning_rate * d, from u = v = 0 (Zeiler 2012, algorithm 1, whose learning rate is 1)."""
    check_rate("adadelta", learning_rate)
    check_fraction("adadelta: rho", rho)
    check_positive("adadelta: epsilon", epsilon)
    updates: Updates = {}
    for p, g in pairs("adadelta", params, grads):
        v, u = state(p, "adadelta_v"), state(p, "adadelta_u")
        updates[v] = v * rho + power(g, 2) * (1 - rho)
        step = power(u + epsilon, 0.5) / power(updates[v] + epsilon, 0.5) * g
        updates[u] = u * rho + power(step, 2) * (1 - rho)
        updates[p] = p - step * like(learning_rate, p)
    return updates
