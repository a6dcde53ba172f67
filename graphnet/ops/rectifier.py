"""Piecewise linear activations: rectifiers, bounds, shrinkage. At their kinks derivatives are PyTorch's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.expr import Expr, select, unary

from ..errors import GraphnetError
from ..node import Node, apply, constant
from ..op import Sample
from ..site import located
from ..types import Type
from .activation import check_finite
from .broadcast import sum_to
from .compare import gt, le, lt, where
from .elementwise import Binary, Elementwise, Unary, pair


@dataclass(frozen=True)
class LeakyRelu(Unary):
    """x where it is positive, else slope * x; derivative slope at 0."""

    name = "leaky_relu"
    slope: float = 0.01

    def __post_init__(self) -> None:
        check_finite(self, "slope")

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, x * np.asarray(self.slope, x.dtype))

    def scalar(self, x: Expr) -> Expr:
        return select(x > 0, x, x * self.slope)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (where(node.inputs[0] > 0, cotangent, cotangent * self.slope),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(0.1), ((3, 4),), distinct=True)


@dataclass(frozen=True)
class Prelu(Binary):
    """x where it is positive, else slope * x, of a slope that may be trained; it broadcasts to x. Derivative by x at
    0: slope."""

    name = "prelu"
    accepts = "float"

    def evaluate(self, x: np.ndarray, slope: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, slope * x)

    def scalar(self, x: Expr, slope: Expr) -> Expr:
        return select(x > 0, x, slope * x)

    def partials(self, node: Node, g: Node, x: Node, slope: Node) -> Sequence[Node | None]:
        return where(x > 0, g, g * slope), where(x > 0, 0.0, g * x)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3), (3,)), distinct=True)
        yield Sample(cls(), ((2, 3), ()), distinct=True)


@dataclass(frozen=True)
class ThresholdedRelu(Unary):
    """0 where x <= alpha, else x; derivative 0 at alpha. NaN for NaN."""

    name = "thresholded_relu"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_finite(self, "alpha")

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.where(x <= self.alpha, np.zeros_like(x), x)

    def scalar(self, x: Expr) -> Expr:
        return select(x <= self.alpha, 0, x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (where(node.inputs[0] <= self.alpha, 0.0, cotangent),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(0.05), ((3, 4),), distinct=True)


# ------------------------------------------------------------------------------------------- bounds


@dataclass(frozen=True)
class Clip(Elementwise):
    """min(max(x, low), high) of three values that broadcast: high where low is above it, NaN for NaN. Derivative by x
    is 1 on the bounds too; by a bound it is 1 where it replaces x."""

    name = "clip"
    arity = 3
    accepts = "number"

    def evaluate(self, x: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
        return np.minimum(np.maximum(x, low), high)

    def scalar(self, x: Expr, low: Expr, high: Expr) -> Expr:
        raised = select(x < low, low, x)
        return select(high < raised, high, raised)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        x, low, high = node.inputs
        above = gt(where(lt(x, low), low, x), high)
        inside = where(above, 0.0, cotangent)
        dx, dlow, dhigh = where(lt(x, low), 0.0, inside), where(lt(x, low), inside, 0.0), where(above, cotangent, 0.0)
        return sum_to(dx, x.shape), sum_to(dlow, low.shape), sum_to(dhigh, high.shape)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4), (), (4,)), distinct=True)
        yield Sample(cls(), ((3, 4), (), (3, 1)), dtypes=("int32",) * 3, low=-5, high=6, differentiable=False)


@dataclass(frozen=True)
class Hardtanh(Unary):
    """x between low and high, else the nearer of them; derivative 0 on them. NaN for NaN."""

    name = "hardtanh"
    low: float = -1.0
    high: float = 1.0

    def __post_init__(self) -> None:
        check_finite(self, "low", "high")
        if self.low > self.high:
            raise GraphnetError(f"hardtanh: low must not be above high, as {self.low!r} is above {self.high!r}")

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.clip(x, np.asarray(self.low, x.dtype), np.asarray(self.high, x.dtype))

    def scalar(self, x: Expr) -> Expr:
        return select(x < self.low, self.low, select(x > self.high, self.high, x))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (between(node, self.low, self.high, cotangent),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(-0.05, 0.07), ((3, 4),), distinct=True)


@dataclass(frozen=True)
class HardSigmoid(Unary):
    """alpha x + beta between 0 and 1, else the nearer of them; derivative 0 where it is 0 or 1. NaN for NaN.
    (PyTorch's alpha is 1/6, that of ONNX by default 0.2.)"""

    name = "hard_sigmoid"
    alpha: float = 1 / 6
    beta: float = 0.5

    def __post_init__(self) -> None:
        check_finite(self, "alpha", "beta")

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.clip(self.alpha * x.astype(np.float64) + self.beta, 0, 1).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        y = x * self.alpha + self.beta
        return select(y < 0, 0, select(y > 1, 1, y))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (between(node, 0.0, 1.0, cotangent * self.alpha),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),))
        yield Sample(cls(9.0, 0.5), ((3, 4),), distinct=True)


@dataclass(frozen=True)
class Shrink(Unary):
    """0 where |x| <= lambd, else x moved toward 0 by bias; derivative 1 or 0, 0 on the bounds. NaN for NaN. Hard
    shrinkage has no bias, soft shrinkage one of lambd."""

    name = "shrink"
    lambd: float = 0.5
    bias: float = 0.0

    def __post_init__(self) -> None:
        check_finite(self, "lambd", "bias")
        if self.lambd < 0:
            raise GraphnetError(f"shrink: lambd must not be negative, as {self.lambd!r} is")

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        moved = x - np.sign(x) * np.asarray(self.bias, x.dtype)
        return np.where(np.abs(x) <= self.lambd, np.zeros_like(x), moved)

    def scalar(self, x: Expr) -> Expr:
        moved = x if self.bias == 0 else select(x < 0, x + self.bias, x - self.bias)
        return select(unary("abs", x) <= self.lambd, 0, moved)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (where(le(abs(node.inputs[0]), self.lambd), 0.0, cotangent),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(0.05), ((3, 4),), distinct=True)
        yield Sample(cls(0.05, 0.03), ((3, 4),), distinct=True)


def between(y: Node, low: float, high: float, g: Node) -> Node:
    """g where low < y < high, else 0."""
    return where(y > low, where(y < high, g, 0.0), 0.0)


# ------------------------------------------------------------------------------------ user functions


@located
def prelu(x: Node, slope: Any) -> Node:
    """x where it is positive, else slope * x. The slope broadcasts as in NumPy: one a channel of NCHW is (C, 1, 1)."""
    return apply(Prelu(), *pair(x, slope))


@located
def clip(x: Node, low: Any = None, high: Any = None) -> Node:
    """x between bounds: numbers, arrays or nodes; None for no bound."""
    t: Type = x.type
    ends = (-np.inf, np.inf) if t.is_float else (np.iinfo(t.dtype).min, np.iinfo(t.dtype).max)
    bounds = [constant(e, t.dtype) if b is None else pair(x, b)[1] for b, e in zip((low, high), ends, strict=True)]
    return x if low is None and high is None else apply(Clip(), x, *bounds)


def relu6(x: Node) -> Node:
    """x between 0 and 6."""
    return apply(Hardtanh(0.0, 6.0), x)


def hard_shrink(x: Node, lambd: float = 0.5) -> Node:
    """0 where |x| <= lambd, else x."""
    return apply(Shrink(lambd), x)


def soft_shrink(x: Node, lambd: float = 0.5) -> Node:
    """0 where |x| <= lambd, else x moved toward 0 by lambd."""
    return apply(Shrink(lambd, lambd), x)
