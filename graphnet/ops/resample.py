"""Resizing along one axis: sums of elements by tables of places and weights, which `graphnet.taps` makes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.compute import Reduce, axis
from codegen.expr import Expr

from ..errors import DTypeError, ShapeError
from ..node import Node, apply, constant
from ..op import Op, Operand, Sample
from ..taps import COORDINATES, MODES, ROUNDINGS, Rule, taps, transposed
from ..types import Type, concrete, elements
from .broadcast import broadcast_to, reshape, sum
from .gather import Scatter, Take, position, positions, scattered


@dataclass(frozen=True)
class WeightedTake(Op):
    """x (A, N, B), index (O, K) integers, weight (O, K) -> y[a, o, b] = sum_k weight[o, k] x[a, index[o, k], b], with N
    along `axis`. Negative indices count from the end."""

    name = "weighted_take"
    kind = "window"
    axis: int

    def infer(self, x: Type, index: Type, weight: Type) -> Type:
        if not x.is_float or weight.dtype != x.dtype or not index.is_integer:
            raise DTypeError(f"{self.name} takes floats, integers and floats, not {x}, {index} and {weight}")
        if not 0 <= self.axis < x.rank or index.rank != 2 or index.shape != weight.shape:
            raise ShapeError(f"{self.name}: tables {index} and {weight} for axis {self.axis} of {x}")
        if x.shape[self.axis] == 0:
            raise ShapeError(f"{self.name}: axis {self.axis} of {x} has no elements")
        return x.with_shape((*x.shape[: self.axis], index.shape[0], *x.shape[self.axis + 1 :]))

    def evaluate(self, x: np.ndarray, index: np.ndarray, weight: np.ndarray) -> np.ndarray:
        found = np.take(x.astype(np.float64), positions(index, x.shape[self.axis]), self.axis)
        wide = weight.reshape(*weight.shape, *(1,) * (x.ndim - self.axis - 1))
        return (found * wide).sum(self.axis + 1).astype(x.dtype)

    def body(self, index: tuple[Expr, ...], x: Operand, places: Operand, weight: Operand) -> Reduce:
        k, o = axis("k", weight.shape[1]), index[self.axis]
        at = position(places(o, k.var), x.shape[self.axis])
        source = (*index[: self.axis], at, *index[self.axis + 1 :])
        return Reduce("sum", (k,), x(*source) * weight(o, k.var))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        x, index, weight = node.inputs
        after = node.shape[self.axis + 1 :]
        wide = reshape(cotangent, (*node.shape[: self.axis + 1], 1, *after))  # (A, O, 1, B)
        parts = wide * reshape(weight, (*weight.shape, *(1,) * len(after)))  # (A, O, K, B)
        zeros = broadcast_to(constant(0, x.dtype), x.shape)
        dx = scattered(Scatter(self.axis, (), "add"), zeros, index, parts)
        others = tuple(a for a in range(node.rank + 1) if a not in (self.axis, self.axis + 1))
        return dx, None, sum(wide * apply(Take(self.axis), x, index), others)

    def flops(self, output: Type, *inputs: Type) -> int:
        return 2 * elements(output) * concrete(inputs[2].shape)[1]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(1), ((2, 4, 3), (5, 2), (5, 2)), ("float", "int32", "float"), low=-3, high=3)
        yield Sample(cls(0), ((4,), (3, 3), (3, 3)), ("float", "int32", "float"), low=0, high=4)


@dataclass(frozen=True)
class Resample(Op):
    """x with `source` elements along `axis` -> `size` of them, by interpolation: y[o] = sum_k weight[o, k]
    x[index[o, k]], with the tables of `graphnet.taps` for the other attributes; or the transpose of that, from `size`
    to `source`. The gradient is the transpose: a table too, and no scattering."""

    name = "resample"
    kind = "composite"
    axis: int
    source: int
    size: int
    mode: str = "linear"
    coordinates: str = "half_pixel"
    scale: float = 0.0
    rounding: str = "round_prefer_floor"
    a: float = -0.75
    exclude_outside: bool = False
    antialias: bool = False
    start: float = 0.0
    end: float = 1.0
    transpose: bool = False

    def __post_init__(self) -> None:
        for what, value, known in (
            ("mode", self.mode, MODES),
            ("coordinates", self.coordinates, COORDINATES),
            ("rounding", self.rounding, ROUNDINGS),
        ):
            if value not in known:
                raise ShapeError(f"{self.name}: {what} {value!r}; there are {', '.join(known)}")

    @property
    def rule(self) -> Rule:
        given = self.attributes()
        return Rule(**{k: v for k, v in given.items() if k not in ("axis", "transpose")})

    def infer(self, x: Type) -> Type:
        if not x.is_float:
            raise DTypeError(f"{self.name} takes floats, not {x.dtype}; convert with gn.cast")
        old, new = (self.size, self.source) if self.transpose else (self.source, self.size)
        if not 0 <= self.axis < x.rank or x.shape[self.axis] != old or self.source < 1 or self.size < 1:
            raise ShapeError(f"{self.name}: axis {self.axis} of {x} has not the extent {old} >= 1, to become {new}")
        return x.with_shape((*x.shape[: self.axis], new, *x.shape[self.axis + 1 :]))

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        index, weight = taps(self.rule)
        matrix = np.zeros((self.size, self.source))
        np.add.at(matrix, (np.arange(self.size)[:, None], index), weight)
        if self.transpose:
            matrix = matrix.T
        return np.moveaxis(np.tensordot(matrix, x, (1, self.axis)), 0, self.axis).astype(x.dtype)

    def graph(self, x: Node) -> Node:
        index, weight = transposed(self.rule) if self.transpose else taps(self.rule)
        return apply(WeightedTake(self.axis), x, constant(index), constant(weight, x.dtype))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        given = self.attributes() | {"transpose": not self.transpose}
        return (apply(Resample(**given), cotangent),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(1, 4, 7), ((2, 4, 3),))
        yield Sample(cls(0, 5, 3, "cubic"), ((5, 2),))
        yield Sample(cls(1, 5, 8, "cubic", transpose=True), ((2, 8),))
        yield Sample(cls(1, 5, 7, "nearest", transpose=True), ((0, 7),))
