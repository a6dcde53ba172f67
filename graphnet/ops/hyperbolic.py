"""Hyperbolic functions and their inverses, by their array-API names; tanh is with the activations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.expr import Expr, unary

from ..node import Node, apply
from ..op import Sample
from .elementwise import Unary
from .power import Rsqrt, Square


@dataclass(frozen=True)
class Sinh(Unary):
    """(exp(x) - exp(-x)) / 2. Derivative cosh(x)."""

    name = "sinh"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.sinh(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("sinh", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * apply(Cosh(), node.inputs[0]),)


@dataclass(frozen=True)
class Cosh(Unary):
    """(exp(x) + exp(-x)) / 2. Derivative sinh(x)."""

    name = "cosh"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.cosh(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("cosh", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * apply(Sinh(), node.inputs[0]),)


@dataclass(frozen=True)
class Asinh(Unary):
    """The number whose sinh is x. Derivative 1 / sqrt(x^2 + 1)."""

    name = "asinh"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.arcsinh(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("asinh", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * apply(Rsqrt(), apply(Square(), node.inputs[0]) + 1.0),)


@dataclass(frozen=True)
class Acosh(Unary):
    """The number >= 0 whose cosh is x; NaN below 1. Derivative 1 / sqrt(x^2 - 1)."""

    name = "acosh"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.arccosh(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("acosh", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * apply(Rsqrt(), apply(Square(), node.inputs[0]) - 1.0),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=1.3, high=4.0)


@dataclass(frozen=True)
class Atanh(Unary):
    """The number whose tanh is x; infinite at -1 and 1, NaN beyond. Derivative 1 / (1 - x^2)."""

    name = "atanh"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.arctanh(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("atanh", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent / (1.0 - apply(Square(), node.inputs[0])),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=-0.9, high=0.9)
