"""Values that follow from their places: iota, one_hot, ranges, filled arrays, triangles."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.dtypes import FROM_NUMPY
from codegen.expr import Expr, const, select
from codegen.expr import cast as cast_expr
from codegen.expr import eq as eq_expr

from ..errors import DTypeError, ShapeError
from ..node import Node, apply, constant
from ..op import Op, Operand, Sample
from ..site import located
from ..types import Dim, Extent, Shape, Type, check_dtype, concrete, extent, normalise_axes
from .arithmetic import add
from .broadcast import broadcast_to, reshape
from .compare import eq, le, where
from .elementwise import cast


@dataclass(frozen=True)
class OneHot(Op):
    """labels of integers -> labels with a new axis of `classes`, 1 at the label, else 0; all 0 for a label that is
    not a class."""

    name = "one_hot"
    kind = "move"
    classes: int
    dtype: str = "float32"
    axis: int = -1

    def infer(self, labels: Type) -> Type:
        if labels.is_float or labels.dtype == "bool":
            raise DTypeError(f"labels must be integers such as int32, not {labels.dtype}")
        if not isinstance(self.classes, int) or self.classes < 1:
            raise ShapeError(f"classes must be an integer >= 1, not {self.classes!r}")
        (a,) = normalise_axes(self.axis, labels.rank + 1)
        return Type(check_dtype(self.dtype), (*labels.shape[:a], self.classes, *labels.shape[a:]))

    def evaluate(self, labels: np.ndarray) -> np.ndarray:
        hit = labels[..., None] == np.arange(self.classes)
        return np.ascontiguousarray(np.moveaxis(hit, -1, self.axis)).astype(self.dtype)

    def body(self, index: tuple[Expr, ...], labels: Operand) -> Expr:
        a = self.axis % len(index)
        hit = eq_expr(cast_expr(labels(*index[:a], *index[a + 1 :]), "i64"), index[a])
        dtype = FROM_NUMPY[self.dtype]
        return select(hit, const(1, dtype), const(0, dtype))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (None,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(4), ((3, 2),), dtypes=("int32",), low=-1, high=6, differentiable=False)
        yield Sample(cls(4, axis=1), ((3, 2),), dtypes=("int64",), low=-1, high=6, differentiable=False)


@located
def one_hot(
    labels: Node, classes: int, dtype: str = "float32", axis: int = -1, on: float = 1, off: float = 0
) -> Node:
    """Integer labels with a new axis of `classes` at `axis`: `on` at the label, else `off`."""
    if (on, off) == (1, 0):
        return apply(OneHot(classes, dtype, axis), labels)
    return where(apply(OneHot(classes, "bool", axis), labels), constant(on, dtype), constant(off, dtype))


@dataclass(frozen=True)
class Iota(Op):
    """The numbers of the positions along one axis, from 0."""

    name = "iota"
    kind = "elementwise"
    shape: Shape
    axis: int = 0
    dtype: str = "int32"

    def infer(self) -> Type:
        if not 0 <= self.axis < len(self.shape):
            raise ShapeError(f"axis {self.axis} is out of range for shape {self.shape}")
        if self.dtype == "bool":
            raise DTypeError("positions cannot be bools")
        return Type(check_dtype(self.dtype), self.shape)

    def evaluate(self) -> np.ndarray:
        return np.indices(concrete(self.shape))[self.axis].astype(self.dtype)

    def body(self, index: tuple[Expr, ...]) -> Expr:
        return cast_expr(index[self.axis], FROM_NUMPY[self.dtype])

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((3, 4), 1), (), differentiable=False)
        yield Sample(cls((5,), 0, "float32"), (), differentiable=False)


@located
def arange(
    start: Extent | str | float, stop: float | None = None, step: float = 1, dtype: str | None = None
) -> Node:
    """0, 1, ... n - 1 for one argument, an extent; else start, start + step, ... before stop. int32 by default, or
    float32 where an argument is no integer. numpy.arange."""
    if stop is None and step == 1 and not isinstance(start, float):
        return apply(Iota((extent(start),), 0, dtype or "int32"))
    low, high = (0, start) if stop is None else (start, stop)
    if step == 0 or isinstance(low, (str, Dim)) or isinstance(high, (str, Dim)):
        raise ShapeError(f"arange({start!r}, {stop!r}, {step!r}): bounds are numbers, and the step is not 0")
    kind = dtype or ("int32" if all(isinstance(v, (int, np.integer)) for v in (low, high, step)) else "float32")
    return constant(np.arange(low, high, step).astype(check_dtype(kind)))


@located
def linspace(start: float, stop: float, num: int, endpoint: bool = True, dtype: str = "float32") -> Node:
    """`num` numbers at equal distances from `start` to `stop`, which is the last one, or would be the next.
    numpy.linspace."""
    return constant(np.linspace(start, stop, num, endpoint).astype(check_dtype(dtype)))


# ---------------------------------------------------------------------------------------- filled arrays


@located
def full(shape: Iterable[object], value: float | bool, dtype: str | None = None) -> Node:
    """`shape` filled with one number; dtype as that of a constant."""
    return broadcast_to(constant(value, dtype), (shape,) if isinstance(shape, (int, str, Dim)) else shape)


def zeros(shape: Iterable[object], dtype: str = "float32") -> Node:
    """`shape` filled with zeros."""
    return full(shape, 0, dtype)


def ones(shape: Iterable[object], dtype: str = "float32") -> Node:
    """`shape` filled with ones."""
    return full(shape, 1, dtype)


def full_like(x: Node, value: float | bool) -> Node:
    """One number in the shape and dtype of `x`."""
    return full(x.shape, value, x.dtype)


def zeros_like(x: Node) -> Node:
    """Zeros in the shape and dtype of `x`."""
    return full_like(x, 0)


def ones_like(x: Node) -> Node:
    """Ones in the shape and dtype of `x`."""
    return full_like(x, 1)


# ------------------------------------------------------------------------------------------- triangles


def _on_or_below(rows: Extent, columns: Extent, k: int) -> Node:
    """True at (i, j) where j <= i + k."""
    shape = (rows, columns)
    return le(apply(Iota(shape, 1)), add(apply(Iota(shape, 0)), k))


@located
def tril(x: Node, k: int = 0) -> Node:
    """The last two axes with zeros above diagonal number k. numpy.tril."""
    if x.rank < 2:
        raise ShapeError(f"tril needs at least two axes, not those of {x!r}")
    return where(_on_or_below(x.shape[-2], x.shape[-1], k), x, constant(0, x.dtype))


@located
def triu(x: Node, k: int = 0) -> Node:
    """The last two axes with zeros below diagonal number k. numpy.triu."""
    if x.rank < 2:
        raise ShapeError(f"triu needs at least two axes, not those of {x!r}")
    return where(_on_or_below(x.shape[-2], x.shape[-1], k - 1), constant(0, x.dtype), x)


@located
def eye(n: Extent | str, m: Extent | str | None = None, k: int = 0, dtype: str = "float32") -> Node:
    """n rows and m columns (n by default) with ones on diagonal number k. numpy.eye."""
    shape = (extent(n), extent(n if m is None else m))
    hit = eq(apply(Iota(shape, 1)), add(apply(Iota(shape, 0)), k))
    return hit if dtype == "bool" else cast(hit, dtype)


@located
def meshgrid(*xs: Node, indexing: str = "xy") -> list[Node]:
    """Vectors as arrays over all of them, each varying along an axis of its own; "xy" swaps the first two, "ij"
    does not. numpy.meshgrid."""
    if indexing not in ("xy", "ij") or any(x.rank != 1 for x in xs):
        raise ShapeError(f'meshgrid takes vectors and indexing "xy" or "ij", not {indexing!r} of {xs}')
    order = list(range(len(xs)))
    if indexing == "xy" and len(xs) > 1:
        order[:2] = [1, 0]
    shape = tuple(xs[a].shape[0] for a in order)
    return [
        broadcast_to(reshape(x, tuple(e if order[a] == k else 1 for a, e in enumerate(shape))), shape)
        for k, x in enumerate(xs)
    ]
