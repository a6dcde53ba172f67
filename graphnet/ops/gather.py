"""Elements by integer nodes: `take` reads them, `scatter` puts others in their place.

Indices count from the end where they are negative; then those that are out of range are moved to the nearest place
(as JAX clamps them): no index reads or writes outside of memory, on any target.

Both ops have one picture. `axis` is the axis of x that indices run along. They are the same for every position along
the others, except along the axes `shared`, which the indices have too:

    x (A, N, B), indices (U, V):                 take[a, u, v, b] = x[a, indices[u, v], b]
    x (A, N, B), indices (A, U), shared (0,):    take[a, u, b]    = x[a, indices[a, u], b]
    x (A, N, B), indices (A, U, B), shared (0, 2): take[a, u, b]  = x[a, indices[a, u, b], b]

The indices may cover less of a shared axis than x has; so does the result then. Updates of `scatter` are laid out as
the result of `take`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.compute import Axis, Stage, axis
from codegen.expr import Expr, Var, const, lift, maximum, minimum, select
from codegen.expr import binary as binary_expr
from codegen.expr import cast as cast_expr
from codegen.loops import If, Let, Stmt, loop

from ..errors import DTypeError, ShapeError
from ..node import Node, apply, constant
from ..op import Op, Operand, Sample, Serial, Target
from ..types import STORAGE, Extent, Shape, Type, size
from .broadcast import broadcast_to, reshape
from .compare import eq, gt, where
from .elementwise import cast
from .move import all_of
from .positions import arange

REDUCTIONS = {"none": "", "add": "add", "mul": "mul", "max": "max", "min": "min"}  # name: operation on two elements


def position(i: Expr, extent: int) -> Expr:
    """The place along an axis that an index of any integer dtype names."""
    at = cast_expr(i, "i64")
    return minimum(maximum(select(at < 0, at + extent, at), 0), extent - 1)


def positions(i: np.ndarray, extent: int) -> np.ndarray:
    """The same by NumPy."""
    wide = np.asarray(i, dtype=np.int64)
    return np.clip(np.where(wide < 0, wide + extent, wide), 0, extent - 1)


@dataclass(frozen=True)
class Indexed(Op):
    """What take and scatter share: see the module."""

    axis: int
    shared: tuple[int, ...] = ()

    def check(self, x: Type, indices: Type) -> Shape:
        """The shape of the result of take, which that of updates must be."""
        if not indices.is_integer:
            raise DTypeError(f"indices are integers such as int32, not {indices.dtype}")
        if not 0 <= self.axis < x.rank or any(not 0 <= a < x.rank or a == self.axis for a in self.shared):
            raise ShapeError(f"axis {self.axis} and shared axes {self.shared} do not fit {x}")
        own = indices.rank - len(self.shared)
        if own < 0:
            raise ShapeError(f"indices {indices} lack some of the {len(self.shared)} axes that they share with {x}")
        before, mine, after = self.parts(x.rank, own)
        shape: list[Extent] = [indices.shape[k] if k is not None else x.shape[a] for a, k in before]
        shape += [indices.shape[k] for k in mine]
        shape += [indices.shape[k] if k is not None else x.shape[a] for a, k in after]
        for a, k in (*before, *after):
            if k is not None:
                e, n = indices.shape[k], x.shape[a]
                if e != n and not (isinstance(e, int) and isinstance(n, int) and e < n):
                    raise ShapeError(f"indices {indices} have {e} positions along axis {a} of {x}, which has {n}")
        if x.shape[self.axis] == 0 and not any(e == 0 for e in shape):
            raise ShapeError(f"axis {self.axis} of {x} has no elements to index")
        return tuple(shape)

    def parts(
        self, rank: int, own: int
    ) -> tuple[list[tuple[int, int | None]], list[int], list[tuple[int, int | None]]]:
        """The axes of x before `axis`, each with the axis of the indices that it shares; those of the indices' own;
        the axes of x after."""
        first = [a for a in range(self.axis) if a in self.shared]
        mine = list(range(len(first), len(first) + own))
        last = [a for a in range(self.axis + 1, rank) if a in self.shared]
        number = {a: k for k, a in enumerate(first)} | {a: len(first) + own + k for k, a in enumerate(last)}
        before = [(a, number.get(a)) for a in range(self.axis)]
        return before, mine, [(a, number.get(a)) for a in range(self.axis + 1, rank)]

    def place(self, index: Sequence[Expr], x: Operand, indices: Operand) -> tuple[Expr, ...]:
        """Where in x the element at `index` of take's result lies."""
        own = len(indices.shape) - len(self.shared)
        before, mine, after = self.parts(len(x.shape), own)
        at: list[Expr] = [lift(0, "i64")] * len(indices.shape)
        for m, i in zip(mine, index[self.axis :], strict=False):
            at[m] = i
        kept = [*index[: self.axis], *index[self.axis + own :]]
        for (_, k), i in zip((*before, *after), kept, strict=True):
            if k is not None:
                at[k] = i
        return (*kept[: self.axis], position(indices(*at), x.shape[self.axis]), *kept[self.axis :])

    def places(self, x: np.ndarray, indices: np.ndarray) -> tuple[np.ndarray, ...]:
        """The same for all elements at once, by NumPy: a key of x."""
        own = indices.ndim - len(self.shared)
        before, mine, after = self.parts(x.ndim, own)
        order = [(x.shape[a], k) for a, k in before] + [(0, k) for k in mine] + [(x.shape[a], k) for a, k in after]
        shape = [n if k is None else indices.shape[k] for n, k in order]
        grid = list(np.indices(shape, sparse=True)) if shape else []
        spread = indices.reshape([1 if k is None else indices.shape[k] for _, k in order])
        found = positions(spread, x.shape[self.axis])
        return (*grid[: self.axis], found, *grid[self.axis + own :])


@dataclass(frozen=True)
class Take(Indexed):
    """Elements of x by integer indices along an axis; differentiable in x. numpy.take, numpy.take_along_axis."""

    name = "take"
    kind = "move"

    def infer(self, x: Type, indices: Type) -> Type:
        return x.with_shape(self.check(x, indices))

    def evaluate(self, x: np.ndarray, indices: np.ndarray) -> np.ndarray:
        key = self.places(x, indices)
        shape = np.broadcast_shapes(*(k.shape for k in key))
        return np.array(x[key], order="C") if x.size else np.zeros(shape, dtype=x.dtype)

    def body(self, index: tuple[Expr, ...], x: Operand, indices: Operand) -> Expr:
        if 0 in x.shape:
            return const(0, x.dtype)
        return x(*self.place(index, x, indices))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        x, indices = node.inputs
        zeros = broadcast_to(constant(0, x.dtype), x.shape)
        return scattered(Scatter(self.axis, self.shared, "add"), zeros, indices, cotangent), None

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(1), ((2, 3, 4), (5,)), ("float", "int32"), low=-3, high=3)
        yield Sample(cls(0), ((3, 2), (2, 2)), ("float", "int64"), low=-5, high=5)
        yield Sample(cls(1, (0, 2)), ((2, 4, 3), (2, 5, 3)), ("float", "int32"), low=-3, high=3)
        yield Sample(cls(1, (0,)), ((2, 4, 3), (1, 2, 2)), ("float", "int32"), low=-3, high=3)
        yield Sample(cls(0), ((3,), ()), ("int32", "int32"), low=-3, high=3, differentiable=False)
        yield Sample(cls(0), ((3, 2), (0,)), ("float", "int32"), low=0, high=3)


@dataclass(frozen=True)
class Scatter(Indexed):
    """data with updates in the places that indices name, in the order of memory: put there (the last one stays), or
    combined with what is there. Derivatives: of what stays; of extremes, in equal parts to what is equal to them."""

    name = "scatter"
    kind = "serial"
    reduction: str = "none"

    def infer(self, data: Type, indices: Type, updates: Type) -> Type:
        if self.reduction not in REDUCTIONS:
            raise ShapeError(f"reduction {self.reduction!r}; there are {', '.join(REDUCTIONS)}")
        wanted = self.check(data, indices)
        if updates.shape != wanted or updates.dtype != data.dtype:
            raise ShapeError(f"updates {updates} for {data} and indices {indices}: expected {data.with_shape(wanted)}")
        if self.reduction != "none" and data.dtype == "bool":
            raise DTypeError(f"scatter with reduction {self.reduction!r} of bool; use gn.cast(x, 'int32') first")
        if self.reduction in ("add", "mul") and data.dtype in STORAGE:
            raise DTypeError(
                f"scatter with reduction {self.reduction!r} would round {data.dtype} at each update; "
                "use gn.cast(x, 'float32') first"
            )
        return data

    def evaluate(self, data: np.ndarray, indices: np.ndarray, updates: np.ndarray) -> np.ndarray:
        out = data.copy()
        if not updates.size:
            return out
        key = tuple(k.reshape(-1) for k in np.broadcast_arrays(*self.places(data, indices)))
        if self.reduction == "none":
            for at, value in zip(zip(*key, strict=True), updates.reshape(-1), strict=True):
                out[at] = value
        else:
            ufunc = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[self.reduction]
            ufunc.at(out, key, updates.reshape(-1))
        return out

    def serial(self, output: Target, data: Operand, indices: Operand, updates: Operand) -> Serial:
        others = [a for a in range(len(data.shape)) if a != self.axis]
        axes = {a: axis(f"p{a}", data.shape[a]) for a in others}
        before, after = ([v.var for a, v in axes.items() if (a < self.axis) == first] for first in (True, False))
        row = axis("row", data.shape[self.axis])
        here = (*before, row.var, *after)
        stages = [Stage(row, (output.store(here, data(*here)),))]
        if 0 not in updates.shape:
            stages.append(self._updates(output, data, indices, updates, (before, after)))
        return Serial(tuple(axes.values()), tuple(stages))

    def _updates(
        self, output: Target, data: Operand, indices: Operand, updates: Operand, around: tuple[list[Var], list[Var]]
    ) -> Stage:
        before, after = around
        own = len(indices.shape) - len(self.shared)
        mine = [axis(f"u{k}", e) for k, e in enumerate(updates.shape[self.axis : self.axis + own])]
        index = (*before, *(a.var for a in mine), *after)
        place = self.place(index, data, indices)
        at = Var("at")
        target = (*before, at, *after)
        new: Expr = updates(*index)
        if self.reduction != "none":
            new = binary_expr(REDUCTIONS[self.reduction], output(*target), new)
        body: tuple[Stmt, ...] = (Let(at, place[self.axis]), output.store(target, new))
        covered = [e for k, e in enumerate(updates.shape) if not self.axis <= k < self.axis + own]
        whole = [e for a, e in enumerate(data.shape) if a != self.axis]
        beyond = [v < e for v, e, n in zip((*before, *after), covered, whole, strict=True) if e < n]
        if beyond:
            body = (If(all_of(beyond), body),)
        first, *inner = mine or [_once()]
        for a in reversed(inner):
            body = (loop("serial", a.var, 0, a.extent, *body),)
        return Stage(first, body)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        data, indices, updates = node.inputs
        dtype = data.dtype
        at = Take(self.axis, self.shared)

        def put(reduction: str, into: Node, values: Node) -> Node:
            return scattered(Scatter(self.axis, self.shared, reduction), into, indices, values)

        def filled(value: Any, like: Node) -> Node:
            return broadcast_to(constant(value, like.dtype), like.shape)

        if self.reduction == "add":
            return cotangent, None, apply(at, cotangent, indices)
        if self.reduction == "none":
            numbers = _numbers(updates.shape)
            last = apply(at, put("none", broadcast_to(constant(-1, "int32"), data.shape), numbers), indices)
            stays = where(eq(last, numbers), apply(at, cotangent, indices), 0.0)
            return put("none", cotangent, filled(0, updates)), None, stays
        if self.reduction == "mul":
            # The product of the others: of all that are not zero, unless another one is zero.
            def rest(x: Node, zeros: Node, product: Node) -> Node:
                mine = eq(x, 0.0)
                return where(gt(zeros, cast(mine, dtype)), 0.0, product / where(mine, 1.0, x))

            zeros = put("add", cast(eq(data, 0.0), dtype), cast(eq(updates, 0.0), dtype))
            product = put("mul", where(eq(data, 0.0), 1.0, data), where(eq(updates, 0.0), 1.0, updates))
            there = [apply(at, n, indices) for n in (zeros, product, cotangent)]
            return cotangent * rest(data, zeros, product), None, there[2] * rest(updates, there[0], there[1])
        mine = cast(eq(data, node), dtype)
        theirs = cast(eq(updates, apply(at, node, indices)), dtype)
        share = cotangent / put("add", mine, theirs)
        return share * mine, None, apply(at, share, indices) * theirs

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        kinds = ("float", "int32", "float")
        yield Sample(cls(0, (), "add"), ((3, 4), (5,), (5, 4)), kinds, low=-3, high=3)
        yield Sample(cls(0), ((4, 3), (2, 2), (2, 2, 3)), kinds, low=-5, high=5)
        yield Sample(cls(1, (0, 2), "mul"), ((2, 4, 3), (2, 5, 3), (2, 5, 3)), kinds, low=-3, high=3)
        yield Sample(cls(1, (0, 2), "max"), ((2, 3, 3), (1, 2, 2), (1, 2, 2)), kinds, distinct=True, low=-3, high=3)
        yield Sample(cls(0, (), "min"), ((3,), (4,), (4,)), kinds, distinct=True, low=-3, high=3)
        yield Sample(cls(0, (), "add"), ((2,), (), ()), ("int32",) * 3, low=-3, high=3, differentiable=False)
        yield Sample(cls(0), ((3, 2), (0,), (0, 2)), kinds, low=0, high=3)


def scattered(op: Scatter, data: Node, indices: Node, updates: Node) -> Node:
    """`op` of these; sums and products of float16 and bfloat16 are computed in float32, and rounded once."""
    if op.reduction in ("add", "mul") and data.dtype in STORAGE:
        return cast(apply(op, cast(data, "float32"), indices, cast(updates, "float32")), data.dtype)
    return apply(op, data, indices, updates)


def _once() -> Axis:
    return axis("once", 1)


def _numbers(shape: Shape) -> Node:
    """Each element's number in the order of memory."""
    return reshape(arange(size(shape)), shape)
