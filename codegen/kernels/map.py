"""One value a point: elementwise chains, movement, random numbers.

    for t in parallel(...):              outer axes
        for b in serial(blocks):         the last axis, which has unit stride in the output
            for v in vector(lanes):
                lets; stores
"""

from __future__ import annotations

from ..compute import Computation
from ..dtypes import DTYPES
from ..expr import Expr, Var
from ..loops import If, Kernel, Stmt, loop
from ..machine import Machine
from .analysis import collapse, drop_unit_axes
from .common import cut, epilogue, nest, round_up, widest_dtype

MAX_VECTORS = 4  # vectors in flight: amortises scalar index arithmetic over more lanes


def schedule(c: Computation, machine: Machine) -> tuple[Kernel, str]:
    """Loops for a computation without reductions, and a sentence on how."""
    c = collapse(drop_unit_axes(c))
    *outer, last = c.axes
    width = machine.lanes(DTYPES[widest_dtype(c)].bytes)
    vectors = max(1, min(MAX_VECTORS, last.extent // width))
    block = width * vectors
    outside = [(a.var, a.extent) for a in outer]
    statements: list[Stmt] = []
    for seg in cut(last.extent, block):
        lanes = round_up(seg.tile, width) if seg.tile > width else 1 << (seg.tile - 1).bit_length()
        j, v = Var("block"), Var("lane")
        point: Expr = j * seg.tile + seg.start + v
        inner = epilogue(c, {last.name: point})
        if lanes != seg.tile:
            inner = (If(point < last.extent, inner),)
        statements.append(nest([*outside, (j, seg.count)], (loop("vector", v, 0, lanes, *inner),)))
    shape = "x".join(str(a.extent) for a in c.axes)
    return Kernel(c.name, c.params, tuple(statements)), f"map over {shape}, {block} lanes a step"

