"""Sums of products A * B: matrix multiplication, convolution and its gradients, in one of five forms.

Which operand depends on which axis decides everything. `rows` is an output axis that only one operand
(the narrow one) depends on; `columns` one that only the other (the wide one) depends on.

"outer": the last output axis is a column axis with unit stride in the wide operand.
A tile of the output stays in registers while the reduction axes run:

    for t in parallel(tiles):
        acc[rows, vectors, lanes] = 0
        for reduction axes in serial:
            wide[vectors, lanes] = W            vector loads
            for i in unrolled(rows):
                n = N                           one scalar, broadcast
                acc[i] = fma(n, wide, acc[i])
        epilogue for every point of the tile

"dot": some *reduction* axis has unit stride in both operands, as in weight gradients over a batch that
lies innermost. The tile is rows x columns accumulators of vectors over that axis, folded by a tree at the end:

        for other reduction axes, blocks of lanes:
            acc[i, j, lanes] = fma(A[i, lanes], B[j, lanes], acc[i, j, lanes])

"packed": matrix products whose operands do not stay in a core's caches, or whose wide operand has unit stride along
the sum while the narrow one has many rows. Blocks of the output and of the sum: see `contract_packed`.

"paired": both operands lie along the last output axis, as in depthwise convolution (`contract_paired`).

"complex": products of complex numbers, real and imaginary parts along an axis of their own (`contract_complex`).

Where the sum is long for the size of the output, as in weight gradients, "outer" goes through it in chunks
(`contract_chunked`).

Following Goto and van de Geijn (2008) and Van Zee and van de Geijn (BLIS, 2015) for the register tile.
"""

from __future__ import annotations

from ..compute import Computation
from ..loops import Kernel
from ..machine import Machine
from ..traverse import variables
from . import contract_chunked, contract_complex, contract_dot, contract_outer, contract_packed, contract_paired
from .analysis import collapse, drop_unit_axes, unit_stride
from .blocking import choose
from .product import products


def schedule(c: Computation, machine: Machine) -> tuple[Kernel, str] | None:
    """Loops for a sum of products, and a sentence on how; None if neither form fits."""
    c = collapse(drop_unit_axes(c))
    last = c.axes[-1]
    for p in products(c):
        z = contract_complex.complex_product(c, p)
        if z:
            return contract_complex.schedule(z, machine)
    for p in products(c):
        m = contract_packed.matrix_product(c, p)
        blocking = choose(m, machine) if m else None
        if m and blocking:
            return contract_packed.schedule(m, blocking, machine)
    for p in products(c):
        guarded = p.reduce.where is not None and last.name in variables(p.reduce.where)
        if last in p.columns and unit_stride(p.wide, last.name) and last.extent >= 2 and not guarded:
            return contract_chunked.schedule(c, p, machine) or contract_outer.schedule(c, p, machine)
    for p in products(c):
        for a in reversed(p.reduce.axes):
            if a.extent >= 2 and unit_stride(p.narrow, a.name) and unit_stride(p.wide, a.name) and p.rows:
                return contract_dot.schedule(c, p, a, machine)
    return contract_paired.schedule(c, machine)
