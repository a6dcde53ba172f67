"""The functions between a network's layers, and the one that stops its derivative."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.expr import Expr, select, unary

from ..errors import GraphnetError
from ..node import Node, apply
from ..op import Sample
from ..site import located
from .arithmetic import Abs
from .compare import where
from .elementwise import Unary
from .power import Exp, Log1p


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
        e = unary("exp", -unary("abs", x))
        r = 1.0 / (1.0 + e)
        return select(x < 0, e * r, r)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * (node * (1.0 - node)),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),))
        yield Sample(cls(), ((3, 4),), low=-80.0, high=80.0)


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


# ------------------------------------------------------------------------------------ user functions


@located
def leaky_relu(x: Node, slope: float = 0.01) -> Node:
    """x where it is positive, else slope * x. (PyTorch's default slope is 0.01, Keras' 0.3.)"""
    if not (isinstance(slope, (int, float)) and math.isfinite(slope)):
        raise GraphnetError(f"leaky_relu: the slope must be a finite number, not {slope!r}")
    return where(x > 0, x, x * float(slope))


def softplus(x: Node) -> Node:
    """log(1 + exp(x)) without overflow: max(x, 0) + log1p(exp(-|x|))."""
    return apply(Relu(), x) + apply(Log1p(), apply(Exp(), -apply(Abs(), x)))
