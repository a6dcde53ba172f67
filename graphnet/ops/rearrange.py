"""Movement made of other movement: splitting and stacking, tiles, rolls, diagonals, blocks of pixels."""

from __future__ import annotations

import builtins
from collections.abc import Sequence

from ..errors import ShapeError
from ..node import Node, apply
from ..site import located
from ..types import Extent, broadcast_shapes, concrete, extent, normalise_axes
from .broadcast import broadcast_to, reshape, sum
from .index import expand_dims, squeeze
from .move import Slice, concatenate, slice, transpose

# ------------------------------------------------------------------------------------- splitting, stacking


@located
def split(x: Node, parts: int | Sequence[Extent], axis: int = 0) -> list[Node]:
    """`x` cut along `axis` into equal parts, or into parts of the sizes given. torch.split by sizes; NumPy's takes
    places of cuts instead."""
    (a,) = normalise_axes(axis, x.rank)
    e = x.shape[a]
    if isinstance(parts, int):
        if parts < 1 or (isinstance(e, int) and e % parts):
            raise ShapeError(f"axis {a} of {x!r} does not divide into {parts} equal parts; give their sizes")
        sizes: list[Extent] = [e // parts] * parts
    else:
        sizes = [extent(n) for n in parts]
        if builtins.sum(sizes) != e:
            raise ShapeError(f"split: the parts {list(parts)} are {builtins.sum(sizes)} of {e} elements along axis {a}")
    out = []
    start: Extent = 0
    for n in sizes:
        stop = start + n
        out.append(_from(x, a, start, stop))
        start = stop
    return out


@located
def stack(xs: Sequence[Node], axis: int = 0) -> Node:
    """Nodes of one shape along a new axis. numpy.stack."""
    return concatenate([expand_dims(x, axis) for x in xs], axis)


@located
def unstack(x: Node, axis: int = 0) -> list[Node]:
    """The positions along `axis`, each without it."""
    (a,) = normalise_axes(axis, x.rank)
    return [squeeze(part, a) for part in split(x, concrete((x.shape[a],))[0], a)] if x.shape[a] != 0 else []


@located
def tile(x: Node, repeats: int | Sequence[int]) -> Node:
    """`x` as a whole repeated along each axis; missing axes or repeats are added in front. numpy.tile."""
    times = (repeats,) if isinstance(repeats, int) else tuple(repeats)
    if any(r < 0 for r in times):
        raise ShapeError(f"tile: repeats are >= 0, not {times}")
    times = (1,) * (x.rank - len(times)) + times
    shape = (1,) * (len(times) - x.rank) + x.shape
    pairs = reshape(x, [e for n in shape for e in (1, n)])
    wide = broadcast_to(pairs, [e for r, n in zip(times, shape, strict=True) for e in (r, n)])
    return reshape(wide, [r * n for r, n in zip(times, shape, strict=True)])


@located
def repeat(x: Node, repeats: int, axis: int | None = None) -> Node:
    """Each element `repeats` times in a row along `axis` (None: of all elements as a vector). numpy.repeat."""
    if axis is None:
        x, axis = reshape(x, (-1,)), 0
    (a,) = normalise_axes(axis, x.rank)
    if repeats < 0:
        raise ShapeError(f"repeat: repeats are >= 0, not {repeats}")
    before, after = x.shape[: a + 1], x.shape[a + 1 :]
    wide = broadcast_to(reshape(x, (*before, 1, *after)), (*before, repeats, *after))
    return reshape(wide, (*x.shape[:a], x.shape[a] * repeats, *after))


@located
def roll(x: Node, shift: int | Sequence[int], axis: int | Sequence[int] | None = None) -> Node:
    """Elements moved on by `shift` places, from the end to the start, along axes (None: of all elements, in the
    order of memory). numpy.roll."""
    if axis is None:
        if not isinstance(shift, int):
            raise ShapeError("roll: several shifts need as many axes")
        return reshape(roll(reshape(x, (-1,)), shift, 0), x.shape)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    shifts = (shift,) * len(axes) if isinstance(shift, int) else tuple(shift)
    if len(shifts) != len(axes):
        raise ShapeError(f"roll: {len(shifts)} shifts for {len(axes)} axes")
    for s, axis_ in zip(shifts, axes, strict=True):
        (a,) = normalise_axes(axis_, x.rank)
        e = x.shape[a]
        if e == 0:
            continue
        if isinstance(e, int):
            s %= e
        if s:
            first = e - s if s > 0 else -s  # of a symbolic extent, which must be at least |s|
            x = concatenate([_from(x, a, first, None), _from(x, a, 0, first)], a)
    return x


def _from(x: Node, axis: int, start: Extent, stop: Extent | None) -> Node:
    starts: list[Extent] = [start if b == axis else 0 for b in range(x.rank)]
    stops: list[Extent | None] = [stop if b == axis else None for b in range(x.rank)]
    return slice(x, starts, stops)


# ------------------------------------------------------------------------------------------------- axes


@located
def swapaxes(x: Node, axis1: int, axis2: int) -> Node:
    """Two axes exchanged. numpy.swapaxes."""
    order = list(range(x.rank))
    (a,), (b,) = normalise_axes(axis1, x.rank), normalise_axes(axis2, x.rank)
    order[a], order[b] = b, a
    return transpose(x, order)


@located
def moveaxis(x: Node, source: int | Sequence[int], destination: int | Sequence[int]) -> Node:
    """Axes at other places, the rest in their order. numpy.moveaxis."""
    each = [(s,) if isinstance(s, int) else tuple(s) for s in (source, destination)]
    places = [[normalise_axes(a, x.rank)[0] for a in s] for s in each]
    if any(len(set(s)) != len(s) for s in places) or len(places[0]) != len(places[1]):
        raise ShapeError(f"moveaxis: {source} to {destination}: expected as many different axes")
    order = [a for a in range(x.rank) if a not in places[0]]
    for to, a in sorted(zip(places[1], places[0], strict=True)):
        order.insert(to, a)
    return transpose(x, order)


@located
def broadcast_arrays(*xs: Node) -> list[Node]:
    """All in the shape to which they broadcast. numpy.broadcast_arrays."""
    shape = broadcast_shapes(*(x.shape for x in xs))
    return [broadcast_to(x, shape) for x in xs]


# --------------------------------------------------------------------------------------------- diagonals


@located
def diagonal(x: Node, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Node:
    """Diagonal number `offset` of the matrices over two axes, as the last axis of the result. numpy.diagonal."""
    (a,), (b,) = normalise_axes(axis1, x.rank), normalise_axes(axis2, x.rank)
    if a == b:
        raise ShapeError(f"diagonal: axis1 and axis2 are both {a}")
    y = transpose(x, (*(i for i in range(x.rank) if i not in (a, b)), a, b))
    n, m = concrete(y.shape[-2:])
    count = max(0, min(n, m - offset) if offset >= 0 else min(n + offset, m))
    if not count:
        return slice(reshape(y, (*y.shape[:-2], n * m)), [0] * (y.rank - 1), [*[None] * (y.rank - 2), 0])
    start = offset if offset >= 0 else -offset * m
    flat = reshape(y, (*y.shape[:-2], n * m))
    lead = flat.rank - 1
    stop = start + (count - 1) * (m + 1) + 1
    op = Slice((0,) * lead + (start,), (None,) * lead + (stop,), (1,) * lead + (m + 1,))
    return apply(op, flat)


@located
def trace(x: Node, offset: int = 0, axis1: int = 0, axis2: int = 1) -> Node:
    """The sum of a diagonal. numpy.trace."""
    return sum(diagonal(x, offset, axis1, axis2), -1)


# ---------------------------------------------------------------------------------------- blocks of pixels


def _blocks(x: Node, block: int, what: str) -> tuple[Extent, Extent, Extent, Extent]:
    if x.rank != 4 or block < 1:
        raise ShapeError(f"{what} takes images (N,C,H,W) and blocks of at least 1, not {x!r} and {block}")
    n, c, h, w = x.shape
    return n, c, h, w


@located
def space_to_depth(x: Node, block: int) -> Node:
    """(N,C,H,W) -> (N, block^2 C, H/block, W/block): channel (i*block + j)*C + c holds pixel (i, j) of each block.
    ONNX SpaceToDepth."""
    n, c, h, w = _blocks(x, block, "space_to_depth")
    if any(isinstance(e, int) and e % block for e in (h, w)):
        raise ShapeError(f"space_to_depth: {x!r} does not divide into blocks of {block} x {block}")
    cut = reshape(x, (n, c, h // block, block, w // block, block))
    return reshape(transpose(cut, (0, 3, 5, 1, 2, 4)), (n, c * block * block, h // block, w // block))


@located
def depth_to_space(x: Node, block: int, mode: str = "DCR") -> Node:
    """(N, block^2 C, H, W) -> (N, C, H block, W block). Pixel (i, j) of a block is channel (i*block + j)*C + c ("DCR",
    depth-column-row), or c*block^2 + i*block + j ("CRD", as torch.pixel_shuffle). ONNX DepthToSpace."""
    n, c, h, w = _blocks(x, block, "depth_to_space")
    if mode not in ("DCR", "CRD") or (isinstance(c, int) and c % block**2):
        raise ShapeError(f'depth_to_space: {c} channels in blocks of {block} x {block}, mode {mode!r} ("DCR" or "CRD")')
    depth = c // block**2
    if mode == "DCR":
        y = transpose(reshape(x, (n, block, block, depth, h, w)), (0, 3, 4, 1, 5, 2))
    else:
        y = transpose(reshape(x, (n, depth, block, block, h, w)), (0, 1, 4, 2, 5, 3))
    return reshape(y, (n, depth, h * block, w * block))
