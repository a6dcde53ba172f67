"""Images of another size, and signals."""

from __future__ import annotations

import graphnet as gn

from ..node import Node
from .call import Call
from .table import converts


@converts("Upsample", since=7)
def upsample_attribute(c: Call) -> Node:
    return _upsampled(c, c.attribute("scales"))


@converts("Upsample", since=9)
@converts("Resize", since=10)
def upsample(c: Call) -> Node:
    return _upsampled(c, c.array(1).tolist())


def _upsampled(c: Call, scales: list[float]) -> Node:
    """Place i of the result is i / scale of the input, rounded down for mode "nearest"."""
    mode = c.attribute("mode")
    c.refuse_unless(mode in ("nearest", "linear"), f"mode {mode!r} is not supported")
    return gn.resize(c[0], None, scales, mode=mode, coordinates="asymmetric", rounding="floor")


@converts("Resize", since=11)
def resize(c: Call) -> Node:
    """Inputs x, roi, scales, sizes, of which the last two are alternatives."""

    def numbers(i: int) -> list[float] | None:
        return c.array(i).tolist() if c.get(i) is not None and c.array(i).size else None

    x, sizes, axes = c[0], numbers(3), c.attribute("axes")
    coordinates = c.attribute("coordinate_transformation_mode")
    return gn.resize(
        x,
        None if sizes is None else [int(s) for s in sizes],
        numbers(2) if sizes is None else None,
        axes=axes,
        mode=c.attribute("mode"),
        coordinates=coordinates,
        rounding=c.attribute("nearest_mode"),
        cubic_coeff_a=c.attribute("cubic_coeff_a"),
        exclude_outside=bool(c.attribute("exclude_outside")),
        antialias=bool(c.attribute("antialias", 0)),
        roi=numbers(1) if coordinates == "tf_crop_and_resize" else None,
        extrapolation_value=c.attribute("extrapolation_value"),
        keep_aspect_ratio=c.attribute("keep_aspect_ratio_policy", "stretch"),
    )
