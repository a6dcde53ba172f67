"""The identity, stored in another order: how the layout pass makes its conversions visible."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from codegen.expr import Expr

from ..errors import ShapeError
from ..node import Node
from ..op import Op, Operand, Sample
from ..types import Type


@dataclass(frozen=True)
class Relayout(Op):
    """y = x, in memory with its axes in `order`, outermost first: (0, 1) is row-major, (1, 0) column-major.

    `gap` elements after every run of the innermost axis are left out. Rows whose distance is a power of two meet in few
    sets of a cache; a gap of one line spreads them over all."""

    name = "relayout"
    kind = "move"
    order: tuple[int, ...]
    gap: int = 0

    def infer(self, x: Type) -> Type:
        if self.gap < 0:
            raise ShapeError(f"a gap between rows is at least 0, not {self.gap}")
        if sorted(self.order) != list(range(x.rank)):
            raise ShapeError(f"order {self.order} is not a permutation of the {x.rank} axes")
        return x

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return x

    def room(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(e + self.gap if a == self.order[-1] else e for a, e in enumerate(shape))

    def body(self, index: tuple[Expr, ...], x: Operand) -> Expr:
        return x(*index)

    def gradient(self, node: Node, cotangent: Node) -> tuple[Node]:
        return (cotangent,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        return (Sample(cls((1, 0)), ((3, 4),)), Sample(cls((1, 2, 0)), ((2, 3, 4),)))
