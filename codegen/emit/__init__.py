"""Loops -> LLVM IR, as text. One emitter for all targets; a `Dialect` holds what differs.

How a loop becomes code:

    serial      a bottom-tested loop
    parallel    the same over [extent * tid / n, extent * (tid + 1) / n) of this thread
    shares      its body once, with the bounds of that range
    unrolled    its body once for each value
    vector      its body once, on LLVM vectors of `extent` lanes; conditions that differ between
                lanes become masks, uniform values stay scalar until a lane needs them
    grid, thread    their index is a special register (see `nvptx`)

Integers of type i64 are kept as `Affine` forms. Pure integer arithmetic, addresses and splats are
numbered, so each is computed once, and are placed in the outermost block where their operands exist:
LLVM is asked to allocate registers, not to rediscover what the schedule already knew.
"""

from .builder import CPU, Block, Dialect, Value
from .emitter import Emitter, emit_functions

__all__ = ["CPU", "Block", "Dialect", "Emitter", "Value", "emit_functions"]
