"""Axes of vectors in pieces, so that few lanes are masked: a masked load of elements that are not neighbours is slow.

Within, where the bounds of a fold leave nothing out (no padding is met), vectors are whole: full blocks, then ever
shorter ones, down to one element. At the edges bounds become masks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..compute import Axis, Computation, Reduce, Reduction
from ..expr import Const, Expr, const
from ..traverse import loads, substitute, variables
from .analysis import load_strides
from .common import Segment, cut


@dataclass(frozen=True, slots=True)
class Piece:
    """Tiles of the last axis, and the computation on them."""

    segment: Segment
    computation: Computation


def spaced(c: Computation, name: str) -> bool:
    """Whether some value that is folded is loaded from places that are not neighbours along the axis."""
    strides = [s for v in _values(c) for s in load_strides(v, frozenset((name,)))]
    return any(s is None or s.get(name, 0) not in (0, 1) for s in strides)


def _values(c: Computation) -> list[Expr]:
    return [r.reduce.value for r in c.reductions]


def pieces(c: Computation, masked: Computation, block: int) -> list[Piece]:
    """The last axis of `c` in pieces; `masked` is the same without bounds that depend on that axis."""
    last = c.axes[-1]
    first, end = interior(c.reductions[0].reduce, last)
    inner = replace(c, reductions=tuple(freed(r, last.name) for r in c.reductions))
    found = [Piece(s, masked) for s in cut(first, block)]
    read = {x.buffer for x in loads(*_values(c), *c.point_expressions())}
    again = read.isdisjoint(x.buffer for x in c.all_stores())
    for seg in decomposed(end - first, block, again):
        found.append(Piece(replace(seg, start=first + seg.start), inner))
    found += [Piece(replace(s, start=end + s.start), masked) for s in cut(last.extent - end, block)]
    return found


def decomposed(extent: int, block: int, again: bool = False) -> list[Segment]:
    """Whole tiles that cover an extent: full blocks, then ever shorter ones; or, where elements may be computed
    `again`, one that reaches back."""
    found = cut(extent, block)
    if not found or found[-1].tile == block:
        return found
    left = found.pop().tile
    tile = 1 << (left - 1).bit_length()
    if again and tile <= extent:
        return [*found, Segment(extent - tile, 1, tile)]
    while left:
        tile = 1 << (left.bit_length() - 1)
        found.append(Segment(extent - left, 1, tile))
        left -= tile
    return found


def interior(r: Reduce, a: Axis) -> tuple[int, int]:
    """The positions first <= i < end of `a` at which bounds that depend on it leave nothing out; none if unknown."""
    first, end = 0, a.extent
    for x in r.axes:
        names = variables(x.lo) | variables(x.hi)
        if a.name not in names:
            continue
        if names != {a.name}:
            return 0, 0
        full = [i for i in range(a.extent) if _at(x.lo, a, i) == 0 and _at(x.hi, a, i) == x.extent]
        if not full or full[-1] - full[0] + 1 != len(full):
            return 0, 0
        first, end = max(first, full[0]), min(end, full[-1] + 1)
    return (first, end) if first < end else (0, 0)


def _at(e: Expr, a: Axis, i: int) -> int | None:
    value = substitute(e, {a.name: const(i, "i64")})
    return int(value.value) if isinstance(value, Const) else None


def freed(r: Reduction, name: str) -> Reduction:
    """The reduction with full bounds where they depend on `name`."""
    axes = []
    for x in r.reduce.axes:
        if name in variables(x.lo) | variables(x.hi):
            x = Axis(x.name, x.extent, const(0, "i64"), const(x.extent, "i64"))
        axes.append(x)
    return Reduction(r.var, replace(r.reduce, axes=tuple(axes)))
