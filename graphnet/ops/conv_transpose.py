"""Transposed convolution along one, two or three axes: the input gradient of convolution, by the same algorithms.

    y[n,c,h,w] = sum_krs x[n,k,p,q] w[k,c,r,s]    where p*stride + r*dilation - before = h, and so for q

(with groups each C/G outputs see K/G inputs). An axis of P elements becomes

    H = (P - 1) * stride + dilation * (R - 1) + 1 - before - after + output_padding

Output padding gives back what `after` takes away; where there is more of it, zeros follow, which no element reaches.
"""

from __future__ import annotations

from dataclasses import replace

from ..errors import ShapeError
from ..node import Node, apply
from ..site import located
from ..types import Extent, concrete
from .broadcast import reshape
from .conv import FAMILY
from .move import Pad
from .window import Ints, Padding, Pair, ints_of, padding_of, pair_of, reach


def _padding(
    op: str,
    size: tuple[Extent, ...],
    window: Ints,
    stride: Ints,
    padding: str | int | Ints | Padding,
    extra: Ints,
    dilation: Ints,
    output_shape: Ints | None,
) -> Padding:
    """What is cut off before and after along each axis; less than 0 where zeros are added (as ONNX's auto_pad)."""
    if output_shape is None and padding not in ("same", "same_lower"):
        return padding_of(padding, size, window, stride, dilation)
    if output_shape is not None and padding not in ("valid", "same", "same_lower"):
        raise ShapeError(f"{op}: either padding or output_shape can be given, not {padding!r} and {output_shape!r}")
    sides = []
    for a, (n, k, s, e, d) in enumerate(zip(size, window, stride, extra, dilation, strict=True)):
        if output_shape is None:
            total = reach(k, d) - s + e  # H = P * stride
        elif isinstance(n, int):
            total = (n - 1) * s + reach(k, d) + e - output_shape[a]
        else:
            raise ShapeError(f"{op}: output_shape with the symbolic size {n}; give padding")
        small, large = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
        before, after = (small, large) if padding == "same" else (large, small)
        sides.append((before, after + min(total, 0)))
    return tuple(sides)


def _transposed(
    op: str,
    x: Node,
    w: Node,
    stride: int | Ints,
    padding: str | int | Ints | Padding,
    output_padding: int | Ints,
    dilation: int | Ints,
    groups: int,
    output_shape: Ints | None,
    algorithm: str,
) -> Node:
    rank = int(op[-2])
    image, letters = ",".join("DHW"[3 - rank :]), ",".join("TRS"[3 - rank :])
    if x.rank != 2 + rank or w.rank != 2 + rank:
        raise ShapeError(f"{op} needs an input (N,K,{image}) and a kernel (K,C,{letters}), not {x!r} and {w!r}")
    strides, dilations = ints_of(stride, f"{op}: stride", rank), ints_of(dilation, f"{op}: dilation", rank)
    extra = ints_of(output_padding, f"{op}: output_padding", rank, 0)
    wanted = None if output_shape is None else ints_of(output_shape, f"{op}: output_shape", rank)
    window = ints_of(concrete(w.shape[2:]), f"{op}: kernel", rank)
    pads = _padding(op, x.shape[2:], window, strides, padding, extra, dilations, wanted)
    sides, zeros, size = [], [], []
    for n, k, s, d, e, (before, after) in zip(x.shape[2:], window, strides, dilations, extra, pads, strict=True):
        sides.append((before, max(after - e, 0)))
        zeros.append(max(e - after, 0))
        size.append((n - 1) * s + reach(k, d) - sum(sides[-1]))
    if any(isinstance(n, int) and n < 1 for n in size):
        raise ShapeError(f"{op}: padding {pads} leaves nothing of {x!r} by {w!r}: the output would be {tuple(size)}")
    forward = FAMILY[rank][0](strides, tuple(sides), dilations, groups=groups, algorithm=algorithm)
    y = apply(replace(forward.relative(1, tuple(size)), algorithm=algorithm), w, x)
    return apply(Pad((0,) * y.rank, (0, 0, *zeros), (0,) * y.rank), y) if any(zeros) else y


@located
def conv_transpose1d(
    x: Node,
    w: Node,
    stride: int = 1,
    padding: str | int | Pair = "valid",
    output_padding: int = 0,
    dilation: int = 1,
    groups: int = 1,
    output_shape: int | None = None,
    algorithm: str = "auto",
) -> Node:
    """x (N,K,L), w (K,C/groups,R) -> (N,C,M): the transpose of `conv1d`. Arguments as of `conv_transpose2d`."""
    if x.rank != 3 or w.rank != 3:
        raise ShapeError(f"conv_transpose1d needs an input (N,K,L) and a kernel (K,C,R), not {x!r} and {w!r}")
    steps, gaps, extra = ((least, v) for least, v in ((1, stride), (1, dilation), (0, output_padding)))
    sides = padding if isinstance(padding, str) else ((0, 0), pair_of(padding, "conv_transpose1d: padding", 0))
    shape = None if output_shape is None else (1, output_shape)
    image = reshape(x, (*x.shape[:2], 1, x.shape[2]))  # (N,K,1,L)
    kernel = reshape(w, (*w.shape[:2], 1, w.shape[2]))
    y = _transposed("conv_transpose2d", image, kernel, steps, sides, extra, gaps, groups, shape, algorithm)
    return reshape(y, (*y.shape[:2], y.shape[3]))


@located
def conv_transpose2d(
    x: Node,
    w: Node,
    stride: int | Ints = 1,
    padding: str | int | Ints | Padding = "valid",
    output_padding: int | Ints = 0,
    dilation: int | Ints = 1,
    groups: int = 1,
    output_shape: Ints | None = None,
    algorithm: str = "auto",
) -> Node:
    """x (N,K,P,Q), w (K,C/groups,R,S) -> (N,C,H,W): the transpose of `conv2d` with these settings.

    padding: what is cut off, as a number, one an axis, or pairs; "same" makes H = P * stride with the odd one after
    ("same_lower": before). output_padding: how many more rows and columns follow. output_shape: (H, W), from which the
    padding follows, the odd one before unless padding is "same" (as ONNX). algorithm: as of `conv2d`."""
    return _transposed(
        "conv_transpose2d", x, w, stride, padding, output_padding, dilation, groups, output_shape, algorithm
    )


@located
def conv_transpose3d(
    x: Node,
    w: Node,
    stride: int | Ints = 1,
    padding: str | int | Ints | Padding = "valid",
    output_padding: int | Ints = 0,
    dilation: int | Ints = 1,
    groups: int = 1,
    output_shape: Ints | None = None,
    algorithm: str = "auto",
) -> Node:
    """x (N,K,O,P,Q), w (K,C/groups,T,R,S) -> (N,C,D,H,W): the transpose of `conv3d`. Arguments as of
    `conv_transpose2d`."""
    return _transposed(
        "conv_transpose3d", x, w, stride, padding, output_padding, dilation, groups, output_shape, algorithm
    )
