"""Positions as values (iota, one_hot), and indexing by NumPy's rules, which is slices, flips and reshapes."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.dtypes import FROM_NUMPY
from codegen.expr import Expr, const, select
from codegen.expr import cast as cast_expr
from codegen.expr import eq as eq_expr

from ..errors import DTypeError, GraphnetError, ShapeError
from ..node import Node, apply
from ..op import Op, Operand, Sample
from ..site import located
from ..types import Extent, Shape, Type, check_dtype, concrete, extent, normalise_axes
from .broadcast import reshape
from .move import flip, slice


@dataclass(frozen=True)
class OneHot(Op):
    """labels (...) of integers -> (..., classes): 1 at the label, else 0; all 0 for a label that is not
    a class."""

    name = "one_hot"
    kind = "move"
    classes: int
    dtype: str = "float32"

    def infer(self, labels: Type) -> Type:
        if labels.is_float or labels.dtype == "bool":
            raise DTypeError(f"labels must be integers such as int32, not {labels.dtype}")
        if not isinstance(self.classes, int) or self.classes < 1:
            raise ShapeError(f"classes must be an integer >= 1, not {self.classes!r}")
        return Type(check_dtype(self.dtype), (*labels.shape, self.classes))

    def evaluate(self, labels: np.ndarray) -> np.ndarray:
        return (labels[..., None] == np.arange(self.classes)).astype(self.dtype)

    def body(self, index: tuple[Expr, ...], labels: Operand) -> Expr:
        hit = eq_expr(cast_expr(labels(*index[:-1]), "i64"), index[-1])
        dtype = FROM_NUMPY[self.dtype]
        return select(hit, const(1, dtype), const(0, dtype))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (None,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(4), ((3, 2),), dtypes=("int32",), low=-1, high=6, differentiable=False)


@located
def one_hot(labels: Node, classes: int, dtype: str = "float32") -> Node:
    """Integer labels (...) -> (..., classes), 1 at the label, else 0."""
    return apply(OneHot(classes, dtype), labels)


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
def arange(n: Extent | str, dtype: str = "int32") -> Node:
    """0, 1, ... n - 1."""
    return apply(Iota((extent(n),), 0, dtype))


# ----------------------------------------------------------------------------------------- reshapes


def flatten(x: Node, start: int = 1) -> Node:
    """All axes from `start` on as one."""
    return reshape(x, (*x.shape[:start], -1))


@located
def expand_dims(x: Node, axis: int) -> Node:
    """A new axis of extent 1 at `axis`."""
    (a,) = normalise_axes(axis, x.rank + 1)
    return reshape(x, (*x.shape[:a], 1, *x.shape[a:]))


@located
def squeeze(x: Node, axis: int | tuple[int, ...]) -> Node:
    """Without the axes `axis`, which must have extent 1."""
    axes = normalise_axes(axis, x.rank)
    for a in axes:
        if x.shape[a] != 1:
            raise ShapeError(f"squeeze: axis {a} of {x!r} has extent {x.shape[a]}, not 1")
    return reshape(x, tuple(e for a, e in enumerate(x.shape) if a not in axes))


# -------------------------------------------------------------------------------------------- x[key]


@located
def index(x: Node, key: Any) -> Node:
    """x[key] for integers, slices, None and Ellipsis, as NumPy."""
    keys = list(key) if isinstance(key, tuple) else [key]
    used = sum(k is not None and k is not Ellipsis for k in keys)
    if used > x.rank:
        raise ShapeError(f"{used} indices for {x!r} of rank {x.rank}")
    dots = [a for a, k in enumerate(keys) if k is Ellipsis]
    if len(dots) > 1:
        raise ShapeError(f"an index has at most one Ellipsis: {key!r}")
    whole = builtins.slice(None)
    at = dots[0] if dots else len(keys)
    keys[at : at + 1] = [whole] * (x.rank - used)

    starts: list[Extent] = []
    stops: list[Extent | None] = []
    steps: list[int] = []
    flips: list[int] = []
    shape: list[Extent] = []  # the shape with integers dropped and None added
    for k in keys:
        if k is None:
            shape.append(1)
            continue
        a = len(starts)
        e = x.shape[a]
        if isinstance(k, builtins.slice):
            start, stop, step = _bounds(k, e, a)
            if step < 0:
                flips.append(a)
            starts.append(start)
            stops.append(stop)
            steps.append(abs(step))
            shape.append((stop - start + abs(step) - 1) // abs(step))
        elif isinstance(k, (int, np.integer)) and not isinstance(k, bool):
            i = int(k)
            if isinstance(e, int) and not -e <= i < e:
                raise ShapeError(f"index {i} is out of range for axis {a} of {x!r}")
            first = e + i if i < 0 else i
            starts.append(first)
            stops.append(first + 1)
            steps.append(1)
        else:
            raise GraphnetError(f"cannot index {x!r} with {k!r}; integers, slices, None and ... are understood")
    out = slice(x, starts, stops, steps)
    if flips:
        out = flip(out, tuple(flips))
    return reshape(out, shape)


def _position(i: int, e: Extent) -> Extent:
    """A bound of a slice: negative ones count from the end, and all are clipped as NumPy does where
    the extent is known."""
    at = e + i if i < 0 else i
    return min(max(at, 0), e) if isinstance(at, int) and isinstance(e, int) else at


def _bounds(k: builtins.slice, e: Extent, axis: int) -> tuple[Extent, Extent, int]:
    """Start and stop in increasing order, and the step; a negative step then flips the result."""
    if any(not (b is None or isinstance(b, (int, np.integer))) for b in (k.start, k.stop, k.step)):
        raise ShapeError(f"the bounds of a slice are integers, not {k}")
    step = 1 if k.step is None else int(k.step)
    if step == 0:
        raise ShapeError(f"the step of a slice on axis {axis} is 0")
    given = [None if b is None else int(b) for b in (k.start, k.stop)]
    if step > 0:
        start = 0 if given[0] is None else _position(given[0], e)
        stop = e if given[1] is None else _position(given[1], e)
        if isinstance(start, int) and isinstance(stop, int):
            stop = max(start, stop)
        return start, stop, step
    if isinstance(e, int):
        hit = range(e)[k]
        return (hit[-1], hit[0] + 1, step) if len(hit) else (0, 0, step)
    if step != -1 or given != [None, None]:
        raise ShapeError(f"a slice with a negative step on axis {axis} of symbolic extent {e} must be [::-1]")
    return 0, e, step
