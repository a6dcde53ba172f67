"""The error function, its complement, and the normal distribution function."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from codegen.expr import Expr, unary

from ..node import Node, apply
from .elementwise import Unary
from .power import Exp, Square


def _bell(x: Node) -> Node:
    """2 / sqrt(pi) exp(-x^2)."""
    return apply(Exp(), -apply(Square(), x)) * (2 / math.sqrt(math.pi))


@dataclass(frozen=True)
class Erf(Unary):
    """2 / sqrt(pi) times the integral of exp(-t^2) from 0 to x. Derivative 2 / sqrt(pi) exp(-x^2)."""

    name = "erf"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(np.vectorize(math.erf, otypes="d")(x), dtype=x.dtype)

    def scalar(self, x: Expr) -> Expr:
        return unary("erf", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * _bell(node.inputs[0]),)


@dataclass(frozen=True)
class Erfc(Unary):
    """1 - erf(x), accurate where that cancels. Derivative -2 / sqrt(pi) exp(-x^2)."""

    name = "erfc"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.asarray(np.vectorize(math.erfc, otypes="d")(x), dtype=x.dtype)

    def scalar(self, x: Expr) -> Expr:
        return unary("erfc", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (-(cotangent * _bell(node.inputs[0])),)


@dataclass(frozen=True)
class Ndtr(Unary):
    """The normal distribution function, erfc(-x / sqrt 2) / 2. Derivative exp(-x^2 / 2) / sqrt(2 pi)."""

    name = "ndtr"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        wide = np.asarray(x, np.float64) * -math.sqrt(0.5)
        return np.asarray(0.5 * np.vectorize(math.erfc, otypes="d")(wide), dtype=x.dtype)

    def scalar(self, x: Expr) -> Expr:
        return unary("ndtr", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        bell = apply(Exp(), apply(Square(), node.inputs[0]) * -0.5)
        return (cotangent * (bell * (1 / math.sqrt(2 * math.pi))),)
