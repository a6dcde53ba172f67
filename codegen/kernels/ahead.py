"""Asks memory now for what a later iteration reads.

Hardware foresees reads along a page of 4 KB, and begins anew in the next one; where a core also computes, it waits at
each. A tile of vectors asks for the same lines as it reads itself, some iterations of one of its loops later:

    for a in ...:
        for block in ...:                          the clock: the innermost loop that has far to go
            prefetch x[... block + k ...]          as many iterations as read AHEAD bytes
            for v in vector(lanes): ... x[... block ...] ...
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise, product

from ..dtypes import DTYPES
from ..expr import Expr, Load, Var, const
from ..loops import LINE, Prefetch
from ..traverse import loads, substitute
from .analysis import Strides, access_strides
from .common import FAR

AHEAD = 16 << 10  # bytes: 8 to 32 KB are alike
LONG = 4  # times as many iterations as are asked ahead: what is asked for in vain at the end is little
MOST = 32  # lines that one tile asks for


@dataclass(frozen=True, slots=True)
class Tile:
    """What one iteration of a loop nest reads at once: loads at all points of `spans` (axis: from where, how many) for
    each iteration of `loops` (outermost first). With other tiles, an iteration reads `beside` times as much."""

    spans: dict[str, tuple[Expr, int]]
    loops: Sequence[tuple[Var, int]]
    beside: float = 1.0

    def asks(self, values: Iterable[Expr]) -> tuple[Prefetch, ...]:
        """For what these expressions load of large arrays, if every place is known and mostly whole lines are read."""
        found = [p for x in dict.fromkeys(loads(*values)) if x.buffer.space == "global" for p in self._ask(x)]
        return tuple(found) if len(found) <= MOST else ()

    def _ask(self, x: Load) -> list[Prefetch]:
        size = DTYPES[x.dtype].bytes
        if x.buffer.size * size <= FAR or loads(*x.index):
            return []
        along = access_strides(x.buffer, x.index, frozenset(self.spans))
        index = tuple(substitute(e, {n: start for n, (start, _) in self.spans.items()}) for e in x.index)
        steps = access_strides(x.buffer, index, frozenset(v.name for v, _ in self.loops))
        if along is None or steps is None:
            return []
        line = LINE // size
        lines = _lines(along, {n: extent for n, (_, extent) in self.spans.items()}, line)
        clock = _clock(self.loops, steps, len(lines) * line * self.beside, AHEAD // size)
        if clock is None:
            return []
        var, k = clock
        new = [n for n in lines if n + steps[var.name] // line not in lines]  # others were asked for one iteration ago
        *outer, last = (substitute(e, {var.name: var + k}) for e in index)
        return [Prefetch(x.buffer, (*outer, last + const(n * line, "i64"))) for n in new]


def _lines(along: Strides, spans: dict[str, int], line: int) -> list[int]:
    """The lines of which the middle is read, from the first place on."""
    moving = [n for n in spans if along.get(n)]
    if math.prod(spans[n] for n in moving) > MOST * line:
        return []
    places = {sum(p) for p in product(*(range(0, spans[n] * along[n], along[n]) for n in moving))}
    middle = (line // 2 - 2, line // 2 + 2)
    return sorted({p // line for p in places if middle[0] <= p % line < middle[1]})


def _clock(loops: Sequence[tuple[Var, int]], steps: Strides, read: float, ahead: int) -> tuple[Var, int] | None:
    """The loop, and how many of its iterations read `ahead` elements, where one tile reads `read`: the innermost that
    is long, or after whose end memory goes on; or the outermost."""
    if not read:
        return None
    inward = [(v, n) for v, n in reversed(loops) if n > 1]
    for (v, n), (outer, _) in pairwise([*inward, (Var(""), 1)]):
        step = steps.get(v.name, 0)
        if step <= 0:  # the same again: it is near
            return None
        k = max(1, round(ahead / read))
        if n >= LONG * k or steps.get(outer.name, 0) in (0, step * n):
            return v, k
        read *= n
    return None
