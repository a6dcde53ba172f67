"""Powers, roots, exponentials and logarithms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.dtypes import is_float
from codegen.expr import Expr, const, select, unary

from ..errors import DTypeError, GraphnetError
from ..node import Node, apply
from ..op import Sample
from ..site import located
from ..types import Type
from .elementwise import Unary


@dataclass(frozen=True)
class Square(Unary):
    """x * x."""

    name = "square"
    accepts = "number"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.square(x)

    def scalar(self, x: Expr) -> Expr:
        return x * x

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * (node.inputs[0] * 2.0),)


@dataclass(frozen=True)
class Reciprocal(Unary):
    """1 / x."""

    name = "reciprocal"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.reciprocal(x)

    def scalar(self, x: Expr) -> Expr:
        return 1.0 / x

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (-(cotangent * (node * node)),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=0.5)


@dataclass(frozen=True)
class Sqrt(Unary):
    """The square root; derivative 1 / (2 sqrt(x))."""

    name = "sqrt"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.sqrt(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("sqrt", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * 0.5 / node,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=0.5)


@dataclass(frozen=True)
class Power(Unary):
    """x ** exponent for a number `exponent`; derivative exponent * x ** (exponent - 1).

    Whole exponents up to 64 are products by squaring; others are exp(exponent * log|x|), whose
    relative error grows with the size of that product."""

    name = "power"
    accepts = "number"
    exponent: int | float = 2

    def __post_init__(self) -> None:
        e = self.exponent
        if isinstance(e, bool) or not isinstance(e, (int, float)) or not math.isfinite(e):
            raise GraphnetError(f"power: the exponent must be a finite number, not {e!r}")
        if isinstance(e, float) and e.is_integer():
            object.__setattr__(self, "exponent", int(e))

    def infer(self, *inputs: Type) -> Type:
        t = super().infer(*inputs)
        if not t.is_float and (isinstance(self.exponent, float) or self.exponent < 0):
            raise DTypeError(f"integers have no power {self.exponent}; convert with gn.cast(x, 'float32')")
        return t

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.power(x, np.asarray(self.exponent, dtype=x.dtype))

    def scalar(self, x: Expr) -> Expr:
        e = self.exponent
        if isinstance(e, int) and abs(e) <= 64:
            whole = _whole_power(x, abs(e))
            return whole if e >= 0 else 1.0 / whole
        if not is_float(x.dtype):
            return _whole_power(x, int(e))
        size = unary("exp", float(e) * unary("log", unary("abs", x)))
        if isinstance(e, float):
            return select(x < 0, math.nan, size)
        return select(x < 0, -size, size) if e % 2 else size

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        if self.exponent == 0:
            return (None,)
        return (cotangent * (power(node.inputs[0], self.exponent - 1) * float(self.exponent)),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(3), ((3, 4),))
        yield Sample(cls(-3), ((3, 4),), low=0.5)
        yield Sample(cls(1.7), ((3, 4),), low=0.5)
        yield Sample(cls(5), ((3, 4),), dtypes=("int32",), low=-4, high=5, differentiable=False)


def _whole_power(x: Expr, e: int) -> Expr:
    """x ** e by squaring."""
    result: Expr | None = None
    while e:
        if e & 1:
            result = x if result is None else result * x
        x = x * x
        e >>= 1
    return const(1, x.dtype) if result is None else result


# ----------------------------------------------------------------------- exponentials and logarithms


@dataclass(frozen=True)
class Exp(Unary):
    """e to the x."""

    name = "exp"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.exp(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("exp", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * node,)


@dataclass(frozen=True)
class Log(Unary):
    """The natural logarithm; -inf at 0, NaN below."""

    name = "log"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.log(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("log", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent / node.inputs[0],)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=0.5)


@dataclass(frozen=True)
class Log1p(Unary):
    """log(1 + x), accurate near 0: log(u) + (x - (u - 1)) / u with u = 1 + x rounded."""

    name = "log1p"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.log1p(x)

    def scalar(self, x: Expr) -> Expr:
        u = 1.0 + x
        return select(u < math.inf, unary("log", u) + (x - (u - 1.0)) / u, u)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent / (node.inputs[0] + 1.0),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=-0.5)
        yield Sample(cls(), ((3, 4),), low=1e-9, high=2e-9, differentiable=False)


# ------------------------------------------------------------------------------------ user functions


@located
def power(x: Any, exponent: Any) -> Node:
    """x ** exponent; where both are nodes, or only the exponent is, exp(exponent * log(x))."""
    if isinstance(exponent, Node):
        if not isinstance(x, Node):
            if not (isinstance(x, (int, float)) and x > 0):
                raise GraphnetError(f"power: the base of a node exponent must be a positive number, not {x!r}")
            return apply(Exp(), exponent * math.log(x))
        return apply(Exp(), exponent * apply(Log(), x))
    if isinstance(exponent, (np.integer, np.floating)):
        exponent = exponent.item()
    if isinstance(exponent, (int, float)) and not isinstance(exponent, bool):
        if exponent == 1:
            return x
        if exponent == 2:
            return apply(Square(), x)
        if exponent == 0.5:
            return apply(Sqrt(), x)
        if exponent == -1:
            return apply(Reciprocal(), x)
    return apply(Power(exponent), x)
