"""Ops that move elements without arithmetic: one output point from one input point, or a constant."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.expr import Const, Expr, const, lift, select
from codegen.expr import eq as eq_expr

from ..errors import DTypeError, ShapeError
from ..node import Node, apply
from ..op import Op, Operand, Sample
from ..site import located
from ..types import Dim, Extent, Shape, Type, concrete, normalise_axes


def all_of(conditions: Sequence[Expr]) -> Expr:
    """The conjunction of conditions; True for none."""
    result: Expr = Const(True, "bool")
    for c in conditions:
        result = result & c
    return result


# ----------------------------------------------------------------------------------------- transpose


@dataclass(frozen=True)
class Transpose(Op):
    """Axis a of the output is axis perm[a] of the input. numpy.transpose."""

    name = "transpose"
    kind = "move"
    perm: tuple[int, ...]

    def infer(self, x: Type) -> Type:
        if sorted(self.perm) != list(range(x.rank)):
            raise ShapeError(f"{self.perm} is not a permutation of the {x.rank} axes of {x}")
        return x.with_shape(tuple(x.shape[a] for a in self.perm))

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(x.transpose(self.perm))

    def body(self, index: tuple[Expr, ...], x: Operand) -> Expr:
        return x(*(index[a] for a in self.inverse))

    @property
    def inverse(self) -> tuple[int, ...]:
        return tuple(self.perm.index(a) for a in range(len(self.perm)))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (apply(Transpose(self.inverse), cotangent),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((1, 0)), ((3, 4),))
        yield Sample(cls((2, 0, 1)), ((2, 3, 4),))


@located
def transpose(x: Node, perm: Iterable[int] | None = None) -> Node:
    """`x` with its axes permuted, reversed by default."""
    order = tuple(range(x.rank))[::-1] if perm is None else tuple(a + x.rank if a < 0 else a for a in perm)
    return x if order == tuple(range(x.rank)) else apply(Transpose(order), x)


# ---------------------------------------------------------------------------------------- slice, pad


@dataclass(frozen=True)
class Slice(Op):
    """x[starts : stops : steps] along every axis; a stop of None is the end. Steps are positive: gn.slice flips."""

    name = "slice"
    kind = "move"
    starts: Shape
    stops: tuple[Extent | None, ...]
    steps: tuple[int, ...]

    def infer(self, x: Type) -> Type:
        if not len(self.starts) == len(self.stops) == len(self.steps) == x.rank:
            raise ShapeError(f"slice needs a start, a stop and a step for each of the {x.rank} axes of {x}")
        shape = []
        for a, (start, end, step, e) in enumerate(zip(self.starts, self.stops, self.steps, x.shape, strict=True)):
            stop = e if end is None else end
            if step < 1:
                raise ShapeError(f"step {step} on axis {a}; steps are >= 1")
            for low, high in ((0, start), (start, stop), (stop, e)):
                if isinstance(low, int) and isinstance(high, int) and low > high:
                    raise ShapeError(f"slice {start}:{stop} is outside of the {e} elements of axis {a} of {x}")
            shape.append((stop - start + step - 1) // step)
        return x.with_shape(tuple(shape))

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        keys = (builtins.slice(*k) for k in zip(self.starts, self.stops, self.steps, strict=True))
        return np.ascontiguousarray(x[tuple(keys)])

    def body(self, index: tuple[Expr, ...], x: Operand) -> Expr:
        starts = concrete(self.starts)
        return x(*(i * step + s for i, s, step in zip(index, starts, self.steps, strict=True)))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        high = []
        for e, n, start, step in zip(node.inputs[0].shape, node.shape, self.starts, self.steps, strict=True):
            high.append(e - start if n == 0 else e - start - (n - 1) * step - 1)
        return (apply(Pad(self.starts, tuple(high), tuple(s - 1 for s in self.steps)), cotangent),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((1, 0), (3, None), (1, 2)), ((4, 5),))
        yield Sample(cls((0, 1), (0, 3), (1, 1)), ((4, 5),))
        yield Sample(cls((1,), (None,), (3,)), ((9,),))


@located
def slice(
    x: Node,
    starts: Sequence[Extent | None],
    stops: Sequence[Extent | None],
    steps: Sequence[int] | None = None,
) -> Node:
    """x[starts : stops : steps], one of each an axis, as NumPy slices: negative ones count from the end, what lies
    beyond is clipped where the extent is known, None is the end from which the step leads away."""
    by = tuple(steps) if steps is not None else (1,) * x.rank
    if not len(starts) == len(stops) == len(by) == x.rank:
        raise ShapeError(f"slice needs a start, a stop and a step for each of the {x.rank} axes of {x!r}")
    found = [bounds(*each, a) for a, each in enumerate(zip(starts, stops, by, x.shape, strict=True))]
    ends = tuple(None if stop == e else stop for (_, stop, _), e in zip(found, x.shape, strict=True))
    op = Slice(tuple(start for start, _, _ in found), ends, tuple(abs(step) for _, _, step in found))
    trivial = all(s == 0 for s in op.starts) and all(s is None for s in ends) and all(s == 1 for s in op.steps)
    out = x if trivial else apply(op, x)
    return flip(out, tuple(a for a, (_, _, step) in enumerate(found) if step < 0) or ())


def bounds(
    start: Extent | None, stop: Extent | None, step: int, e: Extent, axis: int
) -> tuple[Extent, Extent, int]:
    """The bounds of start:stop:step along an axis of extent `e`, in increasing order, and the step; a negative step
    then flips the result."""
    if step == 0:
        raise ShapeError(f"the step of a slice on axis {axis} is 0")
    if step > 0:
        first = 0 if start is None else _position(start, e)
        end = e if stop is None else _position(stop, e)
        if isinstance(first, int) and isinstance(end, int):
            end = max(first, end)
        return first, end, step
    if isinstance(e, int) and not isinstance(start, Dim) and not isinstance(stop, Dim):
        hit = range(e)[start:stop:step]
        return (hit[-1], hit[0] + 1, step) if len(hit) else (0, 0, step)
    if step != -1 or start is not None or stop is not None:
        raise ShapeError(f"a slice with a negative step on axis {axis} of symbolic extent {e} must be [::-1]")
    return 0, e, step


def _position(i: Extent, e: Extent) -> Extent:
    """A bound of a slice: negative ones count from the end, and all are clipped as NumPy does where
    the extent is known."""
    at = e + i if isinstance(i, int) and i < 0 else i
    return min(max(at, 0), e) if isinstance(at, int) and isinstance(e, int) else at


@dataclass(frozen=True)
class Pad(Op):
    """`value` around `x` (low before, high after, interior between elements) on every axis:
    extent n becomes low + (n - 1) * (interior + 1) + 1 + high. The transpose of Slice. lax.pad."""

    name = "pad"
    kind = "move"
    low: Shape
    high: Shape
    interior: tuple[int, ...]
    value: int | float = 0

    def infer(self, x: Type) -> Type:
        if not len(self.low) == len(self.high) == len(self.interior) == x.rank:
            raise ShapeError(f"pad needs low, high and interior for each of the {x.rank} axes of {x}")
        if any(isinstance(p, int) and p < 0 for p in (*self.low, *self.high, *self.interior)):
            raise ShapeError(f"paddings are >= 0, not low={self.low}, high={self.high}, interior={self.interior}")
        return x.with_shape(self._padded(x.shape))

    def _padded(self, shape: Shape) -> Shape:
        return tuple(lo + s + hi for lo, s, hi in zip(self.low, self._spans(shape), self.high, strict=True))

    def _spans(self, shape: Shape) -> list[Extent]:
        return [0 if e == 0 else (e - 1) * (i + 1) + 1 for e, i in zip(shape, self.interior, strict=True)]

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        out = np.full(concrete(self._padded(x.shape)), self.value, dtype=x.dtype)
        each = zip(concrete(self.low), concrete(self._spans(x.shape)), self.interior, strict=True)
        out[tuple(builtins.slice(lo, lo + s, i + 1) for lo, s, i in each)] = x
        return out

    def body(self, index: tuple[Expr, ...], x: Operand) -> Expr:
        inside, source = [], []
        spans = self._spans(x.shape)
        for i, lo, hi, gap, span in zip(index, concrete(self.low), self.high, self.interior, spans, strict=True):
            j = i - lo
            if lo:
                inside.append(lift(0, "i64") <= j)
            if hi:
                inside.append(j < span)
            if gap:
                inside.append(eq_expr(j % (gap + 1), 0))
            source.append(j // (gap + 1))
        if any(e == 0 for e in x.shape):
            return const(self.value, x.dtype)
        return select(all_of(inside), x(*source), self.value)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        spans = self._spans(node.inputs[0].shape)
        stops = tuple(lo + s for lo, s in zip(self.low, spans, strict=True))
        return (slice(cotangent, self.low, stops, tuple(i + 1 for i in self.interior)),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((1, 0), (0, 2), (0, 0)), ((2, 3),))
        yield Sample(cls((1, 0), (2, 1), (2, 1), 1.5), ((2, 3),))
        yield Sample(cls((2,), (1,), (0,), 7), ((3,),), dtypes=("int32",), low=0, high=5, differentiable=False)


# --------------------------------------------------------------------------------- concatenate, flip


@dataclass(frozen=True)
class Concatenate(Op):
    """The inputs one after another along `axis`. numpy.concatenate."""

    name = "concatenate"
    kind = "move"
    axis: int

    def infer(self, *inputs: Type) -> Type:
        if not inputs:
            raise ShapeError("concatenate needs at least one input")
        first = inputs[0]
        if not 0 <= self.axis < first.rank:
            raise ShapeError(f"axis {self.axis} is out of range for {first}")
        total: Extent = 0
        for t in inputs:
            if t.dtype != first.dtype:
                raise DTypeError(f"operands of different dtypes, {first.dtype} and {t.dtype}; convert with gn.cast")
            if t.rank != first.rank or any(t.shape[a] != e for a, e in enumerate(first.shape) if a != self.axis):
                raise ShapeError(f"{first} and {t} differ off axis {self.axis}")
            total = total + t.shape[self.axis]
        return first.with_shape((*first.shape[: self.axis], total, *first.shape[self.axis + 1 :]))

    def evaluate(self, *inputs: np.ndarray) -> np.ndarray:
        return np.concatenate(inputs, axis=self.axis)

    def body(self, index: tuple[Expr, ...], *inputs: Operand) -> Expr:
        offsets = np.cumsum([0, *(x.shape[self.axis] for x in inputs)]).tolist()

        def part(x: Operand, offset: int) -> Expr:
            return x(*(i - offset if a == self.axis else i for a, i in enumerate(index)))

        def parts(low: int, high: int) -> Expr:
            """The element, where it is one of inputs low, ..., high - 1: halves, so that choices do not nest deeply."""
            if high - low == 1:
                return part(inputs[low], offsets[low])
            middle = (low + high) // 2
            return select(index[self.axis] < offsets[middle], parts(low, middle), parts(middle, high))

        return parts(0, len(inputs))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        parts = []
        offset: Extent = 0
        for x in node.inputs:
            starts = tuple(offset if a == self.axis else 0 for a in range(node.rank))
            offset = offset + x.shape[self.axis]
            stops = tuple(offset if a == self.axis else e for a, e in enumerate(node.shape))
            parts.append(slice(cotangent, starts, stops))
        return parts

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(0), ((2, 3), (1, 3)))
        yield Sample(cls(1), ((2, 3), (2, 1), (2, 2)))


@located
def concatenate(xs: Sequence[Node], axis: int = 0) -> Node:
    """The nodes of a list one after another along `axis`."""
    nodes = list(xs)
    if not nodes:
        raise ShapeError("concatenate needs at least one node")
    (a,) = normalise_axes(axis, nodes[0].rank)
    return nodes[0] if len(nodes) == 1 else apply(Concatenate(a), *nodes)


@dataclass(frozen=True)
class Flip(Op):
    """The order of elements reversed along some axes. numpy.flip."""

    name = "flip"
    kind = "move"
    axes: tuple[int, ...]

    def infer(self, x: Type) -> Type:
        normalise_axes(self.axes, x.rank)
        return x

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.flip(x, self.axes).copy()

    def body(self, index: tuple[Expr, ...], x: Operand) -> Expr:
        return x(*((x.shape[a] - 1) - i if a in self.axes else i for a, i in enumerate(index)))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (apply(self, cotangent),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((1,)), ((2, 3),))
        yield Sample(cls((0, 2)), ((2, 3, 4),))


@located
def flip(x: Node, axis: int | tuple[int, ...] | None = None) -> Node:
    """`x` reversed along `axis` (all axes by default)."""
    axes = normalise_axes(axis, x.rank)
    return apply(Flip(axes), x) if axes else x
