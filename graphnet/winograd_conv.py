"""Winograd's minimal filtering as algorithms for convolution: graphs of the ops in `ops/transform.py`.

F(m, r) does (m + r - 1)^2 multiplications where direct sums do m^2 r^2, but moves transformed tiles through
memory. A weight gradient slides the cotangent's tiles over the input: F(r, m). It shares the transform of x with
the forward convolution.
"""

from __future__ import annotations

from dataclasses import dataclass

from .convolution import Algorithm, Batch, Problem
from .node import Node, apply
from .ops.matmul import MatMul
from .ops.move import Transpose
from .ops.transform import (
    WinogradCotangent,
    WinogradInput,
    WinogradKernel,
    WinogradOutput,
    WinogradWeight,
)

BYTE = 16.0  # operations that a byte between kernels costs: FMA rate over memory bandwidth, roughly, of CPUs today
FEWEST = 16  # channels on either side, below which vectors are not full and the transforms are most of the work


@dataclass(frozen=True, slots=True)
class _Form:
    """F(m x m, r x r)."""

    m: int
    r: int

    @property
    def name(self) -> str:
        return f"winograd F({self.m}x{self.m}, {self.r}x{self.r})"

    def tiles(self, p: Problem) -> tuple[int, int]:
        return -(-p.out[0] // self.m), -(-p.out[1] // self.m)

    def refuse(self, p: Problem) -> str | None:
        if p.stride != (1, 1) or p.dilation != (1, 1) or p.window != (self.r, self.r):
            return f"only for {self.r}x{self.r} kernels of stride 1"
        if min(p.k, p.c) < FEWEST:
            return "too few channels for the transforms to pay"
        return "padding wider than the kernel cuts its cotangent" if p.cropped else None

    def cost(self, p: Problem) -> float:
        """Operations of the product, and the price of the bytes between kernels: both operands and the result,
        written and read once."""
        tiles = self.tiles(p)
        frequencies, columns = (self.m + self.r - 1) ** 2, tiles[0] * tiles[1] * p.n
        traffic = 4.0 * frequencies * 2 * (columns * (p.k + p.c) + p.k * p.c)
        return 2.0 * frequencies * columns * p.k * p.c + BYTE * traffic

    def build(self, p: Problem, inputs: tuple[Node, ...], batch: Batch) -> Node:
        if p.gradient == "weight":
            return self._weight_gradient(inputs[0], inputs[1], p)
        w, x = inputs if p.gradient == "input" else (inputs[1], inputs[0])
        return self._convolution(x, w, p)

    def _transformed(self, x: Node, p: Problem) -> Node:
        """(N,C,H,W) -> (A,T,C)."""
        low = (p.padding[0][0], p.padding[1][0])
        return apply(WinogradInput(self.m, self.r, self.tiles(p), low), x)

    def _convolution(self, x: Node, w: Node, p: Problem) -> Node:
        """(N,C,H,W) -> (N,K,P,Q), through (A,T,C) @ (A,C,K)."""
        weights = apply(WinogradWeight(self.m, self.r, p.gradient == "input"), w)
        product = apply(MatMul(), self._transformed(x, p), weights)
        return apply(WinogradOutput(self.m, self.r, p.out), product)

    def _weight_gradient(self, x: Node, dy: Node, p: Problem) -> Node:
        """(N,C,H,W), (N,K,P,Q) -> (K,C,r,r), through (A,C,T) @ (A,T,K)."""
        cotangent = apply(WinogradCotangent(self.m, self.r, self.tiles(p)), dy)
        product = apply(MatMul(), apply(Transpose((0, 2, 1)), self._transformed(x, p)), cotangent)
        return apply(WinogradKernel(self.m, self.r), product)


def _algorithm(form: _Form, error: float) -> Algorithm:
    return Algorithm(form.name, error, form.refuse, form.cost, form.build)


WINOGRAD = (
    _algorithm(_Form(4, 3), 3e-5),
    _algorithm(_Form(4, 5), 3e-5),
)
