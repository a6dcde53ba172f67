"""Poolings made of others: Lp norms, whole images, outputs of a given size."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

import numpy as np

from ..errors import DTypeError, ShapeError
from ..node import Node, apply, constant
from ..site import located
from ..types import concrete
from .arithmetic import Abs
from .avg_pool import AvgPool
from .broadcast import sum
from .compare import where
from .matmul import matmul
from .max_pool import MaxPool
from .move import concatenate, transpose
from .move import slice as slice_of
from .pool import IMAGES, settings
from .power import Sqrt, Square, power
from .reduce import max, mean
from .window import Ints, Padding, ints_of


def _order(op: str, x: Node, p: float) -> float:
    if isinstance(p, bool) or not isinstance(p, (int, float)) or not p >= 1:
        raise ShapeError(f"{op}: p must be a number from 1, not {p!r}")
    if not x.type.is_float:
        raise DTypeError(f"{op} takes floats, not {x!r}; convert with gn.cast")
    return float(p)


def _powers(x: Node, p: float) -> Node:
    """|x|^p."""
    if p == 1.0:
        return apply(Abs(), x)
    return apply(Square(), x) if p == 2.0 else power(apply(Abs(), x), p)


def _root(total: Node, p: float) -> Node:
    """total^(1/p) of numbers >= 0; derivative 0 at 0."""
    if p == 1.0:
        return total
    some = total > 0
    safe = where(some, total, 1.0)
    return where(some, apply(Sqrt(), safe) if p == 2.0 else power(safe, 1.0 / p), 0.0)


@located
def lp_pool(
    x: Node,
    window: int | Ints,
    p: float = 2.0,
    stride: int | Ints | None = None,
    padding: str | int | Ints | Padding = "valid",
    dilation: int | Ints = 1,
    ceil_mode: bool = False,
) -> Node:
    """x (N,C,L), (N,C,H,W) or (N,C,D,H,W) -> (sum |x|^p)^(1/p) of each window; the largest |x| for p = inf. The other
    arguments are those of `max_pool`; padding counts as zeros. The derivative of a window of zeros is 0."""
    made = settings("lp_pool", x, window, stride, padding, dilation, ceil_mode)
    order = _order("lp_pool", x, p)
    if order == inf:
        return apply(MaxPool(*made), apply(Abs(), x))
    return _root(apply(AvgPool(*made, divisor=1), _powers(x, order)), order)


def _pixels(op: str, x: Node) -> tuple[int, ...]:
    if x.rank not in IMAGES:
        raise ShapeError(f"{op} needs {' or '.join(IMAGES.values())}, not {x!r}")
    return tuple(range(2, x.rank))


@located
def global_avg_pool(x: Node) -> Node:
    """x (N,C,...) -> (N,C,1,...), the mean of each image's channel."""
    return mean(x, _pixels("global_avg_pool", x), keepdims=True)


@located
def global_max_pool(x: Node) -> Node:
    """x (N,C,...) -> (N,C,1,...), the greatest of each image's channel. Ties: as `max`."""
    return max(x, _pixels("global_max_pool", x), keepdims=True)


@located
def global_lp_pool(x: Node, p: float = 2.0) -> Node:
    """x (N,C,...) -> (N,C,1,...), (sum |x|^p)^(1/p) of each image's channel; the derivative of zeros is 0."""
    axes, order = _pixels("global_lp_pool", x), _order("global_lp_pool", x, p)
    if order == inf:
        return max(apply(Abs(), x), axes, keepdims=True)
    return _root(sum(_powers(x, order), axes, keepdims=True), order)


def _adaptive(op: str, x: Node, size: int | Sequence[int]) -> tuple[tuple[int, int], ...]:
    """Extent and wanted extent of each axis."""
    axes = _pixels(op, x)
    wanted = ints_of(tuple(size) if isinstance(size, (tuple, list)) else size, f"{op}: size", len(axes))
    return tuple(zip(concrete(x.shape[2:]), wanted, strict=True))


def _bounds(n: int, out: int) -> list[tuple[int, int]]:
    """The elements first <= i < last that each of `out` windows covers: they share out n as evenly as can be."""
    return [(i * n // out, -(-(i + 1) * n // out)) for i in range(out)]


def _even(x: Node, extents: tuple[tuple[int, int], ...]) -> tuple[Ints, Ints, Padding, Ints, bool] | None:
    """The windows, where all are the same."""
    if any(n % out for n, out in extents):
        return None
    windows = tuple(n // out for n, out in extents)
    return settings("adaptive", x, windows, None, "valid", 1, False)


@located
def adaptive_avg_pool(x: Node, size: int | Sequence[int]) -> Node:
    """x (N,C,...) -> (N,C,*size): the average over rows i*n // size up to ceil((i+1)*n / size), and so along each
    axis, as PyTorch. Where windows differ it is a product with a matrix an axis."""
    extents = _adaptive("adaptive_avg_pool", x, size)
    same = _even(x, extents)
    if same is not None:
        return apply(AvgPool(*same), x)
    for a, (n, out) in enumerate(extents, start=2):
        shares = np.zeros((n, out))
        for i, (first, last) in enumerate(_bounds(n, out)):
            shares[first:last, i] = 1.0 / (last - first)
        order = [b for b in range(x.rank) if b != a] + [a]
        y = matmul(transpose(x, order), constant(shares, x.dtype))
        x = transpose(y, [order.index(b) for b in range(x.rank)])
    return x


@located
def adaptive_max_pool(x: Node, size: int | Sequence[int]) -> Node:
    """x (N,C,...) -> (N,C,*size): the greatest of the windows of `adaptive_avg_pool`; ties as `max_pool`."""
    extents = _adaptive("adaptive_max_pool", x, size)
    same = _even(x, extents)
    if same is not None:
        return apply(MaxPool(*same), x)
    # Last axis first: of equal ones, the first in row-major order then wins.
    for a, (n, out) in reversed(list(enumerate(extents))):
        parts = []
        for first, last in _bounds(n, out):
            starts, stops = [0] * x.rank, list(x.shape)
            starts[2 + a], stops[2 + a] = first, last
            window = tuple(last - first if b == a else 1 for b in range(len(extents)))
            part = slice_of(x, starts, stops)
            parts.append(apply(MaxPool(*settings("adaptive_max_pool", part, window, 1, "valid", 1, False)), part))
        x = concatenate(parts, axis=2 + a)
    return x
