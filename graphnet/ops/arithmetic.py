"""Sums, products, quotients, signs and extremes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.dtypes import DTYPES, is_float
from codegen.expr import Expr, select, unary
from codegen.expr import ne as ne_expr

from ..node import Node, apply
from ..op import Sample
from .compare import eq, where
from .elementwise import Binary, Unary, pair


@dataclass(frozen=True)
class Add(Binary):
    """x + y."""

    name = "add"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.add(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x + y

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        return g, g


@dataclass(frozen=True)
class Sub(Binary):
    """x - y."""

    name = "sub"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.subtract(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x - y

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        return g, -g


@dataclass(frozen=True)
class Mul(Binary):
    """x * y."""

    name = "mul"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.multiply(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x * y

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        return g * y, g * x


@dataclass(frozen=True)
class Div(Binary):
    """x / y of floats; d/dx = 1/y, d/dy = -(x/y)/y."""

    name = "div"
    accepts = "float"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.divide(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x / y

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        return g / y, -(g * node) / y

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3), (2, 3)), low=0.5)
        yield Sample(cls(), ((2, 3), ()), low=0.5)


# -------------------------------------------------------------------------------- extremes and signs


@dataclass(frozen=True)
class Maximum(Binary):
    """The greater of two, NaN if either is; a tie sends half of the cotangent to each, as PyTorch."""

    name = "maximum"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.maximum(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return select(_or_nan(y < x, x), x, y)

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        half = where(eq(x, y), g * 0.5, 0.0)
        return where(x > y, g, half), where(y > x, g, half)


@dataclass(frozen=True)
class Minimum(Binary):
    """The lesser of two, NaN if either is; a tie sends half of the cotangent to each, as PyTorch."""

    name = "minimum"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.minimum(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return select(_or_nan(x < y, x), x, y)

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        half = where(eq(x, y), g * 0.5, 0.0)
        return where(x < y, g, half), where(y < x, g, half)


def _or_nan(cond: Expr, x: Expr) -> Expr:
    return cond | ne_expr(x, x) if is_float(x.dtype) else cond


@dataclass(frozen=True)
class Neg(Unary):
    """-x."""

    name = "neg"
    accepts = "number"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.negative(x)

    def scalar(self, x: Expr) -> Expr:
        return -x

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (-cotangent,)


@dataclass(frozen=True)
class Abs(Unary):
    """|x|; derivative sign(x), so 0 at 0."""

    name = "abs"
    accepts = "number"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.abs(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("abs", x) if is_float(x.dtype) else select(x < 0, -x, x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * apply(Sign(), node.inputs[0]),)


@dataclass(frozen=True)
class Sign(Unary):
    """-1, 0 or 1; NaN for NaN."""

    name = "sign"
    accepts = "number"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.sign(x)

    def scalar(self, x: Expr) -> Expr:
        positive = select(x > 0, 1, x)
        return positive if DTYPES[x.dtype].kind == "uint" else select(x < 0, -1, positive)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (None,)


# ------------------------------------------------------------------------------------ user functions


def add(x: Any, y: Any) -> Node:
    return apply(Add(), *pair(x, y))


def sub(x: Any, y: Any) -> Node:
    return apply(Sub(), *pair(x, y))


def mul(x: Any, y: Any) -> Node:
    return apply(Mul(), *pair(x, y))


def div(x: Any, y: Any) -> Node:
    return apply(Div(), *pair(x, y))


def maximum(x: Any, y: Any) -> Node:
    """The greater of two, elementwise."""
    return apply(Maximum(), *pair(x, y))


def minimum(x: Any, y: Any) -> Node:
    """The lesser of two, elementwise."""
    return apply(Minimum(), *pair(x, y))
