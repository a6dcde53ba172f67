"""All ops. Each file defines op classes and the functions that users call."""

from . import (
    activation,
    arithmetic,
    avg_pool,
    broadcast,
    compare,
    conv,
    elementwise,
    index,
    loss,
    matmul,
    max_pool,
    move,
    operators,
    pool,
    power,
    random,
    reduce,
    relayout,
    softmax,
    transform,
)

operators.install()

__all__ = [
    "activation",
    "arithmetic",
    "avg_pool",
    "broadcast",
    "compare",
    "conv",
    "elementwise",
    "index",
    "loss",
    "matmul",
    "max_pool",
    "move",
    "operators",
    "pool",
    "power",
    "random",
    "reduce",
    "relayout",
    "softmax",
    "transform",
]
