"""The functions between a network's layers, and the one that stops its derivative."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.expr import Expr, select, unary

from ..errors import GraphnetError
from ..node import Node, apply
from ..op import Op, Sample
from .compare import where
from .elementwise import Unary
from .power import Square


@dataclass(frozen=True)
class Relu(Unary):
    """max(x, 0), NaN for NaN; derivative 0 at 0. The mask is read off the output, so that a
    backward pass need not keep x."""

    name = "relu"
    accepts = "number"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.where(x < 0, np.zeros_like(x), x)

    def scalar(self, x: Expr) -> Expr:
        return select(x < 0, 0, x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (where(node > 0, cotangent, 0.0),)


@dataclass(frozen=True)
class Tanh(Unary):
    """The hyperbolic tangent; derivative 1 - tanh(x)^2."""

    name = "tanh"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.tanh(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("tanh", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * (1.0 - node * node),)


@dataclass(frozen=True)
class Sigmoid(Unary):
    """1 / (1 + exp(-x)), accurate and finite at both ends: with e = exp(-|x|) it is 1/(1+e) or e/(1+e).
    Derivative s (1 - s)."""

    name = "sigmoid"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.exp(-np.logaddexp(0, -x.astype(np.float64))).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        return unary("sigmoid", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * (node * (1.0 - node)),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),))
        yield Sample(cls(), ((3, 4),), low=-80.0, high=80.0)


@dataclass(frozen=True)
class Softplus(Unary):
    """log(1 + exp(beta x)) / beta without overflow: max(x, 0) + log1p(exp(-|beta x|)) / beta. With a `threshold`, x
    itself where beta x is above it (PyTorch's is 20). Derivative sigmoid(beta x)."""

    name = "softplus"
    beta: float = 1.0
    threshold: float | None = None

    def __post_init__(self) -> None:
        check_finite(self, "beta")
        if self.beta <= 0:
            raise GraphnetError(f"softplus: beta must be positive, not {self.beta!r}")
        if self.threshold is not None:
            check_finite(self, "threshold")

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)
        y = np.logaddexp(0, self.beta * wide) / self.beta
        linear = self.beta * wide > (math.inf if self.threshold is None else self.threshold)
        return np.where(linear, x, y).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        scaled = x if self.beta == 1 else x * self.beta
        tail = unary("log1p", unary("exp", -unary("abs", scaled)))
        y = select(x < 0, 0, x) + (tail if self.beta == 1 else tail * (1 / self.beta))
        return y if self.threshold is None else select(scaled > self.threshold, x, y)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        scaled = x * self.beta
        slope = cotangent * apply(Sigmoid(), scaled)
        return (slope if self.threshold is None else where(scaled > self.threshold, cotangent, slope),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),))
        yield Sample(cls(2.5), ((3, 4),))
        yield Sample(cls(), ((3, 4),), low=-1e4, high=1e4)
        yield Sample(cls(0.5, 0.25), ((3, 4),), distinct=True)


@dataclass(frozen=True)
class LogSigmoid(Unary):
    """log(sigmoid(x)) = min(x, 0) - log1p(exp(-|x|)). Derivative sigmoid(-x)."""

    name = "log_sigmoid"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return (-np.logaddexp(0, -x.astype(np.float64))).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        return select(x < 0, x, 0) - unary("log1p", unary("exp", -unary("abs", x)))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * apply(Sigmoid(), -node.inputs[0]),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),))
        yield Sample(cls(), ((3, 4),), low=-1e4, high=1e4)


@dataclass(frozen=True)
class Softsign(Unary):
    """x / (1 + |x|); derivative (1 - |y|)^2."""

    name = "softsign"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return x / (1 + np.abs(x))

    def scalar(self, x: Expr) -> Expr:
        return x / (1.0 + unary("abs", x))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * (1.0 - abs(node)) ** 2,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),))


@dataclass(frozen=True)
class TanhShrink(Unary):
    """x - tanh(x), accurate near 0. Derivative tanh(x)^2."""

    name = "tanh_shrink"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.longdouble)
        return (wide - np.tanh(wide)).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        return unary("tanh_shrink", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * apply(Square(), apply(Tanh(), node.inputs[0])),)


@dataclass(frozen=True)
class StopGradient(Unary):
    """x, through which no derivative passes."""

    name = "stop_gradient"
    accepts = "any"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return x

    def scalar(self, x: Expr) -> Expr:
        return x

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (None,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), differentiable=False)


def check_finite(op: Op, *attributes: str) -> None:
    """Raises GraphnetError unless these attributes of an op are finite numbers; makes them floats."""
    for name in attributes:
        value = getattr(op, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
            raise GraphnetError(f"{op.name}: {name} must be a finite number, not {value!r}")
        object.__setattr__(op, name, float(value))
