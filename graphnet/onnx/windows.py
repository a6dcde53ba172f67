"""What convolution and pooling of ONNX share: windows as their attributes say them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..node import Node
from .call import Call


@dataclass(frozen=True, slots=True)
class Window:
    """One entry for each of the spatial axes; padding is in pairs."""

    extents: Any  # tuples of one, two or three, as the functions for them take
    strides: Any
    dilations: Any
    padding: Any


def window(c: Call, extents: tuple[int, ...], x: Node) -> Window:
    """The window of a node over x, with `auto_pad` resolved."""
    rank = len(extents)
    strides = tuple(c.attribute("strides") or [1] * rank)
    dilations = tuple(c.attribute("dilations") or [1] * rank)
    if len(strides) != rank or len(dilations) != rank:
        c.refuse(f"strides {strides} and dilations {dilations} for a window of {rank} axes")
    auto = c.attribute("auto_pad") or "NOTSET"
    if auto in ("NOTSET", ""):
        pads = c.attribute("pads") or [0] * (2 * rank)
        if len(pads) != 2 * rank:
            c.refuse(f"pads {pads} for a window of {rank} axes")
        return Window(extents, strides, dilations, tuple(zip(pads[:rank], pads[rank:], strict=True)))
    if auto == "VALID":
        return Window(extents, strides, dilations, ((0, 0),) * rank)
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        c.refuse(f"auto_pad {auto!r} is not supported")
    sides = []
    for n, k, s, d in zip(c.sizes_of(x.shape)[2:], extents, strides, dilations, strict=True):
        total = max((-(-n // s) - 1) * s + d * (k - 1) + 1 - n, 0)  # makes the output ceil(n / s)
        less, more = total // 2, total - total // 2
        sides.append((less, more) if auto == "SAME_UPPER" else (more, less))
    return Window(extents, strides, dilations, tuple(sides))


def kernel_shape(c: Call) -> tuple[int, ...]:
    return tuple(c.attribute("kernel_shape"))
