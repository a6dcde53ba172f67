"""Images of another size, and signals."""

from __future__ import annotations

import numpy as np

import graphnet as gn

from ..node import Node
from .call import Call
from .dtypes import dtype_of, name_of
from .table import converts


@converts("Upsample")
def upsample_images(c: Call) -> Node:
    return _upsampled(c, [1.0, 1.0, c.attribute("height_scale"), c.attribute("width_scale")])


@converts("Upsample", since=7)
def upsample_attribute(c: Call) -> Node:
    return _upsampled(c, c.attribute("scales"))


@converts("Upsample", since=9)
@converts("Resize", since=10)
def upsample(c: Call) -> Node:
    return _upsampled(c, c.array(1).tolist())


def _upsampled(c: Call, scales: list[float]) -> Node:
    """Place i of the result is i / scale of the input, rounded down for mode "nearest"."""
    mode = {"bilinear": "linear"}.get(c.attribute("mode"), c.attribute("mode"))
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


# ------------------------------------------------------------------------------------- transforms


@converts("DFT", since=17)
def dft_along_attribute(c: Call) -> Node:
    return _dft(c, c.attribute("axis", 1))


@converts("DFT", since=20)
def dft(c: Call) -> Node:
    return _dft(c, int(c.scalar(2)) if c.get(2) is not None else -2)


def _dft(c: Call, axis: int) -> Node:
    """Of real values (..., 1) or pairs (..., 2), along an axis before the last one."""
    x = c[0]
    axis = axis % x.rank
    c.refuse_unless(axis < x.rank - 1, f"axis {axis} of {x.type} holds the parts of complex numbers")
    n = int(c.scalar(1)) if c.get(1) is not None else None
    inverse, onesided = bool(c.attribute("inverse")), bool(c.attribute("onesided"))
    if inverse and onesided:
        return gn.expand_dims(gn.irfft(x, n, axis), -1)
    if onesided and x.shape[-1] == 1:
        return gn.rfft(gn.squeeze(x, -1), n, axis)
    y = (gn.ifft if inverse else gn.fft)(x, n, axis)
    if onesided:
        (extent,) = c.sizes_of((y.shape[axis],))
        return y[(*[slice(None)] * axis, slice(0, extent // 2 + 1))]
    return y


@converts("STFT", since=17)
def stft(c: Call) -> Node:
    """Of signals (N, L, 1), frame by frame."""
    x, step, window = c[0], int(c.scalar(1)), c.get(2)
    c.refuse_unless(x.shape[-1] == 1, "only real signals are supported")
    length = int(c.scalar(3)) if c.get(3) is not None else 0
    return gn.stft(gn.squeeze(x, -1), step, window, length, bool(c.attribute("onesided")))


@converts("MelWeightMatrix", since=17)
def mel_weight_matrix(c: Call) -> Node:
    """(numbers of a spectrum, bins): triangles between frequencies that are at equal distances on the mel scale."""
    bins, length, rate = (int(c.scalar(i)) for i in range(3))
    low, high = (2595 * np.log10(1 + c.scalar(i) / 700) for i in (3, 4))
    mel = low + np.arange(bins + 2) * (high - low) / (bins + 2)
    edges = ((length + 1) * 700 * (10 ** (mel / 2595) - 1) // rate).astype(int)
    weights = np.zeros((length // 2 + 1, bins))
    for i, (left, middle, right) in enumerate(zip(edges, edges[1:], edges[2:], strict=False)):
        weights[left : middle + 1, i] = np.arange(middle + 1 - left) / max(middle - left, 1)
        if middle == left:
            weights[middle, i] = 1
        weights[middle:right, i] = np.arange(right - middle, 0, -1) / max(right - middle, 1)
    dtype = dtype_of(c.attribute("output_datatype"))
    if dtype is None:
        c.refuse(f"{name_of(c.attribute('output_datatype'))} is not supported")
    return gn.constant(weights.astype(dtype))
