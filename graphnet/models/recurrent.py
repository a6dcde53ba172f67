"""A long short-term memory over sequences, declared with `gn.scan`, and a class from its last state.

S. Hochreiter, J. Schmidhuber: Long short-term memory. Neural Computation 9(8), 1997; with forget gates, as F. Gers,
J. Schmidhuber, F. Cummins: Learning to forget: continual prediction with LSTM. Neural Computation 12(10), 2000.
"""

from __future__ import annotations

import graphnet as gn
from graphnet.node import Node

from .layers import Declaration


def recurrent(x: Node, classes: int = 10, width: int = 64) -> tuple[Node, dict[str, Node]]:
    """Logits (N, classes) of sequences x (N, T, C), and the parameters by name. Gates are in the order input, forget,
    cell, output, as PyTorch has them."""
    d = Declaration(training=True)
    n, _, inputs = x.shape
    w = d.parameter("input.w", (inputs, 4 * width), gn.init.he_normal(), x.dtype)
    u = d.parameter("state.w", (width, 4 * width), gn.init.he_normal(), x.dtype)
    b = d.parameter("b", (4 * width,), gn.init.zeros(), x.dtype)

    def step(carry: tuple[Node, Node], seen: Node) -> tuple[tuple[Node, Node], None]:
        h, c = carry
        i, f, g, o = (part(seen + h @ u, k) for k in range(4))
        c = gn.sigmoid(f) * c + gn.sigmoid(i) * gn.tanh(g)
        return (gn.sigmoid(o) * gn.tanh(c), c), None

    def part(gates: Node, k: int) -> Node:
        return gates[:, k * width : (k + 1) * width]

    zeros = gn.broadcast_to(gn.constant(0.0, x.dtype), (n, width))
    seen = gn.transpose(x @ w + b, (1, 0, 2))  # (N, T, 4W) -> (T, N, 4W): all inputs' products at once
    (h, _), _ = gn.scan(step, (zeros, zeros), seen)
    return d.linear("dense", h, classes), d.p
