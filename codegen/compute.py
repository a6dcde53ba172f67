"""Index notation: what a kernel computes at each point of its index space, before anyone says how.

    for each point of `axes`:
        r1 = op over r1.axes where r1.where: r1.value        each of `reductions`
        v  = e                                               each of `lets`, in order
        b[e, ...] = e                                        each of `stores`; or, where a kernel makes a
                                                             ragged tile, a condition around lets and stores

`axes` are in the physical order of the main output, outermost first, so the last axis is the one
with unit stride. A reduction's axes may have bounds that depend on the point: this is how padding
costs nothing. The schedules of `kernels/` turn a Computation into loops.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from .expr import Buffer, Const, Expr, Var, lift
from .loops import If, Let, Stmt, Store, expressions, statements
from .traverse import variables

REDUCE_OPS = ("sum", "prod", "max", "min", "argmax")


@dataclass(frozen=True, slots=True)
class Axis:
    """A loop axis: iterations lo <= var < hi, where 0 <= lo and hi <= extent. Schedules may run over the whole
    extent and leave out what the bounds exclude."""

    name: str
    extent: int
    lo: Expr
    hi: Expr

    @property
    def var(self) -> Var:
        return Var(self.name)

    @property
    def is_full(self) -> bool:
        return isinstance(self.lo, Const) and isinstance(self.hi, Const)


def axis(name: str, extent: int, lo: object = 0, hi: object | None = None) -> Axis:
    return Axis(name, extent, lift(lo, "i64"), lift(extent if hi is None else hi, "i64"))


@dataclass(frozen=True, slots=True)
class Reduce:
    """What an op's `body` returns when it reduces: `op` over `axes` of `value`, where `where` holds.

    "argmax" gives the position (dtype i64, row-major over the axes) of the first maximum; NaN counts
    as the maximum. "max" and "min" propagate NaN."""

    op: str
    axes: tuple[Axis, ...]
    value: Expr
    where: Expr | None = None

    @property
    def dtype(self) -> str:
        return "i64" if self.op == "argmax" else self.value.dtype


@dataclass(frozen=True, slots=True)
class Reduction:
    """A Reduce with the variable that holds its result."""

    var: Var
    reduce: Reduce


@dataclass(frozen=True, slots=True)
class Stage:
    """A loop inside a point of the axes: `body`, which may hold serial loops, for each value of `axis`. What later
    stages need is stored to buffers of the space "local", of which every point has its own, or to elements of the
    output that no other point touches."""

    axis: Axis
    body: tuple[Stmt, ...]

    @staticmethod
    def of(axis: Axis, lets: tuple[tuple[Var, Expr], ...], results: Iterable[tuple[Stmt, ...]]) -> Stage:
        """`lets` in order, and each of `results` as soon as the last value that it needs is known: the straight
        lines of a transform hold more values than there are registers."""
        number = {v.name: k for k, (v, _) in enumerate(lets)}
        waiting: dict[int, list[Stmt]] = {}
        for result in results:
            needed = {n for s in statements(result) for e in expressions(s) for n in variables(e)}
            waiting.setdefault(max((number.get(n, -1) for n in needed), default=-1), []).extend(result)
        body: list[Stmt] = [*waiting.get(-1, ())]
        for k, (v, e) in enumerate(lets):
            body += [Let(v, e), *waiting.get(k, ())]
        return Stage(axis, tuple(body))


@dataclass(frozen=True, slots=True)
class Computation:
    """One kernel in index notation; `params` in the order in which the caller passes buffers. Where there are
    `stages`, they are all that happens at a point, one after the other: no reductions, lets or stores."""

    name: str
    axes: tuple[Axis, ...]
    reductions: tuple[Reduction, ...]
    lets: tuple[tuple[Var, Expr], ...]
    stores: tuple[Store | If, ...]
    params: tuple[Buffer, ...]
    stages: tuple[Stage, ...] = ()

    @property
    def points(self) -> int:
        n = 1
        for a in self.axes:
            n *= a.extent
        return n

    def all_stores(self) -> list[Store]:
        """The stores, conditional ones too."""
        blocks = [self.stores, *(stage.body for stage in self.stages)]
        return [s for block in blocks for s in statements(block) if isinstance(s, Store)]

    def point_expressions(self) -> list[Expr]:
        """What is computed at a point after the reductions: lets, stored values and their conditions."""
        inner: list[Stmt] = list(statements(self.stores))
        found = [e for _, e in self.lets]
        for stage in self.stages:
            inner += statements(stage.body)
        for s in inner:
            found += [s.value] if isinstance(s, Store) else expressions(s)
        return found


BASE = Var("base")  # in a chain: the first point of the block along the common axis
PART = Var("part")  # in a chain whose blocks come in parts: the number of the part


@dataclass(frozen=True, slots=True)
class Chain:
    """Computations one after the other, a block of a common axis at a time: what a stage computes at a point of that
    axis, the next ones read only there. `axes` names the axis in each stage; `scratch` buffers live for one block,
    and stages index them from BASE on.

    Where there are `parts`, each has some of the blocks, in order, and the last stage sums over the axis: its first
    axis numbers the parts, and its only store adds what it sums over a block to what it stored for those before."""

    name: str
    stages: tuple[Computation, ...]
    axes: tuple[str, ...]
    extent: int
    block: int
    scratch: tuple[Buffer, ...]
    params: tuple[Buffer, ...]
    parts: int = 0
