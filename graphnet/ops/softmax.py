"""The softmax family: composite ops, with stable bodies and gradients of their own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DTypeError, ShapeError
from ..node import Node, apply
from ..op import Op, Sample
from ..site import located
from ..types import Type, normalise_axes
from .activation import StopGradient
from .arithmetic import Abs
from .broadcast import reduced_shape, reshape, sum
from .compare import where
from .power import Exp, Log, Reciprocal
from .reduce import max


@dataclass(frozen=True)
class AlongAxis(Op):
    """Base: an op along one axis (numbered from 0) of a float value."""

    kind = "composite"
    axis: int

    def infer(self, x: Type) -> Type:
        if not x.is_float:
            raise DTypeError(f"{self.name} takes floats, not {x.dtype}; convert with gn.cast")
        if not 0 <= self.axis < x.rank:
            raise ShapeError(f"axis {self.axis} is out of range for {x}")
        if x.shape[self.axis] == 0:
            raise ShapeError(f"{self.name} over no elements at all: {x} along {self.axis}")
        return x

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(1), ((3, 5),))
        yield Sample(cls(0), ((4, 2, 2),))
        yield Sample(cls(1), ((3, 5),), low=-200.0, high=200.0, differentiable=False)


def _shifted(x: Node, axis: int) -> Node:
    """x less its greatest along `axis`, so that exp does not overflow. No derivative passes through the
    shift, which cancels."""
    return x - apply(StopGradient(), max(x, axis, keepdims=True))


@dataclass(frozen=True)
class Softmax(AlongAxis):
    """exp(x) / sum(exp(x)) along `axis`, after taking off the maximum. Gradient y * (g - sum(g * y))."""

    name = "softmax"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        e = np.exp(x.astype(np.float64) - x.max(axis=self.axis, keepdims=True))
        return (e / e.sum(axis=self.axis, keepdims=True)).astype(x.dtype)

    def graph(self, x: Node) -> Node:
        e = apply(Exp(), _shifted(x, self.axis))
        return e * apply(Reciprocal(), sum(e, self.axis, keepdims=True))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (node * (cotangent - sum(cotangent * node, self.axis, keepdims=True)),)


@dataclass(frozen=True)
class LogSoftmax(AlongAxis):
    """log(softmax(x)) = (x - m) - log(sum(exp(x - m))), m the maximum. Gradient g - softmax(x) * sum(g)."""

    name = "log_softmax"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)
        return (wide - np.logaddexp.reduce(wide, axis=self.axis, keepdims=True)).astype(x.dtype)

    def graph(self, x: Node) -> Node:
        z = _shifted(x, self.axis)
        return z - apply(Log(), sum(apply(Exp(), z), self.axis, keepdims=True))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent - apply(Exp(), node) * sum(cotangent, self.axis, keepdims=True),)


@dataclass(frozen=True)
class LogSumExp(AlongAxis):
    """log(sum(exp(x))) = m + log(sum(exp(x - m))), m the maximum, or 0 where that is infinite. Gradient
    g * softmax(x)."""

    name = "logsumexp"
    keepdims: bool = False

    def infer(self, x: Type) -> Type:
        return x.with_shape(reduced_shape(super().infer(x).shape, (self.axis,), self.keepdims))

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        out = np.logaddexp.reduce(x.astype(np.float64), axis=self.axis, keepdims=True)
        return (out if self.keepdims else np.squeeze(out, self.axis)).astype(x.dtype)

    def graph(self, x: Node) -> Node:
        m = apply(StopGradient(), max(x, self.axis, keepdims=True))
        m = where(apply(Abs(), m) < math.inf, m, 0.0)
        out = m + apply(Log(), sum(apply(Exp(), x - m), self.axis, keepdims=True))
        return reshape(out, reduced_shape(x.shape, (self.axis,), self.keepdims))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        return (reshape(cotangent, reduced_shape(x.shape, (self.axis,), True)) * softmax(x, self.axis),)


@located
def softmax(x: Node, axis: int = -1) -> Node:
    """exp(x) / sum(exp(x)) along `axis`."""
    (a,) = normalise_axes(axis, x.rank)
    return apply(Softmax(a), x)


@located
def log_softmax(x: Node, axis: int = -1) -> Node:
    """log(softmax(x)), without overflow or loss of accuracy."""
    (a,) = normalise_axes(axis, x.rank)
    return apply(LogSoftmax(a), x)


@located
def logsumexp(x: Node, axis: int | tuple[int, ...] | None = -1, keepdims: bool = False) -> Node:
    """log(sum(exp(x))) over `axis` (None: all axes), without overflow: along one axis after the other."""
    for a in reversed(normalise_axes(axis, x.rank)):
        x = apply(LogSumExp(a, bool(keepdims)), x)
    return x
