"""Rows of results past the caches, where rows end within a line, or tiles do.

A line of which one half is stored past the caches and the other through them costs as much as a hundred lines. Hardware
joins halves and quarters that are stored soon after each other: rows of such go past the caches if all their parts do.
Where tiles end elsewhere, as at the edges of padded images, a row is first gathered in L1:

    row = local(f32, columns)
    for tile: row[...] = value
    for vector in row: result[..., column] = stream(row[column], part)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..compute import Axis, Computation
from ..dtypes import DTYPES
from ..expr import Buffer, Expr, Var
from ..loops import LINE, Alloc, Stmt, Store, loop
from ..machine import Machine
from ..traverse import substitute
from .analysis import access_strides
from .common import Segment, results_past
from .interior import decomposed

Loops = Sequence[tuple[Var, int]]  # outermost first

SHORTEST = 16  # bytes that are stored past the caches by themselves
GATHERED = 4096  # bytes of the longest row that is gathered


@dataclass(frozen=True, slots=True)
class Row:
    """A store past the caches, of so many bytes that begin at a multiple of them; `gathered`: where, before."""

    store: Store
    part: int
    gathered: Buffer | None = None


@dataclass(frozen=True, slots=True)
class Rows:
    """The stores of a computation along its last axis, of which `found` go past the caches."""

    last: Axis
    width: int
    found: tuple[Row, ...]

    def begin(self) -> tuple[Stmt, ...]:
        return tuple(Alloc(r.gathered) for r in self.found if r.gathered)

    def stored(self, block: Iterable[Stmt], point: Expr) -> tuple[Stmt, ...]:
        """What is done at a point, with stores to where they go first."""
        of = {r.store.buffer: r for r in self.found}

        def changed(s: Stmt) -> Stmt:
            r = of.get(s.buffer) if isinstance(s, Store) else None
            if r is None or not isinstance(s, Store):
                return s
            return Store(r.gathered, (point,), s.value) if r.gathered else replace(s, streams=r.part)

        return tuple(map(changed, block))

    def end(self) -> tuple[Stmt, ...]:
        """What was gathered, to where it belongs."""
        out: list[Stmt] = []
        for r in self.found:
            if r.gathered is None:
                continue
            for seg in decomposed(self.last.extent, 4 * self.width, again=True):
                b, v = Var("block"), Var("lane")
                point = b * seg.tile + seg.start + v
                index = tuple(substitute(i, {self.last.name: point}) for i in r.store.index)
                copy = Store(r.store.buffer, index, r.gathered[point], r.part)
                out.append(loop("serial", b, 0, seg.count, loop("vector", v, 0, seg.tile, copy)))
        return tuple(out)


def rows(
    c: Computation, outside: Loops, segments: Sequence[Segment], in_row: bool, width: int, machine: Machine
) -> Rows:
    """How rows of results are stored: one after the other in the order of the loops outside, each in these segments;
    all segments of a row before the next one, or one segment of all rows after the other."""
    last, past = c.axes[-1], results_past(c, machine)
    found = []
    for s in c.stores:
        if isinstance(s, Store) and s.buffer in past:
            size = DTYPES[s.buffer.dtype].bytes
            part = math.gcd(LINE, last.extent * size) if _joined(s, last, outside) else 0
            whole = all(g.start * size % part == g.tile * size % part == 0 for g in segments) if part else False
            masked = any(g.tile % width and g.tile & (g.tile - 1) for g in segments)
            gathered = None
            if part < SHORTEST or (len(segments) > 1 and not in_row):
                part = LINE
            elif masked or not whole:
                fits = in_row and last.extent * size <= GATHERED
                gathered = Buffer(f"row_{s.buffer.name}", s.buffer.dtype, (last.extent,), "local") if fits else None
                part = part if fits else LINE
            found.append(Row(s, part, gathered))
    return Rows(last, width, tuple(found))


def _joined(s: Store, last: Axis, outside: Loops) -> bool:
    """Whether each row begins in memory where the one before it ended."""
    strides = access_strides(s.buffer, s.index, frozenset((last.name, *(v.name for v, _ in outside))))
    expected = 1
    for name, extent in ((last.name, last.extent), *((v.name, n) for v, n in reversed(outside))):
        if strides is None or strides.get(name) != expected:
            return False
        expected *= extent
    return True
