"""Rounding to integers, exact; and the sign bit. Derivatives of rounding are 0: nothing flows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.dtypes import DTYPES
from codegen.expr import Bitcast, Const, Expr, unary

from ..node import Node, apply
from ..op import Sample
from .arithmetic import Sign
from .elementwise import Binary, Unary, pair


@dataclass(frozen=True)
class _Rounding(Unary):
    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (None,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=-9.0, high=9.0, differentiable=False)


@dataclass(frozen=True)
class Floor(_Rounding):
    """The greatest integer that is not above x. Derivative 0."""

    name = "floor"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.floor(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("floor", x)


@dataclass(frozen=True)
class Ceil(_Rounding):
    """The least integer that is not below x. Derivative 0."""

    name = "ceil"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.ceil(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("ceil", x)


@dataclass(frozen=True)
class Trunc(_Rounding):
    """The integer part of x: rounded toward 0. Derivative 0."""

    name = "trunc"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.trunc(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("trunc", x)


@dataclass(frozen=True)
class Round(_Rounding):
    """The integer nearest to x, the even one of two. Derivative 0."""

    name = "round"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.rint(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("rint", x)


@dataclass(frozen=True)
class Copysign(Binary):
    """|x| with the sign bit of y. d/dx is 1 or -1, whether the sign changes, and 0 at x = 0; d/dy = 0."""

    name = "copysign"
    accepts = "float"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.copysign(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        dtype = DTYPES[x.dtype]
        ints = f"i{8 * dtype.bytes}"
        sign = Const(-(1 << (8 * dtype.bytes - 1)), ints)
        return Bitcast(Bitcast(unary("abs", x), ints) | (Bitcast(y, ints) & sign), x.dtype)

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        return g * (apply(Sign(), x) * copysign(1.0, y)), None

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3), (3,)), distinct=True)


# ------------------------------------------------------------------------------------ user functions


def copysign(x: Any, y: Any) -> Node:
    """|x| with the sign bit of y."""
    return apply(Copysign(), *pair(x, y))
