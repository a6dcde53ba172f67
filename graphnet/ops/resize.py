"""Images of another size: ONNX's resize, PyTorch's interpolate. One axis after the other, the most shrunk first."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import DTypeError, GraphnetError, ShapeError
from ..node import Node, apply, constant
from ..site import located
from ..taps import COORDINATES, MODES, ROUNDINGS, outside, taps
from ..types import STORAGE
from .broadcast import broadcast_to, reshape
from .compare import where
from .elementwise import cast
from .gather import Take
from .move import slice
from .resample import Resample

POLICIES = ("stretch", "not_larger", "not_smaller")


@located
def resize(
    x: Node,
    sizes: Sequence[int] | None = None,
    scales: Sequence[float] | None = None,
    axes: Sequence[int] | None = None,
    mode: str = "nearest",
    coordinates: str = "half_pixel",
    rounding: str = "round_prefer_floor",
    cubic_coeff_a: float = -0.75,
    exclude_outside: bool = False,
    antialias: bool = False,
    roi: Sequence[float] | None = None,
    extrapolation_value: float = 0.0,
    keep_aspect_ratio: str = "stretch",
) -> Node:
    """x with new extents along `axes` (all by default): `sizes`, or the old ones times `scales`, rounded down. ONNX's
    Resize, with its attributes: mode "nearest", "linear", "cubic" or "area"; coordinates, which it calls
    coordinate_transformation_mode; rounding, nearest_mode; keep_aspect_ratio, keep_aspect_ratio_policy. See
    `graphnet.taps` for what they mean.

    roi (starts..., ends...), parts of each axis from 0 to 1, is for coordinates "tf_crop_and_resize", where
    extrapolation_value stands for what lies outside of x."""
    for what, value, known in (
        ("mode", mode, MODES),
        ("coordinates", coordinates, COORDINATES),
        ("rounding", rounding, ROUNDINGS),
        ("keep_aspect_ratio", keep_aspect_ratio, POLICIES),
    ):
        if value not in known:
            raise GraphnetError(f"resize: {what} must be {', '.join(map(repr, known))}, not {value!r}")
    if mode != "nearest" and not x.type.is_float:
        raise DTypeError(f"resize: mode {mode!r} takes floats, not {x.dtype}; convert with gn.cast")
    along = list(range(x.rank)) if axes is None else [a + x.rank if a < 0 else a for a in axes]
    if len(set(along)) != len(along) or not all(0 <= a < x.rank for a in along):
        raise ShapeError(f"resize: axes {axes} do not fit {x!r}")
    given = sizes if sizes is not None else scales
    if (sizes is None) == (scales is None) or given is None or len(given) != len(along):
        raise ShapeError(f"resize needs sizes or scales for the {len(along)} axes, not {sizes} and {scales}")
    if roi is not None and len(roi) != 2 * len(along):
        raise ShapeError(f"resize: roi has {len(roi)} numbers, not a start and an end for {len(along)} axes")
    parts = []
    for k, a in enumerate(along):
        n = x.shape[a]
        same = scales[k] == 1 if scales is not None else given[k] == n
        if same and coordinates != "tf_crop_and_resize":
            continue
        if not isinstance(n, int) or n < 1:
            raise ShapeError(f"resize: axis {a} of {x!r} must have a known extent >= 1")
        parts.append((k, a, n))
    factor = _common(sizes, parts, keep_aspect_ratio)
    ops = []
    for k, a, n in parts:
        if scales is not None:
            size, scale = math.floor(n * scales[k]), float(scales[k])
        else:
            assert sizes is not None
            size, scale = (sizes[k], 0.0) if factor is None else (math.floor(factor * n + 0.5), factor)
        if size < 1:
            raise ShapeError(f"resize: axis {a} of {x!r} would have {size} elements")
        start, end = (roi[k], roi[k + len(along)]) if roi is not None else (0.0, 1.0)
        about = (mode, coordinates, 0.0 if scale * n == size else scale, rounding, float(cubic_coeff_a))
        ops.append(Resample(a, n, size, *about, bool(exclude_outside), bool(antialias), float(start), float(end)))
    y = cast(x, "float32") if x.dtype in STORAGE and mode != "nearest" else x
    for op in sorted(ops, key=lambda op: op.size / op.source):
        y = _along(op, y)
    for op in ops:
        if coordinates == "tf_crop_and_resize":
            gone = outside(op.rule)
            if gone.any():
                y = where(constant(gone.reshape(-1, *(1,) * (x.rank - 1 - op.axis))), extrapolation_value, y)
    return cast(y, x.dtype)


def _common(sizes: Sequence[int] | None, parts: list[tuple[int, int, int]], policy: str) -> float | None:
    """The one factor of all axes that keeps their ratio; None where each has its own."""
    if sizes is None or policy == "stretch" or not parts:
        return None
    return (min if policy == "not_larger" else max)(sizes[k] / n for k, _, n in parts)


def _along(op: Resample, x: Node) -> Node:
    """One axis; elements that are only repeated, left out or moved stay free of arithmetic."""
    a, n = op.axis, op.size
    before, after = x.shape[:a], x.shape[a + 1 :]
    if op.mode != "nearest":
        return apply(op, x)
    index = taps(op.rule)[0][:, 0]
    if n % op.source == 0 and np.array_equal(index, np.arange(n) // (n // op.source)):
        wide = broadcast_to(reshape(x, (*before, op.source, 1, *after)), (*before, op.source, n // op.source, *after))
        return reshape(wide, (*before, n, *after))
    step = op.source // n
    first = int(index[0])
    if step and op.source % n == 0 and np.array_equal(index, first + step * np.arange(n)):
        starts, steps = ([v if b == a else w for b in range(x.rank)] for v, w in ((first, 0), (step, 1)))
        stops = [first + step * (n - 1) + 1 if b == a else e for b, e in enumerate(x.shape)]
        return slice(x, starts, stops, steps)
    return apply(op, x) if x.type.is_float and x.dtype not in STORAGE else apply(Take(a), x, constant(index))


@located
def interpolate(
    x: Node,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool = False,
    antialias: bool = False,
) -> Node:
    """x (N, C, ...) with other extents after the channels: `size`, or the old ones times scale_factor. mode "nearest",
    "nearest-exact", "linear", "bilinear", "trilinear", "bicubic" or "area". As torch.nn.functional.interpolate."""
    known: dict[str, dict[str, Any]] = {
        "nearest": {"mode": "nearest", "coordinates": "asymmetric", "rounding": "floor"},
        "nearest-exact": {"mode": "nearest", "rounding": "round_prefer_ceil"},
        **{name: {"mode": "linear"} for name in ("linear", "bilinear", "trilinear")},
        "bicubic": {"mode": "cubic", "cubic_coeff_a": -0.5 if antialias else -0.75},
        "area": {"mode": "area"},
    }
    if mode not in known:
        raise GraphnetError(f"interpolate: mode must be {', '.join(map(repr, known))}, not {mode!r}")
    rank = x.rank - 2
    if rank < 1 or (size is None) == (scale_factor is None):
        raise ShapeError(f"interpolate needs (N, C, ...) and size or scale_factor, not {x!r}, {size}, {scale_factor}")
    if (align_corners or antialias) and known[mode]["mode"] in ("nearest", "area"):
        raise GraphnetError(f"interpolate: mode {mode!r} has neither align_corners nor antialias")
    given: Any = size if size is not None else scale_factor
    each = list(given) if isinstance(given, Sequence) else [given] * rank
    options = known[mode] | ({"coordinates": "align_corners"} if align_corners else {})
    options |= {"antialias": True, "exclude_outside": True} if antialias else {}
    axes = range(2, x.rank)
    if size is None and (align_corners or mode == "area"):
        # These know only the extents.
        known_extents = [e for e in x.shape[2:] if isinstance(e, int)]
        if len(known_extents) != rank:
            raise ShapeError(f"interpolate: {x!r} must have known extents after the channels")
        size, each = 1, [math.floor(n * s) for n, s in zip(known_extents, each, strict=True)]
    sizes, scales = (None, each) if size is None else (each, None)
    return resize(x, sizes, scales, axes, **options)
