"""All ops. Each file defines op classes and the functions that users call."""

from . import broadcast, conv, elementwise, matmul, move, operators, pool, reduce

operators.install()

__all__ = ["broadcast", "conv", "elementwise", "matmul", "move", "operators", "pool", "reduce"]
