"""Axes of extent 1, and indexing by NumPy's rules, which is slices, flips, reshapes and `take`."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from ..errors import GraphnetError, ShapeError
from ..node import Node, constant
from ..site import located
from ..types import Extent, normalise_axes
from .broadcast import reshape
from .move import bounds as find_bounds
from .move import slice
from .take import take_axes


def flatten(x: Node, start: int = 1) -> Node:
    """All axes from `start` on as one."""
    return reshape(x, (*x.shape[:start], -1))


@located
def expand_dims(x: Node, axis: int | tuple[int, ...]) -> Node:
    """New axes of extent 1, at the places `axis` of the result."""
    rank = x.rank + (len(axis) if isinstance(axis, tuple) else 1)
    axes = normalise_axes(axis, rank)
    old = iter(x.shape)
    return reshape(x, tuple(1 if a in axes else next(old) for a in range(rank)))


@located
def squeeze(x: Node, axis: int | tuple[int, ...] | None = None) -> Node:
    """Without the axes `axis`, which must have extent 1; by default without all that do."""
    axes = tuple(a for a, e in enumerate(x.shape) if e == 1) if axis is None else normalise_axes(axis, x.rank)
    for a in axes:
        if x.shape[a] != 1:
            raise ShapeError(f"squeeze: axis {a} of {x!r} has extent {x.shape[a]}, not 1")
    return reshape(x, tuple(e for a, e in enumerate(x.shape) if a not in axes))


# -------------------------------------------------------------------------------------------- x[key]


@located
def index(x: Node, key: Any) -> Node:
    """x[key] for integers, slices, None, Ellipsis and nodes or arrays of integers, as NumPy; see `gather` for
    indices out of range. Nodes stand next to each other and to the integers, if there are any, so that the axes they
    make take their place."""
    given = key if isinstance(key, tuple) else (key,)
    keys = [constant(k) if isinstance(k, (list, np.ndarray)) else k for k in given]
    used = builtins.sum(k is not None and k is not Ellipsis for k in keys)
    if used > x.rank:
        raise ShapeError(f"{used} indices for {x!r} of rank {x.rank}")
    dots = [a for a, k in enumerate(keys) if k is Ellipsis]
    if len(dots) > 1:
        raise ShapeError(f"an index has at most one Ellipsis: {key!r}")
    at = dots[0] if dots else len(keys)
    keys[at : at + 1] = [builtins.slice(None)] * (x.rank - used)

    nodes = {k: n for k, n in enumerate(keys) if isinstance(n, Node)}
    if nodes and any(isinstance(k, (builtins.slice, type(None))) for k in keys[min(nodes) : max(nodes) + 1]):
        raise GraphnetError("nodes in an index must stand next to each other; transpose the axes first")
    if nodes and any(_is_integer(k) for n, k in enumerate(keys) if not min(nodes) <= n <= max(nodes)):
        raise GraphnetError("integers in an index with nodes must stand between them; index by the integers first")
    bounds: list[tuple[Extent | None, Extent | None, int]] = []  # start, stop and step of each axis of x
    shape: list[Extent] = []  # of the result, after the nodes' axes if there are any
    before = 0  # axes of the result in front of those
    first = 0  # the first axis of x that a node or an integer between them indexes
    for number, k in enumerate(keys):
        a = len(bounds)
        if nodes and number == min(nodes):
            before, first = len(shape), a
        if k is None:
            shape.append(1)
            continue
        bounds.append(_bounds(k, x, a))
        if isinstance(k, builtins.slice):
            start, stop, step = find_bounds(*bounds[-1], x.shape[a], a)
            shape.append((stop - start + abs(step) - 1) // abs(step))
    out = slice(x, [b[0] for b in bounds], [b[1] for b in bounds], [b[2] for b in bounds])
    if not nodes:
        return reshape(out, shape)
    indices = [keys[k] if k in nodes else constant(0) for k in range(min(nodes), max(nodes) + 1)]
    taken = take_axes(out, indices, first)
    own = taken.rank - (out.rank - len(indices))
    return reshape(taken, (*shape[:before], *taken.shape[first : first + own], *shape[before:]))


def _is_integer(k: Any) -> bool:
    return isinstance(k, (int, np.integer)) and not isinstance(k, bool)


def _bounds(k: Any, x: Node, a: int) -> tuple[Extent | None, Extent | None, int]:
    """What an index says of axis a, as start, stop and step."""
    e = x.shape[a]
    if isinstance(k, Node):
        if k.dtype == "bool":
            raise GraphnetError(
                f"cannot index {x!r} with {k!r}: how many elements a mask selects is not known before it runs; "
                "use gn.where(mask, x, 0)"
            )
        return None, None, 1
    if isinstance(k, builtins.slice):
        if any(not (b is None or isinstance(b, (int, np.integer))) for b in (k.start, k.stop, k.step)):
            raise ShapeError(f"the bounds of a slice are integers, not {k}")
        start, stop = (None if b is None else int(b) for b in (k.start, k.stop))
        return start, stop, 1 if k.step is None else int(k.step)
    if not _is_integer(k):
        raise GraphnetError(f"cannot index {x!r} with {k!r}; integers, slices, None, ... and nodes are understood")
    i = int(k)
    if isinstance(e, int) and not -e <= i < e:
        raise ShapeError(f"index {i} is out of range for axis {a} of {x!r}")
    first = e + i if i < 0 else i
    return first, first + 1, 1
