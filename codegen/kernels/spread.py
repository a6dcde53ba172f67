"""Maps that read one element for several neighbours, as the gradients of pooling and repetition do.

Where indices divide the last axis w by a step s, w = q * s + t is plain in q for every t. A block of q is computed for
each t, and the results interleave in registers:

    for block of q:
        for t in unrolled(s):
            for v in vector(lanes): tile[v * s + t] = value at (block + v) * s + t
        for v in vector(s * lanes): store tile[v]
"""

from __future__ import annotations

from ..compute import Computation
from ..expr import Binary, Buffer, Const, Expr, Load, Var
from ..loops import Alloc, If, Kernel, Let, Stmt, Store, loop
from ..machine import Machine
from ..traverse import substitute, walk
from .analysis import coefficients
from .common import Segment, nest, rows_first
from .interior import decomposed

WIDEST = 4  # the largest step


def step(c: Computation) -> int | None:
    """By what indices divide the last axis, if that is all that is in the way of vectors along it."""
    last = c.axes[-1]
    names = frozenset((last.name,))
    found: set[int] = set()
    inside = walk(*c.point_expressions())
    for e in inside:
        if not isinstance(e, Binary) or e.op not in ("floordiv", "mod") or e.dtype != "i64":
            continue
        along = coefficients(e.a, names)
        if along is None or along.get(last.name, 0) not in (0, 1) or not isinstance(e.b, Const):
            return None
        if along:
            found.add(int(e.b.value))
    loads = any(isinstance(x, Load) for x in inside)
    plain = all(isinstance(s, Store) for s in c.stores) and not c.stages
    s = found.pop() if len(found) == 1 else 0
    return s if loads and plain and 2 <= s <= WIDEST and last.extent >= 2 * s else None


def schedule(c: Computation, s: int, width: int, machine: Machine) -> tuple[Kernel, str]:
    """Loops for a computation whose indices divide the last axis by s, and a sentence on how."""
    *outer, last = c.axes
    outside = rows_first([(a.var, a.extent) for a in outer])
    row: list[Stmt] = []
    for seg in decomposed(last.extent // s, width):
        row.append(loop("serial", Var("block"), 0, seg.count, *_block(c, seg, s)))
    rest = last.extent % s
    if rest:
        v = Var("lane")
        at: dict[str, Expr] = {last.name: v + (last.extent - rest)}
        lanes = 1 << (rest - 1).bit_length()
        body: tuple[Stmt, ...] = (*_lets(c, at), *_stores(c, at, None))
        row.append(loop("vector", v, 0, lanes, *(body if lanes == rest else (If(v < rest, body),))))
    shape = "x".join(str(a.extent) for a in c.axes)
    return Kernel(c.name, c.params, (nest(outside, tuple(row)),)), f"map over {shape}, {s} x {width} lanes a step"


def _lets(c: Computation, at: dict[str, Expr]) -> tuple[Stmt, ...]:
    return tuple(Let(v, substitute(e, at)) for v, e in c.lets)


def _stores(c: Computation, at: dict[str, Expr], tiles: list[Expr] | None) -> tuple[Stmt, ...]:
    """The stores at an index, of the values in `tiles`."""
    out = []
    for k, x in enumerate(c.stores):
        assert isinstance(x, Store)
        value = substitute(x.value, at) if tiles is None else tiles[k]
        out.append(Store(x.buffer, tuple(substitute(i, at) for i in x.index), value))
    return tuple(out)


def _block(c: Computation, seg: Segment, s: int) -> tuple[Stmt, ...]:
    last, lanes = c.axes[-1], seg.tile
    t, v = Var("phase"), Var("lane")
    tiles = [Buffer(f"tile{k}", x.value.dtype, (s * lanes,), "register") for k, x in enumerate(c.stores)]  # type: ignore[union-attr]
    first = (Var("block") * seg.tile + seg.start) * s
    inner: dict[str, Expr] = {last.name: first + v * s + t}
    after: dict[str, Expr] = {last.name: first + v}
    filled = [Store(b, (v * s + t,), substitute(x.value, inner)) for b, x in zip(tiles, c.stores, strict=True)]  # type: ignore[union-attr]
    return (
        *(Alloc(b) for b in tiles),
        loop("unrolled", t, 0, s, loop("vector", v, 0, lanes, *_lets(c, inner), *filled)),
        loop("vector", v, 0, s * lanes, *_stores(c, after, [b[v] for b in tiles])),
    )
