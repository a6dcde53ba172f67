"""Computations up to the names of their kernel and buffers, so that equal ones are scheduled and compiled once.

The form of a computation is a list of rows, one for each distinct expression in it, operands before what uses them: a
constructor, operands by the numbers of their rows, buffers by their position among the parameters. Axes and stores
refer to rows. The digest of that names the computation; `computation` builds it again, with canonical names and with
equal expressions as one object. `named` gives a kernel the names of the computation that it is for.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from .compute import Axis, Chain, Computation, Reduce, Reduction, Stage
from .dtypes import is_float
from .expr import Binary, Bitcast, Buffer, Cast, Const, Expr, Fma, Load, Select, Unary, Var
from .loops import For, If, Kernel, Let, Prefetch, Shares, Stmt, Store
from .traverse import transform

Row = tuple[Any, ...]


class Form:
    """A computation without the names of its kernel and buffers.

    slots: where its parameters lie, by number. Which of them are the same is part of the form, since code assumes
    that parameters do not overlap."""

    def __init__(self, c: Computation, slots: tuple[int, ...] = ()) -> None:
        self.rows: dict[Row, int] = {}
        self._source = c
        self._position = {b.name: n for n, b in enumerate(c.params)}
        self._own: dict[Buffer, int] = {}  # memory between stages: its number follows those of the parameters
        self._numbers: dict[int, int] = {}  # of expressions by id, which `_source` keeps alive
        self.params = tuple((b.dtype, b.shape, b.space) for b in c.params)
        self.axes = tuple(self._axis(a) for a in c.axes)
        self.reductions = tuple(
            (
                self.number(r.var),
                r.reduce.op,
                tuple(self._axis(a) for a in r.reduce.axes),
                self.number(r.reduce.value),
                -1 if r.reduce.where is None else self.number(r.reduce.where),
            )
            for r in c.reductions
        )
        self.lets = tuple((self.number(v), self.number(e)) for v, e in c.lets)
        self.stores = tuple(self._statement(s) for s in c.stores)
        self.stages = tuple((self._axis(g.axis), tuple(map(self._statement, g.body))) for g in c.stages)
        self.own = tuple((b.name, b.dtype, b.shape, b.space) for b in self._own)
        aliases = [slots.index(s) for s in slots]
        body = (self.axes, self.reductions, self.lets, self.stores, self.stages)
        text = repr((list(self.rows), self.params, self.own, aliases, body))
        self.digest = hashlib.sha256(text.encode()).hexdigest()
        self.name = f"kernel_{self.digest[:32]}"

    @property
    def size(self) -> int:
        """About in proportion to the code of its kernel."""
        return len(self.rows)

    def _buffer(self, b: Buffer) -> int:
        if b.name in self._position:
            return self._position[b.name]
        return len(self.params) + self._own.setdefault(b, len(self._own))

    def number(self, e: Expr) -> int:
        """The row of an expression."""
        found = self._numbers.get(id(e))
        if found is None:
            row = self._row(e)
            found = self._numbers[id(e)] = self.rows.setdefault(row, len(self.rows))
        return found

    def _row(self, e: Expr) -> Row:
        number = self.number
        match e:
            case Binary(op, a, b):
                return ("Binary", op, number(a), number(b))
            case Var(name, dtype):
                return ("Var", name, dtype)
            case Const(value, dtype):  # floats by their bits: -0.0 is not 0.0
                return ("Const", struct.pack("d", value).hex() if is_float(dtype) else int(value), dtype)
            case Load(buffer, index):
                return ("Load", self._buffer(buffer), *map(number, index))
            case Unary(op, a):
                return ("Unary", op, number(a))
            case Fma(a, b, c) | Select(a, b, c):
                return (type(e).__name__, number(a), number(b), number(c))
            case Cast(a, dtype) | Bitcast(a, dtype):
                return (type(e).__name__, number(a), dtype)
        raise TypeError(f"not an expression: {e!r}")

    def _axis(self, a: Axis) -> Row:
        return (a.name, a.extent, self.number(a.lo), self.number(a.hi))

    def _statement(self, s: Stmt) -> Row:
        number = self.number
        match s:
            case Store(buffer, index, value, streams):
                return ("Store", self._buffer(buffer), tuple(map(number, index)), number(value), streams)
            case Let(var, value):
                return ("Let", number(var), number(value))
            case For(var, start, stop, kind, body):
                own = tuple(map(self._statement, body))
                return ("For", number(var), number(start), number(stop), kind, own)
            case If(cond, then, orelse):
                return ("If", number(cond), *(tuple(map(self._statement, block)) for block in (then, orelse)))
        raise TypeError(f"no statement of a computation: {s!r}")

    # ------------------------------------------------------------------------------- building it again

    def computation(self) -> Computation:
        """The computation with canonical names."""
        return _Build(self).computation()


class ChainForm:
    """The same of a chain: the forms of its stages, which see its parameters and scratch buffers in one order."""

    def __init__(self, c: Chain, slots: tuple[int, ...] = ()) -> None:
        self.chain = c
        everything = (*c.params, *c.scratch)
        self.stages = tuple(Form(replace(s, params=everything)) for s in c.stages)
        aliases = [slots.index(s) for s in slots]
        text = repr(([s.digest for s in self.stages], len(c.params), aliases, c.axes, c.extent, c.block, c.parts))
        self.digest = hashlib.sha256(text.encode()).hexdigest()
        self.name = f"kernel_{self.digest[:32]}"

    @property
    def size(self) -> int:
        return sum(s.size for s in self.stages)

    def computation(self) -> Chain:
        """The chain with canonical names."""
        stages = tuple(s.computation() for s in self.stages)
        n, buffers = len(self.chain.params), stages[0].params
        return replace(self.chain, name=self.name, stages=stages, params=buffers[:n], scratch=buffers[n:])


def form_of(c: Computation | Chain, slots: tuple[int, ...] = ()) -> Form | ChainForm:
    return ChainForm(c, slots) if isinstance(c, Chain) else Form(c, slots)


class _Build:
    """A computation from its form."""

    def __init__(self, form: Form) -> None:
        self.form = form
        self.params = tuple(Buffer(f"arg{n}", *p) for n, p in enumerate(form.params))
        self.buffers = (*self.params, *(Buffer(*b) for b in form.own))
        self.made: list[Expr] = []
        for row in form.rows:
            self.made.append(_MAKE[row[0]](self, *row[1:]))

    def computation(self) -> Computation:
        form, made = self.form, self.made
        reductions = tuple(
            Reduction(
                self.var(r), Reduce(op, tuple(map(self.axis, axes)), made[value], None if where < 0 else made[where])
            )
            for r, op, axes, value, where in form.reductions
        )
        lets = tuple((self.var(v), made[e]) for v, e in form.lets)
        stores = tuple(map(self.statement, form.stores))
        stages = tuple(Stage(self.axis(a), tuple(map(self.statement, body))) for a, body in form.stages)
        axes = tuple(map(self.axis, form.axes))
        return Computation(form.name, axes, reductions, lets, stores, self.params, stages)

    def var(self, number: int) -> Var:
        v = self.made[number]
        assert isinstance(v, Var)
        return v

    def axis(self, row: Row) -> Axis:
        name, extent, lo, hi = row
        return Axis(name, extent, self.made[lo], self.made[hi])

    def statement(self, row: Row) -> Any:
        match row:
            case ("Store", buffer, index, value, streams):
                return Store(self.buffers[buffer], tuple(self.made[i] for i in index), self.made[value], streams)
            case ("Let", var, value):
                return Let(self.var(var), self.made[value])
            case ("For", var, start, stop, kind, body):
                return For(
                    self.var(var), self.made[start], self.made[stop], kind, tuple(map(self.statement, body))
                )
            case (_, cond, then, orelse):
                return If(self.made[cond], tuple(map(self.statement, then)), tuple(map(self.statement, orelse)))


def _constant(b: _Build, value: str | int, dtype: str) -> Const:
    if isinstance(value, str):
        return Const(struct.unpack("d", bytes.fromhex(value))[0], dtype)
    return Const(bool(value) if dtype == "bool" else value, dtype)


_MAKE: dict[str, Callable[..., Expr]] = {
    "Const": _constant,
    "Var": lambda b, name, dtype: Var(name, dtype),
    "Unary": lambda b, op, x: Unary(op, b.made[x]),
    "Binary": lambda b, op, x, y: Binary(op, b.made[x], b.made[y]),
    "Select": lambda b, x, y, z: Select(b.made[x], b.made[y], b.made[z]),
    "Fma": lambda b, x, y, z: Fma(b.made[x], b.made[y], b.made[z]),
    "Cast": lambda b, x, dtype: Cast(b.made[x], dtype),
    "Bitcast": lambda b, x, dtype: Bitcast(b.made[x], dtype),
    "Load": lambda b, buffer, *index: Load(b.buffers[buffer], tuple(b.made[i] for i in index)),
}


def named(kernel: Kernel, name: str, buffers: tuple[Buffer, ...]) -> Kernel:
    """A kernel under another name, its parameters under those of `buffers`."""
    params = {p: replace(p, name=b.name) for p, b in zip(kernel.params, buffers, strict=True)}
    memo: dict[int, Expr] = {}

    def leaf(e: Expr) -> Expr | None:
        if isinstance(e, Load):
            return Load(params.get(e.buffer, e.buffer), tuple(transform(i, leaf, memo) for i in e.index))
        return None

    def on(e: Expr) -> Expr:
        return transform(e, leaf, memo)

    def visit(s: Stmt) -> Stmt:
        match s:
            case For(var, start, stop, kind, body):
                return For(var, on(start), on(stop), kind, tuple(map(visit, body)))
            case Shares(body=body):
                return replace(s, body=tuple(map(visit, body)))
            case Prefetch(buffer, index):
                return Prefetch(params.get(buffer, buffer), tuple(map(on, index)))
            case If(cond, then, orelse):
                return If(on(cond), tuple(map(visit, then)), tuple(map(visit, orelse)))
            case Let(var, value):
                return Let(var, on(value))
            case Store(buffer, index, value, streams):
                return Store(params.get(buffer, buffer), tuple(map(on, index)), on(value), streams)
        return s

    return Kernel(name, tuple(params.values()), tuple(map(visit, kernel.body)))
