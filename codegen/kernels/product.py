"""Sums of products as the CPU's schedules see them: which operand depends on which axis."""

from __future__ import annotations

from dataclasses import dataclass

from ..compute import Axis, Computation, Reduce
from ..dtypes import is_float
from ..expr import Binary, Expr, Unary
from ..loops import If, Stmt
from ..traverse import variables, walk
from .analysis import load_strides


@dataclass(frozen=True, slots=True)
class Product:
    """The operands, the wide one second, and the axes they depend on."""

    narrow: Expr
    wide: Expr
    reduce: Reduce
    rows: tuple[Axis, ...]  # output axes of the narrow operand alone, as it is stored: the innermost last
    columns: tuple[Axis, ...]  # output axes of the wide operand alone


def _depends(e: Expr, a: Axis) -> bool:
    return a.name in variables(e)


def bounds_use(r: Reduce, name: str) -> bool:
    uses = any(name in variables(a.lo) | variables(a.hi) for a in r.axes)
    return uses or (r.where is not None and name in variables(r.where))


def products(c: Computation) -> list[Product]:
    """The two ways to see the computation as narrow * wide; empty if it is not one sum of a product."""
    if len(c.reductions) != 1:
        return []
    r = c.reductions[0].reduce
    if r.op != "sum" or not isinstance(r.value, Binary) or r.value.op != "mul" or not is_float(r.value.dtype):
        return []
    found = []
    for narrow, wide in ((r.value.a, r.value.b), (r.value.b, r.value.a)):
        rows = _as_stored(narrow, [a for a in c.axes if _depends(narrow, a) and not _depends(wide, a)])
        columns = tuple(a for a in c.axes if _depends(wide, a) and not _depends(narrow, a))
        found.append(Product(narrow, wide, r, rows, columns))
    return found


def _as_stored(e: Expr, axes: list[Axis]) -> tuple[Axis, ...]:
    """The axes, those along which the loads of `e` move furthest first; in their own order where one cannot tell."""
    strides = [s for s in load_strides(e, frozenset(a.name for a in axes)) if s is not None]
    return tuple(sorted(axes, key=lambda a: -max((abs(s.get(a.name, 0)) for s in strides), default=0)))


def is_long(c: Computation) -> bool:
    """Whether the epilogue is too long to repeat for every register of a tile. It then runs in a loop over
    the tile, written to memory (which stays in L1): the code of an optimiser's update is there once."""
    operations = {id(x) for _, e in c.lets for x in walk(e) if isinstance(x, (Binary, Unary))}
    return len(operations) > 6


def guarded(body: tuple[Stmt, ...], where: Expr | None) -> tuple[Stmt, ...]:
    """Statements that run only where the sum has a term."""
    return body if where is None else (If(where, body),)
