"""Large, skinny or transposed matrix products: blocks of the sum, the wide operand packed where that pays.

    for each block of the output in parallel:
        for chunk of the sum in serial:                     `depth` terms
            for column tile of the block:
                panel = wide operand                        depth x tile: in L1. Or read where it is
                for row tile of the block:
                    acc = 0                                 registers
                    for term of the chunk: acc += narrow * wide
                    partial sums += acc, in L2; after the last chunk: epilogue

The wide operand is packed where many rows use it, so that they find it in L1 and in few pages, and where it has to
be turned over: vectors along an axis that does not lie in rows. Otherwise a chunk of few terms is walked along its
rows, as a stream: of what comes from memory in long pieces of each row, which hardware follows. Rows of the narrow
operand, which may fall into the same few sets of the cache, are then copied, a chunk at a time. Either way the first
row tile fetches a next column tile from memory. Where one tile has all rows, and memory is all that it waits for, each
thread has a share of the columns instead of blocks, and walks a few rows of memory at once as far as that goes. Chunks
depend on neither, so no result does. That chunks are summed up before they are added to others makes long sums several
times as exact as one term after another.

Following Goto and van de Geijn (2008) and Van Zee and van de Geijn (BLIS, 2015); the difference is that partial
sums have a buffer of their own, because an epilogue may store something else, or more, and that the narrow operand
is not packed with a wide one that is: here this gained nothing.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ..compute import Axis, Computation, axis
from ..dtypes import DTYPES
from ..expr import Buffer, Const, Expr, Fma, Load, Var, const, eq, minimum, select
from ..loops import LINE, Alloc, If, Kernel, Let, Prefetch, Shares, Stmt, loop, store
from ..machine import Machine
from ..traverse import substitute, variables
from .analysis import unit_stride
from .common import epilogue, parallel_over, round_up
from .product import Product, is_long
from .transpose import transposed_tile

FEW_TERMS = 8  # of a chunk, that are unrolled


@dataclass(frozen=True, slots=True)
class MatrixProduct:
    """sum over k of narrow[row, k] * wide[k, column], at each point of the axes outside."""

    c: Computation
    narrow: Expr
    wide: Load
    row: Axis
    column: Axis
    k: Axis
    outside: tuple[Axis, ...]

    @property
    def dtype(self) -> str:
        return self.wide.dtype

    @property
    def matrices(self) -> int:
        """How many different wide operands there are."""
        used = variables(self.wide)
        return math.prod(a.extent for a in self.outside if a.name in used)

    @property
    def turned(self) -> bool:
        """Whether vectors of the wide operand must be made of columns of memory."""
        return not unit_stride(self.wide, self.column.name)


@dataclass(frozen=True, slots=True)
class Blocking:
    """How a product is cut: the register tile in rows and vectors, the terms in a chunk of the sum, the number of
    blocks, whether the wide operand is packed; how many column tiles before their use lines are fetched (0: hardware
    does it), whether the narrow operand is copied, and whether each thread has a share of the columns instead."""

    rows: int
    vectors: int
    depth: int
    row_blocks: int
    column_blocks: int
    packed: bool
    ahead: int = 1
    copied: bool = False
    shared: bool = False


def matrix_product(c: Computation, p: Product) -> MatrixProduct | None:
    """The computation as matrix products, vectors along its last axis; None if it is something else."""
    last = c.axes[-1]
    if p.reduce.where is not None or len(p.reduce.axes) != 1 or not p.reduce.axes[0].is_full:
        return None
    if last not in p.columns or not isinstance(p.wide, Load):
        return None
    row = max(p.rows, key=lambda a: a.extent, default=axis("alone", 1))
    outside = tuple(a for a in c.axes[:-1] if a is not row)
    return MatrixProduct(c, p.narrow, p.wide, row, last, p.reduce.axes[0], outside)


def schedule(m: MatrixProduct, b: Blocking, machine: Machine) -> tuple[Kernel, str]:
    width = machine.lanes(DTYPES[m.dtype].bytes)
    blocks = "shares of the columns" if b.shared else f"{b.row_blocks}x{b.column_blocks} blocks"
    how = f"{b.rows}x{b.vectors * width} register tile, {blocks}"
    if b.depth < m.k.extent:
        how += f", {b.depth} terms at a time"
    if b.packed:
        how += f", {'columns' if m.turned else 'rows'} packed"
    return _Nest(m, b, width).kernel(), how


@dataclass(frozen=True, slots=True)
class Cut:
    """An axis cut into register tiles, and those into blocks of almost equal numbers of tiles. `tile` counts within
    a block."""

    extent: int
    size: int  # of a tile
    blocks: int
    block: Var
    tile: Var
    share: tuple[Var, Var] | None = None  # the tiles of a thread, in place of a block: from, to

    @property
    def full(self) -> int:
        return self.extent // self.size

    @property
    def tiles(self) -> int:
        return -(-self.extent // self.size)

    @property
    def most(self) -> int:
        """Tiles of the largest block or share."""
        return self.tiles if self.share else -(-self.tiles // self.blocks)

    @property
    def rest(self) -> int:
        """Size of the ragged tile, which is the last; 0 if there is none."""
        return self.extent % self.size

    def first(self) -> Expr:
        """The block's first tile."""
        return self.share[0] if self.share else self.block * self.tiles // self.blocks

    def count(self) -> Expr:
        if self.share:
            return self.share[1] - self.share[0]
        return (self.block + 1) * self.tiles // self.blocks - self.first()

    def at(self, i: Expr) -> Expr:
        """Position i of the tile, along the axis."""
        return (self.first() + self.tile) * self.size + i

    def over(self, size: int, body: tuple[Stmt, ...]) -> Stmt:
        """The block's full tiles, or its ragged one."""
        if size == self.size:
            stop = self.count()
            if self.rest:
                stop = minimum(stop, self.full - self.first())
            return loop("serial", self.tile, 0, stop, *body)
        last = self.full - self.first()
        is_last = eq(self.share[1], self.tiles) if self.share else eq(self.block, self.blocks - 1)
        return If(is_last, (loop("serial", self.tile, last, last + 1, *body),))

    def sizes(self) -> list[int]:
        """Sizes of tiles: full ones, then the ragged one."""
        return [s for s in (self.size if self.full else 0, self.rest) if s]


class _Nest:
    """The loops of one product."""

    def __init__(self, m: MatrixProduct, b: Blocking, width: int) -> None:
        self.m, self.b, self.width = m, b, width
        rows = Cut(m.row.extent, b.rows, b.row_blocks, Var("row_block"), Var("row_tile"))
        share = (Var("first"), Var("last")) if b.shared else None
        block, tile = Var("column_block"), Var("column_tile")
        columns = Cut(m.column.extent, b.vectors * width, b.column_blocks, block, tile, share)
        self.rows, self.columns = rows, columns
        self.chunks = -(-m.k.extent // b.depth)
        self.chunk, self.term = Var("chunk"), Var("term")
        self.i, self.j, self.v = Var("row"), Var("vec"), Var("lane")
        deep = round_up(min(b.depth, m.k.extent), width)
        self.panel = Buffer("panel", m.dtype, (deep, b.vectors, width), "local")
        self.copy = Buffer("copy", m.dtype, (m.row.extent, deep), "local")
        self.partial = Buffer("partial", m.dtype, (rows.most, columns.most, b.rows, b.vectors, width), "local")

    def kernel(self) -> Kernel:
        m = self.m
        chunk: list[Stmt] = []
        for columns in self.columns.sizes():
            body = list(self.pack(columns)) if self.b.packed else []
            body += [self.rows.over(rows, self.tile(rows, columns)) for rows in self.rows.sizes()]
            chunk.append(self.columns.over(columns, tuple(body)))
        task: list[Stmt] = [Alloc(self.partial)] if self.chunks > 1 else []
        task += [Alloc(self.panel)] if self.b.packed else []
        if self.b.copied:
            task.append(Alloc(self.copy))
            chunk.insert(0, self.copy_narrow())
        task.append(loop("serial", self.chunk, 0, self.chunks, *chunk))
        if self.columns.share:
            task.insert(0, Let(self.rows.block, const(0, "i64")))
            shares = Shares(*self.columns.share, self.columns.tiles, tuple(task))
            return Kernel(m.c.name, m.c.params, (shares,))
        tasks = [(a.var, a.extent) for a in m.outside]
        tasks += [(self.rows.block, self.rows.blocks), (self.columns.block, self.columns.blocks)]
        return Kernel(m.c.name, m.c.params, (parallel_over(tasks, tuple(task)),))

    # --------------------------------------------------------------------------- the operands

    @property
    def first_term(self) -> Expr:
        return self.chunk * self.b.depth

    @property
    def terms(self) -> Expr:
        """How many terms this chunk has."""
        depth, extent = self.b.depth, self.m.k.extent
        if self.chunks == 1 or extent % depth == 0:
            return const(min(depth, extent), "i64")
        return minimum(extent - self.first_term, depth)

    def narrow(self, i: Expr, k: Expr) -> Expr:
        return substitute(self.m.narrow, {self.m.row.name: i, self.m.k.name: k})

    def copy_narrow(self) -> Stmt:
        """All rows of the narrow operand, for the terms of the chunk."""
        w, part, i, v = self.width, Var("part"), self.i, self.v
        k = self.first_term + part * w + v
        value = self.narrow(i, k)
        if self.m.k.extent % w or self.b.depth % w:
            value = select(k < self.m.k.extent, value, 0.0)
        copy = loop("vector", v, 0, w, store(self.copy, (i, part * w + v), value))
        parts = loop("serial", part, 0, (self.terms + (w - 1)) // w, copy)
        return loop("serial", i, 0, self.m.row.extent, parts)

    def wide(self, k: Expr, j: Expr) -> Load:
        m = self.m
        return Load(m.wide.buffer, tuple(substitute(i, {m.column.name: j, m.k.name: k}) for i in m.wide.index))

    def pack(self, columns: int) -> tuple[Stmt, ...]:
        """The panel of a column tile: the wide operand for the terms of the chunk."""
        m, k0, w, t, j, v = self.m, self.first_term, self.width, self.term, self.j, self.v
        vectors = -(-columns // w)
        if not m.turned:
            column = self.columns.at(j * w + v)
            value: Expr = self.wide(k0 + t, column)
            if columns % w:
                value = select(column < m.column.extent, value, 0.0)
            copy = loop("vector", v, 0, w, store(self.panel, (t, j, v), value))
            return (loop("serial", t, 0, self.terms, loop("unrolled", j, 0, vectors, copy)),)
        part = Var("part")

        def load(r: Expr, v: Expr) -> Expr:
            column, k = self.columns.at(j * w + r), k0 + part * w + v
            if columns % w:
                column = minimum(column, m.column.extent - 1)  # lanes past the last column hold copies, never stored
            value = self.wide(k, column)
            return value if m.k.extent % w == 0 else select(k < m.k.extent, value, 0.0)

        def keep(r: Expr, v: Expr, value: Expr) -> tuple[Stmt, ...]:
            return (store(self.panel, (part * w + r, j, v), value),)

        parts = (self.terms + (w - 1)) // w
        turned = transposed_tile(m.dtype, w, load, keep)
        return (loop("serial", j, 0, vectors, loop("serial", part, 0, parts, *turned)),)

    def fetch(self, vectors: int) -> tuple[Stmt, ...]:
        """Asks memory for a term's share of a next column tile's lines: one to the right, or one of the block's first
        in the next chunk."""
        if self.m.wide.buffer.space != "global" or not self.b.ahead:
            return ()
        w, line = self.width, LINE // DTYPES[self.m.dtype].bytes
        following, count = self.columns.tile + self.b.ahead, self.columns.count()
        ends = count <= following
        k = self.first_term + select(ends, self.b.depth, const(0, "i64"))
        column = (self.columns.first() + select(ends, following - count, following)) * self.columns.size
        lines = []
        for q in range(vectors if self.m.turned else -(-vectors * w // line)):
            if self.m.turned:  # a vector's rows of memory, one a term; their next lines when those are done
                e = self.wide(k + self.term // w * w, column + self.term % w + q * w)
            else:
                e = self.wide(k + self.term, column + q * line)
            lines.append(Prefetch(e.buffer, e.index))
        turns = max(1, min(self.rows.full // self.rows.blocks, len(lines)))  # spread, for only so many can be under way
        return tuple(If(eq(self.rows.tile, n), tuple(lines[n::turns])) for n in range(turns))

    # ----------------------------------------------------------------------- the register tile

    def tile(self, rows: int, columns: int) -> tuple[Stmt, ...]:
        m, w, i, j, v, t = self.m, self.width, self.i, self.j, self.v, self.term
        vectors = -(-columns // w)
        acc = Buffer("acc", m.dtype, (rows, vectors, w), "register")
        wide = Buffer("wide", m.dtype, (vectors, w), "register")
        scalar = Var("scalar", m.dtype)
        column = self.columns.at(j * w + v)
        valid = column < m.column.extent if columns % w else None
        value: Expr
        if self.b.packed:
            value = self.panel[t, j, v]
        else:
            value = self.wide(self.first_term + t, column)
            value = value if valid is None else select(valid, value, 0.0)

        row = self.rows.at(i)
        factor = self.copy[row, t] if self.b.copied else self.narrow(row, self.first_term + t)

        def over_vectors(*body: Stmt) -> Stmt:
            return loop("unrolled", j, 0, vectors, loop("vector", v, 0, w, *body))

        def over_points(*body: Stmt, kind: str = "unrolled") -> Stmt:
            return loop(kind, i, 0, rows, loop(kind, j, 0, vectors, loop("vector", v, 0, w, *body)))

        step = (
            *self.fetch(vectors),
            over_vectors(store(wide, (j, v), value)),
            loop(
                "unrolled",
                i,
                0,
                rows,
                Let(scalar, factor),
                over_vectors(store(acc, (i, j, v), Fma(scalar, wide[j, v], acc[i, j, v]))),
            ),
        )

        def after(result: Expr) -> tuple[Stmt, ...]:
            at = {m.row.name: self.rows.at(i), m.column.name: column, m.c.reductions[0].var.name: result}
            return epilogue(m.c, at) if valid is None else (If(valid, epilogue(m.c, at)),)

        total: Expr = acc[i, j, v]
        add: tuple[Stmt, ...] = ()
        place = (self.rows.tile, self.columns.tile, i, j, v)
        if self.chunks > 1:
            earlier = over_points(store(acc, (i, j, v), total + self.partial[place]))
            add = (If(const(0, "i64") < self.chunk, (earlier,)),)
        finish: tuple[Stmt, ...] = (over_points(*after(total)),)
        if is_long(m.c):
            done = Buffer("done", m.dtype, acc.shape, "local")
            finish = (
                Alloc(done),
                over_points(store(done, (i, j, v), total)),
                over_points(*after(done[i, j, v]), kind="serial"),
            )
        if self.chunks > 1:
            keep = over_points(store(self.partial, place, total))
            finish = (If(eq(self.chunk, self.chunks - 1), finish, (keep,)),)
        zeros = over_points(store(acc, (i, j, v), 0.0))
        few = isinstance(self.terms, Const) and int(self.terms.value) <= FEW_TERMS
        products = loop("unrolled" if few else "serial", t, 0, self.terms, *step)
        return (Alloc(acc), Alloc(wide), zeros, products, *add, *finish)
