"""Sums of products on GPUs: matrix products and convolutions as tiled matrix products.

A Computation whose only reduction is a sum of A * B is a batch of matrix products once its axes are
sorted: M are the output axes on which only A depends, N those on which only B depends, batch the rest, K
the reduction axes. M, N and K are flattened, and each element of a tile decodes its own coordinates, so
an image window (im2col) is never stored. Bounds of K that depend on the point, and `where`, become lazy
guards around the factor that may know them: outside, that factor counts as 0.

    for block in grid(0, batches * row tiles * column tiles):
        a_tile = shared(f32, 16, 64 + 4); b_tile = shared(f32, 16, 64 + 4)
        for thread in thread(0, 256):
            acc = register(f32, 4, 4) = 0
            for step in serial(0, K / 16):
                a_tile, b_tile = 16 x 64 elements each, 4 a thread
                barrier()
                for k in serial(0, 16):
                    acc[i, j] += a_tile[k, 4 * row + i] * b_tile[k, 4 * column + j]       4 x 4 of them
                barrier()
            for i, j: if inside: sum = acc[i, j]; lets, stores

Excluded elements multiply the other factor by 0: an infinity there makes a NaN, as in any implicit GEMM.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ..compute import Axis, Computation
from ..expr import (
    Binary,
    Buffer,
    Cast,
    Const,
    Expr,
    Load,
    Select,
    Unary,
    Var,
    binary,
    const,
    select,
    transform,
    variables,
    walk,
)
from ..loops import Alloc, Barrier, Kernel, Let, Stmt, loop, store
from .gpu_common import (
    THREADS,
    Names,
    ceil_div,
    factors,
    finish,
    frame,
    guarded,
    multiply_add,
    neutral,
    size,
    unflatten,
)

Interval = tuple[int, int]  # both ends belong to it
SIDE = 16  # threads along each side of a tile: 16 * 16 = THREADS


# ------------------------------------------------------------------------------------------ analysis


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


# --------------------------------------------------------------------------------------------- tiles


@dataclass(frozen=True, slots=True)
class Tile:
    """m x n results a block, in steps of `k`; each thread has (m / 16) x (n / 16) of them."""

    m: int
    n: int
    k: int


TILES = (Tile(128, 128, 8), *(Tile(m, n, 16) for m in (64, 32, 16) for n in (64, 32, 16)))
_SMS = 128  # about an A100 or H100: enough to rank tiles, not to predict times


def choose_tile(x: Contraction) -> Tile:
    """The tile with the least modelled time: waves of blocks, each multiplying and reading shared memory."""

    def cost(t: Tile) -> float:
        rows, columns = t.m // SIDE, t.n // SIDE
        waves = max(1.0, blocks(x, t) / _SMS)
        return waves * (rows * columns + rows + columns + 2)

    return min(TILES, key=cost)


def blocks(x: Contraction, t: Tile) -> int:
    return size(x.batch) * ceil_div(size(x.m), t.m) * ceil_div(size(x.n), t.n)


def steps(x: Contraction, t: Tile) -> int:
    return ceil_div(size(x.k), t.k)


# ------------------------------------------------------------------------------------------ schedule


@dataclass(frozen=True, slots=True)
class Operand:
    """One of the two factors, as it is brought into shared memory."""

    value: Expr
    axes: tuple[Axis, ...]  # M or N, flattened
    k: tuple[Axis, ...]
    first: Expr  # of the tile's elements along `axes`
    tile: Buffer  # (k, extent + padding)
    extent: int
    across: bool  # whether neighbouring threads take neighbouring points of `axes`, rather than of K

    def fetch(self, names: Names, thread: Var, step: Var, depth: int) -> Stmt:
        """Brings in one tile: every thread its share, elements outside as 0."""
        u, element, row, column = (names.var(x) for x in ("u", "element", "row", "column"))
        point, inner, value = names.var("point"), names.var("inner"), Var(names.fresh("value"), self.value.dtype)
        if self.across:
            places = (Let(row, element // self.extent), Let(column, element % self.extent))
        else:
            places = (Let(row, element % depth), Let(column, element // depth))
        zero = neutral("sum", self.value.dtype)
        edges = _edges((point, size(self.axes), self.extent), (inner, size(self.k), depth))
        guarded_value = self.value if edges is None else select(edges, self.value, zero)
        fill = (Let(value, guarded_value), store(self.tile, (row, column), value))
        return loop(
            "unrolled",
            u,
            0,
            depth * self.extent // THREADS,
            Let(element, u * THREADS + thread),
            *places,
            Let(point, self.first + column),
            Let(inner, step * depth + row),
            *unflatten(point, self.axes, unflatten(inner, self.k, fill)),
        )


def _edges(*places: tuple[Expr, int, int]) -> Expr | None:
    """What must hold of (flat index, extent, tile) for an element to exist; None when tiles divide extents."""
    result: Expr | None = None
    for flat, extent, tile in places:
        if extent % tile:
            inside = flat < extent
            result = inside if result is None else binary("and", result, inside)
    return result


def tiled(c: Computation, x: Contraction, t: Tile) -> Kernel:
    """The schedule of the module's docstring."""
    names = Names(c)
    block, thread, batch, first_m, first_n = (names.var(n) for n in ("block", "tid", "batch", "first_m", "first_n"))
    step, kk, i, j, m, n = (names.var(v) for v in ("step", "kk", "i", "j", "m", "n"))
    at_m, at_n, fours, four = (names.var(v) for v in ("at_m", "at_n", "fours", "four"))
    row_tiles, column_tiles = ceil_div(size(x.m), t.m), ceil_div(size(x.n), t.n)
    dtype = x.a.dtype
    rows, columns = t.m // SIDE, t.n // SIDE
    pad = 16 // 4  # keeps rows 16-byte aligned for vector loads, and spreads a column over the banks
    a_tile = Buffer(names.fresh("a_tile"), dtype, (t.k, t.m + pad), "shared")
    b_tile = Buffer(names.fresh("b_tile"), dtype, (t.k, t.n + pad), "shared")
    acc = Buffer(names.fresh("acc"), dtype, (rows, columns), "register")
    a_row = Buffer(names.fresh("a_row"), dtype, (rows,), "register")
    b_row = Buffer(names.fresh("b_row"), dtype, (columns,), "register")
    a = Operand(x.a, x.m, x.k, first_m, a_tile, t.m, _contiguous(x.a, x.m, x.k))
    b = Operand(x.b, x.n, x.k, first_n, b_tile, t.n, _contiguous(x.b, x.n, x.k))
    # Neighbouring threads write neighbouring elements of the output, whichever of M and N those are.
    along_m = any(_ends_with(s.index, x.m) for s in c.stores)
    low, high = thread % SIDE, thread // SIDE
    multiply = (
        _each(i, rows, store(a_row, (i,), a_tile[kk, at_m + i])),
        _each(j, columns, store(b_row, (j,), b_tile[kk, at_n + j])),
        _each(i, rows, _each(j, columns, store(acc, (i, j), multiply_add(a_row[i], b_row[j], acc[i, j])))),
    )
    result = Let(c.reductions[0].var, acc[i, j])
    point = unflatten(m, x.m, unflatten(n, x.n, (result, *finish(c))))
    inside = _edges((m, size(x.m), t.m), (n, size(x.n), t.n))
    body = (
        Let(batch, block // (row_tiles * column_tiles)),
        Let(first_m, block // column_tiles % row_tiles * t.m),
        Let(first_n, block % column_tiles * t.n),
        Let(at_m, (low if along_m else high) * rows),
        Let(at_n, (high if along_m else low) * columns),
        Alloc(acc),
        _each(i, rows, _each(j, columns, store(acc, (i, j), neutral("sum", dtype)))),
        loop(
            "serial",
            step,
            0,
            steps(x, t),
            a.fetch(names, thread, step, t.k),
            b.fetch(names, thread, step, t.k),
            Barrier(),
            # Unrolled in part: loads of the next k overlap the products of this one.
            loop(
                "serial",
                fours,
                0,
                t.k // 4,
                _each(four, 4, Let(kk, fours * 4 + four), Alloc(a_row), Alloc(b_row), *multiply),
            ),
            Barrier(),
        ),
        _each(
            i,
            rows,
            _each(j, columns, Let(m, first_m + at_m + i), Let(n, first_n + at_n + j), *guarded(inside, point)),
        ),
    )
    # Batch axes have constant bounds, so no guard comes between the block and its barriers.
    return frame(c, blocks(x, t), block, (a_tile, b_tile), THREADS, thread, _with_batch(batch, x.batch, body))


def _with_batch(batch: Var, axes: tuple[Axis, ...], body: tuple[Stmt, ...]) -> tuple[Stmt, ...]:
    return (body[0], *unflatten(batch, axes, body[1:]))


def _each(var: Var, extent: int, *body: Stmt) -> Stmt:
    return loop("unrolled", var, 0, extent, *body)


def _ends_with(index: tuple[Expr, ...], axes: tuple[Axis, ...]) -> bool:
    """Whether the last dimension of a place moves with the innermost of `axes`."""
    return bool(index and axes) and axes[-1].name in variables(index[-1])


def _contiguous(value: Expr, outer: tuple[Axis, ...], k: tuple[Axis, ...]) -> bool:
    """Whether neighbouring points of `outer`, rather than of K, lie side by side in the largest buffer read."""
    loads = [x for x in _loads(value) if x.index]
    if not loads:
        return True
    largest = max(loads, key=lambda x: x.buffer.size)
    return _ends_with(largest.index, outer) or not _ends_with(largest.index, k)


def _loads(value: Expr) -> list[Load]:
    return [x for x in walk(value) if isinstance(x, Load)]
