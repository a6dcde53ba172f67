"""Losses of predictions that are numbers: distances from targets of the same shape, and between distributions."""

from __future__ import annotations

from typing import Any

from ..errors import DTypeError, GraphnetError, ShapeError
from ..node import Node, apply, constant
from ..site import located
from ..types import normalise_axes
from .activation import Relu
from .arithmetic import Abs, maximum
from .broadcast import sum
from .compare import eq, where
from .elementwise import pair
from .likelihood import reduced
from .power import Exp, Log, Reciprocal, Sqrt, Square


def _same(op: str, prediction: Node, target: Any) -> tuple[Node, Node]:
    """Both as nodes of one type, floats."""
    p, t = pair(prediction, target)
    if p.shape != t.shape:
        raise ShapeError(f"{op}: prediction {p!r} and target {t!r} differ in shape")
    if not p.type.is_float:
        raise DTypeError(f"{op} takes floats, not {p.dtype}; convert with gn.cast")
    return p, t


@located
def mse(prediction: Node, target: Any, reduction: str = "mean") -> Node:
    """(prediction - target)^2; its mean over all elements by default. torch's mse_loss."""
    p, t = _same("mse", prediction, target)
    return reduced(apply(Square(), p - t), reduction)


@located
def l1_loss(prediction: Node, target: Any, reduction: str = "mean") -> Node:
    """|prediction - target|; its mean by default. The derivative where they are equal is 0."""
    p, t = _same("l1_loss", prediction, target)
    return reduced(apply(Abs(), p - t), reduction)


@located
def huber_loss(prediction: Node, target: Any, delta: float = 1.0, reduction: str = "mean") -> Node:
    """e^2 / 2 for |e| <= delta, else delta (|e| - delta / 2), e = prediction - target; its mean by default."""
    p, t = _same("huber_loss", prediction, target)
    if not delta > 0:
        raise GraphnetError(f"huber_loss: delta must be > 0, not {delta!r}")
    e = p - t
    size = apply(Abs(), e)
    return reduced(where(size <= delta, apply(Square(), e) * 0.5, (size - 0.5 * delta) * delta), reduction)


@located
def smooth_l1_loss(prediction: Node, target: Any, beta: float = 1.0, reduction: str = "mean") -> Node:
    """e^2 / (2 beta) for |e| < beta, else |e| - beta / 2, e = prediction - target; its mean by default. Huber's loss
    divided by beta; |e| for beta 0."""
    p, t = _same("smooth_l1_loss", prediction, target)
    if not beta >= 0:
        raise GraphnetError(f"smooth_l1_loss: beta must be >= 0, not {beta!r}")
    e = p - t
    size = apply(Abs(), e)
    if beta == 0:
        return reduced(size, reduction)
    return reduced(where(size < beta, apply(Square(), e) * (0.5 / beta), size - 0.5 * beta), reduction)


@located
def kl_div(log_probabilities: Node, target: Any, reduction: str = "mean", log_target: bool = False) -> Node:
    """target * (log(target) - log_probabilities), 0 where the target is; with log_target, the target is given as its
    logarithm. reduction "batchmean" is the sum divided by the first extent, which is Kullback's and Leibler's
    divergence; "mean", as in PyTorch, divides by all extents."""
    x, t = _same("kl_div", log_probabilities, target)
    if log_target:
        losses = apply(Exp(), t) * (t - x)
    else:
        some = t > 0.0
        losses = where(some, t * apply(Log(), where(some, t, 1.0)), 0.0) - t * x
    if reduction != "batchmean":
        return reduced(losses, reduction)
    if not x.rank:
        raise ShapeError("kl_div: a scalar has no batch for reduction 'batchmean'")
    return reduced(sum(losses, tuple(range(1, x.rank))), "mean")


@located
def hinge_loss(prediction: Node, target: Any, margin: float = 1.0, reduction: str = "mean") -> Node:
    """max(0, margin - target * prediction), for targets of 1 and -1; its mean by default."""
    p, t = _same("hinge_loss", prediction, target)
    return reduced(apply(Relu(), margin - t * p), reduction)


@located
def hinge_embedding_loss(x: Node, target: Any, margin: float = 1.0, reduction: str = "mean") -> Node:
    """x where the target is 1, max(0, margin - x) where it is -1, and their sum where it is neither; the mean by
    default."""
    d, t = _same("hinge_embedding_loss", x, target)
    far = where(eq(t, 1.0), 0.0, apply(Relu(), margin - d))
    near = where(eq(t, -1.0), 0.0, d)
    return reduced(far + near, reduction)


@located
def cosine_similarity(a: Node, b: Node, axis: int = 1, epsilon: float = 1e-8) -> Node:
    """sum(a b) / (max(norm(a), epsilon) max(norm(b), epsilon)) along `axis`, after broadcasting."""
    if not a.type.is_float:
        raise DTypeError(f"cosine_similarity takes floats, not {a.dtype}; convert with gn.cast")
    product = a * b
    (k,) = normalise_axes(axis, product.rank)

    def inverse(x: Node) -> Node:
        """1 / max(norm, epsilon), the maximum below the root, where the derivative is finite."""
        along = k - product.rank + x.rank
        squares = sum(apply(Square(), x), along, keepdims=True)
        return apply(Reciprocal(), apply(Sqrt(), maximum(squares, constant(epsilon * epsilon, x.dtype))))

    return sum(product * (inverse(a) * inverse(b)), k)
