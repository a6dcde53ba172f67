"""The negative logarithm of the probability of labels: weights of classes, ignored labels, smoothing, any rank."""

from __future__ import annotations

import math

from ..errors import DTypeError, GraphnetError, ShapeError
from ..node import Node, constant
from ..types import Type
from .broadcast import reshape, sum
from .compare import eq, ne, where
from .elementwise import cast
from .positions import arange
from .reduce import mean
from .softmax import log_softmax

REDUCTIONS = ("none", "mean", "sum")


def reduced(losses: Node, reduction: str) -> Node:
    """Each loss ("none"), their mean or their sum."""
    if reduction not in REDUCTIONS:
        raise GraphnetError(f"reduction must be {', '.join(map(repr, REDUCTIONS))}, not {reduction!r}")
    return losses if reduction == "none" else mean(losses) if reduction == "mean" else sum(losses)


def negative_likelihood(
    x: Node, labels: Node, weight: Node | None, ignore: int | None, reduction: str, smoothing: float, logits: bool
) -> Node:
    """The loss of labels (N, ...), or of probabilities (N, C, ...), under x (N, C, ...): logits, or logarithms of
    probabilities. Classes lie on axis 1, or on axis 0 of x (C,)."""
    op, axis = ("cross_entropy" if logits else "nll_loss"), min(x.rank - 1, 1)
    probable = logits and labels.type.is_float and labels.shape == x.shape
    classes = _check(op, x.type, axis, labels.type, weight, probable)
    along = (classes, *(1,) * (x.rank - 1 - axis))  # one number a class, in front of the axes behind it
    y = log_softmax(x, axis) if logits else x
    weighted = y if weight is None else y * reshape(weight, along)
    spread = sum(weighted, axis) * (smoothing / classes) if smoothing else None
    if probable:
        if ignore is not None:
            raise GraphnetError(f"{op}: ignore_index is for class numbers, not for probabilities")
        losses = -sum(weighted * labels, axis)
        losses = losses if spread is None else losses * (1.0 - smoothing) - spread
        return reduced(losses, reduction)
    number = cast(labels, "int64")
    right = (number >= 0) & (number < classes)
    if ignore is not None:
        right = right | eq(number, ignore)
    wide = (*labels.shape[:axis], 1, *labels.shape[axis:])
    hit = eq(reshape(number, wide), reshape(arange(classes, dtype="int64"), along))
    # A wrong label picks all classes, so that the NaN reaches its row of the gradient too.
    losses = -sum(where(hit | reshape(~right, wide), weighted, 0.0), axis)
    losses = losses if spread is None else losses * (1.0 - smoothing) - spread
    losses = losses * where(right, constant(1.0, x.dtype), math.nan)
    counted = None if ignore is None else ne(number, ignore)
    losses = losses if counted is None else where(counted, losses, 0.0)
    if reduction != "mean" or (ignore is None and weight is None):
        return reduced(losses, reduction)
    share = cast(hit, x.dtype) if weight is None else cast(hit, x.dtype) * reshape(weight, along)
    share = sum(share, axis)
    return sum(losses) / sum(share if counted is None else where(counted, share, 0.0))


def _check(op: str, x: Type, axis: int, labels: Type, weight: Node | None, probable: bool) -> int:
    """The number of classes."""
    if not x.is_float:
        raise DTypeError(f"{op} takes floats, not {x.dtype}; convert with gn.cast")
    if x.rank == 0 or not isinstance(classes := x.shape[axis], int) or classes < 1:
        raise ShapeError(f"{op} needs (N, C, ...) with a known number C >= 1 of classes, not {x}")
    if probable:
        if labels.dtype != x.dtype:
            raise DTypeError(f"{op}: {x.dtype} and probabilities of {labels.dtype}; see gn.cast")
    elif labels.is_float or labels.dtype == "bool":
        raise DTypeError(f"{op}: labels must be class numbers, such as int32, not {labels}")
    elif labels.shape != (*x.shape[:axis], *x.shape[axis + 1 :]):
        raise ShapeError(f"{op}: for {x}, labels must be {[*x.shape[:axis], *x.shape[axis + 1 :]]}, not {labels}")
    if weight is not None and (weight.shape != (classes,) or weight.dtype != x.dtype):
        raise ShapeError(f"{op}: weight must be {x.with_shape((classes,))}, one for each class, not {weight.type}")
    return classes
