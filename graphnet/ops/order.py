"""The order of elements: `merge_order` along an axis, by merging runs of doubling length, and `searchsorted`.

The order is stable: equal elements stay in the order of their places. NaN is greater than all numbers, as NumPy and
PyTorch have it: last in ascending order, first in descending order. Rows are sorted in parallel, one row by one
thread in n log2(n) steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.compute import Stage, axis
from codegen.dtypes import DTYPES, FROM_NUMPY, is_float, limits
from codegen.expr import Bitcast, Buffer, Expr, Var, binary, const, lift, minimum, ne, select, unary
from codegen.expr import cast as cast_expr
from codegen.expr import eq as eq_expr
from codegen.loops import Let, Stmt, loop, store

from ..errors import ShapeError
from ..node import Node
from ..op import Op, Operand, Sample, Serial, Target
from ..types import Type, concrete, elements


def below(x: Expr, y: Expr) -> Expr:
    """x < y, where NaN is greater than all numbers."""
    if x.dtype == "bool":
        return binary("and", unary("not", x), y)
    if not is_float(x.dtype):
        return x < y
    return (x < y) | (eq_expr(x, x) & ne(y, y))


def ordered_key(x: Expr, descending: bool) -> Expr:
    """A signed integer of 4 or 8 bytes for each element, in the order of the elements."""
    dtype = "i64" if DTYPES[x.dtype].bytes == 8 else "i32"
    least, greatest = limits(dtype)
    if is_float(x.dtype):
        # Bits as integers are in order for positive floats, and in reverse for negative ones; -0 counts as 0.
        bits = Bitcast(x, dtype)
        key = select(bits < 0, bits ^ const(greatest, dtype), bits)
        key = select(ne(x, x), const(greatest, dtype), select(eq_expr(x, 0.0), const(0, dtype), key))
    elif DTYPES[x.dtype].kind == "uint" and x.dtype in ("u32", "u64"):
        key = cast_expr(x, dtype) ^ const(least, dtype)
    else:
        key = cast_expr(x, dtype)
    return key ^ const(-1, dtype) if descending else key


@dataclass(frozen=True)
class MergeOrder(Op):
    """The places of the elements along an axis in stable order, in all four planes of the result (4, ...): int32, or
    int64 for elements of 8 bytes.

    On the way, two planes hold places and two hold `ordered_key` of the elements there: merging reads one of each,
    in order, and writes the other."""

    name = "merge_order"
    kind = "serial"
    axis: int
    descending: bool = False

    def infer(self, x: Type) -> Type:
        if not 0 <= self.axis < x.rank:
            raise ShapeError(f"axis {self.axis} is out of range for {x}")
        return Type("int64" if DTYPES[FROM_NUMPY[x.dtype]].bytes == 8 else "int32", (4, *x.shape))

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        # Descending and stable: the ascending order of the array turned around, turned around.
        n = x.shape[self.axis]
        y = np.flip(x, self.axis) if self.descending else x
        order = np.argsort(y, self.axis, kind="stable")
        if self.descending:
            order = n - 1 - np.flip(order, self.axis)
        return np.stack([order] * 4).astype(np.int64 if x.dtype.itemsize == 8 else np.int32)

    def serial(self, output: Target, x: Operand) -> Serial:
        n = x.shape[self.axis]
        axes = [axis(f"p{a}", e) for a, e in enumerate(x.shape) if a != self.axis]

        def at(i: Expr) -> tuple[Expr, ...]:
            index: list[Expr] = [a.var for a in axes]
            index.insert(self.axis, i)
            return tuple(index)

        def places(plane: int, i: Expr) -> tuple[Expr, ...]:
            return (lift(plane, "i64"), *at(i))

        def keys(plane: int, i: Expr) -> tuple[Expr, ...]:
            return (lift(2 + plane, "i64"), *at(i))

        k = Var("k")
        key = ordered_key(x(*at(k)), self.descending)
        begin = (output.store(places(0, k), cast_expr(k, output.dtype)), output.store(keys(0, k), key))
        stages = [Stage(axis("k", n), begin)]
        own = Buffer("heads", "i64", (2,), "local")
        passes = (n - 1).bit_length() if n else 0
        for number in range(passes):
            width, plane = 1 << number, number % 2
            start, middle, end = Var("run") * (2 * width), Var("middle"), Var("end")
            left, right, chosen = Var("left"), Var("right"), Var("chosen")
            a, b = (Var(name, output.dtype) for name in ("left_key", "right_key"))
            taken = Var("takes_left", "bool")
            body: tuple[Stmt, ...] = (
                Let(left, own[0]),
                Let(right, own[1]),
                Let(a, output(*keys(plane, minimum(left, n - 1)))),
                Let(b, output(*keys(plane, minimum(right, n - 1)))),
                Let(taken, (left < middle) & binary("or", end <= right, a <= b)),
                Let(chosen, select(taken, left, right)),
                output.store(places(1 - plane, k), output(*places(plane, chosen))),
                output.store(keys(1 - plane, k), select(taken, a, b)),
                store(own, (0,), select(taken, left + 1, left)),
                store(own, (1,), select(taken, right, right + 1)),
            )
            merge: tuple[Stmt, ...] = (
                Let(middle, minimum(start + width, n)),
                Let(end, minimum(start + 2 * width, n)),
                store(own, (0,), start),
                store(own, (1,), middle),
                loop("serial", k, start, end, *body),
            )
            stages.append(Stage(axis("run", -(-n // (2 * width))), merge))
        last = passes % 2
        here = output(*places(last, k))
        rest = (places(1 - last, k), keys(0, k), keys(1, k))
        stages.append(Stage(axis("k", n), tuple(output.store(place, here) for place in rest)))
        return Serial(tuple(axes), tuple(stages))

    def flops(self, output: Type, x: Type) -> int:
        """About ten operations a step."""
        return 10 * elements(x) * concrete(x.shape)[self.axis].bit_length()

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (None,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(1), ((2, 5, 3),), differentiable=False)
        yield Sample(cls(0, True), ((9,),), differentiable=False)
        yield Sample(cls(1, True), ((2, 8),), ("int32",), low=-2, high=3, differentiable=False)
        yield Sample(cls(1), ((3, 1),), ("bool",), low=0, high=2, differentiable=False)
        yield Sample(cls(0), ((0, 3),), differentiable=False)


@dataclass(frozen=True)
class SearchSorted(Op):
    """For each value how many elements of a sorted vector are less (int32), or not greater if `right`: where it would
    stand. Found by halves. numpy.searchsorted."""

    name = "searchsorted"
    kind = "serial"
    right: bool = False

    def infer(self, vector: Type, values: Type) -> Type:
        if vector.rank != 1 or vector.dtype != values.dtype:
            raise ShapeError(f"searchsorted takes a vector and values of its dtype, not {vector} and {values}")
        return values.with_dtype("int32")

    def evaluate(self, vector: np.ndarray, values: np.ndarray) -> np.ndarray:
        return np.searchsorted(vector, values, "right" if self.right else "left").astype(np.int32)

    def serial(self, output: Target, vector: Operand, values: Operand) -> Serial:
        n = vector.shape[0]
        axes = [axis(f"p{a}", e) for a, e in enumerate(output.shape)]
        here = [a.var for a in axes]
        own = Buffer("bounds", "i64", (2,), "local")
        low, high, middle = Var("low"), Var("high"), Var("middle")
        value, found = values(*here), vector(minimum(middle, max(n, 1) - 1))
        before = unary("not", below(value, found)) if self.right else below(found, value)
        after = Var("is_after", "bool")
        narrow = (
            Let(low, own[0]),
            Let(high, own[1]),
            Let(middle, (low + high) // 2),
            Let(after, (low < high) & before),
            store(own, (0,), select(after, middle + 1, low)),
            store(own, (1,), select(after, high, middle)),
        )
        stages = (
            Stage(axis("once", 1), (store(own, (0,), 0), store(own, (1,), n))),
            Stage(axis("step", n.bit_length()), narrow),
            Stage(axis("once", 1), (output.store(here, cast_expr(own[0], "i32")),)),
        )
        return Serial(tuple(axes), stages)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return None, None

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((1,), (3, 4)), differentiable=False)
        yield Sample(cls(True), ((0,), (3,)), ("int32", "int32"), low=-2, high=3, differentiable=False)
        yield Sample(cls(True), ((1,), ()), differentiable=False)
