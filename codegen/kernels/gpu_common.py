"""What the GPU schedules share: names, launch shapes, flattened index spaces and running reductions.

Every GPU kernel has this frame; the schedules differ in what a thread does:

    for block in grid(0, blocks):
        tile = shared(f32, 256)
        for thread in thread(0, threads):
            ...
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..compute import Axis, Computation, Reduction
from ..dtypes import DTYPES, is_float, numpy_dtype
from ..errors import CodegenError
from ..expr import Binary, Buffer, Const, Expr, Fma, Var, binary, const, eq, ne, select
from ..loops import Alloc, For, If, Kernel, Let, Stmt, Store, loop, statements, store

THREADS = 256  # of a block, unless a schedule has a reason for fewer


class Names:
    """Fresh variable and buffer names: those of the computation stay as they are, ours step aside."""

    def __init__(self, c: Computation) -> None:
        self.used = {a.name for a in c.axes} | {b.name for b in c.params} | {v.name for v, _ in c.lets}
        for r in c.reductions:
            self.used |= {r.var.name} | {a.name for a in r.reduce.axes}

    def fresh(self, name: str) -> str:
        candidates = (name if i == 0 else f"{name}{i}" for i in range(len(self.used) + 1))
        chosen = next(n for n in candidates if n not in self.used)
        self.used.add(chosen)
        return chosen

    def var(self, name: str) -> Var:
        return Var(self.fresh(name))


def frame(
    c: Computation, blocks: int, block: Var, shared: Iterable[Buffer], threads: int, thread: Var, body: Iterable[Stmt]
) -> Kernel:
    """The kernel of the picture above."""
    inner = loop("thread", thread, 0, threads, *body)
    return Kernel(c.name, c.params, (loop("grid", block, 0, blocks, *(Alloc(b) for b in shared), inner),))


def launch_shape(kernel: Kernel) -> tuple[int, int]:
    """(blocks, threads of a block) of a GPU kernel."""
    found: dict[str, int] = {}
    for s in statements(kernel.body):
        if isinstance(s, For) and s.kind in ("grid", "thread"):
            if not (isinstance(s.start, Const) and isinstance(s.stop, Const) and s.start.value == 0):
                raise CodegenError(f"kernel {kernel.name}: {s.kind} loop {s.var.name} needs constant bounds from 0")
            found[s.kind] = int(s.stop.value)
    return found["grid"], found["thread"]


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def size(axes: Iterable[Axis]) -> int:
    return math.prod(a.extent for a in axes)


def unflatten(flat: Expr, axes: Sequence[Axis], body: Iterable[Stmt]) -> tuple[Stmt, ...]:
    """`body` with the axes' variables bound to point number `flat`, row-major over the extents.

    Bounds that are not plain constants become nested guards, each inside the lets that it needs:
    later bounds may load, or mean something only where the earlier ones hold."""
    block = tuple(body)
    stride = 1
    for i, a in reversed(list(enumerate(axes))):
        offset = flat // const(stride, "i64")
        if i > 0:
            offset = offset % const(a.extent, "i64")
        full = isinstance(a.lo, Const) and isinstance(a.hi, Const) and a.hi.value - a.lo.value == a.extent
        block = (Let(a.var, a.lo + offset), *(block if full else (If(a.var < a.hi, block),)))
        stride *= a.extent
    return block


def guarded(cond: Expr | None, block: Iterable[Stmt]) -> tuple[Stmt, ...]:
    """`block` under `cond`, which may be absent."""
    return tuple(block) if cond is None else (If(cond, tuple(block)),)


def finish(c: Computation) -> tuple[Stmt, ...]:
    """What happens once at each point when the reductions are known."""
    return (*(Let(v, e) for v, e in c.lets), *c.stores)


def factors(value: Expr) -> Iterator[Expr]:
    """The operands of a tree of multiplications, left to right."""
    if isinstance(value, Binary) and value.op == "mul":
        yield from factors(value.a)
        yield from factors(value.b)
    else:
        yield value


def multiply_add(a: Expr, b: Expr, c: Expr) -> Expr:
    return Fma(a, b, c) if is_float(c.dtype) else a * b + c


def neutral(op: str, dtype: str) -> Const:
    """The value that a reduction starts from."""
    if op in ("sum", "prod"):
        return Const({"float": float, "bool": bool}.get(DTYPES[dtype].kind, int)(op == "prod"), dtype)
    lowest = op in ("max", "argmax")
    if is_float(dtype):
        return Const(-math.inf if lowest else math.inf, dtype)
    if dtype == "bool":
        return Const(not lowest, dtype)
    info = np.iinfo(numpy_dtype(dtype))
    return Const(int(info.min if lowest else info.max), dtype)


_COMBINE = {"sum": "add", "prod": "mul", "max": "max", "min": "min"}


@dataclass(frozen=True, slots=True)
class Running:
    """The running state of one reduction in one thread: a value and, for argmax, the position it came from
    (-1 before the first element).

    State is kept in one-element register arrays; `fields` names each and its neutral value."""

    reduction: Reduction
    state: tuple[Buffer, ...]
    element: Var
    replaces: Var

    @classmethod
    def of(cls, r: Reduction, names: Names) -> Running:
        dtype = r.reduce.value.dtype
        state = [Buffer(names.fresh(f"acc_{r.var.name}"), dtype, (1,), "register")]
        if r.reduce.op == "argmax":
            state.append(Buffer(names.fresh(f"at_{r.var.name}"), "i64", (1,), "register"))
        element, replaces = names.fresh(f"x_{r.var.name}"), names.fresh(f"replaces_{r.var.name}")
        return cls(r, tuple(state), Var(element, dtype), Var(replaces, "bool"))

    @property
    def start(self) -> tuple[Stmt, ...]:
        op, dtype = self.reduction.reduce.op, self.reduction.reduce.value.dtype
        starts = (neutral(op, dtype), const(-1, "i64"))
        pairs = list(zip(self.state, starts, strict=False))
        return (*(Alloc(b) for b, _ in pairs), *(store(b, (0,), v) for b, v in pairs))

    @property
    def step(self) -> tuple[Stmt, ...]:
        """Folds in the element at the current reduction variables, unless `where` excludes it."""
        r = self.reduction.reduce
        if r.op == "argmax":
            # Elements come in ascending order, so a tie keeps the earlier one.
            best, at = (b[0] for b in self.state)
            body: tuple[Stmt, ...] = (
                Let(self.element, r.value),
                If(
                    binary("or", at < 0, _above(self.element, best)),
                    (store(self.state[0], (0,), self.element), store(self.state[1], (0,), _position(r.axes))),
                ),
            )
        else:
            body = (store(self.state[0], (0,), self._folded(r.value)),)
        return guarded(r.where, body)

    def _folded(self, value: Expr) -> Expr:
        op, acc = self.reduction.reduce.op, self.state[0][0]
        if op == "sum" and isinstance(value, Binary) and value.op == "mul":
            return multiply_add(value.a, value.b, acc)
        return binary(_COMBINE[op], acc, value)

    def merge(self, shared: tuple[Buffer, ...], mine: Expr, other: Expr) -> tuple[Stmt, ...]:
        """Folds the state at shared[other] into the one at shared[mine]."""
        values = shared[0]
        if self.reduction.reduce.op != "argmax":
            return (Store(values, (mine,), binary(_COMBINE[self.reduction.reduce.op], values[mine], values[other])),)
        at = shared[1]
        tie = binary("and", _same(values[other], values[mine]), at[other] < at[mine])
        larger = binary("or", at[mine] < 0, binary("or", _above(values[other], values[mine]), tie))
        # Both are stored always: half of the threads would wait for the others anyway.
        return (
            Let(self.replaces, binary("and", binary("le", const(0, "i64"), at[other]), larger)),
            Store(values, (mine,), select(self.replaces, values[other], values[mine])),
            Store(at, (mine,), select(self.replaces, at[other], at[mine])),
        )

    def result(self, state: tuple[Expr, ...]) -> Let:
        """Binds the reduction's variable to its final state (an argmax over nothing is 0)."""
        if self.reduction.reduce.op == "argmax":
            return Let(self.reduction.var, select(state[1] < 0, const(0, "i64"), state[1]))
        return Let(self.reduction.var, state[0])

    @property
    def private(self) -> tuple[Expr, ...]:
        return tuple(b[0] for b in self.state)


def _position(axes: Sequence[Axis]) -> Expr:
    """The row-major number of the current element."""
    flat: Expr = const(0, "i64")
    for a in axes:
        flat = flat * a.extent + a.var
    return flat


def _above(x: Expr, best: Expr) -> Expr:
    """x > best, where NaN is above everything but NaN."""
    if not is_float(x.dtype):
        return best < x
    return binary("or", best < x, binary("and", ne(x, x), eq(best, best)))


def _same(x: Expr, best: Expr) -> Expr:
    if not is_float(x.dtype):
        return eq(x, best)
    return binary("or", eq(x, best), binary("and", ne(x, x), ne(best, best)))
