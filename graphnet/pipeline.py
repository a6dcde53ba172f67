"""The passes, in order. Read `PIPELINE` from top to bottom.

The runner verifies the graph after every pass, always, and then calls the observers it was given:
printing, timing and drawing between passes are observers, and the passes know nothing of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from .errors import GraphnetError
from .module import Module
from .passes.block import block
from .passes.choose_conv import choose_conv
from .passes.empty import empty
from .passes.expand import expand
from .passes.fuse import fuse
from .passes.layout import layout
from .passes.memory import memory
from .passes.pool import pool
from .passes.rows import rows
from .passes.simplify import simplify
from .passes.specialise import specialise
from .passes.split import split
from .passes.stabilise import stabilise
from .passes.unroll import unroll
from .passes.widen import widen
from .verify import verify

Pass = Callable[[Module], Module]
Observer = Callable[[str, Module], None]

PIPELINE: tuple[tuple[str, Pass], ...] = (
    ("unroll", unroll),  # loops written out, step by step
    ("stabilise", stabilise),  # forms that do not overflow, while softmax and losses are still whole
    ("expand", expand),  # composite ops become the ops they are made of
    ("simplify", simplify),  # constants, algebra
    ("specialise", specialise),  # named sizes become numbers
    ("empty", empty),  # what has no elements is no kernel's work
    ("widen", widen),  # folds and products of float16 in float32
    ("choose_conv", choose_conv),  # the algorithm of each convolution and gradient
    ("layout", layout),  # the order of axes in memory, and explicit conversions
    ("split", split),  # long reductions in two steps
    ("fuse", fuse),  # which nodes share a kernel
    ("pool", pool),  # which pooling its convolution does, a tile at a time
    ("block", block),  # which of them run together, a block of tiles at a time
    ("rows", rows),  # kernels over the same rows that run a few rows at a time
    ("memory", memory),  # a place for every stored value
)

NAMES = tuple(name for name, _ in PIPELINE)


def run(m: Module, stop_after: str | None = None, observers: Sequence[Observer] = ()) -> Module:
    """The module after the whole pipeline, or after the pass named by `stop_after`."""
    if stop_after is not None and stop_after not in NAMES:
        raise GraphnetError(f"stop_after: no pass {stop_after!r}; there are {', '.join(NAMES)}")
    verify(m.graph)
    for name, p in PIPELINE:
        m = p(m)
        verify(m.graph)
        for observe in observers:
            observe(name, m)
        if name == stop_after:
            break
    return m
