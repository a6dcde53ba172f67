"""Sines and their inverses, by their array-API names. Any finite argument is reduced exactly: see docs/numerics.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.expr import Expr, binary, unary

from ..node import Node, apply
from ..op import Sample
from .elementwise import Binary, Unary, pair
from .power import Rsqrt, Square


@dataclass(frozen=True)
class Sin(Unary):
    """The sine of x in radians; NaN for infinities. Derivative cos(x)."""

    name = "sin"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.sin(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("sin", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * apply(Cos(), node.inputs[0]),)


@dataclass(frozen=True)
class Cos(Unary):
    """The cosine of x in radians; NaN for infinities. Derivative -sin(x)."""

    name = "cos"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.cos(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("cos", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (-(cotangent * apply(Sin(), node.inputs[0])),)


@dataclass(frozen=True)
class Tan(Unary):
    """The tangent of x in radians; NaN for infinities. Derivative 1 + tan(x)^2."""

    name = "tan"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.tan(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("tan", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * (apply(Square(), node) + 1.0),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=-1.2, high=1.2)


@dataclass(frozen=True)
class Asin(Unary):
    """The angle in -pi/2 .. pi/2 whose sine is x; NaN outside of -1 .. 1. Derivative 1 / sqrt(1 - x^2)."""

    name = "asin"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.arcsin(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("asin", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * apply(Rsqrt(), 1.0 - apply(Square(), node.inputs[0])),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=-0.9, high=0.9)


@dataclass(frozen=True)
class Acos(Unary):
    """The angle in 0 .. pi whose cosine is x; NaN outside of -1 .. 1. Derivative -1 / sqrt(1 - x^2)."""

    name = "acos"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.arccos(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("acos", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (-(cotangent * apply(Rsqrt(), 1.0 - apply(Square(), node.inputs[0]))),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=-0.9, high=0.9)


@dataclass(frozen=True)
class Atan(Unary):
    """The angle in -pi/2 .. pi/2 whose tangent is x. Derivative 1 / (1 + x^2)."""

    name = "atan"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.arctan(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("atan", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent / (apply(Square(), node.inputs[0]) + 1.0),)


@dataclass(frozen=True)
class Atan2(Binary):
    """The angle in -pi .. pi of the point (x, y), written atan2(y, x); signs of zeros and infinities count, as in
    NumPy. d/dy = x / (x^2 + y^2), d/dx = -y / (x^2 + y^2)."""

    name = "atan2"
    accepts = "float"

    def evaluate(self, y: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.arctan2(y, x)

    def scalar(self, y: Expr, x: Expr) -> Expr:
        return binary("atan2", y, x)

    def partials(self, node: Node, g: Node, y: Node, x: Node) -> Sequence[Node | None]:
        each = g / (apply(Square(), x) + apply(Square(), y))
        return each * x, -(each * y)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3), (3,)), low=0.3)
        yield Sample(cls(), ((2, 3), ()), differentiable=False)


# ------------------------------------------------------------------------------------ user functions


def atan2(y: Any, x: Any) -> Node:
    """The angle of the point (x, y)."""
    return apply(Atan2(), *pair(y, x))
