"""Quantised values: integers with a scale and a zero point, one for all, one along an axis, or one a block."""

from __future__ import annotations

import numpy as np

import graphnet as gn

from ..node import Node
from .call import Call
from .dtypes import dtype_of, name_of
from .ops_window import window_arguments
from .table import converts


def _spread(c: Call, values: Node, x: Node) -> Node:
    """A scale or zero point in a shape that broadcasts with x."""
    if values.rank == 0 or (values.rank == 1 and values.shape == (1,)):
        return gn.reshape(values, ())
    axis, block = c.attribute("axis", 1) % x.rank, c.attribute("block_size", 0)
    if values.rank == 1 and not block:
        return gn.reshape(values, [values.shape[0] if a == axis else 1 for a in range(x.rank)])
    (extent,) = c.sizes_of((x.shape[axis],))
    c.refuse_unless(block > 0 and values.rank == x.rank, f"a scale {values.type} for {x.type}")
    return gn.repeat(values, block, axis)[(*[slice(None)] * axis, slice(0, extent))]


def saturated(values: Node, dtype: str) -> Node:
    """Whole numbers as an integer type, those that it does not have as its nearest."""
    limits = np.iinfo(dtype)
    return gn.cast(gn.minimum(gn.maximum(values, float(limits.min)), float(limits.max)), dtype)


@converts("QuantizeLinear", since=10)
def quantize_linear(c: Call) -> Node:
    """saturate(round(x / scale) + zero point); halves go to even."""
    x, scale, zero = c[0], c[1], c.get(2)
    wanted = c.attribute("output_dtype", 0)
    dtype = (dtype_of(wanted) if wanted else "uint8") if zero is None else zero.dtype
    c.refuse_unless(dtype in ("int8", "uint8", "int16", "uint16"), f"{name_of(wanted)} is not supported")
    assert dtype is not None
    wide = dtype_of(c.attribute("precision", 0)) or scale.dtype
    y = gn.round(gn.cast(x, wide) / gn.cast(_spread(c, scale, x), wide))
    y = gn.cast(y, "float32") if wide in ("float16", "bfloat16") else y  # which lack some of the integers
    return saturated(y if zero is None else y + gn.cast(_spread(c, zero, x), y.dtype), dtype)


@converts("DequantizeLinear", since=10)
def dequantize_linear(c: Call) -> Node:
    """(x - zero point) * scale."""
    x, scale, zero = c[0], c[1], c.get(2)
    wanted = c.attribute("output_dtype", 0)
    dtype = (dtype_of(wanted) if wanted else scale.dtype) or scale.dtype
    whole = gn.cast(x, "int32")
    if zero is not None:
        whole = whole - gn.cast(_spread(c, zero, x), "int32")
    return gn.cast(gn.cast(whole, "float32") * gn.cast(_spread(c, scale, x), "float32"), dtype)


@converts("DynamicQuantizeLinear", since=11)
def dynamic_quantize_linear(c: Call) -> list[Node]:
    """uint8 over the range of x with 0 in it: y, the scale, the zero point."""
    x = c[0]
    low, high = gn.minimum(gn.min(x), 0.0), gn.maximum(gn.max(x), 0.0)
    scale = (high - low) / 255.0
    zero = saturated(gn.round(0.0 - low / scale), "uint8")
    y = saturated(gn.round(x / scale) + gn.cast(zero, x.dtype), "uint8")
    return [y, scale, zero]


def _product(c: Call, a: Node, b: Node, a_zero: Node | None, b_zero: Node | None) -> Node:
    """(a - its zero points) @ (b - its zero points) in int32; a's are one, or one a row, b's one, or one a column."""

    def shifted(x: Node, zero: Node | None, rows: bool) -> Node:
        if zero is None:
            return gn.cast(x, "int32")
        column = zero.rank == 1 and zero.shape != (1,) and rows
        return gn.cast(x, "int32") - gn.cast(gn.reshape(zero, (*zero.shape, 1)) if column else zero, "int32")

    return gn.matmul(shifted(a, a_zero, True), shifted(b, b_zero, False))


@converts("MatMulInteger", since=10)
def matmul_integer(c: Call) -> Node:
    return _product(c, c[0], c[1], c.get(2), c.get(3))


@converts("QLinearMatMul", since=10)
def qlinear_matmul(c: Call) -> Node:
    """The product of the values that a and b stand for, quantised."""
    a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero = (c[i] for i in range(8))
    scales = [gn.cast(s, "float32") for s in (a_scale, b_scale, y_scale)]
    if scales[0].rank == 1 and scales[0].shape != (1,):
        scales[0] = gn.reshape(scales[0], (*scales[0].shape, 1))
    factor = scales[0] * scales[1] / scales[2]
    y = gn.cast(_product(c, a, b, a_zero, b_zero), "float32") * factor
    return saturated(gn.round(y) + gn.cast(y_zero, "float32"), y_zero.dtype)


@converts("ConvInteger", since=10)
def conv_integer(c: Call) -> Node:
    x, w = c[0], c[1]
    of_x, of_w = c.get(2), c.get(3)
    strides, padding, dilations = window_arguments(c, x, w)
    zeros = (0 if of_x is None else of_x, 0 if of_w is None else of_w)
    return gn.conv_integer(x, w, *zeros, strides, padding, dilations, c.attribute("group"))


@converts("QLinearConv", since=10)
def qlinear_conv(c: Call) -> Node:
    strides, padding, dilations = window_arguments(c, c[0], c[3])
    settings = {"stride": strides, "padding": padding, "dilation": dilations, "groups": c.attribute("group")}
    return gn.conv_quantized(c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7], c.get(8), **settings)
