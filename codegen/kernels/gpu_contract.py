"""Sums of products on GPUs: matrix products and convolutions as tiled matrix products.

M, N and K of the product (see `contraction`) are flattened, and each element of a tile decodes its own
coordinates, so an image window (im2col) is never stored.

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
"""

from __future__ import annotations

from dataclasses import dataclass

from ..compute import Axis, Computation
from ..expr import Buffer, Expr, Load, Var, binary, select
from ..loops import Alloc, Barrier, Kernel, Let, Stmt, loop, store
from ..traverse import variables, walk
from .contraction import Contraction
from .gpu_common import (
    THREADS,
    Names,
    ceil_div,
    finish,
    frame,
    guarded,
    multiply_add,
    neutral,
    size,
    unflatten,
)

SIDE = 16  # threads along each side of a tile: 16 * 16 = THREADS


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
    along_m = any(_ends_with(s.index, x.m) for s in c.all_stores())
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
