"""Losses of classifiers. Composite ops with stable gradients of their own; see `likelihood` for weights, ignored labels
and smoothing, `distance` for the losses of other targets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import DTypeError, GraphnetError, ShapeError
from ..node import Node, apply, constant
from ..op import Op, Sample
from ..site import located
from ..types import Type, concrete
from .activation import Relu, Sigmoid
from .arithmetic import Abs, Maximum
from .broadcast import broadcast_to, reshape, sum
from .compare import eq, where
from .elementwise import cast, pair
from .likelihood import negative_likelihood, reduced
from .positions import one_hot
from .power import Exp, Log, Log1p
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
            raise DTypeError(f"logits must be floats, not {logits.dtype}")
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
    """Base: the loss of each element of predictions and targets of one shape."""

    kind = "composite"

    def infer(self, p: Type, y: Type) -> Type:
        if not p.is_float or p.dtype != y.dtype:
            raise DTypeError(f"{self.name} needs two floats of one dtype, not {p.dtype} and {y.dtype}; see gn.cast")
        if p.shape != y.shape:
            raise ShapeError(f"predictions {p} and targets {y} differ")
        return p


@dataclass(frozen=True)
class BinaryCrossEntropy(_Binary):
    """Probabilities p and targets y -> -(y log p + (1 - y) log(1 - p)), both logs held above -100 so that p of 0
    and 1 stay finite. Gradient g (p - y) / max(p (1 - p), 1e-12). As PyTorch's; after a sigmoid, bce_with_logits is
    more accurate."""

    name = "binary_cross_entropy"

    def evaluate(self, p: np.ndarray, y: np.ndarray) -> np.ndarray:
        a, b = p.astype(np.float64), y.astype(np.float64)
        log = np.maximum(np.log(a), -100) * b + np.maximum(np.log1p(-a), -100) * (1 - b)
        return np.asarray(-log, dtype=p.dtype)

    def graph(self, p: Node, y: Node) -> Node:
        return -(y * _log(p) + (1.0 - y) * _log(1.0 - p))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        p, y = node.inputs
        spread = apply(Maximum(), *pair(p * (1.0 - p), 1e-12))
        return cotangent * ((p - y) / spread), cotangent * (_log(1.0 - p) - _log(p))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 2), (3, 2)), low=0.1, high=0.9)


def _log(p: Node) -> Node:
    return apply(Maximum(), *pair(apply(Log(), p), -100.0))


@dataclass(frozen=True)
class BceWithLogits(_Binary):
    """Logits z and targets y -> max(z, 0) - z y + log(1 + exp(-|z|)), which is the binary cross-entropy of
    sigmoid(z). Gradient g (sigmoid(z) - y)."""

    name = "bce_with_logits"

    def evaluate(self, z: np.ndarray, y: np.ndarray) -> np.ndarray:
        a = z.astype(np.float64)
        return np.asarray(np.logaddexp(0, a) - a * y, dtype=z.dtype)

    def graph(self, z: Node, y: Node) -> Node:
        tail = apply(Log1p(), apply(Exp(), -apply(Abs(), z)))
        return apply(Relu(), z) - z * y + tail

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        z, y = node.inputs
        return cotangent * (apply(Sigmoid(), z) - y), -(cotangent * z)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 2), (3, 2)))
        yield Sample(cls(), ((3, 2), (3, 2)), low=-90.0, high=90.0)


@dataclass(frozen=True)
class BceWithWeight(Op):
    """Logits z, targets y and weights w of positives -> w y log(1 + exp(-z)) + (1 - y) log(1 + exp(z)): nothing
    cancels, and neither logarithm overflows. Gradient g (sigmoid(z) (1 - y + w y) - w y)."""

    name = "bce_with_weight"
    kind = "composite"

    def infer(self, z: Type, y: Type, w: Type) -> Type:
        if not z.is_float or not z.dtype == y.dtype == w.dtype:
            raise DTypeError(f"{self.name} needs floats of one dtype, not {z.dtype}, {y.dtype}, {w.dtype}; see gn.cast")
        if not z.shape == y.shape == w.shape:
            raise ShapeError(f"logits {z}, targets {y} and weights {w} differ")
        return z

    def evaluate(self, z: np.ndarray, y: np.ndarray, w: np.ndarray) -> np.ndarray:
        a = z.astype(np.float64)
        return np.asarray(w * y * np.logaddexp(0, -a) + (1 - y) * np.logaddexp(0, a), dtype=z.dtype)

    def graph(self, z: Node, y: Node, w: Node) -> Node:
        tail = apply(Log1p(), apply(Exp(), -apply(Abs(), z)))
        return w * y * (apply(Relu(), -z) + tail) + (1.0 - y) * (apply(Relu(), z) + tail)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        z, y, w = node.inputs
        tail = apply(Log1p(), apply(Exp(), -apply(Abs(), z)))
        positive, negative = apply(Relu(), -z) + tail, apply(Relu(), z) + tail
        dz = apply(Sigmoid(), z) * (1.0 - y) - apply(Sigmoid(), -z) * (w * y)
        return cotangent * dz, cotangent * (w * positive - negative), cotangent * (y * positive)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 2), (3, 2), (3, 2)), low=0.1)


# ------------------------------------------------------------------------------------ user functions


@located
def cross_entropy(
    logits: Node,
    labels: Any,
    weight: Node | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Node:
    """-log softmax(logits)[labels] over axis 1 of logits (N, C, ...), for class numbers (N, ...): their mean, by
    default. Or for floats of the shape of the logits, each class's probability: -sum(labels * log softmax(logits)).

    weight (C,): a factor of each class; "mean" divides by the weights of the labels, and for probabilities by their
    number. ignore_index: labels that do not count (PyTorch ignores -100 unless told otherwise; here none is); any other
    label that is no class makes its loss NaN. label_smoothing: this share of each target is spread over all classes.
    logits (C,) with a scalar label are one example."""
    y = labels if isinstance(labels, Node) else constant(np.asarray(labels))
    if isinstance(label_smoothing, bool) or not 0 <= label_smoothing <= 1:
        raise GraphnetError(f"cross_entropy: label_smoothing must be in [0, 1], not {label_smoothing!r}")
    plain = weight is None and ignore_index is None and label_smoothing == 0
    if plain and reduction == "mean" and logits.rank == 2 and not (y.type.is_float and y.rank == 2):
        return apply(CrossEntropy(), logits, y)
    return negative_likelihood(logits, y, weight, ignore_index, reduction, float(label_smoothing), True)


@located
def nll_loss(
    log_probabilities: Node,
    labels: Any,
    weight: Node | None = None,
    ignore_index: int | None = None,
    reduction: str = "mean",
) -> Node:
    """-log_probabilities[labels] over axis 1 of (N, C, ...), for class numbers (N, ...); otherwise as `cross_entropy`,
    which is this of log_softmax. ONNX's NegativeLogLikelihoodLoss."""
    y = labels if isinstance(labels, Node) else constant(np.asarray(labels))
    return negative_likelihood(log_probabilities, y, weight, ignore_index, reduction, 0.0, False)


@located
def binary_cross_entropy(p: Node, y: Any, weight: Any = None, reduction: str = "mean") -> Node:
    """The binary cross-entropy of probabilities `p` and targets `y`, times `weight`; its mean by default."""
    losses = apply(BinaryCrossEntropy(), *pair(p, y))
    return reduced(losses if weight is None else losses * weight, reduction)


@located
def bce_with_logits(z: Node, y: Any, weight: Any = None, pos_weight: Any = None, reduction: str = "mean") -> Node:
    """The binary cross-entropy of sigmoid(z) and targets `y`, without overflow, times `weight`; its mean by default.
    pos_weight: a factor of the positive part, y log sigmoid(z). torch's binary_cross_entropy_with_logits."""
    z, y = pair(z, y)
    if pos_weight is None:
        losses = apply(BceWithLogits(), z, y)
    else:
        _, w = pair(z, pos_weight)
        losses = apply(BceWithWeight(), z, y, broadcast_to(w, z.shape))
    return reduced(losses if weight is None else losses * weight, reduction)


binary_cross_entropy_with_logits = bce_with_logits


def accuracy(logits: Node, labels: Node) -> Node:
    """The share of rows of logits (N, C) whose greatest is at the label (N,), as float32."""
    predicted = cast(argmax(logits, 1), labels.dtype)
    return mean(cast(eq(predicted, labels), "float32"))
