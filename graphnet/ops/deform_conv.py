"""Deformable convolution (Dai et al. 2017; with a mask, Zhu et al. 2018): every tap reads where an offset says."""

from __future__ import annotations

from ..errors import ShapeError
from ..node import Node, apply
from ..site import located
from ..types import concrete
from .arithmetic import maximum, minimum
from .broadcast import reshape
from .compare import where
from .conv2d import conv2d
from .elementwise import cast
from .positions import arange
from .rounding import Floor
from .take import take_along_axis
from .window import Ints, Padding, ints_of, output_extents, padding_of


def _places(n: int, taps: int, stride: int, dilation: int, low: int, dtype: str) -> Node:
    """Where the taps read without offsets, (taps, n)."""
    start = arange(n, dtype=dtype) * float(stride) - float(low)
    return reshape(arange(taps, dtype=dtype) * float(dilation), (taps, 1)) + reshape(start, (1, n))


def _corner(image: Node, row: Node, column: Node, height: int, width: int) -> Node:
    """The pixels of image (N,O,C,H*W) at whole rows and columns (N,O,1,M); 0 outside."""
    inside = (row >= 0) & (row <= height - 1) & (column >= 0) & (column <= width - 1)
    h, w = minimum(maximum(row, 0.0), height - 1.0), minimum(maximum(column, 0.0), width - 1.0)
    index = cast(h, "int64") * width + cast(w, "int64")
    return where(inside, take_along_axis(image, index, 3), 0.0)


@located
def deform_conv2d(
    x: Node,
    w: Node,
    offset: Node,
    mask: Node | None = None,
    stride: int | Ints = 1,
    padding: str | int | Ints | Padding = "valid",
    dilation: int | Ints = 1,
    groups: int = 1,
) -> Node:
    """x (N,C,H,W), w (K,C/groups,R,S), offset (N,O*R*S*2,P,Q), mask (N,O*R*S,P,Q) -> (N,K,P,Q):

    y[n,k,p,q] = sum_crs x[n, c, p*stride + r*dilation - pad + dy, q*... + dx] mask w[k,c,r,s]

    where (dy, dx) is the offset of (p, q) and (r, s) in one of O groups of channels. Between pixels x is linear,
    outside it is 0. torchvision.ops.deform_conv2d, ONNX DeformConv. Sizes must be known."""
    if x.rank != 4 or w.rank != 4 or offset.rank != 4:
        raise ShapeError(f"deform_conv2d needs (N,C,H,W), (K,C,R,S) and (N,O*R*S*2,P,Q), not {x!r}, {w!r}, {offset!r}")
    n, c, height, width = concrete(x.shape)
    k, each, *window = concrete(w.shape)
    steps, gaps = ints_of(stride, "deform_conv2d: stride", 2), ints_of(dilation, "deform_conv2d: dilation", 2)
    pads = padding_of(padding, x.shape[2:], tuple(window), steps, gaps)
    out = concrete(output_extents(x.shape[2:], window, steps, pads, gaps))
    taps = window[0] * window[1]
    parts, rest = divmod(concrete(offset.shape)[1], 2 * taps)
    if rest or not parts or c % parts or concrete(offset.shape) != (n, parts * 2 * taps, *out):
        wanted = f"({n}, O * {2 * taps}, {out[0]}, {out[1]})"
        raise ShapeError(f"deform_conv2d: the offset of {x!r} by {w!r} is {wanted} where O divides {c}, not {offset!r}")
    if mask is not None and concrete(mask.shape) != (n, parts * taps, *out):
        raise ShapeError(f"deform_conv2d: the mask is ({n}, {parts * taps}, {out[0]}, {out[1]}), not {mask!r}")
    moved = reshape(offset, (n, parts, *window, 2, *out))
    rows, columns = (
        _places(*each_axis, x.dtype) for each_axis in zip(out, window, steps, gaps, (a for a, _ in pads), strict=True)
    )
    flat = (n, parts, 1, taps * out[0] * out[1])
    row = reshape(moved[:, :, :, :, 0] + reshape(rows, (window[0], 1, out[0], 1)), flat)
    column = reshape(moved[:, :, :, :, 1] + reshape(columns, (1, window[1], 1, out[1])), flat)
    top, left = apply(Floor(), row), apply(Floor(), column)
    down, right = row - top, column - left  # how far towards the next pixel
    image = reshape(x, (n, parts, c // parts, height * width))
    read = (
        _corner(image, top, left, height, width) * (1.0 - down) * (1.0 - right)
        + _corner(image, top, left + 1.0, height, width) * (1.0 - down) * right
        + _corner(image, top + 1.0, left, height, width) * down * (1.0 - right)
        + _corner(image, top + 1.0, left + 1.0, height, width) * down * right
    )
    if mask is not None:
        read = read * reshape(mask, flat)
    return conv2d(reshape(read, (n, c * taps, *out)), reshape(w, (k, each * taps, 1, 1)), groups=groups)
