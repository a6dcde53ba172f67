"""CPU schedule of one value a point, where reading crosses writing: square tiles, turned over in registers.

    for t in parallel(...):                              outer axes, and tiles of the longer of the two that cross
        for tile in serial(...):                         tiles of the other, whose lines are thereby used up
            load a tile by rows as they are read; turn it over; lets; stores, by rows as they are written

The last tiles overlap those before them, where an axis is no multiple of the vector: the same values twice. Where both
axes are, what is written may be read as well: an update of parameters in place by a gradient that lies across them.
"""

from __future__ import annotations

from dataclasses import replace

from ..compute import Axis, Computation
from ..dtypes import DTYPES
from ..expr import Expr, Load, Select, Var, const, minimum
from ..loops import Kernel, Let, Stmt, Store, map_expressions
from ..machine import Machine
from ..traverse import children, loads, substitute, transform
from .analysis import collapse, crossings, drop_unit_axes
from .common import epilogue, nest
from .transpose import transposed_tile


def schedule(c: Computation, machine: Machine) -> tuple[Kernel, str] | None:
    """Loops for a computation without reductions, and a sentence on how; None if nothing in it is turned over."""
    c = collapse(drop_unit_axes(c))
    found = crossing(c)
    if found is None:
        return None
    load, across = found
    *outer, last = c.axes
    # The axis that is read in order, merged with those outside of it, as `collapse` did for the one written in order.
    first = collapse(replace(c, axes=(last, *(a for a in outer if a is not across), across)), "f")
    found = crossing(replace(first, axes=(*(a for a in first.axes if a.name != last.name), last)))
    if found is not None and found[1] is first.axes[-1]:
        c, (load, across) = first, found
        outer = [a for a in c.axes if a.name != last.name]
    size = DTYPES[load.dtype].bytes
    width = machine.lanes(size)
    once = last.extent % width == across.extent % width == 0
    if width < 4 or min(last.extent, across.extent) < width or not _turns(c, load, size, once):
        return None
    sides = sorted((across, last), key=lambda a: -a.extent)
    tiles = [(Var(f"{a.name}_tile"), -(-a.extent // width)) for a in sides]
    starts = {a.name: _start(v, a.extent, width) for (v, _), a in zip(tiles, sides, strict=True)}
    at = {n: Var(f"{n}_first") for n in starts}

    def read(r: Expr, v: Expr) -> Expr:
        return substitute(load, {across.name: at[across.name] + v, last.name: at[last.name] + r})

    def keep(r: Expr, v: Expr, value: Expr) -> tuple[Stmt, ...]:
        memo: dict[int, Expr] = {}

        def turned(e: Expr) -> Expr:
            return transform(e, lambda x: Var("turned", load.dtype) if x == load else None, memo)

        lets = tuple((name, turned(e)) for name, e in c.lets)
        stores = tuple(map_expressions(s, turned) for s in c.stores)
        point = {across.name: at[across.name] + r, last.name: at[last.name] + v}
        block = epilogue(replace(c, lets=lets, stores=stores), point)
        return Let(Var("turned", load.dtype), value), *block

    body = (*(Let(at[n], e) for n, e in starts.items()), *transposed_tile(load.dtype, width, read, keep))
    outside = [(a.var, a.extent) for a in outer if a.name != across.name]
    loops = nest([*outside, *tiles], body)
    shape = "x".join(str(a.extent) for a in c.axes)
    return Kernel(c.name, c.params, (loops,)), f"map over {shape}, {width}x{width} tiles turned over"


def crossing(c: Computation) -> tuple[Load, Axis] | None:
    """The one large load that strides along the last axis, and the axis along which it has unit stride."""
    found = crossings(c)
    for load, axis in found.items():
        return (load, axis) if len(found) == 1 and axis is not None else None
    return None


def _turns(c: Computation, load: Load, size: int, once: bool) -> bool:
    """Whether tiles can be read whatever they hold: the load is done at every point, results are of its size, and where
    tiles overlap and are not written `once`, none lies where something is read."""
    exprs = c.point_expressions()
    read = {x.buffer.name for x in loads(*exprs)}
    plain = all(isinstance(s, Store) and DTYPES[s.buffer.dtype].bytes == size for s in c.stores)
    written = {s.buffer.name for s in c.all_stores()}
    apart = load.buffer.name not in written and (once or not read & written)
    return plain and apart and any(_always(e, load) for e in exprs)


def _always(e: Expr, load: Load) -> bool:
    """Whether the value of `e` needs the load, whatever side its choices take."""
    stack, seen = [e], set[int]()
    while stack:
        x = stack.pop()
        if x == load:
            return True
        if id(x) not in seen:
            seen.add(id(x))
            stack += (x.cond,) if isinstance(x, Select) else children(x)
    return False


def _start(tile: Var, extent: int, width: int) -> Expr:
    return minimum(tile * width, const(extent - width, "i64")) if extent % width else tile * width
