"""Images phase by phase, for convolutions of stride s: see `transform`. Pixels that are not always inside of an image.

Where a pixel has too few channels to fill a vector, `Phases` brings all phases of it together, as channels (c, a, b): b
runs along memory both where they are read and where they are written, so s numbers move at a time.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np

from codegen.compute import axis
from codegen.expr import Expr, const, lift, select

from ..errors import ShapeError
from ..op import Op, Operand, Point, Sample, Tile
from ..types import Type

Pair = tuple[int, int]


def split(x: np.ndarray, stride: Pair, low: Pair, size: Pair, together: bool = False) -> np.ndarray:
    """(N,C,H,W) -> (N, s*s*C, *size), channels (a, b, c), or (c, a, b) if `together`:
    y[.., i, j] = x[.., i*s + a - low, j*s + b - low] or 0."""
    for axis_, (s, start, count) in enumerate(zip(stride, low, size, strict=True), 2):
        x = np.take(x, range(max(-start, 0), x.shape[axis_]), axis_)
        pads = [(0, 0)] * 4
        pads[axis_] = (max(start, 0), count * s)
        x = np.take(np.pad(x, pads), range(count * s), axis_)
    n, c = x.shape[:2]
    y = x.reshape(n, c, size[0], stride[0], size[1], stride[1])
    y = y.transpose((0, 1, 3, 5, 2, 4) if together else (0, 3, 5, 1, 2, 4))
    return y.reshape(n, c * stride[0] * stride[1], *size)


def interleaved(y: np.ndarray, stride: Pair, low: Pair, size: Pair, together: bool = False) -> np.ndarray:
    """(N, s*s*C, P, Q) -> (N,C,*size): the inverse of `split` where that covers the result."""
    n, _, p, q = y.shape
    if together:
        x = y.reshape(n, -1, *stride, p, q).transpose(0, 1, 4, 2, 5, 3)
    else:
        x = y.reshape(n, *stride, -1, p, q).transpose(0, 3, 4, 1, 5, 2)
    x = x.reshape(n, -1, p * stride[0], q * stride[1])
    return x[:, :, low[0] : low[0] + size[0], low[1] : low[1] + size[1]]


@dataclass(frozen=True, slots=True)
class Place:
    """An index into one axis of `extent` elements, known to lie in least..most."""

    index: Expr
    least: int
    most: int
    extent: int

    @property
    def never(self) -> bool:
        """Whether it is outside of the axis, always."""
        return self.least >= self.extent or self.most < 0


def all_inside(*places: Place) -> Expr | None:
    """Whether all lie inside of their axes; None if that is certain."""
    inside: Expr | None = None
    for p in places:
        zero = lift(0, "i64")
        for needed, condition in ((p.least < 0, zero <= p.index), (p.most >= p.extent, p.index < p.extent)):
            if needed:
                inside = condition if inside is None else inside & condition
    return inside


def guarded(x: Operand, first: tuple[Expr, ...], *places: Place) -> Expr:
    """x[first, places], or 0 where that is outside."""
    if any(p.never for p in places):
        return const(0.0, x.dtype)
    inside, value = all_inside(*places), x(*first, *(p.index for p in places))
    return value if inside is None else select(inside, value, 0.0)


@dataclass(frozen=True)
class Phases(Op):
    """x (N,C,H,W) -> (N, C*s*s, *size): y[n, (c, a, b), i, j] = x[n, c, i*s + a - low, j*s + b - low] or 0."""

    name = "phases"
    kind = "transform"
    stride: Pair
    low: Pair
    size: Pair

    def infer(self, x: Type) -> Type:
        if x.rank != 4:
            raise ShapeError(f"phases takes images (N,C,H,W), not {x}")
        return x.with_shape((x.shape[0], self.stride[0] * self.stride[1] * x.shape[1], *self.size))

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return split(x, self.stride, self.low, self.size, together=True)

    def tile(self, x: Operand) -> Tile:
        axes = axis("n", x.shape[0]), axis("i", self.size[0]), axis("j", self.size[1]), axis("b", self.stride[1])
        n, *at, b = (a.var for a in axes)
        points = []
        for c, a in product(range(x.shape[1]), range(self.stride[0])):

            def along(d: int, phase: Expr, least: int, most: int) -> Place:
                index = at[d] * self.stride[d] + phase - self.low[d]
                last = (self.size[d] - 1) * self.stride[d]
                return Place(index, least - self.low[d], last + most - self.low[d], x.shape[2 + d])

            channel = (c * self.stride[0] + a) * self.stride[1] + b
            row, column = along(0, const(a, "i64"), a, a), along(1, b, 0, self.stride[1] - 1)
            value = guarded(x, (n, const(c, "i64")), row, column)
            points.append(Point((n, channel, *at), value))
        return Tile(axes, (), tuple(points))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((2, 3), (1, -1), (3, 2)), ((2, 3, 5, 6),), differentiable=False)
        yield Sample(cls((2, 1), (0, 1), (3, 7)), ((2, 3, 5, 6),), differentiable=False)
