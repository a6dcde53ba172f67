"""Which computations are matrix products, and of what.

A Computation whose only reduction is a sum of A * B is a batch of matrix products once its axes are
sorted: M are the output axes on which only A depends, N those on which only B depends, batch the rest, K
the reduction axes. Bounds of K that depend on the point, and `where`, become lazy guards around the
factor that may know them: outside, that factor counts as 0.

Excluded elements multiply the other factor by 0: an infinity there makes a NaN, as in any implicit GEMM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..compute import Axis, Computation
from ..expr import Binary, Cast, Const, Expr, Load, Select, Unary, Var, binary, const, select
from ..traverse import transform, variables
from .gpu_common import factors, neutral, size

Interval = tuple[int, int]  # both ends belong to it


@dataclass(frozen=True, slots=True)
class Contraction:
    """sum over k of a * b, with every bound of K a constant and every guard inside `a` or `b`."""

    batch: tuple[Axis, ...]
    m: tuple[Axis, ...]
    n: tuple[Axis, ...]
    k: tuple[Axis, ...]
    a: Expr
    b: Expr


def analyse(c: Computation) -> Contraction | None:
    """`c` as a matrix product, or None where it is not one or its guards belong to no single factor."""
    if len(c.reductions) != 1 or c.reductions[0].reduce.op != "sum":
        return None
    reduce = c.reductions[0].reduce
    if any(not a.is_full for a in c.axes) or reduce.value.dtype == "bool":
        return None
    ranges: dict[str, Interval] = {a.name: (_value(a.lo), _value(a.hi) - 1) for a in c.axes}
    bounded = _constant_bounds(reduce.axes, ranges)
    if bounded is None:
        return None
    k, guards = bounded
    if reduce.where is not None:
        guards += _conjuncts(reduce.where)
    candidates = [
        found
        for a, b in _splits(list(factors(reduce.value)))
        if (found := _assign(c, k, a, b, guards, ranges)) is not None
    ]
    # Of several ways to call factors A and B, the one with most reuse: the first of equals is as written.
    return max(candidates, key=lambda x: min(size(x.m), size(x.n)), default=None)


def _value(e: Expr) -> int:
    assert isinstance(e, Const)
    return int(e.value)


def _constant_bounds(axes: tuple[Axis, ...], ranges: dict[str, Interval]) -> tuple[tuple[Axis, ...], list[Expr]] | None:
    """The reduction axes over the hull of their bounds, and what must hold of their variables besides.
    Adds the axes to `ranges`."""
    hulls, guards = [], []
    for a in axes:
        lo, hi = interval(a.lo, ranges), interval(a.hi, ranges)
        if lo is None or hi is None or hi[1] - lo[0] > 2 * max(1, a.extent):
            return None  # unknown, or mostly outside: serial loops do less work
        low, high = lo[0], max(hi[1], lo[0])
        if not isinstance(a.lo, Const):
            guards.append(binary("le", a.lo, a.var))
        if not isinstance(a.hi, Const):
            guards.append(a.var < a.hi)
        hulls.append(Axis(a.name, high - low, const(low, "i64"), const(high, "i64")))
        ranges[a.name] = (low, max(high - 1, low))
    return tuple(hulls), guards


def _conjuncts(e: Expr) -> list[Expr]:
    if isinstance(e, Binary) and e.op == "and":
        return [*_conjuncts(e.a), *_conjuncts(e.b)]
    return [e]


def _splits(parts: list[Expr]) -> Iterator[tuple[Expr, Expr]]:
    """The ways to make two factors of a product of few; the one that keeps the written order first."""
    count = len(parts)
    if not 2 <= count <= 5:
        return
    masks = sorted(range(1, 2 ** (count - 1)), key=lambda m: m != 2 ** (count - 1) - 1)
    for mask in masks:
        sides: tuple[list[Expr], list[Expr]] = ([], [])
        for i, p in enumerate(parts):
            sides[0 if mask >> i & 1 else 1].append(p)
        yield _product(sides[0]), _product(sides[1])


def _product(parts: list[Expr]) -> Expr:
    result = parts[0]
    for p in parts[1:]:
        result = result * p
    return result


def _assign(
    c: Computation, k: tuple[Axis, ...], a: Expr, b: Expr, guards: list[Expr], ranges: dict[str, Interval]
) -> Contraction | None:
    in_a, in_b = variables(a), variables(b)
    n = tuple(x for x in c.axes if x.name in in_b and x.name not in in_a)
    batch = tuple(x for x in c.axes if x.name in in_b and x.name in in_a)
    m = tuple(x for x in c.axes if x.name not in in_b)
    m_names, n_names = {x.name for x in m}, {x.name for x in n}
    of_a = [g for g in guards if not variables(g) & n_names]
    of_b = [g for g in guards if variables(g) & n_names]
    if any(variables(g) & m_names for g in of_b):
        return None
    # A factor is now also evaluated where the other's guards fail: its loads must be harmless there.
    safe_a = _protected(a, ranges) if of_b else a
    safe_b = _protected(b, ranges) if of_a else b
    return Contraction(batch, m, n, k, _under(of_a, safe_a), _under(of_b, safe_b))


def _under(guards: list[Expr], value: Expr) -> Expr:
    """`value` where all guards hold, else 0; a later guard is evaluated only where the earlier ones hold."""
    for g in reversed(guards):
        value = select(g, value, neutral("sum", value.dtype))
    return value


def _protected(e: Expr, ranges: Mapping[str, Interval]) -> Expr:
    """`e` with each load that may leave its buffer made lazy."""

    def leaf(x: Expr) -> Expr | None:
        if not isinstance(x, Load):
            return None
        index = tuple(_protected(i, ranges) for i in x.index)
        value: Expr = Load(x.buffer, index)
        for i, extent in zip(index, x.buffer.shape, strict=True):
            known = interval(i, ranges)
            if known is None or known[0] < 0 or known[1] >= extent:
                inside = binary("and", binary("le", const(0, "i64"), i), i < extent)
                value = select(inside, value, neutral("sum", x.dtype))
        return value

    return transform(e, leaf)


# --------------------------------------------------------------------------------- bounds of indices


def interval(e: Expr, ranges: Mapping[str, Interval]) -> Interval | None:
    """Bounds of an integer expression, given those of its variables; None if unknown."""
    match e:
        case Const(value, dtype) if dtype != "bool" and isinstance(value, int):
            return value, value
        case Var(name):
            return ranges.get(name)
        case Unary("neg", a):
            x = interval(a, ranges)
            return None if x is None else (-x[1], -x[0])
        case Cast(a, "i64") if a.dtype == "i32":
            return interval(a, ranges)
        case Select(_, a, b):
            x, y = interval(a, ranges), interval(b, ranges)
            return None if x is None or y is None else (min(x[0], y[0]), max(x[1], y[1]))
        case Binary(op, a, b):
            x, y = interval(a, ranges), interval(b, ranges)
            if op == "mod" and y is not None and y[0] == y[1] > 0:
                return x if x is not None and 0 <= x[0] <= x[1] < y[0] else (0, y[0] - 1)
            return None if x is None or y is None else _binary_interval(op, x, y)
    return None


def _binary_interval(op: str, x: Interval, y: Interval) -> Interval | None:
    match op:
        case "add":
            return x[0] + y[0], x[1] + y[1]
        case "sub":
            return x[0] - y[1], x[1] - y[0]
        case "mul":
            corners = [p * q for p in x for q in y]
            return min(corners), max(corners)
        case "min":
            return min(x[0], y[0]), min(x[1], y[1])
        case "max":
            return max(x[0], y[0]), max(x[1], y[1])
        case "floordiv" if y[0] == y[1] > 0:
            return x[0] // y[0], x[1] // y[0]
    return None
