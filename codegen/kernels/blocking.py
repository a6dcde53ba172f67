"""How a matrix product is cut into blocks: sizes by measurements that docs/performance.md reports."""

from __future__ import annotations

from functools import cache

from ..dtypes import DTYPES
from ..machine import Machine
from .analysis import unit_stride
from .common import round_up
from .contract_packed import FEW_TERMS, Blocking, MatrixProduct

IN_L2 = 1 << 20  # bytes of a wide operand that needs no blocks
STREAMED = 2 << 20  # bytes of many wide operands, one after the other, of which the next is fetched in time
PASSED = 1 << 19  # bytes of a narrow operand that is read from L2 for every column tile of such
SHORT_SUM = 64  # terms of a sum that needs no chunks
FEW_ROWS = 8  # fewer do not pay for turning the wide operand over: dot products serve them
FEW_ROWS_IN_L2 = 12  # likewise where the wide operand is near
MANY_ROWS = 128  # as many pay for packing it
BLOCK = 256  # rows and columns of a block of a packed product
FROM_MEMORY = 4  # a wide operand of more than one of so many parts of the last cache comes from memory
STREAMS = 4  # blocks of a product by one that comes from memory: its rows in long pieces
FAR = 512  # bytes along such a row, after which lines are asked for
WAYS = 8  # rows of the narrow operand that may fall into the same set of a cache
PARTIAL = 256 << 10  # bytes of a block's partial sums
SHARED = 512 << 10  # and of those of a thread
TASKS = 16  # blocks to divide among threads
TASK = 1 << 17  # products that are worth a task


def choose(m: MatrixProduct, machine: Machine) -> Blocking | None:
    """The blocks of a product; None where it is better computed without."""
    size = DTYPES[m.dtype].bytes
    width = machine.lanes(size)
    rows, columns, terms = m.row.extent, m.column.extent, m.k.extent
    near = columns * terms * size <= IN_L2
    passed = rows < MANY_ROWS or rows * terms * size <= PASSED
    if near and not m.turned and passed and m.matrices * columns * terms * size > STREAMED:
        r, v = register_tile(rows, columns, 2, width, machine.registers, divided=False)
        return Blocking(r, v, chunk(terms, 384), 1, 1, False)
    if m.turned:
        if rows < (FEW_ROWS_IN_L2 if near else FEW_ROWS) and unit_stride(m.narrow, m.k.name):
            return None
    elif near or terms <= SHORT_SUM:
        return None
    packed = m.turned or rows >= MANY_ROWS
    far = columns * terms * size > machine.cache_bytes // FROM_MEMORY
    if far and not packed and not m.outside and rows <= machine.registers - 2 and rows * columns * size <= SHARED:
        # What is streamed is read once, by one tile of all rows.
        v = max(1, min(4, 8 // rows))
        ahead = FAR // (v * width * size) if rows > 2 else 0
        copied = rows > WAYS and unit_stride(m.narrow, m.k.name)
        return Blocking(rows, v, FEW_TERMS, 1, 1, False, ahead, copied, shared=True)
    streams = not packed and rows > 2 and far
    r, v = register_tile(rows, columns, max(2, 8 // rows), width, machine.registers)
    depth = chunk(terms, 256 if rows >= MANY_ROWS else 128 if packed else 32 if rows > 32 else 16 if rows > 2 else 8)
    column_tiles = -(-columns // (v * width))
    row_blocks = -(-rows // BLOCK) if packed else 1
    column_blocks = -(-columns // BLOCK) if packed else -(-rows * columns * size // PARTIAL)
    outside = 1
    for a in m.outside:
        outside *= a.extent
    tasks = min(STREAMS if streams else TASKS, outside * rows * columns * terms // TASK)
    column_blocks = min(column_tiles, max(column_blocks, -(-tasks // (outside * row_blocks))))
    if packed:  # each block of rows packs its panels again
        row_blocks = max(row_blocks, min(rows // MANY_ROWS, -(-tasks // (outside * column_blocks))))
        if outside * row_blocks * column_blocks % 2 and tasks > 1 and rows // row_blocks >= BLOCK // 4:
            row_blocks *= 2
    ahead = max(1, min(FAR // (v * width * size), column_tiles // column_blocks)) if streams else 1
    copied = streams and rows > WAYS and depth < terms and unit_stride(m.narrow, m.k.name)
    return Blocking(r, v, depth, row_blocks, column_blocks, packed, ahead, copied)


def chunk(terms: int, depth: int) -> int:
    """Terms in a chunk of the sum: all, or about `depth`, so that no chunk is much shorter than the others."""
    if terms <= depth + depth // 4:
        return terms
    return round_up(-(-terms // -(-terms // depth)), 16)


@cache
def register_tile(
    rows: int, columns: int, most_vectors: int, width: int, registers: int, divided: bool = True
) -> tuple[int, int]:
    """Rows and vectors of the tile that takes the least time, ragged tiles included: FMAs or loads, two of each a
    cycle, at least 8 FMAs in flight. Among equals the one with fewest loads for an FMA; code for ragged tiles
    counts as 2%. divided: few rows' columns, among threads."""
    best, best_cost = (1, 1), (float("inf"), 0.0)
    for v in range(1, min(most_vectors, -(-columns // width)) + 1):
        for r in range(1, min(rows, registers) + 1):
            if r * v + v + 1 > registers:
                break
            cycles = 0.0
            row_sizes, column_sizes = _sizes(rows, r), _sizes(columns, v * width)
            for rr, n in row_sizes:
                for cc, k in column_sizes:
                    vectors = -(-cc // width)
                    cycles += n * k * max(rr * vectors, rr + vectors, 8) / 2
            if divided and rows < MANY_ROWS:  # an odd tile makes a thread wait
                tiles = sum(k for _, k in column_sizes)
                cycles *= (tiles + tiles % 2) / tiles
            ragged = len(row_sizes) + len(column_sizes) - 2
            cost = (cycles * (1 + 0.02 * ragged), 1 / r + 1 / v)
            if cost < best_cost:
                best, best_cost = (r, v), cost
    return best


def _sizes(extent: int, tile: int) -> list[tuple[int, int]]:
    """Sizes of tiles, and how many there are."""
    full, rest = divmod(extent, tile)
    return [(size, n) for size, n in ((tile, full), (rest, 1)) if size and n]
