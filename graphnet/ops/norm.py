"""Batch normalisation, for training and for inference, and the global average that ends residual networks.

S. Ioffe, C. Szegedy: Batch normalization: accelerating deep network training by reducing internal covariate
shift. ICML 2015. Channels are axis 1 unless `axis` says otherwise: x (N,C,H,W) or (N,C), all else (C,).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DTypeError, GraphnetError, ShapeError
from ..node import Node, apply, constant
from ..op import Op, Sample
from ..site import located
from ..types import Dim, Extent, Shape, Type, normalise_axes, size
from .arithmetic import maximum
from .broadcast import Size, reshape, sum
from .power import Reciprocal, Sqrt
from .reduce import CentredSquares, count, mean


@dataclass(frozen=True)
class BatchNorm(Op):
    """x, scale (C,), shift (C,) -> (x - mean) / sqrt(variance + epsilon) * scale + shift, with the mean and the
    biased variance of each channel over all other axes. The variance is the mean of (x - mean)^2, not the mean of
    x^2 less mean^2, which is all rounding error where the mean is large.

    Gradients, with h = (x - mean) / sqrt(variance + epsilon) and n elements a channel: dshift = sum(g),
    dscale = sum(g h), dx = scale / sqrt(variance + epsilon) * (g - dshift / n - h dscale / n)."""

    name = "batch_norm"
    kind = "composite"
    epsilon: float = 1e-5
    axis: int = 1

    def __post_init__(self) -> None:
        check_epsilon(self.name, self.epsilon)

    def infer(self, x: Type, scale: Type, shift: Type) -> Type:
        _check(self.name, x, self.axis, {"scale": scale, "shift": shift})
        if 0 in x.shape:
            raise ShapeError(f"statistics of no elements at all: {x}")
        return x

    def evaluate(self, x: np.ndarray, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
        axes = _others(x.ndim, self.axis)
        wide = x.astype(np.float64)
        centred = wide - wide.mean(axes, keepdims=True)
        h = centred / np.sqrt(centred.var(axes, keepdims=True) + self.epsilon)
        channels = tuple(e if a == self.axis else 1 for a, e in enumerate(x.shape))
        return (h * scale.reshape(channels) + shift.reshape(channels)).astype(x.dtype)

    def graph(self, x: Node, scale: Node, shift: Node) -> Node:
        s = _statistics(x, self.axis)
        slope = s.inverse(self.epsilon) * reshape(scale, s.channels)
        return s.centred * slope + reshape(shift, s.channels)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        x, scale, _ = node.inputs
        s = _statistics(x, self.axis)
        inverse = s.inverse(self.epsilon)
        dshift = sum(cotangent, s.axes, keepdims=True)
        dscale = sum(cotangent * s.centred, s.axes, keepdims=True) * inverse
        away = cotangent - dshift / s.n - s.centred * (inverse * dscale / s.n)
        dx = away * (inverse * reshape(scale, s.channels))
        return dx, reshape(dscale, scale.shape), reshape(dshift, scale.shape)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((4, 3, 2, 3), (3,), (3,)))
        yield Sample(cls(1e-3), ((6, 3), (3,), (3,)))
        yield Sample(cls(axis=2), ((2, 5, 3), (3,), (3,)))


@dataclass(frozen=True, slots=True)
class _Statistics:
    """Of each channel, in the shape `channels`: extent 1 along all other axes."""

    axes: tuple[int, ...]
    channels: Shape
    mean: Node
    centred: Node  # x - mean
    squares: Node  # the sum of (x - mean)^2
    n: Node  # elements a channel

    def inverse(self, epsilon: float) -> Node:
        """1 / sqrt(variance + epsilon), of the biased variance."""
        return inverse_root(self.squares / self.n, epsilon)


def _statistics(x: Node, axis: int) -> _Statistics:
    """The same nodes each time, so that gradients and running statistics share them with the op."""
    axes = _others(x.rank, axis)
    m = mean(x, axes, keepdims=True)
    centred = x - m
    squares = apply(CentredSquares(axes, True), x)
    return _Statistics(axes, m.shape, m, centred, squares, count(x, axes, x.dtype))


def _one_less(n: Extent, x: Node) -> Node:
    """n - 1 as a scalar of x's dtype, at least 1: one element has no unbiased variance, and its biased one is 0."""
    if not isinstance(n, Dim):
        return constant(max(n - 1, 1), x.dtype)
    below = apply(Size(n - 1, x.dtype))
    return below if n.substitute(dict.fromkeys(n.names, 1)) != 1 else maximum(below, 1.0)


def inverse_root(variance: Node, epsilon: float) -> Node:
    return apply(Reciprocal(), apply(Sqrt(), variance + epsilon))


def _others(rank: int, axis: int) -> tuple[int, ...]:
    return tuple(a for a in range(rank) if a != axis)


def _check(op: str, x: Type, axis: int, vectors: dict[str, Type]) -> None:
    """x (N, C, ...) of floats, and vectors (C,) of the same dtype."""
    if not x.is_float:
        raise DTypeError(f"{op} takes floats, not {x.dtype}; convert with gn.cast")
    if x.rank < 2 or not 0 <= axis < x.rank:
        raise ShapeError(f"{op} needs a batch with channels, such as (N,C,H,W), on axis {axis}; not {x}")
    for name, v in vectors.items():
        if v.shape != (x.shape[axis],):
            raise ShapeError(f"{op}: {x} has {x.shape[axis]} channels, {name} is {v}")
        if v.dtype != x.dtype:
            raise DTypeError(f"{op}: x is {x.dtype}, {name} {v.dtype}; see gn.cast")


def check_epsilon(op: str, epsilon: object) -> None:
    if isinstance(epsilon, bool) or not isinstance(epsilon, (int, float)) or not 0 < epsilon < math.inf:
        raise GraphnetError(f"{op}: epsilon must be a finite number > 0, not {epsilon!r}")


def _channels(x: Node, axis: int) -> tuple[int, Shape]:
    """The axis as a number >= 0, and the shape of what holds one number a channel."""
    (a,) = normalise_axes(axis, x.rank)
    return a, tuple(e if b == a else 1 for b, e in enumerate(x.shape))


# ------------------------------------------------------------------------------------ user functions


@located
def batch_norm(x: Node, scale: Node, shift: Node, epsilon: float = 1e-5, axis: int = 1) -> Node:
    """x normalised to mean 0 and variance 1 in each channel over the batch, times scale, plus shift: for training.

    The variance is the biased one; `batch_norm_updates` keeps averages for `batch_norm_inference`."""
    (a,) = normalise_axes(axis, x.rank)
    check_epsilon("batch_norm", epsilon)
    return apply(BatchNorm(float(epsilon), a), x, scale, shift)


@located
def batch_norm_inference(
    x: Node, scale: Node, shift: Node, mean: Node, variance: Node, epsilon: float = 1e-5, axis: int = 1
) -> Node:
    """(x - mean) / sqrt(variance + epsilon) * scale + shift, with statistics that are given, (C,) each.

    Written as x * a + b, with a and b one number a channel."""
    check_epsilon("batch_norm_inference", epsilon)
    a, channels = _channels(x, axis)
    vectors = {"scale": scale, "shift": shift, "mean": mean, "variance": variance}
    _check("batch_norm_inference", x.type, a, {name: v.type for name, v in vectors.items()})
    slope = scale * inverse_root(variance, float(epsilon))
    return x * reshape(slope, channels) + reshape(shift - mean * slope, channels)


@located
def batch_norm_updates(
    x: Node, running_mean: Node, running_variance: Node, momentum: float = 0.1, axis: int = 1
) -> dict[Node, Node]:
    """New values of two parameters (C,), for `gn.compile(updates=...)`: (1 - momentum) * old + momentum * new, where
    new is the batch's mean and its unbiased variance (n / (n - 1) times what `batch_norm` divides by), as PyTorch."""
    a, _ = _channels(x, axis)
    if isinstance(momentum, bool) or not isinstance(momentum, (int, float)) or not 0 <= momentum <= 1:
        raise GraphnetError(f"batch_norm_updates: momentum must be in [0, 1], not {momentum!r}")
    vectors = {"running_mean": running_mean, "running_variance": running_variance}
    _check("batch_norm_updates", x.type, a, {name: v.type for name, v in vectors.items()})
    s = _statistics(x, a)
    found = {running_mean: s.mean, running_variance: s.squares / _one_less(size(tuple(x.shape[b] for b in s.axes)), x)}
    return {old: old * (1.0 - momentum) + reshape(new, old.shape) * momentum for old, new in found.items()}


@located
def global_avg_pool2d(x: Node) -> Node:
    """x (N,C,H,W) -> (N,C), the mean of each image's channel."""
    if x.rank != 4:
        raise ShapeError(f"global_avg_pool2d needs (N,C,H,W), not {x!r}")
    return mean(x, (2, 3))
