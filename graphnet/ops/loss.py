"""Losses: scalars to be minimised, each a mean. Composite ops with stable gradients of their own."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DTypeError, ShapeError
from ..node import Node, apply, constant
from ..op import Op, Sample
from ..site import located
from ..types import Type, concrete
from .activation import Relu, Sigmoid
from .arithmetic import Abs, Maximum
from .broadcast import reshape, sum
from .compare import eq, where
from .elementwise import cast, pair
from .positions import one_hot
from .power import Exp, Log, Log1p, Square
from .reduce import argmax, count, mean
from .softmax import log_softmax, softmax


@dataclass(frozen=True)
class CrossEntropy(Op):
    """logits (N, C) floats, labels (N,) integers in 0 .. C-1 -> the mean over N of
    -log_softmax(logits)[n, labels[n]]. A label that is not a class makes the loss, and its row of the
    gradient, NaN. Gradient (softmax(logits) - onehot(labels)) / N."""

    name = "cross_entropy"
    kind = "composite"

    def infer(self, logits: Type, labels: Type) -> Type:
        if not logits.is_float:
            raise DTypeError(f"logits must be float32 or float64, not {logits.dtype}")
        if labels.is_float or labels.dtype == "bool":
            raise DTypeError(f"labels must be class numbers, such as int32, not {labels.dtype}")
        if logits.rank != 2 or labels.rank != 1:
            raise ShapeError(f"cross_entropy needs logits (N, C) and labels (N,), not {logits} and {labels}")
        if logits.shape[0] != labels.shape[0]:
            raise ShapeError(f"batches differ: {logits.shape[0]} rows of logits, {labels.shape[0]} labels")
        if not isinstance(logits.shape[1], int) or logits.shape[1] < 1:
            raise ShapeError(f"the number of classes must be a number >= 1, not {logits.shape[1]}")
        return Type(logits.dtype, ())

    def evaluate(self, logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
        n, classes = logits.shape
        wide = logits.astype(np.float64)
        valid = (labels >= 0) & (labels < classes)
        picked = wide[np.arange(n), np.where(valid, labels, 0)]
        losses = np.where(valid, np.logaddexp.reduce(wide, axis=1) - picked, np.nan)
        return np.asarray(losses.mean(), dtype=logits.dtype)

    def graph(self, logits: Node, labels: Node) -> Node:
        hit = one_hot(labels, _classes(logits), "bool")
        picked = sum(where(hit, log_softmax(logits, 1), 0.0), 1)
        losses = where(_valid(logits, labels), -picked, math.nan)
        return mean(losses)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        logits, labels = node.inputs
        each = where(_valid(logits, labels), cotangent / count(logits, (0,), logits.dtype), math.nan)
        distance = softmax(logits, 1) - one_hot(labels, _classes(logits), logits.dtype)
        return distance * reshape(each, (labels.shape[0], 1)), None

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((5, 3), (5,)), dtypes=("float", "int32"), low=0, high=3)
        yield Sample(cls(), ((4, 3), (4,)), dtypes=("float", "int32"), low=0, high=5, differentiable=False)


def _classes(logits: Node) -> int:
    return concrete(logits.shape[1:])[0]


def _valid(logits: Node, labels: Node) -> Node:
    """Which labels are classes, (N,) bool."""
    return (labels >= 0) & (cast(labels, "int64") < _classes(logits))


@dataclass(frozen=True)
class _Binary(Op):
    kind = "composite"

    def infer(self, p: Type, y: Type) -> Type:
        if not p.is_float or p.dtype != y.dtype:
            raise DTypeError(f"{self.name} needs two floats of one dtype, not {p.dtype} and {y.dtype}; see gn.cast")
        if p.shape != y.shape:
            raise ShapeError(f"predictions {p} and targets {y} differ")
        if 0 in p.shape:
            raise ShapeError(f"a mean over no elements at all: {p}")
        return Type(p.dtype, ())


@dataclass(frozen=True)
class BinaryCrossEntropy(_Binary):
    """Probabilities p and targets y of one shape -> mean of -(y log p + (1 - y) log(1 - p)), both logs
    held above -100 so that p of 0 and 1 stay finite. Gradient (p - y) / max(p (1 - p), 1e-12). As
    PyTorch's; after a sigmoid, bce_with_logits is more accurate."""

    name = "binary_cross_entropy"

    def evaluate(self, p: np.ndarray, y: np.ndarray) -> np.ndarray:
        a, b = p.astype(np.float64), y.astype(np.float64)
        log = np.maximum(np.log(a), -100) * b + np.maximum(np.log1p(-a), -100) * (1 - b)
        return np.asarray(-log.mean(), dtype=p.dtype)

    def graph(self, p: Node, y: Node) -> Node:
        return -mean(y * _log(p) + (1.0 - y) * _log(1.0 - p))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        p, y = node.inputs
        each = cotangent / count(p, tuple(range(p.rank)), p.dtype)
        spread = apply(Maximum(), *pair(p * (1.0 - p), 1e-12))
        return each * ((p - y) / spread), each * (_log(1.0 - p) - _log(p))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 2), (3, 2)), low=0.1, high=0.9)


def _log(p: Node) -> Node:
    return apply(Maximum(), *pair(apply(Log(), p), -100.0))


@dataclass(frozen=True)
class BceWithLogits(_Binary):
    """Logits z and targets y of one shape -> mean of max(z, 0) - z y + log(1 + exp(-|z|)), which is binary
    cross-entropy of sigmoid(z). Gradient (sigmoid(z) - y) / size."""

    name = "bce_with_logits"

    def evaluate(self, z: np.ndarray, y: np.ndarray) -> np.ndarray:
        a = z.astype(np.float64)
        return np.asarray((np.logaddexp(0, a) - a * y).mean(), dtype=z.dtype)

    def graph(self, z: Node, y: Node) -> Node:
        tail = apply(Log1p(), apply(Exp(), -apply(Abs(), z)))
        return mean(apply(Relu(), z) - z * y + tail)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        z, y = node.inputs
        each = cotangent / count(z, tuple(range(z.rank)), z.dtype)
        return each * (apply(Sigmoid(), z) - y), -(each * z)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 2), (3, 2)))
        yield Sample(cls(), ((3, 2), (3, 2)), low=-90.0, high=90.0)


# ------------------------------------------------------------------------------------ user functions


@located
def cross_entropy(logits: Node, labels: Any) -> Node:
    """The mean over N of -log softmax(logits)[n, labels[n]]; logits (N, C), labels (N,) class numbers."""
    return apply(CrossEntropy(), logits, labels if isinstance(labels, Node) else constant(np.asarray(labels)))


def binary_cross_entropy(p: Node, y: Any) -> Node:
    """The mean binary cross-entropy of probabilities `p` and targets `y`."""
    return apply(BinaryCrossEntropy(), *pair(p, y))


def bce_with_logits(z: Node, y: Any) -> Node:
    """The mean binary cross-entropy of sigmoid(z) and targets `y`, without overflow."""
    return apply(BceWithLogits(), *pair(z, y))


@located
def mse(prediction: Node, target: Any) -> Node:
    """The mean of (prediction - target)^2 over all elements."""
    p, t = pair(prediction, target)
    if p.shape != t.shape:
        raise ShapeError(f"mse: prediction {p!r} and target {t!r} differ in shape")
    return mean(apply(Square(), p - t))


def accuracy(logits: Node, labels: Node) -> Node:
    """The share of rows of logits (N, C) whose greatest is at the label (N,), as float32."""
    predicted = cast(argmax(logits, 1), labels.dtype)
    return mean(cast(eq(predicted, labels), "float32"))
