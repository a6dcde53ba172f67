"""A multilayer perceptron, 784-512-256-10 with ReLU: the smallest network whose time is all matrix products."""

from __future__ import annotations

import graphnet as gn
from graphnet.node import Node


def mlp(x: Node) -> tuple[Node, dict[str, Node]]:
    """Logits (N, 10) of images x (N, 1, 28, 28), and the parameters by name."""
    weight, bias = gn.init.he_normal(), gn.init.zeros()
    p = {
        "w1": gn.parameter("w1", (784, 512), init=weight, dtype=x.dtype),
        "b1": gn.parameter("b1", (512,), init=bias, dtype=x.dtype),
        "w2": gn.parameter("w2", (512, 256), init=weight, dtype=x.dtype),
        "b2": gn.parameter("b2", (256,), init=bias, dtype=x.dtype),
        "w3": gn.parameter("w3", (256, 10), init=weight, dtype=x.dtype),
        "b3": gn.parameter("b3", (10,), init=bias, dtype=x.dtype),
    }
    h = gn.flatten(x)  # (N, 784)
    h = gn.relu(h @ p["w1"] + p["b1"])
    h = gn.relu(h @ p["w2"] + p["b2"])
    return h @ p["w3"] + p["b3"], p
