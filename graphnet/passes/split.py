"""Long reductions in two steps: parts that threads compute side by side, then what the parts come to.

    sum(x, axes)               ->  sum(sum(x, inner), axes)             likewise max and min
    centred_squares(x, axes)   ->  from the shifted sums of each part, below

Long sums of float32 are taken in float64 and rounded once: as one term after another is added, what is lost grows with
their number. What reads memory all the time has time for that.

The parts are those of the outermost axes in memory, so many that every thread has work, and never depend on the
number of threads: results have the same bits for any. Short reductions, and those with many results, stay whole.

Sum of squares about the mean (T. Chan, G. Golub, R. LeVeque: Algorithms for computing the sample variance: analysis
and recommendations. The American Statistician 37, 1983: shifted data, corrected two-pass, and combining). In one pass
over a part, its m numbers shifted by the first of them, k:

    t1 = sum(x - k)    t2 = sum((x - k)^2)    mean = k + t1 / m    squares = t2 - t1^2 / m

As k is one of the numbers, t1^2 / m is at most m times the result: an outlier k costs at most a factor m of the
roundings of the sums, any other almost nothing, and the size of the mean does not matter. J parts with means a and
squares s then combine, A being the mean of all, to

    squares = sum(s) + m * (sum((a - A)^2) - sum(a - A)^2 / J)

whose last term is 0 but for the rounding of A.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod

from ..module import Decision, Module
from ..node import Node, apply, rebuild
from ..op import Op
from ..ops.arithmetic import maximum
from ..ops.broadcast import Reshape, Sum
from ..ops.elementwise import cast
from ..ops.move import Slice
from ..ops.reduce import CentredSquares, Max, Min
from ..site import derived
from ..types import concrete

TASKS = 32  # so many parts keep the threads of large machines busy
LONG = 1 << 16  # elements that one task may fold without being divided
LONG_SHIFTED = 1 << 12  # numbers that may share one shift
MANY = 1 << 16  # float32 terms of one sum that lose too much when one after another is added
SIDE_BY_SIDE = 64  # results that one task computes in vectors

Order = tuple[int, ...]


def split(m: Module) -> Module:
    """The module with long reductions in two steps (on CPUs), and with no `centred_squares`."""
    layouts, batch = dict(m.layouts), dict(m.batch_axes)
    decisions: list[Decision] = []
    # What is folded along the same axes of the same shape as squares about a mean is cut alike, to share their loops.
    centred = {
        (n.inputs[0].shape, layouts.get(n.inputs[0]), n.op.axes)
        for n in m.graph.nodes()
        if isinstance(n.op, CentredSquares)
    }

    def visit(n: Node, inputs: tuple[Node, ...]) -> Node:
        new = None
        with derived(n.sites):
            if isinstance(n.op, (Sum, Max, Min, CentredSquares)):
                old = n.inputs[0]
                order = m.layouts.get(old, tuple(range(old.rank)))
                shifted = (old.shape, m.layouts.get(old), n.op.axes) in centred
                exact = not shifted and _loses(n.op, old)
                x = cast(inputs[0], "float64") if exact else inputs[0]
                if shifted or m.settings.target == "cpu":
                    new = _in_parts(n.op, x, order, shifted)
                if new is not None:
                    decisions.append(Decision("split", new, "in two steps", "threads fold parts of it side by side"))
                if exact:
                    new = cast(apply(n.op, x) if new is None else new, "float32")
                    decisions.append(Decision("split", new, "in float64", "float32 loses too much of so many terms"))
                if new is not None and old in m.layouts:
                    layouts.update(dict.fromkeys(_between(new, inputs[0]), order))
            if new is None:
                new = n if inputs == n.inputs else apply(n.op, *inputs)
        if n in m.layouts:
            layouts[new] = m.layouts[n]
        else:
            layouts.pop(new, None)
        if n in m.batch_axes:
            batch[new] = m.batch_axes[n]
        return new

    graph = rebuild(m.graph, visit)
    return replace(m, graph=graph, layouts=layouts, batch_axes=batch).decided(*decisions)


def _loses(op: Op, x: Node) -> bool:
    """Whether a sum of float32 has too many terms to be added in float32."""
    return isinstance(op, Sum) and x.dtype == "float32" and prod(concrete(x.shape)[a] for a in op.axes) > MANY


def _between(new: Node, x: Node) -> set[Node]:
    """The nodes from x (without it) to `new` that have its axes."""
    found: set[Node] = set()
    stack = [new]
    while stack:
        n = stack.pop()
        if n is x or n in found or not n.inputs:
            continue
        found.add(n)
        stack.extend(n.inputs)
    return {n for n in found if n.rank == x.rank}


def _in_parts(op: Sum | Max | Min | CentredSquares, x: Node, order: Order, shifted: bool) -> Node | None:
    """The reduction in two steps; None where it should stay whole."""
    shape = concrete(x.shape)
    outer = parts(shape, order, op.axes, shifted)
    inner = tuple(a for a in op.axes if a not in outer)
    if isinstance(op, CentredSquares):
        return _centred(op, x, inner, outer)
    if outer:
        return apply(op, apply(type(op)(inner, True), x))
    cut = _divisor(shape, order, op.axes)
    if cut is None or order != tuple(range(x.rank)):
        return None
    axis, count = cut
    finer = apply(Reshape((*shape[:axis], count, shape[axis] // count, *shape[axis + 1 :])), x)
    return apply(op, apply(type(op)((axis + 1,)), finer))


def parts(shape: Sequence[int], order: Order, axes: tuple[int, ...], shifted: bool) -> tuple[int, ...]:
    """The reduced axes, outermost in memory first, that number the parts; () where the reduction stays whole.
    `shifted`: one shift serves a part, which is then kept short."""
    tasks = _tasks(shape, order, axes)
    length = prod(shape[a] for a in axes)
    divide = tasks < TASKS and tasks * LONG < prod(shape)
    outer: list[int] = []
    for a in [a for a in order if a in axes and shape[a] > 1][:-1]:  # the innermost one stays whole
        if not (tasks < TASKS if divide or outer else shifted and length > LONG_SHIFTED):
            break
        outer.append(a)
        tasks *= shape[a]
    return tuple(outer)


def _tasks(shape: Sequence[int], order: Order, axes: tuple[int, ...]) -> int:
    """How many threads could compute a reduction's results: neighbours in memory share vectors."""
    long = [a for a in order if shape[a] > 1]
    beside = bool(long) and long[-1] not in axes
    whole = prod(shape[a] for a in long[: len(long) - beside] if a not in axes)
    return whole * (-(-shape[long[-1]] // SIDE_BY_SIDE) if beside else 1)


def _divisor(shape: Sequence[int], order: Order, axes: tuple[int, ...]) -> tuple[int, int] | None:
    """The only reduced axis, and into how many parts to cut it; None where it is short or has no such divisor."""
    reduced = [a for a in axes if shape[a] > 1]
    tasks = _tasks(shape, order, axes)
    if len(reduced) != 1 or tasks >= TASKS or tasks * LONG >= prod(shape):
        return None
    return next(((reduced[0], n) for n in range(TASKS, 8 * TASKS) if shape[reduced[0]] % n == 0), None)


def _centred(op: CentredSquares, x: Node, inner: tuple[int, ...], outer: tuple[int, ...]) -> Node:
    """The module's formulas. The parts are numbered by the `outer` axes; none: there is one."""

    keep = bool(outer) or op.keepdims
    shape = concrete(x.shape)
    m, n = (float(prod(shape[a] for a in axes)) for axes in (inner, op.axes))
    k = apply(Slice((0,) * x.rank, tuple(1 if a in inner else e for a, e in enumerate(shape)), (1,) * x.rank), x)
    away = x - k
    total = apply(Sum(inner, keep), away)
    squares = maximum(apply(Sum(inner, keep), away * away) - total * total * (1.0 / m), 0.0)
    if not outer:
        return squares
    mean = apply(Sum(op.axes, True), apply(Sum(inner, True), x)) / n
    away = k + total * (1.0 / m) - mean
    total = apply(Sum(op.axes, op.keepdims), away)
    return apply(Sum(op.axes, op.keepdims), squares + away * away * m) - total * total * (m * m / n)
