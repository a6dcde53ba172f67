"""Operations on the bits of integers, and of bools as single bits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.dtypes import DTYPES
from codegen.expr import Expr, binary, const, select, unary

from ..node import Node, apply
from ..op import Sample
from .elementwise import Binary, Unary, pair


@dataclass(frozen=True)
class Bitwise(Binary):
    """Base: of integers and bools."""

    accepts = "bits"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        for dtypes in (("int32", "int32"), ("bool", "bool")):
            yield Sample(cls(), ((2, 3), (3,)), dtypes=dtypes, low=-99, high=99, differentiable=False)
        yield Sample(cls(), ((0, 3), (3,)), dtypes=("uint8", "uint8"), low=0, high=256, differentiable=False)


@dataclass(frozen=True)
class BitwiseAnd(Bitwise):
    """x & y, bit by bit. numpy.bitwise_and."""

    name = "bitwise_and"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.bitwise_and(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return binary("and", x, y)


@dataclass(frozen=True)
class BitwiseOr(Bitwise):
    """x | y, bit by bit. numpy.bitwise_or."""

    name = "bitwise_or"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.bitwise_or(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return binary("or", x, y)


@dataclass(frozen=True)
class BitwiseXor(Bitwise):
    """x ^ y, bit by bit. numpy.bitwise_xor."""

    name = "bitwise_xor"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.bitwise_xor(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return binary("xor", x, y)


@dataclass(frozen=True)
class BitwiseNot(Unary):
    """~x: every bit inverted. numpy.bitwise_not."""

    name = "bitwise_not"
    accepts = "bits"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.bitwise_not(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("not", x)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3),), dtypes=("int32",), low=-99, high=99, differentiable=False)
        yield Sample(cls(), ((),), dtypes=("bool",), differentiable=False)


@dataclass(frozen=True)
class Shift(Binary):
    """Base: of integers."""

    accepts = "integer"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3), (3,)), dtypes=("int32", "int32"), low=0, high=40, differentiable=False)
        yield Sample(cls(), ((4, 9), (4, 9)), dtypes=("int8", "int8"), low=-9, high=20, differentiable=False)
        yield Sample(cls(), ((4, 9), (4, 9)), dtypes=("uint64",) * 2, low=0, high=70, differentiable=False)


@dataclass(frozen=True)
class LeftShift(Shift):
    """x * 2^y, what does not fit cut off; 0 where y is negative or not below the number of bits. numpy.left_shift."""

    name = "left_shift"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.left_shift(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        inside = _is_shift(y)
        return select(inside, binary("shl", x, _within(y, inside)), 0)


@dataclass(frozen=True)
class RightShift(Shift):
    """floor(x / 2^y), which keeps the sign; where y is negative or not below the number of bits, 0 or, of negative x,
    -1. numpy.right_shift."""

    name = "right_shift"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.right_shift(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        inside = _is_shift(y)
        outside = select(x < 0, -1, const(0, x.dtype)) if DTYPES[x.dtype].kind == "int" else const(0, x.dtype)
        return select(inside, binary("shr", x, _within(y, inside)), outside)


def _is_shift(y: Expr) -> Expr:
    below = y < 8 * DTYPES[y.dtype].bytes
    return below & (const(-1, y.dtype) < y) if DTYPES[y.dtype].kind == "int" else below


def _within(y: Expr, inside: Expr) -> Expr:
    """The number of places, where there are so many: no target shifts by more."""
    return select(inside, y, 0)


# ------------------------------------------------------------------------------------ user functions


def bitwise_and(x: Any, y: Any) -> Node:
    """x & y, bit by bit, of integers or bools."""
    return apply(BitwiseAnd(), *pair(x, y))


def bitwise_or(x: Any, y: Any) -> Node:
    """x | y, bit by bit, of integers or bools."""
    return apply(BitwiseOr(), *pair(x, y))


def bitwise_xor(x: Any, y: Any) -> Node:
    """x ^ y, bit by bit, of integers or bools."""
    return apply(BitwiseXor(), *pair(x, y))


def left_shift(x: Any, y: Any) -> Node:
    """x * 2^y of integers."""
    return apply(LeftShift(), *pair(x, y))


def right_shift(x: Any, y: Any) -> Node:
    """floor(x / 2^y) of integers."""
    return apply(RightShift(), *pair(x, y))
