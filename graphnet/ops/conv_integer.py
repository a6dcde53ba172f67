"""Convolution of quantised values: exact sums of int32."""

from __future__ import annotations

import numpy as np

from ..errors import DTypeError, ShapeError
from ..node import Node, apply, constant
from ..site import located
from .arithmetic import maximum, minimum
from .broadcast import reshape
from .conv1d import conv1d
from .conv2d import conv2d
from .conv3d import conv3d
from .elementwise import cast
from .rounding import Round
from .window import Ints, Padding

BYTES = ("int8", "uint8")


def _shifted(what: str, x: Node, zero: Node | int, shape: tuple[int, ...]) -> Node:
    """x - zero in int32; a vector of zero points lies along the one axis of `shape` that is not 1."""
    if x.dtype not in BYTES:
        raise DTypeError(f"conv_integer: {what} is int8 or uint8, not {x!r}")
    if isinstance(zero, int):
        return cast(x, "int32") - zero
    if zero.rank == 1:
        zero = reshape(zero, shape)
    elif zero.rank:
        raise ShapeError(f"conv_integer: the zero point of {what} is a number or a vector, not {zero!r}")
    return cast(x, "int32") - cast(zero, "int32")


def _wide(x: Node, shape: tuple[int, ...]) -> Node:
    return reshape(x, shape) if x.rank == 1 else x


@located
def conv_integer(
    x: Node,
    w: Node,
    x_zero_point: Node | int = 0,
    w_zero_point: Node | int = 0,
    stride: int | Ints = 1,
    padding: str | int | Ints | Padding = "valid",
    dilation: int | Ints = 1,
    groups: int = 1,
) -> Node:
    """The convolution of x - x_zero_point with w - w_zero_point, of int8 or uint8, along one, two or three axes, in
    int32. Padding counts as x_zero_point; w_zero_point is a number or one an output channel. ONNX ConvInteger."""
    if x.rank not in (3, 4, 5) or w.rank != x.rank:
        raise ShapeError(f"conv_integer needs (N,C,...) and a kernel (K,C,...) of rank 3 to 5, not {x!r} and {w!r}")
    flat = (1,) * (x.rank - 2)
    a, b = _shifted("x", x, x_zero_point, (1, -1, *flat)), _shifted("w", w, w_zero_point, (-1, 1, *flat))
    convolve = (conv1d, conv2d, conv3d)[x.rank - 3]
    return convolve(a, b, stride=stride, padding=padding, dilation=dilation, groups=groups)  # type: ignore[arg-type]


@located
def conv_quantized(
    x: Node,
    x_scale: Node,
    x_zero_point: Node | int,
    w: Node,
    w_scale: Node,
    w_zero_point: Node | int,
    y_scale: Node,
    y_zero_point: Node,
    bias: Node | None = None,
    stride: int | Ints = 1,
    padding: str | int | Ints | Padding = "valid",
    dilation: int | Ints = 1,
    groups: int = 1,
) -> Node:
    """round((conv_integer + bias) * x_scale * w_scale / y_scale) + y_zero_point, saturated to the dtype of
    y_zero_point; halves go to even. `bias` (K,) of int32; w_scale is a number or one an output channel. ONNX
    QLinearConv."""
    if y_zero_point.dtype not in BYTES:
        raise DTypeError(f"conv_quantized: y_zero_point is int8 or uint8, not {y_zero_point!r}")
    total = conv_integer(x, w, x_zero_point, w_zero_point, stride, padding, dilation, groups)
    column = (1, -1, *(1,) * (x.rank - 2))
    if bias is not None:
        total = total + _wide(bias, column)
    scale = x_scale * _wide(w_scale, column) / y_scale
    y = apply(Round(), cast(total, scale.dtype) * scale) + cast(y_zero_point, scale.dtype)
    limits = np.iinfo(y_zero_point.dtype)
    return cast(minimum(maximum(y, constant(limits.min, y.dtype)), constant(limits.max, y.dtype)), y_zero_point.dtype)
