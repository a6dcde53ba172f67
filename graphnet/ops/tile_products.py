"""Products of transformed tiles, summed over parts of all tiles: a weight gradient by Winograd's algorithm.

    v (A,T,C), d (A,T,K) -> (P,A,C,K)

Parts, and blocks of them, are given by the shapes alone: the sums have the same bits however the work is divided among
threads. The tiles come in blocks of `block`, the last of which may be shorter, and part i has the blocks from
floor(i B / P) to floor((i + 1) B / P) - 1 of all B. Only the pass that chooses convolution algorithms makes this op,
after differentiation, so it has no gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from codegen.compute import Reduce, axis
from codegen.expr import Expr, minimum

from ..errors import ShapeError
from ..op import Op, Operand, Sample
from ..types import Type, concrete, elements


@dataclass(frozen=True)
class TileProducts(Op):
    """p[i, f, c, k] = sum of v[f, t, c] d[f, t, k] over the tiles t of part i."""

    name = "tile_products"
    kind = "contract"
    index_names = "ifck"
    block: int
    parts: int

    def infer(self, v: Type, d: Type) -> Type:
        if v.rank != 3 or d.rank != 3 or v.dtype != d.dtype or not v.is_float or v.shape[:2] != d.shape[:2]:
            raise ShapeError(f"{self.name} takes floats (A,T,C) and (A,T,K), not {v} and {d}")
        (tiles,) = concrete(v.shape[1:2])
        if self.block < 1 or not 1 <= self.parts <= -(-tiles // self.block):
            raise ShapeError(f"{self.name}: {self.parts} parts of blocks of {self.block} among {tiles} tiles")
        return v.with_shape((self.parts, v.shape[0], v.shape[2], d.shape[2]))

    def evaluate(self, v: np.ndarray, d: np.ndarray) -> np.ndarray:
        tiles = v.shape[1]
        starts = np.arange(self.parts + 1) * -(-tiles // self.block) // self.parts * self.block
        parts = [slice(a, min(b, tiles)) for a, b in pairwise(starts)]
        wide = [(v[:, p].astype(np.float64), d[:, p].astype(np.float64)) for p in parts]
        return np.stack([a.swapaxes(1, 2) @ b for a, b in wide]).astype(v.dtype)

    def body(self, index: tuple[Expr, ...], v: Operand, d: Operand) -> Reduce:
        i, f, c, k = index
        tiles = v.shape[1]
        blocks = -(-tiles // self.block)
        first, last = ((i + n) * blocks // self.parts * self.block for n in (0, 1))
        t = axis("t", tiles, first, minimum(last, tiles))
        return Reduce("sum", (t,), v(f, t.var, c) * d(f, t.var, k))

    def flops(self, output: Type, *inputs: Type) -> int:
        return 2 * elements(inputs[0]) * concrete(inputs[1].shape)[2]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(2, 2), ((2, 7, 3), (2, 7, 4)), differentiable=False)
        yield Sample(cls(3, 1), ((3, 6, 2), (3, 6, 5)), differentiable=False)
