"""ai.onnx.preview.training: gradients, and the updates of optimizers."""

from __future__ import annotations

from collections.abc import Sequence

import graphnet as gn

from ..node import Node
from .call import Call
from .table import converts

TRAINING = "ai.onnx.preview.training"


@converts("Gradient", domain=TRAINING)
def gradient(c: Call) -> list[Node]:
    """dy/dx for each x, of values of the same graph that are given as inputs too."""
    xs = [c.lookup(name) for name in c.attribute("xs")]
    given = c.nodes[: len(xs)]
    c.refuse_unless(all(a is b for a, b in zip(xs, given, strict=True)), "derivatives at other values than the graph's")
    return list(gn.gradient(gn.sum(c.lookup(c.attribute("y"))), xs))


def _groups(c: Call, count: int) -> list[tuple[Node, ...]]:
    """The inputs after learning rate and step: all parameters, then all gradients, ... by parameter."""
    n = (len(c) - 2) // count
    return [tuple(c[2 + k * n + i] for k in range(count)) for i in range(n)]


def _transposed(rows: Sequence[tuple[Node, ...]]) -> list[Node]:
    return [node for column in zip(*rows, strict=True) for node in column]


@converts("Adagrad", domain=TRAINING)
def adagrad(c: Call) -> list[Node]:
    rate, step = c[0], gn.cast(c[1], c[0].dtype)
    rate = rate / (1.0 + step * c.attribute("decay_factor"))
    out = []
    for x, g, h in _groups(c, 3):
        g = g + c.attribute("norm_coefficient") * x
        h = h + g * g
        out.append((x - rate * g / (gn.sqrt(h) + c.attribute("epsilon")), h))
    return _transposed(out)


@converts("Momentum", domain=TRAINING)
def momentum(c: Call) -> list[Node]:
    rate, alpha = c[0], c.attribute("alpha")
    first = gn.cast(gn.eq(c[1], 0), c[0].dtype)  # at step 0 the gradient counts in full
    beta = first + (1.0 - first) * c.attribute("beta")
    out = []
    for x, g, v in _groups(c, 3):
        g = g + c.attribute("norm_coefficient") * x
        v = alpha * v + beta * g
        out.append((x - rate * (g + alpha * v if c.attribute("mode") == "nesterov" else v), v))
    return _transposed(out)


@converts("Adam", domain=TRAINING)
def adam(c: Call) -> list[Node]:
    alpha, beta = c.attribute("alpha"), c.attribute("beta")
    step = int(c.scalar(1))
    rate = c[0] * ((1 - beta**step) ** 0.5 / (1 - alpha**step)) if step > 0 else c[0]
    out = []
    for x, g, v, h in _groups(c, 4):
        g = g + c.attribute("norm_coefficient") * x
        v = alpha * v + (1 - alpha) * g
        h = beta * h + (1 - beta) * g * g
        new = x - rate * v / (gn.sqrt(h) + c.attribute("epsilon"))
        out.append(((1 - c.attribute("norm_coefficient_post")) * new, v, h))
    return _transposed(out)
