"""RNN, GRU and LSTM: `graphnet.recurrent` has their conventions; here are layouts and names of activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import graphnet as gn

from ..node import Node
from .call import Call
from .table import converts

Activation = Callable[[Node], Node]


@converts("RNN")
def rnn(c: Call) -> list[Node]:
    x, settings = _settings(c, states=1, activations=1)
    return _laid_out(c, *gn.rnn(x, c[1], c[2], c.get(3), **settings))


@converts("GRU")
def gru(c: Call) -> list[Node]:
    x, settings = _settings(c, states=1, activations=2)
    settings["linear_before_reset"] = bool(c.attribute("linear_before_reset", 0))
    return _laid_out(c, *gn.gru(x, c[1], c[2], c.get(3), **settings))


@converts("LSTM")
def lstm(c: Call) -> list[Node]:
    x, settings = _settings(c, states=2, activations=3)
    settings["input_forget"] = bool(c.attribute("input_forget", 0))
    y, h, cell = gn.lstm(x, c[1], c[2], c.get(3), peepholes=c.get(7), **settings)
    return _laid_out(c, y, h, cell)


def _settings(c: Call, states: int, activations: int) -> tuple[Node, dict[str, Any]]:
    """x (T, N, I), and what the three have in common. With layout 1 the batch comes first everywhere."""
    batch_first = bool(c.attribute("layout", 0))
    given = [c.get(5 + k) for k in range(states)]
    first = [gn.transpose(s, (1, 0, 2)) if s is not None and batch_first else s for s in given]
    settings = {
        "sequence_lengths": c.get(4),
        "direction": c.attribute("direction"),
        "clip": c.attribute("clip"),
        **dict(zip(("initial_h", "initial_c"), first, strict=False)),
    }
    if c.has("activations"):
        names = c.attribute("activations")
        alphas, betas = iter(c.attribute("activation_alpha") or ()), iter(c.attribute("activation_beta") or ())
        functions = [_activation(c, name, alphas, betas) for name in names]
        settings["activations"] = [functions[i : i + activations] for i in range(0, len(functions), activations)]
    return gn.transpose(c[0], (1, 0, 2)) if batch_first else c[0], settings


def _laid_out(c: Call, y: Node, *states: Node) -> list[Node]:
    """y (T, D, N, H) and states (D, N, H), or with the batch first."""
    if not c.attribute("layout", 0):
        return [y, *states]
    return [gn.transpose(y, (2, 0, 1, 3)), *(gn.transpose(s, (1, 0, 2)) for s in states)]


def _activation(c: Call, name: str, alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    """By its name in any case. Those with settings take the next ones of the lists, else their defaults."""
    match name.lower():
        case "relu":
            return gn.relu
        case "tanh":
            return gn.tanh
        case "sigmoid":
            return gn.sigmoid
        case "softplus":
            return gn.softplus
        case "softsign":
            return lambda x: x / (1.0 + abs(x))
        case "leakyrelu":
            slope = next(alphas, 0.01)
            return lambda x: gn.leaky_relu(x, slope)
        case "thresholdedrelu":
            threshold = next(alphas, 1.0)
            return lambda x: gn.where(x > threshold, x, 0.0)
        case "elu":
            scale = next(alphas, 1.0)
            return lambda x: gn.where(x > 0.0, x, scale * gn.expm1(gn.minimum(x, 0.0)))
        case "affine":
            a, b = next(alphas, 1.0), next(betas, 0.0)
            return lambda x: a * x + b
        case "scaledtanh":
            a, b = next(alphas, 1.0), next(betas, 1.0)
            return lambda x: a * gn.tanh(b * x)
        case "hardsigmoid":
            a, b = next(alphas, 0.2), next(betas, 0.5)
            return lambda x: gn.maximum(gn.minimum(a * x + b, 1.0), 0.0)
    c.refuse(f"activation {name!r} is not supported")
