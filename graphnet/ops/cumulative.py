"""Sums and products from the start of an axis on, and the recurrence that is their gradients: one step after another
along the axis, at each position of the others. float16 to float32 accumulate in float64, and are rounded where they
are stored."""

from __future__ import annotations

import builtins
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from codegen.compute import Axis, Stage, axis
from codegen.expr import Buffer, Expr, Fma, Var, lift
from codegen.expr import binary as binary_expr
from codegen.expr import cast as cast_expr
from codegen.loops import Let, store

from ..errors import DTypeError, ShapeError
from ..node import Node, apply
from ..op import Op, Operand, Sample, Serial, Target
from ..site import located
from ..types import Type, elements, normalise_axes
from .move import Pad, slice
from .rearrange import roll


def exact(dtype: str) -> str:
    """The dtype in which codegen's `dtype` accumulates."""
    return "f64" if dtype == "f32" else dtype


@dataclass(frozen=True)
class Along(Op):
    """Base: one step after another along `axis`, from the end if `reverse`."""

    kind = "serial"
    axis: int
    reverse: bool = False

    def check(self, x: Type) -> Type:
        if not 0 <= self.axis < x.rank:
            raise ShapeError(f"axis {self.axis} is out of range for {x}")
        if x.dtype == "bool":
            raise DTypeError(f"{self.name} of bool; use gn.cast(x, 'int32') first")
        return x

    def points(self, output: Target) -> tuple[list[Axis], tuple[Expr, ...], Var]:
        """The axes of the points, the index of the current step, and the number of the step."""
        step = Var("step")
        extent = output.shape[self.axis]
        here: Expr = lift(extent - 1, "i64") - step if self.reverse else step
        axes = [axis(f"p{a}", e) for a, e in enumerate(output.shape) if a != self.axis]
        index: list[Expr] = [a.var for a in axes]
        index.insert(self.axis, here)
        return axes, tuple(index), step

    def flops(self, output: Type, *inputs: Type) -> int:
        return len(inputs) * elements(output)


@dataclass(frozen=True)
class Cumulative(Along):
    """Base of cumsum and cumprod."""

    exclusive: bool = False
    operation: ClassVar[str]
    first: ClassVar[int]

    def infer(self, x: Type) -> Type:
        return self.check(x)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        ufunc = {"add": np.add, "mul": np.multiply}[self.operation]
        y = np.flip(x, self.axis) if self.reverse else x
        y = ufunc.accumulate(y, self.axis, dtype=np.float64 if x.dtype.kind == "f" else x.dtype)
        if self.exclusive:
            y = np.roll(y, 1, self.axis)
            y[(builtins.slice(None),) * self.axis + (builtins.slice(0, 1),)] = self.first
        return np.ascontiguousarray(np.flip(y, self.axis) if self.reverse else y).astype(x.dtype)

    def serial(self, output: Target, x: Operand) -> Serial:
        axes, index, step = self.points(output)
        own = Buffer("total", exact(x.dtype), (1,), "local")
        total = Var("so_far", own.dtype)
        after = Var("with_this", own.dtype)
        body = (
            Let(total, own[0]),
            Let(after, binary_expr(self.operation, total, cast_expr(x(*index), own.dtype))),
            store(own, (0,), after),
            output.store(index, cast_expr(total if self.exclusive else after, output.dtype)),
        )
        begin = Stage(axis("once", 1), (store(own, (0,), self.first),))
        return Serial(tuple(axes), (begin, Stage(axis(step.name, output.shape[self.axis]), body)))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(1), ((2, 4, 3),), low=0.5)
        yield Sample(cls(1, True), ((3, 4),), low=0.5)
        yield Sample(cls(0, False, True), ((4, 3),), low=0.5)
        yield Sample(cls(0, True, True), ((4,),), low=0.5)
        yield Sample(cls(1), ((2, 0),), differentiable=False)
        yield Sample(cls(0), ((4, 3),), ("int32",), low=-4, high=5, differentiable=False)


@dataclass(frozen=True)
class CumSum(Cumulative):
    """y[i] = x[0] + ... + x[i] along an axis; from the end if `reverse`, without x[i] itself if `exclusive`."""

    name = "cumsum"
    operation = "add"
    first = 0

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (apply(CumSum(self.axis, not self.reverse, self.exclusive), cotangent),)


@dataclass(frozen=True)
class CumProd(Cumulative):
    """y[i] = x[0] * ... * x[i] along an axis; from the end if `reverse`, without x[i] itself if `exclusive`. The
    derivative is right where elements are 0 too: dx[i] = (product before i) * r[i], r[i] = dy[i] + x[i+1] r[i+1]."""

    name = "cumprod"
    operation = "mul"
    first = 1

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        before = apply(CumProd(self.axis, self.reverse, True), x)
        dy = _following(cotangent, self.axis, self.reverse) if self.exclusive else cotangent
        back = apply(LinearRecurrence(self.axis, not self.reverse), _shifted(x, self.axis, self.reverse), dy)
        return (before * back,)


@dataclass(frozen=True)
class LinearRecurrence(Along):
    """y[i] = a[i] y[i-1] + b[i] along an axis, y[0] = b[0]; from the end if `reverse`."""

    name = "linear_recurrence"

    def infer(self, a: Type, b: Type) -> Type:
        if a != b:
            raise ShapeError(f"linear_recurrence: factors {a} and summands {b} differ")
        if not a.is_float:
            raise DTypeError(f"linear_recurrence takes floats, not {a.dtype}; convert with gn.cast")
        return self.check(a)

    def evaluate(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        turned = [np.moveaxis(v, self.axis, 0)[:: -1 if self.reverse else 1].astype(np.float64) for v in (a, b)]
        y = turned[1].copy()
        for i in range(1, len(y)):
            y[i] += turned[0][i] * y[i - 1]
        return np.ascontiguousarray(np.moveaxis(y[:: -1 if self.reverse else 1], 0, self.axis)).astype(a.dtype)

    def serial(self, output: Target, a: Operand, b: Operand) -> Serial:
        axes, index, step = self.points(output)
        own = Buffer("last", exact(a.dtype), (1,), "local")
        new = Var("new", own.dtype)
        wide = [cast_expr(v(*index), own.dtype) for v in (a, b)]
        here = output.store(index, cast_expr(new, output.dtype))
        extent = output.shape[self.axis]
        begin = Stage(axis(step.name, min(1, extent)), (Let(new, wide[1]), store(own, (0,), new), here))
        body = (Let(new, Fma(wide[0], own[0], wide[1])), store(own, (0,), new), here)
        return Serial(tuple(axes), (begin, Stage(axis(step.name, extent, min(1, extent)), body)))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        a, _ = node.inputs
        back = apply(LinearRecurrence(self.axis, not self.reverse), _shifted(a, self.axis, self.reverse), cotangent)
        return back * _following(node, self.axis, not self.reverse), back

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(0), ((4, 3), (4, 3)))
        yield Sample(cls(1, True), ((2, 4), (2, 4)))


def _shifted(x: Node, axis_: int, reverse: bool) -> Node:
    """x[i+1] at i, or x[i-1] if `reverse`; what is at the end is not read."""
    return roll(x, 1 if reverse else -1, axis_)


def _following(x: Node, axis_: int, reverse: bool) -> Node:
    """x[i+1] at i, or x[i-1] if `reverse`; 0 at the end."""
    if x.shape[axis_] == 0:
        return x
    first, last = (0, 1) if reverse else (1, 0)
    at = [a == axis_ for a in range(x.rank)]
    cut = slice(x, [first * on for on in at], [e - last * on for e, on in zip(x.shape, at, strict=True)])
    return apply(Pad(tuple(last * on for on in at), tuple(first * on for on in at), (0,) * x.rank), cut)


# ------------------------------------------------------------------------------------------ for users


@located
def cumsum(x: Node, axis: int, exclusive: bool = False, reverse: bool = False) -> Node:
    """The sum of all elements up to each one along `axis`. numpy.cumsum; ONNX CumSum. Integers keep their dtype."""
    (a,) = normalise_axes(axis, x.rank)
    return apply(CumSum(a, bool(reverse), bool(exclusive)), x)


@located
def cumprod(x: Node, axis: int, exclusive: bool = False, reverse: bool = False) -> Node:
    """The product of all elements up to each one along `axis`. numpy.cumprod."""
    (a,) = normalise_axes(axis, x.rank)
    return apply(CumProd(a, bool(reverse), bool(exclusive)), x)


@located
def linear_recurrence(a: Node, b: Node, axis: int, reverse: bool = False) -> Node:
    """y[i] = a[i] y[i-1] + b[i] along `axis`, such as moving averages: y[0] = b[0]."""
    (n,) = normalise_axes(axis, a.rank)
    return apply(LinearRecurrence(n, bool(reverse)), a, b)
