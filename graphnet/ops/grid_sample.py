"""Images read between their pixels, at coordinates that are values of the graph: grid_sample, and affine_grid, which
makes such. Composites of gathers.

Along each axis a coordinate has taps: the nearest pixel, the two around it (linear), or four (cubic convolution with
a = -0.75, Keys 1981). A sample is the sum over all combinations of taps of weight * pixel. Derivatives flow to the
image and, through the weights, to the coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

import numpy as np

from ..errors import GraphnetError, ShapeError
from ..node import Node, apply, constant
from ..site import located
from ..types import concrete
from .arithmetic import maximum, minimum
from .broadcast import reshape
from .compare import logical_and, logical_or, where
from .division import remainder
from .elementwise import cast
from .gather import Take
from .index import index
from .matmul import matmul, matrix_transpose
from .rounding import Floor, Round

SAMPLING = ("nearest", "linear", "cubic")
PADDINGS = ("zeros", "border", "reflection")
CUBIC = -0.75


def _floor(x: Node) -> Node:
    return apply(Floor(), x)


def _clipped(x: Node, low: float, high: float) -> Node:
    return minimum(maximum(x, low), high)


def _reflected(x: Node, low: float, high: float) -> Node:
    """x mirrored at both ends until it lies between them."""
    span = high - low
    if span <= 0:
        return x * 0.0 + low
    away = abs(x - low)
    turns = _floor(away / span)
    rest = away - turns * span
    return where(remainder(turns, 2.0) < 0.5, rest + low, high - rest)


def _weights(mode: str, t: Node) -> list[Node | float]:
    """Of the taps, for the fraction t of the way from the pixel before to the next."""
    if mode == "linear":
        return [1.0 - t, t]
    a = CUBIC

    def near(d: Node) -> Node:  # for distances up to 1
        return ((a + 2) * d - (a + 3)) * d * d + 1.0

    def far(d: Node) -> Node:  # for distances from 1 to 2
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a

    return [far(t + 1.0), near(t), near(1.0 - t), far(2.0 - t)]


def _taps(
    at: Node, extent: int, mode: str, padding: str, ends: tuple[float, float]
) -> list[tuple[Node, Node | float, Node | None]]:
    """(Pixel as an integer, weight, whether it is there if that matters) of coordinates along one axis."""
    low, high = ends
    at = apply(Round(), at) if mode == "nearest" else at
    outside = logical_or(at < low, at > high)
    if padding == "border":
        at = where(outside, _clipped(at, 0.0, extent - 1.0), at)
    elif padding == "reflection":
        at = where(outside, _reflected(at, low, high), at)
    first = at if mode == "nearest" else _floor(at)
    weights: list[Node | float] = [1.0] if mode == "nearest" else _weights(mode, at - first)
    found = []
    for k, w in enumerate(weights):
        pixel = first + float(k - (len(weights) == 4))
        there = None
        if padding == "zeros":
            there = logical_and(pixel >= 0.0, pixel <= extent - 1.0)
        elif padding == "reflection":
            pixel = _reflected(pixel, low, high)
        inside = minimum(where(pixel > 0.0, pixel, 0.0), extent - 1.0)  # NaN too
        found.append((cast(inside, "int64"), w, there))
    return found


def sample(x: Node, coordinates: Sequence[Node], mode: str, padding: str, ends: Sequence[tuple[float, float]]) -> Node:
    """x (N, C, spatial...) at coordinates (N, P) in pixels, one node an axis -> (N, C, P). ends: where each axis
    begins and ends, for the padding."""
    spatial = concrete(x.shape[2:])
    each = zip(coordinates, spatial, ends, strict=True)
    taps = [_taps(at, extent, mode, padding, end) for at, extent, end in each]
    flat = reshape(x, (*x.shape[:2], prod(spatial)))
    total: Node | None = None
    for combination in product(*taps):
        place, weight, inside = _combined(combination, spatial, x.dtype)
        value = apply(Take(2, (0,)), flat, place)  # (N, C, P)
        if inside is not None:
            value = where(reshape(inside, (inside.shape[0], 1, inside.shape[1])), value, 0.0)
        if weight is not None:
            value = value * reshape(weight, (weight.shape[0], 1, weight.shape[1]))
        total = value if total is None else total + value
    assert total is not None
    return total


def _combined(
    taps: tuple[tuple[Node, Node | float, Node | None], ...], spatial: tuple[int, ...], dtype: str
) -> tuple[Node, Node | None, Node | None]:
    """The number of the pixel in a flat image, its weight (None for 1), and whether it is there."""
    place: Node | None = None
    weight: Node | None = None
    inside: Node | None = None
    for (pixel, w, there), extent in zip(taps, spatial, strict=True):
        place = pixel if place is None else place * extent + pixel
        if isinstance(w, Node):
            weight = cast(w, dtype) if weight is None else weight * cast(w, dtype)
        if there is not None:
            inside = there if inside is None else logical_and(inside, there)
    assert place is not None
    return place, weight, inside


@located
def grid_sample(x: Node, grid: Node, mode: str = "linear", padding: str = "zeros", align_corners: bool = False) -> Node:
    """x (N, C, H, W) at the points of grid (N, P, Q, 2) -> (N, C, P, Q); or with three spatial axes. A point is
    (x, y), or (x, y, z): the last axis of the image first, from -1 to 1. These are the outer edges of the first and
    the last pixel, or their centres with `align_corners`. mode "nearest", "linear" or "cubic"; padding "zeros",
    "border" or "reflection". torch.nn.functional.grid_sample; ONNX GridSample."""
    if mode not in SAMPLING or padding not in PADDINGS:
        known = f"mode is one of {', '.join(SAMPLING)}, padding of {', '.join(PADDINGS)}"
        raise GraphnetError(f"grid_sample: {known}; not {mode!r} and {padding!r}")
    rank = x.rank - 2
    if rank < 1 or grid.rank != rank + 2 or grid.shape[-1] != rank or grid.shape[0] != x.shape[0]:
        raise ShapeError(f"grid_sample: a grid (N, ..., {rank}) is needed for {x!r}, not {grid!r}")
    grid = cast(grid, "float32") if grid.dtype in ("float16", "bfloat16") else grid
    points = reshape(grid, (grid.shape[0], -1, rank))
    coordinates, ends = [], []
    for a, n in enumerate(concrete(x.shape[2:])):
        g = index(points, (..., rank - 1 - a))  # (N, P)
        coordinates.append((g + 1.0) * ((n - 1) / 2) if align_corners else ((g + 1.0) * float(n) - 1.0) * 0.5)
        ends.append((0.0, n - 1.0) if align_corners else (-0.5, n - 0.5))
    y = sample(x, coordinates, mode, padding, ends)
    return reshape(y, (*x.shape[:2], *grid.shape[1:-1]))


@located
def affine_grid(theta: Node, size: Sequence[int], align_corners: bool = False) -> Node:
    """theta (N, d, d + 1), size (N, C, ...) of d more extents -> the grid (N, ..., d) of places theta @ (x, y, 1), for
    `grid_sample`. torch.nn.functional.affine_grid."""
    spatial = tuple(size[2:])
    d = len(spatial)
    if d not in (2, 3) or theta.rank != 3 or theta.shape[1:] != (d, d + 1):
        raise ShapeError(f"affine_grid: size {tuple(size)} needs matrices (N, {d}, {d + 1}), not {theta!r}")
    lines = [np.linspace(-1, 1, n) * (1 if align_corners else (n - 1) / n) if n > 1 else np.zeros(n) for n in spatial]
    mesh = np.meshgrid(*lines, indexing="ij")
    base = np.stack([*(m.reshape(-1) for m in reversed(mesh)), np.ones(prod(spatial))], -1)
    return reshape(matmul(constant(base, theta.dtype), matrix_transpose(theta)), (theta.shape[0], *spatial, d))
