"""All ops. Each file defines op classes and the functions that users call."""

from . import broadcast, conv, elementwise, loss, matmul, move, operators, pool, random, reduce, relayout, softmax

operators.install()

__all__ = [
    "broadcast",
    "conv",
    "elementwise",
    "loss",
    "matmul",
    "move",
    "operators",
    "pool",
    "random",
    "reduce",
    "relayout",
    "softmax",
]
