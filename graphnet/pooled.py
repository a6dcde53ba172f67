"""Windows of pooling that lie within the tiles of a transform, so that a tile is pooled before it is stored.

A tile of m elements along an axis holds whole windows if the stride divides m and a window reaches no further than its
stride: with tile T, element T*m + i is the place i % stride of window T*(m / stride) + i // stride.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from codegen.compute import Reduce
from codegen.expr import Binary, Const, Expr, Fma, Var, const, maximum
from codegen.traverse import substitute

from .node import Node
from .op import Op, Operand, Point
from .ops.avg_pool import AvgPool
from .ops.max_pool import MaxPool
from .ops.pool import Pooling
from .ops.transform import WinogradOutput
from .ops.window import reach
from .types import concrete


def refused(pool: Node, transform: Node) -> str:
    """Why windows of `pool` do not lie within the tiles of what `transform` makes; "" if they do."""
    p, t = pool.op, transform.op
    if not isinstance(p, (MaxPool, AvgPool)) or len(p.window) != 2:
        return f"{p.name} needs whole images"
    if not isinstance(t, WinogradOutput) or t.stride != (1, 1) or t.low != (0, 0):
        return f"{t.name} has no tiles of neighbours"
    if any(map(any, p.padding)):
        return "its windows are padded"
    spans = [reach(k, d) for k, d in zip(p.window, p.dilation, strict=True)]
    if any(r > s for r, s in zip(spans, p.stride, strict=True)):
        return "its windows overlap"
    if any(m % s for m, s in zip(t.m, p.stride, strict=True)):
        return f"its windows cross the tiles of {t.m[0]}x{t.m[1]}"
    whole = tuple((n - r) // s + 1 for n, r, s in zip(t.size, spans, p.stride, strict=True))
    return "" if concrete(pool.shape)[2:] == whole else "its last windows reach beyond the image"


@dataclass(frozen=True, slots=True)
class Window:
    """One window of a tile: its index in the pooled array, the numbers of the tile's points in it, row-major, and when
    it exists (always, if None)."""

    index: tuple[Expr, ...]
    points: tuple[int, ...]
    valid: Expr | None


def windows(points: Sequence[Point], pool: Op) -> tuple[Window, ...]:
    """The windows of `pool` among a tile's points (n, k, p, q). One that reaches beyond the image does not count: each
    has all its points, and exists if the last one does."""
    assert isinstance(pool, Pooling)
    found: dict[tuple[Expr, ...], list[int]] = {}
    for number, point in enumerate(points):
        first, each = point.index[:2], [_divided(e, s) for e, s in zip(point.index[2:], pool.stride, strict=True)]
        taps = zip(each, pool.window, pool.dilation, strict=True)
        if all(place % d == 0 and place < reach(k, d) for (_, place), k, d in taps):
            found.setdefault((*first, *(window for window, _ in each)), []).append(number)
    return tuple(
        Window(index, tuple(numbers), points[numbers[-1]].valid)
        for index, numbers in found.items()
        if len(numbers) == prod(pool.window)
    )


def folded(pool: Op, index: tuple[Expr, ...], x: Operand, values: Sequence[Expr]) -> Expr:
    """The value of a window from those of its points, added up as a kernel of its own does."""
    found = pool.body(index, _Placeholder(x))
    assert isinstance(found, Reduce) and all(a.is_full for a in found.axes) and found.where is None
    if found.op == "sum":
        assert isinstance(found.value, Binary) and found.value.op == "mul"
        total: Expr = const(0.0, found.dtype)
        for v in values:
            total = Fma(substitute(found.value.a, {TAP: v}), substitute(found.value.b, {TAP: v}), total)
        return total
    assert found.op == "max" and found.value == Var(TAP, x.dtype)
    total = values[0]
    for v in values[1:]:
        total = maximum(total, v)
    return total


TAP = "tap"


class _Placeholder(Operand):
    """An operand whose elements are all one variable."""

    def __init__(self, x: Operand) -> None:
        self.dtype, self.shape = x.dtype, x.shape

    def __call__(self, *index: Expr) -> Expr:
        return Var(TAP, self.dtype)


def _divided(e: Expr, stride: int) -> tuple[Expr, int]:
    """Quotient and remainder of T*m + i, where the stride divides m."""
    base, i = (e.a, e.b) if isinstance(e, Binary) and e.op == "add" else (e, const(0, "i64"))
    if isinstance(e, Const):
        base, i = const(0, "i64"), e
    assert isinstance(i, Const)
    quotient, place = divmod(int(i.value), stride)
    if isinstance(base, Const):
        return const(quotient, "i64"), place
    assert isinstance(base, Binary) and base.op == "mul" and isinstance(base.b, Const)
    tile, extent = base.a, int(base.b.value)
    assert extent % stride == 0
    return tile * (extent // stride) + quotient, place
