"""Images read between their pixels: grids, deformed convolution, regions of interest."""

from __future__ import annotations

from math import prod

import numpy as np

import graphnet as gn

from ..node import Node
from ..ops.grid_sample import sample
from .call import Call
from .table import converts
from .windows import window

MODES = {"bilinear": "linear", "bicubic": "cubic"}  # of version 16


@converts("GridSample", since=16)
def grid_sample(c: Call) -> Node:
    mode = c.attribute("mode")
    return gn.grid_sample(
        c[0], c[1], MODES.get(mode, mode), c.attribute("padding_mode"), bool(c.attribute("align_corners"))
    )


@converts("DeformConv", since=19)
def deform_conv(c: Call) -> Node:
    """A convolution whose taps are each moved by an offset, and weighed by a mask:
    x (N, C, H, W), w (K, C/G, R, S), offset (N, O R S 2, P, Q), bias (K,), mask (N, O R S, P, Q) -> (N, K, P, Q)."""
    x, w, offset, bias, mask = c[0], c[1], c[2], c.get(3), c.get(4)
    c.refuse_unless(x.rank == 4, f"{x.rank - 2} spatial axes are not supported")
    n, channels, h, width = c.known_sizes()
    (k, _, *kernel), (p, q) = c.sizes_of(w.shape), c.sizes_of(offset.shape[2:])
    spec, groups, parts = window(c, tuple(kernel), x), c.attribute("group"), c.attribute("offset_group")
    taps = prod(kernel)
    moved = gn.reshape(offset, (n * parts, taps, 2, p * q))
    rows, columns = np.indices(kernel).reshape(2, taps, 1, 1)
    coordinates = []
    for a, (tap, extent, places) in enumerate(zip((rows, columns), (p, q), np.indices((p, q)), strict=True)):
        first = places.reshape(1, 1, p * q) * spec.strides[a] - spec.padding[a][0]
        still = (first + tap.reshape(1, taps, 1) * spec.dilations[a]).astype(x.dtype)  # (1, taps, P Q)
        coordinates.append(gn.reshape(moved[:, :, a] + gn.constant(still), (n * parts, -1)))
        assert extent
    image = gn.reshape(x, (n * parts, channels // parts, h, width))
    seen = sample(image, coordinates, "linear", "zeros", ((-0.5, h - 0.5), (-0.5, width - 0.5)))
    seen = gn.reshape(seen, (n, parts, channels // parts, taps, p * q))
    if mask is not None:
        seen = seen * gn.reshape(mask, (n, parts, 1, taps, p * q))
    matrix = gn.reshape(seen, (n, groups, channels // groups * taps, p * q))
    y = gn.matmul(gn.reshape(w, (groups, k // groups, channels // groups * taps)), matrix)  # (N, G, K/G, P Q)
    y = gn.reshape(y, (n, k, p, q))
    return y if bias is None else y + gn.reshape(bias, (k, 1, 1))


@converts("RoiAlign", since=10)
def roi_align(c: Call) -> Node:
    """Regions (R, 4) of images (N, C, H, W), each (x1, y1, x2, y2), as (R, C, P, Q): the mean, or the greatest, of
    samples at equal distances in each of P x Q cells. "max" is of pixels times their weights, as the standard's
    reference has it."""
    x, regions, images = c[0], c[1], c[2]
    ratio, mode, scale = c.attribute("sampling_ratio"), c.attribute("mode"), c.attribute("spatial_scale")
    c.refuse_unless(ratio > 0, "without sampling_ratio the number of samples depends on the regions")
    shifted = c.attribute("coordinate_transformation_mode", "output_half_pixel") == "half_pixel"
    h, w = c.known_sizes()[2:]
    size = c.attribute("output_height"), c.attribute("output_width")
    count = c.sizes_of(regions.shape[:1])[0]
    c.refuse_unless(max(size) * ratio <= 1 << 16, f"{size} cells with {ratio} samples each way")
    corners = regions * scale - (0.5 if shifted else 0.0)
    along = []
    for a, (extent, cells) in enumerate(zip((h, w), size, strict=True)):
        start, end = corners[:, 1 - a], corners[:, 3 - a]
        span = end - start if shifted else gn.maximum(end - start, 1.0)
        steps = (np.arange(cells * ratio) + 0.5) / ratio / cells  # from 0 to 1 over the region
        at = gn.reshape(start, (-1, 1)) + gn.reshape(span, (-1, 1)) * gn.constant(steps.astype(x.dtype))
        outside = gn.logical_or(at < -1.0, at > float(extent))
        along.append((gn.minimum(gn.maximum(at, 0.0), extent - 1.0), outside))
    shape = (count, size[0] * ratio, size[1] * ratio)
    rows, columns = along
    grid = [gn.reshape(v, (count, -1, 1) if a == 0 else (count, 1, -1)) for a, (v, _) in enumerate(along)]
    flat = [gn.reshape(gn.broadcast_to(v, shape), (count, -1)) for v in grid]
    image = gn.take(x, images, 0)  # (R, C, H, W)
    lost = gn.logical_or(gn.reshape(rows[1], (count, -1, 1)), gn.reshape(columns[1], (count, 1, -1)))
    kept = gn.reshape(gn.logical_not(lost), (count, 1, *shape[1:]))
    if mode == "avg":
        values = gn.reshape(sample(image, flat, "linear", "border", ((0, h - 1), (0, w - 1))), (count, -1, *shape[1:]))
        return gn.avg_pool2d(gn.where(kept, values, 0.0), ratio)
    before = [gn.floor(v) for v in flat]
    best = None
    for dy, dx in np.ndindex(2, 2):
        pixels = [v + float(d) for v, d in zip(before, (dy, dx), strict=True)]
        weight = [(1.0 - (v - b)) if d == 0 else v - b for v, b, d in zip(flat, before, (dy, dx), strict=True)]
        value = sample(image, pixels, "nearest", "border", ((0, h - 1), (0, w - 1)))
        value = gn.reshape(value * gn.expand_dims(weight[0] * weight[1], 1), (count, -1, *shape[1:]))
        best = value if best is None else gn.maximum(best, value)
    assert best is not None
    return gn.max_pool2d(gn.where(kept, best, 0.0), ratio)
