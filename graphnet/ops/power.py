"""Powers, roots, exponentials and logarithms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.dtypes import is_float
from codegen.expr import Expr, binary, const, unary

from ..errors import DTypeError, GraphnetError
from ..node import Node, apply
from ..op import Sample
from ..site import located
from ..types import Type
from .compare import eq, logical_and, where
from .elementwise import Binary, Unary, cast, pair
from .integer_power import IntegerPower


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
class Rsqrt(Unary):
    """1 / sqrt(x); derivative -1 / (2 x sqrt(x))."""

    name = "rsqrt"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.reciprocal(np.sqrt(x))

    def scalar(self, x: Expr) -> Expr:
        return 1.0 / unary("sqrt", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * (node * apply(Square(), node)) * -0.5,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=0.5)


@dataclass(frozen=True)
class Cbrt(Unary):
    """The cube root, with the sign of x; derivative 1 / (3 cbrt(x)^2)."""

    name = "cbrt"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.cbrt(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("cbrt", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent / (apply(Square(), node) * 3.0),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=0.5)
        yield Sample(cls(), ((3, 4),), differentiable=False)


@dataclass(frozen=True)
class Power(Unary):
    """x ** exponent for a number `exponent`; derivative exponent * x ** (exponent - 1).

    Exponents 0 to 4, and all of integers, are products by squaring; others are `pow`."""

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
        if isinstance(e, int) and (0 <= e <= 4 or not is_float(x.dtype)):
            return _whole_power(x, e)
        return binary("pow", x, const(float(e), x.dtype))

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


@dataclass(frozen=True)
class Pow(Binary):
    """x ** y of floats, with C's and NumPy's special cases; NaN for x < 0 and y not whole. d/dx = y x^(y - 1), 0 where
    y = 0; d/dy = x^y log x, 0 where x = 0 and y >= 0, as PyTorch. Of integers: integer_power."""

    name = "pow"
    accepts = "float"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.power(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return binary("pow", x, y)

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        dx = where(eq(y, 0.0), 0.0, g * (y * apply(Pow(), x, y - 1.0)))
        zero = logical_and(eq(x, 0.0), y >= 0.0)
        return dx, where(zero, 0.0, g * (node * apply(Log(), where(zero, 1.0, x))))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3), (3,)), low=0.5)
        yield Sample(cls(), ((2, 3), (2, 1)), differentiable=False)


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
    """log(1 + x), accurate near 0; -inf at -1, NaN below. Derivative 1 / (1 + x)."""

    name = "log1p"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.log1p(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("log1p", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent / (node.inputs[0] + 1.0),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=-0.5)
        yield Sample(cls(), ((3, 4),), low=1e-9, high=2e-9, differentiable=False)


# ------------------------------------------------------------------------------------ user functions


@located
def power(x: Any, exponent: Any) -> Node:
    """x ** exponent of nodes, numbers and arrays; of an integer and a float node the integer is converted."""
    if isinstance(x, Node) and isinstance(exponent, Node):
        if x.type.is_float and exponent.type.is_integer:
            exponent = cast(exponent, x.dtype)
        elif x.type.is_integer and exponent.type.is_float:
            x = cast(x, exponent.dtype)
    if isinstance(exponent, Node) or np.ndim(exponent):
        x, exponent = pair(x, exponent)
        return apply(Pow() if x.type.is_float else IntegerPower(), x, exponent)
    if isinstance(exponent, (np.integer, np.floating, np.ndarray)):
        exponent = exponent.item()
    if isinstance(exponent, (int, float)) and not isinstance(exponent, bool):
        if exponent == 1:
            return x
        if exponent == 2:
            return apply(Square(), x)
        if exponent == 0.5:
            return apply(Sqrt(), x)
        if exponent == -0.5:
            return apply(Rsqrt(), x)
        if exponent == -1:
            return apply(Reciprocal(), x)
    return apply(Power(exponent), x)


pow = power  # the array API's name
