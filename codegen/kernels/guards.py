"""Guards against what lies outside of an array, left out where nothing does.

A pixel of few channels makes short vectors, of which the comparisons that guard them are most of the work. So columns
run in three parts, and rows are either within the image or at its edge:

    if the row is within:
        for columns at the left edge: guarded
        for columns within: without guards
        for columns at the right edge: guarded
    else:
        for columns: guarded
"""

from __future__ import annotations

from ..expr import COMPARE, Binary, Const, Expr, Var, const
from ..loops import Stmt, expressions, loop, map_expressions, statements
from ..traverse import substitute, transform, walk
from .analysis import coefficients

Range = tuple[int, int]  # first <= value < end
Ranges = dict[str, Range]


def _verdict(e: Expr, ranges: Ranges) -> bool | None:
    """What a comparison of affine indices comes to, wherever its variables are in their ranges; None if it depends."""
    if not isinstance(e, Binary) or e.op not in ("lt", "le") or e.a.dtype != "i64":
        return None
    difference = e.b - e.a  # > 0 or >= 0
    along = coefficients(difference, frozenset(ranges))
    rest = substitute(difference, {name: const(0, "i64") for name in ranges})
    if along is None or not isinstance(rest, Const):
        return None
    ends = [(k * ranges[name][0], k * (ranges[name][1] - 1)) for name, k in along.items()]
    least, most = (int(rest.value) + sum(pick(pair) for pair in ends) for pick in (min, max))
    needed = 1 if e.op == "lt" else 0
    return True if least >= needed else False if most < needed else None


def unguarded(body: tuple[Stmt, ...], ranges: Ranges) -> tuple[Stmt, ...]:
    """The statements without comparisons that are decided by the ranges of their variables."""

    def leaf(e: Expr) -> Expr | None:
        known = _verdict(e, ranges)
        return None if known is None else const(known, "bool")

    memo: dict[int, Expr] = {}
    return tuple(map_expressions(s, lambda e: transform(e, leaf, memo)) for s in body)


def within(body: tuple[Stmt, ...], name: str, ranges: Ranges) -> Range:
    """The longest run of values of a variable at which every affine comparison that depends on it holds, wherever the
    other variables are in their ranges."""
    parts = walk(*(e for s in statements(body) for e in expressions(s)))
    guards = {x for x in parts if isinstance(x, Binary) and x.op in COMPARE and x.a.dtype == "i64"}
    mine = [g for g in guards if name in (coefficients(g.b - g.a, frozenset(ranges)) or {})]
    best, first = (0, 0), 0
    for i in range(*ranges[name]):
        at = {**ranges, name: (i, i + 1)}
        if not all(_verdict(g, at) for g in mine):
            first = i + 1
        elif i + 1 - first > best[1] - best[0]:
            best = first, i + 1
    return best


def columns(var: Var, extent: int, body: tuple[Stmt, ...], ranges: Ranges) -> tuple[Stmt, ...]:
    """A serial loop in three parts."""
    first, end = within(body, var.name, ranges)
    parts: list[Stmt] = []
    for start, stop in ((0, first), (first, end), (end, extent)):
        if start < stop:
            parts.append(loop("serial", var, start, stop, *unguarded(body, {**ranges, var.name: (start, stop)})))
    return tuple(parts)
