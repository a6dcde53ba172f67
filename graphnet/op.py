"""The contract of an op: everything about it in one frozen dataclass, whose fields are its attributes.

    infer      types of the inputs -> type of the output; raises ShapeError or DTypeError
    evaluate   NumPy reference, independent of `body`: the op's meaning
    body       the value at one index of the output, in index notation: what is lowered and fused
    tile       instead of `body`, for transforms: many elements of the output at once
    serial     instead of `body`, where one element depends on another: loops that read and write the output
    graph      instead of `body`, for composite ops: the op as a graph of others
    gradient   cotangents of the inputs, as graph nodes
    samples    inputs that drive the generated tests and docs

Subclasses register themselves by `name`; `gn.<name>(*inputs, **attributes)` follows from that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from codegen.compute import Axis, Reduce, Stage
from codegen.expr import Expr, Var
from codegen.loops import Store

from .errors import GradientError
from .types import Type, elements

if TYPE_CHECKING:
    from .node import Node

# What fusion, cost and colour depend on:
#   leaf         no inputs from the graph
#   elementwise  one output point from the same point of each input
#   move         one output point from one input point (or a constant); no arithmetic
#   reduce       folds axes away
#   contract     sum of products of two inputs: matmul, convolution and its gradients
#   window       folds or spreads small windows: pooling and its gradients
#   transform    tiles of the input to tiles of the output, by `tile`
#   serial       loops with an order, by `serial`: scatter, cumulative sums, sorting
#   random       a function of key and index
#   composite    defined by `graph`
KINDS = ("leaf", "elementwise", "move", "reduce", "contract", "window", "transform", "serial", "random", "composite")

OPS: dict[str, type[Op]] = {}


class Operand:
    """An input as `body` sees it: call it with an index to get the element there."""

    dtype: str  # codegen's name, "f32"
    shape: tuple[int, ...]

    def __call__(self, *index: Expr) -> Expr:
        raise NotImplementedError


class Target(Operand):
    """The output as `serial` sees it: its elements can also be stored."""

    def store(self, index: Sequence[Expr], value: Expr) -> Store:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Sample:
    """Inputs for the generated tests of one op.

    shapes: of the inputs; dtypes: of the inputs, "float" standing for float64 and float32 in turn;
    low, high: the range of the random values (integers: low <= x < high); differentiable: whether
    the op is smooth there, so that finite differences mean something; distinct: values that differ by
    at least 1e-2 from each other, for ops with ties."""

    op: Op
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[str, ...] = ()
    low: float = -2.0
    high: float = 2.0
    differentiable: bool = True
    distinct: bool = False

    def input_dtypes(self, float_dtype: str) -> tuple[str, ...]:
        given = self.dtypes or ("float",) * len(self.shapes)
        return tuple(float_dtype if d == "float" else d for d in given)


@dataclass(frozen=True, slots=True)
class Point:
    """One element that a tile computes: its index, its value, and when it exists (always, if None)."""

    index: tuple[Expr, ...]
    value: Expr
    valid: Expr | None = None


@dataclass(frozen=True, slots=True)
class Tile:
    """Many elements of the output at once, for ops whose elements share intermediate values (`lets`):
    what is computed at each point of `axes`, which are in the order of memory. After `stages`, if there are any,
    which leave their results in memory of the tile's own; and for each value of `inner`, if there is one."""

    axes: tuple[Axis, ...]
    lets: tuple[tuple[Var, Expr], ...]
    points: tuple[Point, ...]
    stages: tuple[Stage, ...] = ()
    inner: Axis | None = None


@dataclass(frozen=True, slots=True)
class Serial:
    """At each point of `axes`, `stages` one after the other. They read and write elements of the output that no other
    point touches, and may keep numbers in memory of the point's own: buffers of the space "local"."""

    axes: tuple[Axis, ...]
    stages: tuple[Stage, ...]


@dataclass(frozen=True)
class Op:
    """Base of all ops. See the module's docstring for the contract."""

    name: ClassVar[str] = ""
    kind: ClassVar[str] = "elementwise"
    index_names: ClassVar[str] = ""  # names of the output's axes in kernels, such as "nkpq"

    def __init_subclass__(cls, **kw: Any) -> None:
        super().__init_subclass__(**kw)
        if cls.__dict__.get("name"):
            if cls.kind not in KINDS:
                raise TypeError(f"op {cls.name}: unknown kind {cls.kind!r}")
            OPS[cls.name] = cls

    def infer(self, *inputs: Type) -> Type:
        raise NotImplementedError(f"op {self.name} has no infer")

    def evaluate(self, *inputs: np.ndarray) -> np.ndarray:
        raise NotImplementedError(f"op {self.name} has no evaluate")

    def body(self, index: tuple[Expr, ...], *inputs: Operand) -> Expr | Reduce:
        raise NotImplementedError(f"op {self.name} has no body")

    def blocks(self, output: Type, *inputs: Type) -> dict[int, int]:
        """Axes of the output whose index `body` divides, and by what, for concrete types: a kernel runs over the
        quotient and the remainder as two axes, so that both are plain."""
        return {}

    def tile(self, *inputs: Operand) -> Tile:
        raise NotImplementedError(f"op {self.name} has no tile")

    def serial(self, output: Target, *inputs: Operand) -> Serial:
        raise NotImplementedError(f"op {self.name} has no serial")

    def graph(self, *inputs: Node) -> Node:
        raise NotImplementedError(f"op {self.name} has no graph")

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        """Cotangents of the inputs; None where the output does not depend smoothly on one."""
        raise GradientError(f"{self.name} has no derivative")

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        return ()

    def room(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The extents of the memory of a result, axis by axis: more than `shape` where a gap keeps rows or matrices off
        the same few sets of a cache. A graph's results have none."""
        return shape

    def flops(self, output: Type, *inputs: Type) -> int:
        """Arithmetic operations for concrete types; a multiply-add counts as two."""
        return elements(output) if self.kind == "elementwise" else 0

    def attributes(self) -> dict[str, Any]:
        return {f.name: getattr(self, f.name) for f in fields(self)}


@dataclass(frozen=True)
class SeveralResults(Op):
    """Base of the ops with several results. Each is a node of its own; those on the same inputs whose ops differ in
    `result` alone are computed together, and differentiated together by `gradients`."""

    result: int

    def gradients(self, inputs: tuple[Node, ...], cotangents: Mapping[int, Node]) -> Sequence[Node | None]:
        """Cotangents of the inputs, given those of some results."""
        raise GradientError(f"{self.name} has no derivative")

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return self.gradients(node.inputs, {self.result: cotangent})
