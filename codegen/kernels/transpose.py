"""Square tiles turned over in registers: how vectors are made of elements that lie in a column.

A tile of w x w elements, w lanes a vector, w = 2^n, is a sequence whose positions have 2n bits, row above lane.
One round reads the even positions, then the odd ones: it rotates the bits of every position by one. After n
rounds row and lane have changed places. Each round takes w permutations of two vectors, so a tile takes n * w
(64 for 256 elements), where gathering its columns would take w^2 loads.
"""

from __future__ import annotations

from collections.abc import Callable

from ..expr import Buffer, Expr, Var
from ..loops import Alloc, Stmt, loop, store


def transposed_tile(
    dtype: str,
    width: int,
    load: Callable[[Expr, Expr], Expr],
    keep: Callable[[Expr, Expr, Expr], tuple[Stmt, ...]],
) -> tuple[Stmt, ...]:
    """Statements for one tile: `load(r, v)` is element v of vector r as it is read, `keep(r, v, value)` does
    what is to be done with element v of vector r of the transposed tile. r and v count from 0 to width - 1."""
    tiles = [Buffer(f"turn{n}", dtype, (width * width,), "register") for n in (0, 1)]
    r, h, v = Var("line"), Var("odd"), Var("lane")

    def lines(n: int, *body: Stmt) -> Stmt:
        return loop("unrolled", r, 0, n, *body)

    def lanes(*body: Stmt) -> Stmt:
        return loop("vector", v, 0, width, *body)

    source, target = tiles
    rounds: list[Stmt] = []
    for _ in range(width.bit_length() - 1):
        halves = store(target, ((h * (width // 2) + r) * width + v,), source[(r * width + v) * 2 + h])
        rounds.append(loop("unrolled", h, 0, 2, lines(width // 2, lanes(halves))))
        source, target = target, source
    return (
        *(Alloc(t) for t in tiles),
        lines(width, lanes(store(tiles[0], (r * width + v,), load(r, v)))),
        *rounds,
        lines(width, lanes(*keep(r, v, source[r * width + v]))),
    )
