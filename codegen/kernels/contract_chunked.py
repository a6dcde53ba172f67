"""Sums of products that are long for the size of their output, such as weight gradients: see `contract`.

A register tile that ran over the whole sum would stream both operands from memory, once for every tile. Here the sum
goes in chunks whose operands stay in the caches while all tiles add them up:

    for first, last in shares(tiles):                   a thread's tiles; their partial sums stay in L2
        for chunk of the sum in serial:
            for tile of columns:
                panel = the wide operand, packed        L1; read where it is, if few tiles do
                for tile of rows, for taps:             taps: the other axes of the rows, such as a window's
                    acc = 0
                    for terms of the chunk: acc += narrow * panel; prefetch the next chunk's
                    partial sums += acc                 after the last chunk: the epilogue

The chunks do not depend on the number of threads, nor do the sums' bits; that partial sums are added to sums makes them
more exact than sums of one term after another. Rows are one axis, or two where one alone does not fill the registers
(three channels by four taps).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations, product

from ..compute import Axis, Computation
from ..dtypes import DTYPES
from ..expr import Buffer, Expr, Fma, Load, Var, const, eq, maximum, minimum, select
from ..loops import Alloc, If, Kernel, Let, Prefetch, Shares, Stmt, loop, store
from ..machine import Machine
from ..traverse import substitute, walk
from .analysis import load_strides, unit_stride
from .common import Segment, cut, epilogue
from .contract_outer import MAX_VECTORS, RESIDENT, as_stored
from .product import Product, is_long

PARTIAL = 384 << 10  # bytes of partial sums that a thread keeps: a part of L2
PANEL = 16 << 10  # bytes of the wide panel: a part of L1
CHUNK = 256 << 10  # bytes of both operands that a chunk reads: a part of L2
STEP = 0.5  # cycles that a step of the loop costs beside FMAs and loads
REUSED = 4  # tiles that read a packed panel, at least
FEW = 8  # tiles that read a panel where it is, unless its rows meet in few sets of the cache
SETS = 1 << 10  # bytes: rows that lie a multiple of so many apart do


@dataclass(frozen=True, slots=True)
class Tile:
    """Accumulators: an extent for every row axis, and vectors."""

    rows: tuple[int, ...]
    vectors: int


@dataclass(frozen=True, slots=True)
class Roles:
    """What each axis of the computation does."""

    shared: tuple[Axis, ...]  # both operands depend on them
    column: Axis
    rows: tuple[Axis, ...]  # of the register tile
    taps: tuple[Axis, ...]  # other axes of the narrow operand
    sums: tuple[Axis, ...]
    tile: Tile


def schedule(c: Computation, p: Product, machine: Machine) -> tuple[Kernel, str] | None:
    """Loops for a sum of products whose vectors run along the last axis, and a sentence on how; None where this gains
    nothing."""
    roles = _roles(c, p, machine)
    if roles is None or not _pays(p, roles):
        return None
    nest = _Nest(c, p, roles, machine)
    how = f"{'x'.join(map(str, roles.tile.rows))}x{roles.tile.vectors * nest.width} register tile"
    return nest.kernel(), how + f", {math.prod(nest.size)} terms a chunk"


def _roles(c: Computation, p: Product, machine: Machine) -> Roles | None:
    last, sums = c.axes[-1], as_stored(p)
    if p.reduce.where is not None or not all(a.is_full for a in sums) or p.columns != (last,) or not p.rows:
        return None
    if not c.points:
        return None
    width = machine.lanes(DTYPES[p.reduce.value.dtype].bytes)
    best: tuple[float, tuple[Axis, ...], Tile] | None = None
    inner = tuple(reversed(p.rows))
    for some in [*((a,) for a in inner), *combinations(inner, 2)]:
        rows = tuple(a for a in c.axes if a in some)
        tile, cost = _choose_tile(tuple(a.extent for a in rows), last.extent, width, machine.registers)
        cost /= math.prod(a.extent for a in rows)
        if best is None or cost < 0.98 * best[0]:
            best = cost, rows, tile
    assert best is not None
    _, rows, tile = best
    shared = tuple(a for a in c.axes if a is not last and a not in p.rows)
    return Roles(shared, last, rows, tuple(a for a in p.rows if a not in rows), sums, tile)


def _pays(p: Product, r: Roles) -> bool:
    """Whether all tiles together read the operands from far away: where the wide one does not stay in L2, or both
    do not and the sum is long. And whether each packed panel serves enough tiles."""
    terms, columns = math.prod(a.extent for a in r.sums), r.column.extent
    rows, taps = math.prod(a.extent for a in p.rows), math.prod(a.extent for a in r.taps)
    each = DTYPES[p.reduce.value.dtype].bytes * terms
    long = terms >= 4 * max(rows, columns) and each * (rows // taps + columns) > RESIDENT
    convolution = len(r.sums) > 1 and each * columns > 3 * RESIDENT
    return (long or convolution) and rows >= REUSED * math.prod(r.tile.rows)


def _choose_tile(rows: tuple[int, ...], columns: int, width: int, registers: int) -> tuple[Tile, float]:
    """The tile that takes the fewest cycles a term of the sum, and those. Two FMAs and two loads a cycle; fewer than 8
    FMAs leave the units waiting. Among equals, the one that loads least for an FMA."""
    best: tuple[float, float, Tile] | None = None
    for vectors in range(1, min(MAX_VECTORS, -(-columns // width)) + 1):
        for sizes in product(*(range(1, min(n, registers) + 1) for n in rows)):
            height = math.prod(sizes)
            if (height + 1) * vectors + 1 > registers:
                continue
            cycles = 0.0
            for segments in product(cut(columns, vectors * width), *map(cut, rows, sizes)):
                wide, h = -(-segments[0].tile // width), math.prod(s.tile for s in segments[1:])
                cycles += math.prod(s.count for s in segments) * (max(h * wide, h + wide, 8.0) / 2 + STEP)
            key = cycles, (height + width * vectors) / (height * vectors)
            if best is None or key < best[:2]:
                best = (*key, Tile(sizes, vectors))
    assert best is not None
    even = tuple(-(-n // -(-n // t)) for n, t in zip(rows, best[2].rows, strict=True))  # the same number of tiles
    return Tile(even, best[2].vectors), best[0]


def _decode(number: Expr, axes: tuple[Axis, ...]) -> list[Stmt]:
    lets: list[Stmt] = []
    for k, a in enumerate(reversed(axes)):
        lets.append(Let(a.var, number if k == len(axes) - 1 else number % a.extent))
        number = number // a.extent
    return lets


def _numbered(segments: list[Segment]) -> list[tuple[int, Segment]]:
    """Segments with the number of their first tile."""
    return [(sum(s.count for s in segments[:k]), seg) for k, seg in enumerate(segments)]


class _Nest:
    """The loops of one computation."""

    def __init__(self, c: Computation, p: Product, r: Roles, machine: Machine) -> None:
        self.c, self.p, self.r = c, p, r
        self.dtype = p.reduce.value.dtype
        self.bytes = DTYPES[self.dtype].bytes
        self.width = machine.lanes(self.bytes)
        self.columns = _numbered(cut(r.column.extent, r.tile.vectors * self.width))
        self.row_segments = [cut(a.extent, t) for a, t in zip(r.rows, r.tile.rows, strict=True)]
        self.taps = math.prod(a.extent for a in r.taps)
        row_tiles = math.prod(sum(s.count for s in segments) for segments in self.row_segments)
        self.per_column = row_tiles * self.taps  # tiles of a column tile
        self.each = sum(s.count for _, s in self.columns) * self.per_column  # tiles for one index of the shared axes
        height = math.prod(r.tile.rows)
        tile = height * r.tile.vectors * self.width * self.bytes
        self.kept = min(self.each, max(1, PARTIAL // tile))  # tiles whose partial sums are kept
        self.terms = {a.name: Var(f"{a.name}_term") for a in r.sums}
        self.starts = {a.name: Var(f"{a.name}_start") for a in r.sums}
        self.nexts = {a.name: Var(f"{a.name}_next") for a in r.sums}
        self.size = self.chunk_size()
        self.counts = [-(-a.extent // s) for a, s in zip(r.sums, self.size, strict=True)]
        self.chunks = math.prod(self.counts)
        self.partial = Buffer("partial", self.dtype, (self.kept, height, r.tile.vectors, self.width), "local")
        self.packed = self.per_column > FEW or self.meets()
        self.panel = Buffer("panel", self.dtype, (*self.size, r.tile.vectors, self.width), "local")

    def meets(self) -> bool:
        """Whether terms of the wide operand lie a multiple of SETS apart."""
        inner = self.r.sums[-1].name
        strides = [s.get(inner, 0) * self.bytes for s in load_strides(self.p.wide, frozenset((inner,))) if s]
        return any(s % SETS == 0 for s in strides)

    # ---------------------------------------------------------------------------------- chunks

    def chunk_size(self) -> tuple[int, ...]:
        """Terms of a chunk along each axis of the sum: inner ones first, as many as the caches hold."""
        size = [1] * len(self.r.sums)
        lanes = self.r.tile.vectors * self.width
        columns = min(self.r.column.extent, lanes * -(-self.kept // self.per_column))
        rows = math.prod(a.extent for a in self.r.rows)
        most = min(PANEL // (self.bytes * lanes), CHUNK // (self.bytes * (rows + columns)))
        for n, a in reversed(list(enumerate(self.r.sums))):
            part = max(1, min(a.extent, most))
            size[n] = -(-a.extent // -(-a.extent // part))
            most //= a.extent
        return tuple(size)

    def over_terms(self, *body: Stmt) -> tuple[Stmt, ...]:
        for a, size in reversed(list(zip(self.r.sums, self.size, strict=True))):
            stop = const(size, "i64") if a.extent % size == 0 else minimum(a.extent - self.starts[a.name], size)
            body = (loop("serial", self.terms[a.name], 0, stop, *body),)
        return body

    def term(self, starts: dict[str, Var]) -> dict[str, Expr]:
        return {name: starts[name] + t for name, t in self.terms.items()}

    def decode_chunk(self, number: Expr, into: dict[str, Var]) -> list[Stmt]:
        lets: list[Stmt] = []
        parts = list(zip(self.r.sums, self.size, self.counts, strict=True))
        for k, (a, size, count) in enumerate(reversed(parts)):
            at = number % count if k < len(parts) - 1 else number
            lets.append(Let(into[a.name], at * size))
            number = number // count
        return lets

    # ----------------------------------------------------------------------------------- loops

    def kernel(self) -> Kernel:
        first, last, group, part = Var("first"), Var("last"), Var("group"), Var("part")
        begin, end, parts, step = Var("begin"), Var("end"), Var("parts"), Var("part_tiles")
        lo, hi = Var("lo"), Var("hi")
        one_part = (Let(lo, begin + part * step), Let(hi, minimum(lo + step, end)), self.over_chunks(lo, hi))
        one_group = (
            *_decode(group, self.r.shared),
            Let(begin, maximum(first - group * self.each, 0)),
            Let(end, minimum(last - group * self.each, self.each)),
            Let(parts, (end - begin + (self.kept - 1)) // self.kept),
            Let(step, (end - begin + (parts - 1)) // parts),
            loop("serial", part, 0, parts, *one_part),
        )
        allocs = [*([Alloc(self.partial)] if self.chunks > 1 else []), *([Alloc(self.panel)] if self.packed else [])]
        groups = loop("serial", group, first // self.each, (last - 1) // self.each + 1, *one_group)
        number = math.prod(a.extent for a in self.r.shared) * self.each
        return Kernel(self.c.name, self.c.params, (Shares(first, last, number, (*allocs, groups)),))

    def over_chunks(self, lo: Expr, hi: Expr) -> Stmt:
        chunk, column_tile, begin, end = Var("chunk"), Var("column_tile"), Var("row_begin"), Var("row_end")
        body = [*self.decode_chunk(chunk, self.starts), *self.decode_chunk((chunk + 1) % self.chunks, self.nexts)]
        per = self.per_column
        for number, seg in self.columns:
            inside = (
                Let(begin, maximum(lo - column_tile * per, 0)),
                Let(end, minimum(hi - column_tile * per, per)),
                *(self.pack(number, seg) if self.packed else ()),
                *self.over_rows(number, seg, lo, begin, end),
            )
            start, stop = maximum(lo // per, number), minimum((hi - 1) // per + 1, number + seg.count)
            body.append(loop("serial", column_tile, start, stop, *inside))
        return loop("serial", chunk, 0, self.chunks, *body)

    def over_rows(self, number: int, seg: Segment, lo: Expr, begin: Expr, end: Expr) -> list[Stmt]:
        """All row tiles and taps of a column tile."""
        row_tile, tap, slot = Var("row_tile"), Var("tap"), Var("slot")
        statements: list[Stmt] = []
        before = 0
        for segments in product(*self.row_segments):
            count = math.prod(s.count for s in segments)
            place: Expr = row_tile - before
            at: dict[str, Expr] = {}
            for axis, s in reversed(list(zip(self.r.rows, segments, strict=True))):
                at[axis.name] = (place % s.count if s is not segments[0] else place) * s.tile + s.start
                place = place // s.count
            tile = (
                *_decode(tap, self.r.taps),
                Let(slot, Var("column_tile") * self.per_column + row_tile * self.taps + tap - lo),
                *self.tile(number, seg, segments, at),
            )
            from_tap = maximum(begin - row_tile * self.taps, 0)
            to_tap = minimum(end - row_tile * self.taps, self.taps)
            start, stop = maximum(begin // self.taps, before), minimum((end - 1) // self.taps + 1, before + count)
            statements.append(loop("serial", row_tile, start, stop, loop("serial", tap, from_tap, to_tap, *tile)))
            before += count
        return statements

    def column(self, number: int, seg: Segment) -> tuple[Expr, Expr | None]:
        """The column of a vector's lane in a tile, and whether it exists where some do not."""
        lane = Var("vec") * self.width + Var("lane")
        column = (Var("column_tile") - number) * seg.tile + seg.start + lane
        return column, column < self.r.column.extent if seg.tile % self.width else None

    def wide(self, number: int, seg: Segment) -> Expr:
        column, valid = self.column(number, seg)
        value = substitute(self.p.wide, {**self.term(self.starts), self.r.column.name: column})
        return value if valid is None else select(valid, value, 0.0)

    def pack(self, number: int, seg: Segment) -> tuple[Stmt, ...]:
        """The chunk's terms of a column tile."""
        j, v = Var("vec"), Var("lane")
        copy = loop("vector", v, 0, self.width, store(self.panel, (*self.terms.values(), j, v), self.wide(number, seg)))
        return self.over_terms(loop("unrolled", j, 0, -(-seg.tile // self.width), copy))

    # ------------------------------------------------------------------------------ prefetching

    def fetch_wide(self, number: int, seg: Segment) -> tuple[Stmt, ...]:
        """A term's share of asking for the next chunk of the wide operand: a line of the same columns, of each tile
        another, for only so many can be under way."""
        if self.chunks == 1:
            return ()
        column, _ = self.column(number, seg)
        vectors, tile = -(-seg.tile // self.width), Var("row_tile") * self.taps + Var("tap")
        turns = min(self.per_column, vectors)
        lines: list[Stmt] = []
        for n in range(0, vectors, turns):
            first = substitute(column, {"vec": tile % turns + n, "lane": const(0, "i64")})
            following = {name: self.nexts[name] + t for name, t in self.terms.items()}
            lines += _prefetches(self.p.wide, {**following, self.r.column.name: first})
        return tuple(lines)

    def fetch_narrow(self, lo: Expr, hi: Expr) -> tuple[Stmt, ...]:
        """The same for the narrow operand of plain matrix products: every n-th line, of n tiles. (Where it is a window
        of an image, it is used so often that it need not come sooner.)"""
        row = self.r.rows[-1]
        plain = self.taps == len(self.r.rows) == len(self.r.sums) == 1 and unit_stride(self.p.narrow, row.name)
        if self.chunks == 1 or not plain:
            return ()
        turn, line = Var("turn"), Var("line")
        lines = -(-row.extent // self.width)
        turns = (math.prod(self.size) * lines + (hi - lo - 1)) // (hi - lo)
        (term,) = self.nexts
        at = {row.name: (line % lines) * self.width, term: self.nexts[term] + line // lines}
        share = (Let(line, Var("slot") * turns + turn), *_prefetches(self.p.narrow, at))
        return (loop("serial", turn, 0, turns, *share),)

    # ------------------------------------------------------------------------- the register tile

    def tile(self, number: int, seg: Segment, segments: tuple[Segment, ...], rows: dict[str, Expr]) -> list[Stmt]:
        width, vectors, height = self.width, -(-seg.tile // self.width), math.prod(s.tile for s in segments)
        acc = Buffer("acc", self.dtype, (height, vectors, width), "register")
        wide = Buffer("wide", self.dtype, (vectors, width), "register")
        i, j, v, n, slot = Var("row"), Var("vec"), Var("lane"), Var("scalar", self.dtype), Var("slot")
        column, valid = self.column(number, seg)
        places: dict[str, Expr] = {}
        rest: Expr = i
        for (name, base), s in zip(rows.items(), reversed(segments), strict=True):
            places[name] = base + rest % s.tile
            rest = rest // s.tile
        narrow = substitute(self.p.narrow, {**self.term(self.starts), **places})
        value = self.panel[(*self.terms.values(), j, v)] if self.packed else self.wide(number, seg)

        def over_vectors(*body: Stmt) -> Stmt:
            return loop("unrolled", j, 0, vectors, loop("vector", v, 0, width, *body))

        def over_points(*body: Stmt, kind: str = "unrolled") -> Stmt:
            return loop(kind, i, 0, height, loop(kind, j, 0, vectors, loop("vector", v, 0, width, *body)))

        products = over_vectors(store(acc, (i, j, v), Fma(n, wide[j, v], acc[i, j, v])))
        step = (
            *self.fetch_wide(number, seg),
            over_vectors(store(wide, (j, v), value)),
            loop("unrolled", i, 0, height, Let(n, narrow), products),
        )
        at = {self.r.column.name: column, **places}

        def after(result: Expr) -> tuple[Stmt, ...]:
            body = epilogue(self.c, {**at, self.c.reductions[0].var.name: result})
            return body if valid is None else (If(valid, body),)

        add: tuple[Stmt, ...] = ()
        total: Expr = acc[i, j, v]
        if self.chunks > 1:
            chunk, kept = Var("chunk"), self.partial[slot, i, j, v]
            earlier = over_points(store(acc, (i, j, v), acc[i, j, v] + kept))
            add = (If(const(0, "i64") < chunk, (earlier,)),)
        finish: tuple[Stmt, ...] = (over_points(*after(total)),)
        if is_long(self.c):
            done = Buffer("done", self.dtype, acc.shape, "local")
            finish = (
                Alloc(done),
                over_points(store(done, (i, j, v), total)),
                over_points(*after(done[i, j, v]), kind="serial"),
            )
        if self.chunks > 1:
            keep = over_points(store(self.partial, (slot, i, j, v), total))
            finish = (If(eq(chunk, self.chunks - 1), finish, (keep,)),)
        zeros = over_points(store(acc, (i, j, v), 0.0))
        fetch = self.fetch_narrow(Var("lo"), Var("hi"))
        return [Alloc(acc), Alloc(wide), *fetch, zeros, *self.over_terms(*step), *add, *finish]


def _prefetches(e: Expr, at: dict[str, Expr]) -> list[Stmt]:
    """Prefetching of what `e` reads there."""
    loads = [x for x in walk(substitute(e, at)) if isinstance(x, Load)]
    return [Prefetch(x.buffer, x.index) for x in loads if x.buffer.space == "global"]
