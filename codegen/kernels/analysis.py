"""How memory is walked: the strides of every access along the axes of a computation."""

from __future__ import annotations

from dataclasses import replace

from ..compute import Axis, Computation, Reduce, Reduction
from ..expr import Binary, Buffer, Const, Expr, Load, Var, const
from ..loops import Store, substitute_block
from ..traverse import loads, substitute, transform, variables

Strides = dict[str, int]


def coefficients(e: Expr, names: frozenset[str]) -> Strides | None:
    """The coefficients of `names` in an integer expression, or None where it is not affine in them."""
    if isinstance(e, Var):
        return {e.name: 1} if e.name in names else {}
    if isinstance(e, Binary) and e.op in ("add", "sub", "mul"):
        a, b = coefficients(e.a, names), coefficients(e.b, names)
        if a is None or b is None:
            return None
        if e.op == "mul":
            for x, factor in ((a, e.b), (b, e.a)):
                if isinstance(factor, Const):
                    return {n: c * int(factor.value) for n, c in x.items()}
            return {} if not a and not b else None
        sign = 1 if e.op == "add" else -1
        merged = dict(a)
        for n, c in b.items():
            merged[n] = merged.get(n, 0) + sign * c
        return {n: c for n, c in merged.items() if c}
    return {} if not (variables(e) & names) else None


def access_strides(buffer: Buffer, index: tuple[Expr, ...], names: frozenset[str]) -> Strides | None:
    """How far, in elements, one step along each axis moves an access; None if that is not constant."""
    total: Strides = {}
    for e, stride in zip(index, buffer.strides, strict=True):
        part = coefficients(e, names)
        if part is None:
            return None
        for n, c in part.items():
            total[n] = total.get(n, 0) + c * stride
    return {n: c for n, c in total.items() if c}


def load_strides(e: Expr, names: frozenset[str]) -> list[Strides | None]:
    """The strides of every load in an expression."""
    return [access_strides(x.buffer, x.index, names) for x in loads(e)]


def unit_stride(e: Expr, axis: str) -> bool:
    """Whether vectors along `axis` load contiguously: every load has stride 0 or 1, some have 1."""
    steps = [None if s is None else s.get(axis, 0) for s in load_strides(e, frozenset((axis,)))]
    return all(s in (0, 1) for s in steps) and 1 in steps


NEAR = 1 << 12  # elements that stay in the first cache, in whatever order they are read


def crossings(c: Computation) -> dict[Load, Axis | None]:
    """The large loads that stride along the last axis, and the axis along which each has unit stride, if there is one:
    where reading crosses writing."""
    *outer, last = c.axes
    names = frozenset(a.name for a in c.axes)
    found: dict[Load, Axis | None] = {}
    for x in (x for x in loads(*c.point_expressions()) if x.buffer.size > NEAR):
        strides = access_strides(x.buffer, x.index, names)
        if strides is not None and strides.get(last.name, 0) not in (0, 1):
            found[x] = next((a for a in outer if strides.get(a.name) == 1), None)
    return found


def map_computation(c: Computation, f: dict[str, Expr], axes: tuple[Axis, ...]) -> Computation:
    """The computation over other axes, variables replaced."""

    memo: dict[int, Expr] = {}

    def on(e: Expr) -> Expr:
        return substitute(e, f, memo)

    def on_axis(a: Axis) -> Axis:
        return replace(a, lo=on(a.lo), hi=on(a.hi))

    reductions = tuple(
        Reduction(
            r.var,
            Reduce(
                r.reduce.op,
                tuple(on_axis(a) for a in r.reduce.axes),
                on(r.reduce.value),
                None if r.reduce.where is None else on(r.reduce.where),
            ),
        )
        for r in c.reductions
    )
    lets = tuple((v, on(e)) for v, e in c.lets)
    return Computation(c.name, axes, reductions, lets, substitute_block(c.stores, f, memo), c.params)


def drop_unit_axes(c: Computation) -> Computation:
    """Without axes of extent 1, which are only noise to the schedules (one axis is kept)."""
    kept = tuple(a for a in c.axes if a.extent != 1) or c.axes[-1:]
    gone: dict[str, Expr] = {a.name: const(0, "i64") for a in c.axes if a not in kept}
    return map_computation(c, gone, kept) if gone else c


def _flat_access(buffer: Buffer, index: tuple[Expr, ...], names: list[str], flat: Axis) -> tuple[Buffer, Expr] | None:
    """The access over the collapsed axis, on the buffer seen as one dimension."""
    strides = access_strides(buffer, index, frozenset(names))
    if strides is None:
        return None
    zero: dict[str, Expr] = {n: const(0, "i64") for n in names}
    rest: Expr = const(0, "i64")
    for e, stride in zip(index, buffer.strides, strict=True):
        rest = rest + substitute(e, zero) * stride
    return Buffer(buffer.name, buffer.dtype, (buffer.size,), buffer.space), flat.var * strides.get(names[-1], 0) + rest


def collapse(c: Computation, name: str = "e") -> Computation:
    """The computation over as few inner axes as possible: neighbours that every access walks as one become one.

    Axes a, b are one where every stride of a is b's extent times that of b, and neither is used but in
    accesses. The buffers involved are seen as one-dimensional. Vectors then fill up across rows: columns
    of images and a batch of 8, say, for a convolution of stride 1. `name` is that of the new axis."""
    names = [a.name for a in c.axes]
    if len(names) < 2 or not all(isinstance(s, Store) for s in c.stores):
        return c
    values = [e for r in c.reductions for e in (r.reduce.value, r.reduce.where) if e is not None]
    exprs = values + c.point_expressions()
    accesses = [(x.buffer, x.index) for x in loads(*exprs)]
    accesses += [(s.buffer, s.index) for s in c.all_stores()]
    strides = [access_strides(b, i, frozenset(names)) for b, i in accesses]
    used = {n for r in c.reductions for a in r.reduce.axes for n in variables(a.lo) | variables(a.hi)}
    used |= _outside_indices(exprs)
    run = [c.axes[-1]]
    for a in reversed(c.axes[:-1]):
        inner = run[0]
        if {a.name, inner.name} & used or any(s is None for s in strides):
            break
        if any(s is None or s.get(a.name, 0) != s.get(inner.name, 0) * inner.extent for s in strides):
            break
        run.insert(0, a)
    if len(run) < 2:
        return c
    flat = _flat_axis(run, name)
    return _flatten(replace(c, axes=(*c.axes[: -len(run)], flat)), run, flat)


def _outside_indices(exprs: list[Expr]) -> set[str]:
    """Variables used as values, conditions and the like."""
    memo: dict[int, Expr] = {}
    return variables(*(transform(e, lambda x: const(0, x.dtype) if isinstance(x, Load) else None, memo) for e in exprs))


def collapse_folds(c: Computation) -> Computation:
    """The computation with its reduction axes in the order of memory, outermost first, and as few inner ones as
    possible: neighbours that every access walks as one become one, as in `collapse`.

    For reductions whose result does not depend on the order or the position of what they fold, over full axes."""
    axes = c.reductions[0].reduce.axes
    names = [a.name for a in axes]
    values = [r.reduce.value for r in c.reductions]
    plain = all(r.reduce.op != "argmax" and r.reduce.where is None and r.reduce.axes == axes for r in c.reductions)
    stores = all(isinstance(s, Store) for s in c.stores)
    if len(axes) < 2 or not plain or not stores or not all(a.is_full for a in axes):
        return c
    strides = [s for e in values for s in load_strides(e, frozenset(names))]
    if not strides or any(s is None for s in strides):
        return c
    known = [s for s in strides if s is not None]
    ordered = sorted(axes, key=lambda a: -max(s.get(a.name, 0) for s in known))
    used = _outside_indices(values)
    run = [ordered[-1]]
    for a in reversed(ordered[:-1]):
        inner = run[0]
        if {a.name, inner.name} & used or any(s.get(a.name, 0) != s.get(inner.name, 0) * inner.extent for s in known):
            break
        run.insert(0, a)
    flat = _flat_axis(run) if len(run) > 1 else run[0]
    folds = (*ordered[: len(ordered) - len(run)], flat)
    c = replace(c, reductions=tuple(replace(r, reduce=replace(r.reduce, axes=folds)) for r in c.reductions))
    return c if len(run) < 2 else _flatten(c, run, flat)


def _flat_axis(run: list[Axis], name: str = "e") -> Axis:
    extent = 1
    for a in run:
        extent *= a.extent
    return Axis(name, extent, const(0, "i64"), const(extent, "i64"))


def _flatten(c: Computation, run: list[Axis], flat: Axis) -> Computation:
    """The computation with every access along the axes `run` as one along `flat`, on buffers of one dimension."""
    merged = [a.name for a in run]
    memo: dict[int, Expr] = {}

    def leaf(x: Expr) -> Expr | None:
        if isinstance(x, Load):
            access = _flat_access(x.buffer, tuple(map(on, x.index)), merged, flat)  # an index may load too
            assert access is not None
            return Load(access[0], (access[1],))
        return None

    def on(e: Expr) -> Expr:
        return transform(e, leaf, memo)

    def on_store(s: Store) -> Store:
        access = _flat_access(s.buffer, s.index, merged, flat)
        assert access is not None
        return Store(access[0], (access[1],), on(s.value))

    def on_reduction(r: Reduction) -> Reduction:
        where = None if r.reduce.where is None else on(r.reduce.where)
        return Reduction(r.var, Reduce(r.reduce.op, r.reduce.axes, on(r.reduce.value), where))

    return Computation(
        c.name,
        c.axes,
        tuple(on_reduction(r) for r in c.reductions),
        tuple((v, on(e)) for v, e in c.lets),
        tuple(on_store(s) for s in c.all_stores()),
        tuple(Buffer(b.name, b.dtype, (b.size,), b.space) for b in c.params),
    )
