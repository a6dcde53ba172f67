"""Comparison, logic, and choice between two values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.expr import Expr, binary, select, unary
from codegen.expr import eq as eq_expr
from codegen.expr import ne as ne_expr

from ..errors import DTypeError, GraphnetError
from ..node import Node, apply
from ..op import Sample
from ..types import Type, broadcast_shapes
from .broadcast import sum_to
from .elementwise import Binary, Elementwise, Unary, check_accepts, pair


@dataclass(frozen=True)
class Order(Binary):
    """Base of <, <=, > and >=: False where either is NaN, and False < True."""

    result = "bool"
    accepts = "any"

    def less(self, x: Expr, y: Expr) -> Expr:
        return unary("not", x) & y if x.dtype == "bool" else x < y

    def not_above(self, x: Expr, y: Expr) -> Expr:
        return unary("not", x) | y if x.dtype == "bool" else x <= y


@dataclass(frozen=True)
class Lt(Order):
    """x < y; False where either is NaN."""

    name = "lt"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.less(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return self.less(x, y)


@dataclass(frozen=True)
class Le(Order):
    """x <= y; False where either is NaN."""

    name = "le"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.less_equal(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return self.not_above(x, y)


@dataclass(frozen=True)
class Gt(Order):
    """x > y; False where either is NaN."""

    name = "gt"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.greater(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return self.less(y, x)


@dataclass(frozen=True)
class Ge(Order):
    """x >= y; False where either is NaN."""

    name = "ge"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.greater_equal(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return self.not_above(y, x)


@dataclass(frozen=True)
class Eq(Binary):
    """x == y elementwise (Python's own == compares nodes as objects); False where either is NaN."""

    name = "eq"
    result = "bool"
    accepts = "any"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.equal(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return eq_expr(x, y)


@dataclass(frozen=True)
class Ne(Binary):
    """x != y elementwise (Python's own != compares nodes as objects); True where either is NaN."""

    name = "ne"
    result = "bool"
    accepts = "any"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.not_equal(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return ne_expr(x, y)


# ---------------------------------------------------------------------------------- logic and choice


@dataclass(frozen=True)
class LogicalAnd(Binary):
    """x and y, of bools."""

    name = "logical_and"
    accepts = "bool"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.logical_and(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return binary("and", x, y)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3), (3,)), dtypes=("bool", "bool"), low=0, high=2, differentiable=False)


@dataclass(frozen=True)
class LogicalOr(Binary):
    """x or y, of bools."""

    name = "logical_or"
    accepts = "bool"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.logical_or(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return binary("or", x, y)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3), (3,)), dtypes=("bool", "bool"), low=0, high=2, differentiable=False)


@dataclass(frozen=True)
class LogicalXor(Binary):
    """Either x or y, of bools, and not both."""

    name = "logical_xor"
    accepts = "bool"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.logical_xor(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return binary("xor", x, y)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3), (3,)), dtypes=("bool", "bool"), low=0, high=2, differentiable=False)


@dataclass(frozen=True)
class LogicalNot(Unary):
    """not x, of bools."""

    name = "logical_not"
    accepts = "bool"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.logical_not(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("not", x)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3),), dtypes=("bool",), low=0, high=2, differentiable=False)


@dataclass(frozen=True)
class Where(Elementwise):
    """x where the bool cond holds, else y; all three broadcast. Only the side taken is evaluated."""

    name = "where"
    arity = 3
    accepts = "any"

    def infer(self, *inputs: Type) -> Type:
        if len(inputs) != 3:
            raise GraphnetError(f"where takes a condition and two values, not {len(inputs)} inputs")
        cond, x, y = inputs
        if cond.dtype != "bool":
            raise DTypeError(f"the condition of where must be bool, not {cond.dtype}; compare it, or use gn.cast")
        check_accepts("where", "any", (x, y))
        return Type(x.dtype, broadcast_shapes(cond.shape, x.shape, y.shape))

    def evaluate(self, cond: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(cond, x, y)

    def scalar(self, cond: Expr, x: Expr, y: Expr) -> Expr:
        return select(cond, x, y)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        cond, x, y = node.inputs
        dx, dy = where(cond, cotangent, 0.0), where(cond, 0.0, cotangent)
        return None, sum_to(dx, x.shape), sum_to(dy, y.shape)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3), (2, 3), (2, 3)), dtypes=("bool", "float", "float"))
        yield Sample(cls(), ((2, 1), (3,), ()), dtypes=("bool", "float", "float"))


# ------------------------------------------------------------------------------------ user functions


def lt(x: Any, y: Any) -> Node:
    return apply(Lt(), *pair(x, y))


def le(x: Any, y: Any) -> Node:
    return apply(Le(), *pair(x, y))


def gt(x: Any, y: Any) -> Node:
    return apply(Gt(), *pair(x, y))


def ge(x: Any, y: Any) -> Node:
    return apply(Ge(), *pair(x, y))


def eq(x: Any, y: Any) -> Node:
    """x == y elementwise."""
    return apply(Eq(), *pair(x, y))


def ne(x: Any, y: Any) -> Node:
    """x != y elementwise."""
    return apply(Ne(), *pair(x, y))


def logical_and(x: Any, y: Any) -> Node:
    return apply(LogicalAnd(), *pair(x, y))


def logical_or(x: Any, y: Any) -> Node:
    return apply(LogicalOr(), *pair(x, y))


def logical_xor(x: Any, y: Any) -> Node:
    return apply(LogicalXor(), *pair(x, y))


def where(cond: Node, x: Any, y: Any) -> Node:
    """x where `cond` holds, else y."""
    return apply(Where(), cond, *pair(x, y))
