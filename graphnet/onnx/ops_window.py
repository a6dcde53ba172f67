"""Convolution and pooling, along one to three axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import graphnet as gn

from ..node import Node
from .call import Call
from .table import converts
from .windows import Window, kernel_shape, window

CONVOLUTIONS: dict[int, Callable[..., Node]] = {1: gn.conv1d, 2: gn.conv2d, 3: gn.conv3d}
TRANSPOSED: dict[int, Callable[..., Node]] = {1: gn.conv_transpose1d, 2: gn.conv_transpose2d, 3: gn.conv_transpose3d}


def _checked(c: Call, x: Node, supported: tuple[int, ...] = (1, 2, 3)) -> int:
    """The number of spatial axes."""
    rank = x.rank - 2
    c.refuse_unless(rank in supported, f"{max(rank, 0)} spatial axes are not supported")
    return rank


def _one(rank: int, value: tuple[object, ...]) -> object:
    """One axis takes no tuple."""
    return value[0] if rank == 1 else value


# ------------------------------------------------------------------------------------ convolution


def window_arguments(c: Call, x: Node, w: Node) -> tuple[Any, Any, Any]:
    """Strides, padding and dilations of a convolution."""
    rank = _checked(c, x)
    spec = window(c, c.sizes_of(w.shape[2:]), x)
    c.refuse_unless(all(p >= 0 for pair in spec.padding for p in pair), f"negative padding {spec.padding}")
    return _one(rank, spec.strides), _one(rank, spec.padding), _one(rank, spec.dilations)


def _with_bias(y: Node, bias: Node | None) -> Node:
    return y if bias is None else y + gn.reshape(bias, (bias.shape[0], *[1] * (y.rank - 2)))


@converts("Conv")
def conv(c: Call) -> Node:
    x, w = c[0], c[1]
    strides, padding, dilations = window_arguments(c, x, w)
    return _with_bias(
        CONVOLUTIONS[x.rank - 2](x, w, strides, padding, dilations, groups=c.attribute("group")), c.get(2)
    )


@converts("ConvTranspose")
def conv_transpose(c: Call) -> Node:
    x, w = c[0], c[1]
    rank = _checked(c, x)
    strides = tuple(c.attribute("strides") or [1] * rank)
    dilations = tuple(c.attribute("dilations") or [1] * rank)
    extra = tuple(c.attribute("output_padding") or [0] * rank)
    wanted = c.attribute("output_shape")
    pads, auto = c.attribute("pads") or [0] * (2 * rank), c.attribute("auto_pad") or "NOTSET"
    padding: object = tuple(zip(pads[:rank], pads[rank:], strict=True))
    if auto != "NOTSET" or wanted:
        padding = {"SAME_UPPER": "same", "SAME_LOWER": "same_lower"}.get(auto, "valid")
    elif rank == 1:
        padding = pads[0], pads[1]
    shape = None if wanted is None else tuple(wanted[-rank:])
    y = TRANSPOSED[rank](
        x,
        w,
        _one(rank, strides),
        padding,
        _one(rank, extra),
        _one(rank, dilations),
        groups=c.attribute("group"),
        output_shape=None if shape is None else _one(rank, shape),
    )
    return _with_bias(y, c.get(2))


# ---------------------------------------------------------------------------------------- pooling


def _pool_window(c: Call) -> Window:
    spec = window(c, kernel_shape(c), c[0])
    _checked(c, c[0])
    for (low, high), k, d in zip(spec.padding, spec.extents, spec.dilations, strict=True):
        reach = (k - 1) * d + 1
        c.refuse_unless(0 <= low < reach and 0 <= high < reach, f"padding {spec.padding} of windows {spec.extents}")
    return spec


@converts("MaxPool")
def max_pool(c: Call) -> list[Node]:
    x, spec, ceil_mode = c[0], _pool_window(c), bool(c.attribute("ceil_mode", 0))
    if not c.wants(1):
        return [gn.max_pool(x, spec.extents, spec.strides, spec.padding, spec.dilations, ceil_mode)]
    columns = bool(c.attribute("storage_order", 0))
    return list(
        gn.max_pool_with_indices(
            x, spec.extents, spec.strides, spec.padding, spec.dilations, ceil_mode, whole=True, column_major=columns
        )
    )


@converts("MaxUnpool", since=9)
def max_unpool(c: Call) -> Node:
    """Each element in its place, by the numbers that MaxPool gives; zeros elsewhere."""
    x, places, spec = c[0], c[1], window(c, kernel_shape(c), c[0])
    sizes = c.sizes_of(x.shape)
    each = zip(sizes[2:], spec.strides, spec.extents, spec.padding, strict=True)
    shape = (*sizes[:2], *((n - 1) * s + k - lo - hi for n, s, k, (lo, hi) in each))
    wanted = shape if c.get(2) is None else tuple(c.ints(2))  # larger ones have zeros after
    y = gn.max_unpool(x, places, shape[2:], whole=True)
    return gn.pad(y, [(0, w - n) for n, w in zip(shape, wanted, strict=True)])


@converts("AveragePool")
def average_pool(c: Call) -> Node:
    """Before version 7 there is no choice: padding does not count."""
    spec, counted = _pool_window(c), bool(c.attribute("count_include_pad", 0))
    ceil_mode = bool(c.attribute("ceil_mode", 0))
    return gn.avg_pool(c[0], spec.extents, spec.strides, spec.padding, counted, spec.dilations, ceil_mode)


@converts("LpPool")
def lp_pool(c: Call) -> Node:
    spec, ceil_mode = _pool_window(c), bool(c.attribute("ceil_mode", 0))
    return gn.lp_pool(c[0], spec.extents, c.attribute("p"), spec.strides, spec.padding, spec.dilations, ceil_mode)


@converts("GlobalAveragePool")
def global_average_pool(c: Call) -> Node:
    return gn.mean(c[0], tuple(range(2, c[0].rank)), keepdims=True)


@converts("GlobalMaxPool")
def global_max_pool(c: Call) -> Node:
    return gn.max(c[0], tuple(range(2, c[0].rank)), keepdims=True)


@converts("GlobalLpPool")
def global_lp_pool(c: Call) -> Node:
    return gn.global_lp_pool(c[0], c.attribute("p"))


@converts("Col2Im", since=18)
def col2im(c: Call) -> Node:
    """The sum of all windows, each in its place."""
    x, shape, extents = c[0], c.ints(1), tuple(c.ints(2))
    spec = window(c, extents, x)
    return gn.fold(x, shape, extents, spec.strides, spec.padding, spec.dilations)
