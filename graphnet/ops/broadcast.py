"""The three ops that every gradient needs, so that all other files of ops may use them: reshape,
broadcast_to and sum. Broadcasting is undone by `sum_to`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.compute import Axis, Reduce, axis
from codegen.expr import Expr, lift

from ..errors import DTypeError, ShapeError
from ..node import Node, apply
from ..op import Op, Operand, Sample
from ..site import located
from ..types import (
    Extent,
    Shape,
    Type,
    broadcast_shapes,
    concrete,
    divide_exactly,
    elements,
    extent,
    normalise_axes,
    size,
)


def at(x: Operand, index: Sequence[Expr]) -> Expr:
    """The element of `x` that broadcasts to `index`: aligned at the right, 0 where `x` has extent 1."""
    mine = index[len(index) - len(x.shape) :]
    return x(*(lift(0, "i64") if e == 1 else i for e, i in zip(x.shape, mine, strict=True)))


def reduced_shape(shape: Shape, axes: tuple[int, ...], keepdims: bool) -> Shape:
    if keepdims:
        return tuple(1 if a in axes else e for a, e in enumerate(shape))
    return tuple(e for a, e in enumerate(shape) if a not in axes)


def reduction(
    x: Operand, index: Sequence[Expr], axes: tuple[int, ...], keepdims: bool
) -> tuple[tuple[Axis, ...], Expr]:
    """The reduced axes of `x`, and its element at them and at `index` of the output."""
    kept = iter(index)
    reduced: list[Axis] = []
    full: list[Expr] = []
    for a, e in enumerate(x.shape):
        if a in axes:
            reduced.append(axis(f"r{len(reduced)}", e))
            full.append(reduced[-1].var)
            if keepdims:
                next(kept)
        else:
            full.append(next(kept))
    return tuple(reduced), x(*full)


# ------------------------------------------------------------------------------------------ reshape


def _groups(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[list[int], list[int]]]:
    """Axes of two shapes in the smallest runs of equal product, so that a reshape of (N, 4, 5) to
    (N, 20) leaves the index along N alone."""
    groups: list[tuple[list[int], list[int]]] = []
    i = j = 0
    while i < len(old) or j < len(new):
        a: list[int] = []
        b: list[int] = []
        p = q = 1
        if i < len(old):
            a.append(i)
            p, i = old[i], i + 1
        while j < len(new) and q < p:
            b.append(j)
            q, j = q * new[j], j + 1
            while i < len(old) and p < q:
                a.append(i)
                p, i = p * old[i], i + 1
        if not a:
            b.append(j)
            j += 1
        groups.append((a, b))
    return groups


def before_reshape(index: Sequence[Expr], new: tuple[int, ...], old: tuple[int, ...]) -> tuple[Expr, ...]:
    """Where the element at `index` of the shape `new` stands in the shape `old`."""
    source: list[Expr] = [lift(0, "i64")] * len(old)
    if 0 in new:
        return tuple(source)
    for olds, news in _groups(old, new):
        olds = [a for a in olds if old[a] != 1]
        news = [b for b in news if new[b] != 1]
        if not olds:
            continue
        flat: Expr = lift(0, "i64")
        for b in news:
            flat = flat * new[b] + index[b]
        for a in reversed(olds[1:]):
            source[a] = flat % old[a]
            flat = flat // old[a]
        source[olds[0]] = flat
    return tuple(source)


@dataclass(frozen=True)
class Reshape(Op):
    """The same elements in row-major order under another shape of the same size. numpy.reshape."""

    name = "reshape"
    kind = "move"
    shape: Shape

    def infer(self, x: Type) -> Type:
        if size(x.shape) != size(self.shape):
            wanted = x.with_shape(self.shape)
            raise ShapeError(f"{x} has {size(x.shape)} elements and cannot become {wanted} with {size(self.shape)}")
        return x.with_shape(self.shape)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return x.reshape(concrete(self.shape))

    def body(self, index: tuple[Expr, ...], x: Operand) -> Expr:
        return x(*before_reshape(index, concrete(self.shape), x.shape))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (reshape(cotangent, node.inputs[0].shape),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((3, 20)), ((3, 4, 5),))
        yield Sample(cls((2, 3, 2, 1, 2)), ((4, 6),))
        yield Sample(cls((6, 4)), ((4, 6),))
        yield Sample(cls((1, 1)), ((),))


@located
def reshape(x: Node, shape: Iterable[object]) -> Node:
    """`x` under another shape; one extent may be -1 and is then inferred, symbolic sizes included."""
    given = list(shape) if isinstance(shape, Iterable) and not isinstance(shape, str) else [shape]
    unknown = [a for a, e in enumerate(given) if isinstance(e, (int, np.integer)) and e == -1]
    known = [1 if a in unknown else extent(e) for a, e in enumerate(given)]
    if len(unknown) > 1:
        raise ShapeError(f"reshape: only one extent may be -1, not {len(unknown)} as in {tuple(given)}")
    if unknown:
        missing = divide_exactly(size(x.shape), size(tuple(known)))
        if missing is None:
            raise ShapeError(f"reshape: {x!r} cannot be divided into {tuple(given)}")
        known[unknown[0]] = missing
    return x if tuple(known) == x.shape else apply(Reshape(tuple(known)), x)


# ------------------------------------------------------------------------------------- broadcast_to


@dataclass(frozen=True)
class BroadcastTo(Op):
    """`x` repeated along its missing axes and those of extent 1. numpy.broadcast_to."""

    name = "broadcast_to"
    kind = "move"
    shape: Shape

    def infer(self, x: Type) -> Type:
        if broadcast_shapes(x.shape, self.shape) != self.shape:
            raise ShapeError(f"{x} does not broadcast to {x.with_shape(self.shape)}")
        return x.with_shape(self.shape)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.broadcast_to(x, concrete(self.shape)).copy()

    def body(self, index: tuple[Expr, ...], x: Operand) -> Expr:
        return at(x, index)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (sum_to(cotangent, node.inputs[0].shape),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((2, 3)), ((),))
        yield Sample(cls((4, 2, 3)), ((2, 1),))


@located
def broadcast_to(x: Node, shape: Iterable[object]) -> Node:
    """`x` broadcast to `shape`, by NumPy's rules."""
    target = tuple(extent(e) for e in shape)
    return x if target == x.shape else apply(BroadcastTo(target), x)


# ---------------------------------------------------------------------------------------------- sum


@dataclass(frozen=True)
class Sum(Op):
    """The sum over some axes; integers keep their dtype. numpy.sum."""

    name = "sum"
    kind = "reduce"
    axes: tuple[int, ...]
    keepdims: bool = False

    def infer(self, x: Type) -> Type:
        if x.dtype == "bool":
            raise DTypeError("sum of bool; count with gn.cast(x, 'int32') first")
        axes = normalise_axes(self.axes, x.rank)
        return x.with_shape(reduced_shape(x.shape, axes, self.keepdims))

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        wide = np.float64 if x.dtype.kind == "f" else x.dtype
        return x.sum(axis=self.axes, keepdims=self.keepdims, dtype=wide).astype(x.dtype)

    def body(self, index: tuple[Expr, ...], x: Operand) -> Reduce:
        axes, value = reduction(x, index, self.axes, self.keepdims)
        return Reduce("sum", axes, value)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (spread(cotangent, node.inputs[0].shape, self.axes),)

    def flops(self, output: Type, *inputs: Type) -> int:
        return elements(inputs[0])

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((0,)), ((3, 4),))
        yield Sample(cls((0, 2), True), ((2, 3, 4),))
        yield Sample(cls((1,)), ((2, 3),), dtypes=("int32",), differentiable=False)


@located
def sum(x: Node, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Node:
    """The sum over `axis` (all axes by default)."""
    axes = normalise_axes(axis, x.rank)
    return apply(Sum(axes, bool(keepdims)), x) if axes else x


def spread(x: Node, shape: Shape, axes: tuple[int, ...]) -> Node:
    """A reduction's result, with or without its axes kept, repeated along them: sum's transpose."""
    return broadcast_to(reshape(x, reduced_shape(shape, axes, True)), shape)


def sum_to(x: Node, shape: Shape) -> Node:
    """The transpose of broadcasting `shape` to `x.shape`: sums over the axes that were repeated."""
    if x.shape == shape:
        return x
    extra = x.rank - len(shape)
    axes = [a for a in range(x.rank) if a < extra or (shape[a - extra] == 1 and x.shape[a] != 1)]
    return reshape(sum(x, tuple(axes)), shape)


# --------------------------------------------------------------------------------------------- size


@dataclass(frozen=True)
class Size(Op):
    """An extent as a scalar of the graph: a constant once the symbolic sizes are known."""

    name = "size"
    kind = "leaf"
    dim: Extent
    dtype: str = "float32"

    @property
    def label(self) -> str:
        return str(self.dim)

    def infer(self) -> Type:
        if self.dtype == "bool":
            raise DTypeError("a size cannot be a bool")
        return Type(self.dtype, ())

    def evaluate(self) -> np.ndarray:
        return np.asarray(concrete((self.dim,))[0], dtype=self.dtype)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(12), ())
