"""LeNet-5 for 28x28 images, with ReLU and max pooling.

Y. LeCun, L. Bottou, Y. Bengio, P. Haffner: Gradient-based learning applied to document recognition.
Proceedings of the IEEE 86(11), 1998. The original has tanh, trained pooling and partly connected maps.
"""

from __future__ import annotations

import graphnet as gn
from graphnet.node import Node


def lenet(x: Node) -> tuple[Node, dict[str, Node]]:
    """Logits (N, 10) of images x (N, 1, 28, 28), and the parameters by name."""
    weight, bias = gn.init.he_normal(), gn.init.zeros()
    p = {
        "w1": gn.parameter("w1", (6, 1, 5, 5), init=weight, dtype=x.dtype),
        "b1": gn.parameter("b1", (6,), init=bias, dtype=x.dtype),
        "w2": gn.parameter("w2", (16, 6, 5, 5), init=weight, dtype=x.dtype),
        "b2": gn.parameter("b2", (16,), init=bias, dtype=x.dtype),
        "w3": gn.parameter("w3", (400, 120), init=weight, dtype=x.dtype),
        "b3": gn.parameter("b3", (120,), init=bias, dtype=x.dtype),
        "w4": gn.parameter("w4", (120, 84), init=weight, dtype=x.dtype),
        "b4": gn.parameter("b4", (84,), init=bias, dtype=x.dtype),
        "w5": gn.parameter("w5", (84, 10), init=weight, dtype=x.dtype),
        "b5": gn.parameter("b5", (10,), init=bias, dtype=x.dtype),
    }
    h = gn.max_pool2d(gn.relu(gn.conv2d(x, p["w1"], padding="same") + p["b1"][:, None, None]), 2)  # (N, 6, 14, 14)
    h = gn.max_pool2d(gn.relu(gn.conv2d(h, p["w2"], padding="valid") + p["b2"][:, None, None]), 2)  # (N, 16, 5, 5)
    h = gn.flatten(h)  # (N, 400)
    h = gn.relu(h @ p["w3"] + p["b3"])
    h = gn.relu(h @ p["w4"] + p["b4"])
    return h @ p["w5"] + p["b5"], p
