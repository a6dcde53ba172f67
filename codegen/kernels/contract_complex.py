"""CPU schedule of sums of products of complex numbers, real and imaginary parts apart: products of spectra.

    for point of the axes outside, block of rows in parallel:
        for chunk of the sum in serial:                     what it reads stays in a core's caches
            for column tile, for row tile:
                prefetch a share of what the next chunk reads
                acc[rows, parts, vectors] = 0               registers
                for term of the chunk:
                    wide[parts, vectors] = y                vector loads
                    for row: re, im = x                     two scalars, broadcast: four FMAs a vector
                partial sums += acc, in L2; after the last chunk: epilogue

A sum over terms and parts a, in a result of two parts b, whose second operand is plus or minus one of two loads: which,
depends on a and b alone. Each is loaded once where four products of real numbers would load it twice, and nothing is
stored twice. The matrices are small and many, each is read once: what counts is that they come while others are
multiplied.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

from ..compute import Axis, Computation
from ..dtypes import DTYPES
from ..expr import Buffer, Expr, Fma, Load, Unary, Var, const, eq, lift, minimum, select
from ..loops import LINE, Alloc, If, Kernel, Let, Prefetch, Stmt, loop, store
from ..machine import Machine
from ..traverse import substitute
from .analysis import unit_stride
from .blocking import IN_L2, chunk
from .common import ENOUGH_TASKS, epilogue, parallel_over, streamed, too_large
from .contract_packed import Cut
from .product import Product

DEPTH = 64  # terms in a chunk of the sum
PARTIAL = 1 << 18  # bytes of partial sums
FEWEST_ROWS = 4  # of a register tile that leaves no rest

PARTS = tuple(product(range(2), range(2)))


@dataclass(frozen=True, slots=True)
class ComplexProduct:
    """Part b of the result is the sum over k and parts a of narrow[a] * (-wide[p] if negative else wide[p]), with
    (p, negative) = terms[a, b]."""

    c: Computation
    narrow: tuple[Expr, Expr]
    wide: tuple[Load, Load]
    terms: dict[tuple[int, int], tuple[int, bool]]
    part: Axis
    row: Axis
    column: Axis
    k: Axis

    @property
    def dtype(self) -> str:
        return self.wide[0].dtype

    @property
    def outside(self) -> tuple[Axis, ...]:
        return tuple(a for a in self.c.axes if a not in (self.part, self.row, self.column))


def complex_product(c: Computation, p: Product) -> ComplexProduct | None:
    """The computation as products of complex numbers, vectors along its last axis; None if it is something else."""
    last, axes = c.axes[-1], p.reduce.axes
    if p.reduce.where is not None or len(axes) != 2 or not all(a.is_full for a in axes) or len(p.rows) != 1:
        return None
    for a, k in (axes, axes[::-1]):
        for b in p.columns:
            if a.extent == b.extent == 2 and b is not last and p.columns in ((b, last), (last, b)):
                found = _parts(p.wide, a, b)
                if found is not None and all(unit_stride(x, last.name) for x in found[0]):
                    narrow = tuple(substitute(p.narrow, {a.name: const(i, "i64")}) for i in range(2))
                    return ComplexProduct(c, (narrow[0], narrow[1]), *found, b, p.rows[0], last, k)
    return None


def _parts(
    wide: Expr, a: Axis, b: Axis
) -> tuple[tuple[Load, Load], dict[tuple[int, int], tuple[int, bool]]] | None:
    """The two loads of the wide operand, and which of them it is for each a and b, and whether negative."""
    loads: list[Load] = []
    terms: dict[tuple[int, int], tuple[int, bool]] = {}
    for i, j in PARTS:
        e = substitute(wide, {a.name: const(i, "i64"), b.name: const(j, "i64")})
        negative = isinstance(e, Unary) and e.op == "neg"
        e = e.a if isinstance(e, Unary) and negative else e
        if not isinstance(e, Load):
            return None
        if e not in loads:
            loads.append(e)
        terms[i, j] = loads.index(e), negative
    return ((loads[0], loads[1]), terms) if len(loads) == 2 else None


def schedule(m: ComplexProduct, machine: Machine) -> tuple[Kernel, str]:
    nest = _Nest(m, machine)
    how = f"{nest.rows.size}x{nest.vectors * nest.width} register tile of complex numbers"
    if nest.rows.blocks > 1:
        how += f", {nest.rows.blocks} blocks"
    if nest.chunks > 1:
        how += f", {nest.depth} terms at a time"
    return nest.kernel(), how


def row_tile(rows: int, most: int) -> int:
    """Rows of a register tile: as many as fit, fewer where that leaves no rest."""
    exact = [r for r in range(FEWEST_ROWS, most + 1) if rows % r == 0]
    return min(rows, max(exact, default=most))


class _Nest:
    """The loops of one product."""

    def __init__(self, m: ComplexProduct, machine: Machine) -> None:
        self.m, size = m, DTYPES[m.dtype].bytes
        self.width = machine.lanes(size)
        self.line = LINE // size
        self.vectors = 2 if machine.registers >= 32 and m.column.extent > self.width else 1
        tile = row_tile(m.row.extent, (machine.registers - 2 * self.vectors - 2) // (2 * self.vectors))
        self.depth = chunk(m.k.extent, DEPTH)
        self.chunks = -(-m.k.extent // self.depth)
        tiles = -(-m.row.extent // tile)
        blocks = -(-ENOUGH_TASKS // math.prod(a.extent for a in m.outside))
        if self.chunks > 1:
            blocks = max(blocks, -(-2 * size * m.row.extent * m.column.extent // PARTIAL))
        self.rows = Cut(m.row.extent, tile, min(blocks, tiles), Var("row_block"), Var("row_tile"))
        self.columns = Cut(m.column.extent, self.vectors * self.width, 1, Var("column_block"), Var("column_tile"))
        self.chunk, self.term = Var("chunk"), Var("term")
        self.i, self.j, self.v = Var("row"), Var("vec"), Var("lane")
        shape = (self.rows.most, self.columns.most, tile, 2, self.vectors, self.width)
        self.partial = Buffer("partial", m.dtype, shape, "local")
        written = [s.buffer for s in m.c.all_stores()]
        self.past = frozenset(b for b in written if too_large(b, machine))
        self.far = sum(b.size * DTYPES[b.dtype].bytes for b in m.c.params if b not in written) > IN_L2

    def kernel(self) -> Kernel:
        m = self.m
        body: list[Stmt] = []
        for columns in self.columns.sizes():
            inner = tuple(self.rows.over(rows, self.tile(rows, columns)) for rows in self.rows.sizes())
            body.append(self.columns.over(columns, inner))
        task: list[Stmt] = [Alloc(self.partial)] if self.chunks > 1 else []
        task += [Let(self.columns.block, const(0, "i64")), loop("serial", self.chunk, 0, self.chunks, *body)]
        tasks = [*((a.var, a.extent) for a in m.outside), (self.rows.block, self.rows.blocks)]
        return Kernel(m.c.name, m.c.params, (parallel_over(tasks, tuple(task)),))

    # --------------------------------------------------------------------------- the register tile

    def tile(self, rows: int, columns: int) -> tuple[Stmt, ...]:
        m, w, i, j, v = self.m, self.width, self.i, self.j, self.v
        vectors = -(-columns // w)
        acc = Buffer("acc", m.dtype, (rows, 2, vectors, w), "register")
        wide = Buffer("wide", m.dtype, (2, vectors, w), "register")
        column = self.columns.at(j * w + v)
        valid = column < m.column.extent if columns % w else None
        first = self.chunk * self.depth
        terms = minimum(m.k.extent - first, self.depth) if m.k.extent % self.depth else lift(self.depth, "i64")
        at = {m.row.name: self.rows.at(i), m.column.name: column, m.k.name: first + self.term}

        def over_vectors(*body: Stmt) -> Stmt:
            return loop("unrolled", j, 0, vectors, loop("vector", v, 0, w, *body))

        def over_points(body: list[tuple[Stmt, ...]]) -> Stmt:
            return loop("unrolled", i, 0, rows, *(over_vectors(*part) for part in body))

        step: list[Stmt] = []
        for p, load in enumerate(m.wide):
            value = substitute(load, at)
            value = value if valid is None else select(valid, value, 0.0)
            step.append(over_vectors(store(wide, (p, j, v), value)))
        products: list[Stmt] = []
        for a in range(2):
            scalar = Var(f"scalar{a}", m.dtype)
            products.append(Let(scalar, substitute(m.narrow[a], at)))
            for b in range(2):
                p, negative = m.terms[a, b]
                y = -wide[p, j, v] if negative else wide[p, j, v]
                products.append(over_vectors(store(acc, (i, b, j, v), Fma(scalar, y, acc[i, b, j, v]))))
        step.append(loop("unrolled", i, 0, rows, *products))

        def after(part: int) -> tuple[Stmt, ...]:
            point = {**at, m.part.name: const(part, "i64"), m.c.reductions[0].var.name: acc[i, part, j, v]}
            block = streamed(epilogue(m.c, point), self.past)
            return block if valid is None else (If(valid, block),)

        add: tuple[Stmt, ...] = ()
        finish: tuple[Stmt, ...] = (over_points([after(b) for b in range(2)]),)
        if self.chunks > 1:
            places = [(self.rows.tile, self.columns.tile, i, b, j, v) for b in range(2)]
            sums = [(store(acc, (i, b, j, v), acc[i, b, j, v] + self.partial[places[b]]),) for b in range(2)]
            add = (If(const(0, "i64") < self.chunk, (over_points(list(sums)),)),)
            keep = over_points([(store(self.partial, places[b], acc[i, b, j, v]),) for b in range(2)])
            finish = (If(eq(self.chunk, self.chunks - 1), finish, (keep,)),)
        zeros = over_points([(store(acc, (i, b, j, v), 0.0),) for b in range(2)])
        fetch = self.fetch() if self.far else ()
        return (*fetch, Alloc(acc), Alloc(wide), zeros, loop("serial", self.term, 0, terms, *step), *add, *finish)

    # -------------------------------------------------------------------------------- prefetching

    def fetch(self) -> tuple[Stmt, ...]:
        """A tile's share of asking for what the next chunk reads: that of the sum, or the first of the next task."""
        m, rows, zero = self.m, self.rows, const(0, "i64")
        ends = eq(self.chunk, self.chunks - 1) if self.chunks > 1 else const(True, "bool")
        last = eq(rows.block, rows.blocks - 1) if rows.blocks > 1 else const(True, "bool")
        first = select(ends, zero, (self.chunk + 1) * self.depth)
        block = select(ends, select(last, zero, rows.block + 1), rows.block)
        row = block * rows.tiles // rows.blocks * rows.size
        at: dict[str, Expr] = {}
        if m.outside:
            inner = m.outside[-1]
            at[inner.name] = inner.var + select(ends & last, const(1, "i64"), zero)
        height = min(rows.most * rows.size, m.row.extent)
        along = {m.row.name: (row, height), m.k.name: (first, self.depth), m.column.name: (zero, m.column.extent)}
        out: list[Stmt] = []
        for loads, over in ((m.narrow, (m.row, m.k)), (m.wide, (m.k, m.column))):
            unit = next((a for a in over if all(unit_stride(e, a.name) for e in loads)), None)
            if unit is not None and all(isinstance(e, Load) and e.buffer.space == "global" for e in loads):
                (other,) = (a for a in over if a is not unit)
                out += self.lines([e for e in loads if isinstance(e, Load)], at, unit, other, along)
        return tuple(out)

    def lines(
        self, loads: list[Load], at: dict[str, Expr], unit: Axis, other: Axis, along: dict[str, tuple[Expr, int]]
    ) -> list[Stmt]:
        """Of the lines that loads touch, along `unit` for each step of `other`, this tile's share."""
        n, turn, q = Var("line"), Var("turn"), Var("place")
        (first, extent), (start, count) = along[unit.name], along[other.name]
        tiles = self.rows.most * self.columns.most
        share = -(-count // tiles)
        lines = -(-extent // self.line)
        place = {**at, unit.name: first + n * self.line, other.name: start + q}
        ask = tuple(Prefetch(e.buffer, tuple(substitute(x, place) for x in e.index)) for e in loads)
        number = self.columns.tile * self.rows.most + self.rows.tile
        body = (Let(q, number * share + turn), If(q < count, (loop("serial", n, 0, lines, *ask),)))
        return [loop("serial", turn, 0, share, *body)]

