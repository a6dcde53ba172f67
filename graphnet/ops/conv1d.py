"""Convolution along one axis: that of an image of one row."""

from __future__ import annotations

from ..errors import ShapeError
from ..node import Node
from ..site import located
from .broadcast import reshape
from .conv2d import conv2d
from .window import Pair, ints_of, pair_of


@located
def conv1d(
    x: Node,
    w: Node,
    stride: int = 1,
    padding: str | int | Pair = "valid",
    dilation: int = 1,
    algorithm: str = "auto",
    groups: int = 1,
) -> Node:
    """x (N,C,L), w (K,C/groups,R) -> (N,K,M): y[n,k,m] = sum_cr x[n, c, m*stride + r*dilation - pad] w[k,c,r].

    Padding: "valid", "same", "same_lower", a number, or how many before and after. algorithm, groups: as of
    `conv2d`."""
    if x.rank != 3 or w.rank != 3:
        raise ShapeError(f"conv1d needs an input (N,C,L) and a kernel (K,C,R), not {x!r} and {w!r}")
    (step,) = ints_of(stride, "conv1d: stride", 1)
    (gap,) = ints_of(dilation, "conv1d: dilation", 1)
    sides = padding if isinstance(padding, str) else ((0, 0), pair_of(padding, "conv1d: padding", 0))
    image = reshape(x, (*x.shape[:2], 1, x.shape[2]))  # (N,C,1,L)
    kernel = reshape(w, (*w.shape[:2], 1, w.shape[2]))
    y = conv2d(image, kernel, (1, step), sides, (1, gap), algorithm=algorithm, groups=groups)
    return reshape(y, (*y.shape[:2], y.shape[3]))
