"""Normalisation over any axes: layer, instance, group, RMS, mean and variance, and by Lp norms.

    layer       J. L. Ba, J. R. Kiros, G. E. Hinton: Layer normalization. 2016
    instance    D. Ulyanov, A. Vedaldi, V. Lempitsky: Instance normalization. 2016
    group       Y. Wu, K. He: Group normalization. ECCV 2018
    RMS         B. Zhang, R. Sennrich: Root mean square layer normalization. NeurIPS 2019

Variances are biased, and means of (x - mean)^2: never mean(x^2) - mean^2, which is all rounding error where the mean
is large. Batch normalisation is in `norm`, local response normalisation in `response`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import DTypeError, GraphnetError, ShapeError
from ..node import Node, apply
from ..op import Op, Sample
from ..site import located
from ..types import Shape, Type, normalise_axes
from .arithmetic import Abs, maximum
from .broadcast import reshape, sum
from .compare import where
from .norm import check_epsilon, inverse_root
from .power import Reciprocal, Sqrt, Square, power
from .reduce import CentredSquares, count, max, mean


@dataclass(frozen=True)
class _OverAxes(Op):
    """Base: floats, of the same shape after as before, with statistics over `axes`."""

    kind = "composite"
    axes: tuple[int, ...]
    epsilon: float = 1e-5

    def __post_init__(self) -> None:
        check_epsilon(self.name, self.epsilon)

    def infer(self, x: Type) -> Type:
        if not x.is_float:
            raise DTypeError(f"{self.name} takes floats, not {x.dtype}; convert with gn.cast")
        if not self.axes or normalise_axes(self.axes, x.rank) != self.axes:
            raise ShapeError(f"{self.name} needs one axis or more in order, from 0 to {x.rank - 1}, not {self.axes}")
        if any(x.shape[a] == 0 for a in self.axes):
            raise ShapeError(f"{self.name} over no elements at all: {x} along {self.axes}")
        return x

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((1,)), ((3, 5),))
        yield Sample(cls((0, 2), 1e-3), ((2, 3, 4),))
        yield Sample(cls((1,)), ((0, 3),))


@dataclass(frozen=True)
class Standardise(_OverAxes):
    """(x - mean) / sqrt(variance + epsilon), with the mean and the biased variance over `axes`. Gradient, y being the
    result: (g - mean(g) - y mean(g y)) / sqrt(variance + epsilon)."""

    name = "standardise"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)
        centred = wide - wide.mean(self.axes, keepdims=True)
        return (centred / np.sqrt(np.square(centred).mean(self.axes, keepdims=True) + self.epsilon)).astype(x.dtype)

    def graph(self, x: Node) -> Node:
        return (x - mean(x, self.axes, keepdims=True)) * self._inverse(x)

    def _inverse(self, x: Node) -> Node:
        squares = apply(CentredSquares(self.axes, True), x)
        return inverse_root(squares / count(x, self.axes, x.dtype), self.epsilon)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        along = mean(cotangent * node, self.axes, keepdims=True)
        away = cotangent - mean(cotangent, self.axes, keepdims=True) - node * along
        return (away * self._inverse(x),)


@dataclass(frozen=True)
class RmsNormalise(_OverAxes):
    """x / sqrt(mean(x^2) + epsilon), the mean over `axes`. Gradient, y being the result:
    (g - y mean(g y)) / sqrt(mean(x^2) + epsilon)."""

    name = "rms_normalise"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)
        return (wide / np.sqrt(np.square(wide).mean(self.axes, keepdims=True) + self.epsilon)).astype(x.dtype)

    def graph(self, x: Node) -> Node:
        return x * self._inverse(x)

    def _inverse(self, x: Node) -> Node:
        return inverse_root(mean(apply(Square(), x), self.axes, keepdims=True), self.epsilon)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        return ((cotangent - node * mean(cotangent * node, self.axes, keepdims=True)) * self._inverse(x),)


def _affine(op: str, y: Node, scale: Node | None, shift: Node | None, shape: Shape, channels: Shape) -> Node:
    """y * scale + shift, whichever there are: of `shape`, used as `channels`."""
    for name, v in (("scale", scale), ("shift", shift)):
        if v is not None and v.shape != shape:
            raise ShapeError(f"{op}: {name} must be {y.type.with_shape(shape)}, not {v.type}")
        if v is not None and v.dtype != y.dtype:
            raise DTypeError(f"{op}: x is {y.dtype}, {name} {v.dtype}; see gn.cast")
    if scale is not None:
        y = y * reshape(scale, channels)
    return y if shift is None else y + reshape(shift, channels)


def _trailing(op: str, x: Node, axis: int) -> tuple[tuple[int, ...], Shape]:
    """The axes from `axis` on, and their extents."""
    if not -x.rank <= axis < x.rank:
        raise ShapeError(f"{op}: axis {axis} is out of range for {x!r}")
    axes = tuple(range(axis % x.rank, x.rank))
    return axes, x.shape[axes[0] :]


def _spatial(op: str, x: Node) -> Shape:
    """The shape of one number a channel, of x (N, C, ...)."""
    if x.rank < 3:
        raise ShapeError(f"{op} needs (N, C, ...) with one axis or more after the channels, not {x!r}")
    return (x.shape[1], *(1,) * (x.rank - 2))


# ------------------------------------------------------------------------------------ user functions


@located
def layer_norm(
    x: Node, scale: Node | None = None, shift: Node | None = None, epsilon: float = 1e-5, axis: int = -1
) -> Node:
    """x normalised to mean 0 and variance 1 over the axes from `axis` to the last, times scale, plus shift (of the
    shape of those axes), if given. torch's normalized_shape is x.shape[axis:]."""
    axes, shape = _trailing("layer_norm", x, axis)
    return _affine("layer_norm", apply(Standardise(axes, float(epsilon)), x), scale, shift, shape, shape)


@located
def rms_norm(x: Node, scale: Node | None = None, epsilon: float = 1e-5, axis: int = -1) -> Node:
    """x / sqrt(mean(x^2) + epsilon) over the axes from `axis` to the last, times scale (of their shape), if given."""
    axes, shape = _trailing("rms_norm", x, axis)
    return _affine("rms_norm", apply(RmsNormalise(axes, float(epsilon)), x), scale, None, shape, shape)


@located
def instance_norm(x: Node, scale: Node | None = None, shift: Node | None = None, epsilon: float = 1e-5) -> Node:
    """x (N, C, ...) normalised in each channel of each image, times scale (C,), plus shift (C,), if given."""
    channels = _spatial("instance_norm", x)
    y = apply(Standardise(tuple(range(2, x.rank)), float(epsilon)), x)
    return _affine("instance_norm", y, scale, shift, x.shape[1:2], channels)


@located
def group_norm(
    x: Node, groups: int, scale: Node | None = None, shift: Node | None = None, epsilon: float = 1e-5
) -> Node:
    """x (N, C, ...) normalised over `groups` runs of neighbouring channels of each image, times scale (C,), plus
    shift (C,), if given."""
    if x.rank < 2 or not isinstance(c := x.shape[1], int):
        raise ShapeError(f"group_norm needs (N, C, ...) with a known number of channels, not {x!r}")
    if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1 or c % groups:
        raise ShapeError(f"group_norm: {c} channels cannot be divided into {groups!r} groups")
    wide = reshape(x, (x.shape[0], groups, c // groups, *x.shape[2:]))
    y = reshape(apply(Standardise(tuple(range(2, wide.rank)), float(epsilon)), wide), x.shape)
    return _affine("group_norm", y, scale, shift, (c,), (c, *(1,) * (x.rank - 2)))


@located
def mean_variance_normalization(x: Node, axis: int | tuple[int, ...] = (0, 2, 3), epsilon: float = 1e-9) -> Node:
    """(x - mean) / (sqrt(variance) + epsilon) over `axis`, with the biased variance, as ONNX. Where all x are equal,
    the root has derivative 0, so that the result's is (g - mean(g)) / epsilon."""
    check_epsilon("mean_variance_normalization", epsilon)
    axes = normalise_axes(axis, x.rank)
    variance = apply(CentredSquares(axes, True), x) / count(x, axes, x.dtype)
    varied = variance > 0.0
    root = where(varied, apply(Sqrt(), where(varied, variance, 1.0)), 0.0)
    return (x - mean(x, axes, keepdims=True)) / (root + epsilon)


@located
def lp_normalize(x: Node, p: float = 2.0, axis: int | tuple[int, ...] = -1, epsilon: float = 1e-12) -> Node:
    """x / max(norm, epsilon), with the norm (sum |x|^p)^(1/p) along `axis`; p >= 1 or infinite. As
    torch.nn.functional.normalize; no derivative passes through a norm below epsilon, so that of 0 is g / epsilon."""
    check_epsilon("lp_normalize", epsilon)
    if not p >= 1:
        raise GraphnetError(f"lp_normalize: p must be a number >= 1 or infinite, not {p!r}")
    axes = normalise_axes(axis, x.rank)
    if p == 2:
        # The maximum below the root, where the derivative is finite.
        squares = maximum(sum(apply(Square(), x), axes, keepdims=True), epsilon * epsilon)
        return x * apply(Reciprocal(), apply(Sqrt(), squares))
    size = apply(Abs(), x)
    if math.isinf(p):
        return x / maximum(max(size, axes, keepdims=True), epsilon)
    if p == 1:
        return x / maximum(sum(size, axes, keepdims=True), epsilon)
    least = np.maximum(epsilon**p, 1e-37).item()  # a float32 that is not 0
    return x / power(maximum(sum(power(size, p), axes, keepdims=True), least), 1.0 / p)
