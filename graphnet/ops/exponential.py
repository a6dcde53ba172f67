"""exp2, expm1, log2, log10: exponentials and logarithms of other bases, and near 0."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.expr import Expr, unary

from ..node import Node
from ..op import Sample
from .elementwise import Unary


@dataclass(frozen=True)
class Exp2(Unary):
    """2 to the x. Derivative 2^x ln 2."""

    name = "exp2"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.exp2(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("exp2", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * (node * math.log(2)),)


@dataclass(frozen=True)
class Expm1(Unary):
    """exp(x) - 1, accurate near 0. Derivative exp(x), computed from the output."""

    name = "expm1"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.expm1(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("expm1", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * (node + 1.0),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),))
        yield Sample(cls(), ((3, 4),), low=1e-9, high=2e-9, differentiable=False)


@dataclass(frozen=True)
class Log2(Unary):
    """The logarithm to base 2, exact for powers of 2; -inf at 0, NaN below. Derivative 1 / (x ln 2)."""

    name = "log2"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.log2(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("log2", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent / (node.inputs[0] * math.log(2)),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=0.5)


@dataclass(frozen=True)
class Log10(Unary):
    """The logarithm to base 10; -inf at 0, NaN below. Derivative 1 / (x ln 10)."""

    name = "log10"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.log10(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("log10", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent / (node.inputs[0] * math.log(10)),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=0.5)
