"""Sorting: the order of elements along an axis, by merging runs of doubling length; values follow by `take`.

The order is stable: equal elements stay in the order of their places. NaN is greater than all numbers, as NumPy and
PyTorch have it: last in ascending order, first in descending order. Rows are sorted in parallel, one row by one
thread in n log2(n) steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.compute import Stage, axis
from codegen.dtypes import is_float
from codegen.expr import Binary, Buffer, Expr, Var, lift, minimum, ne, select, unary
from codegen.expr import cast as cast_expr
from codegen.expr import eq as eq_expr
from codegen.loops import Let, Stmt, loop, store

from ..errors import DTypeError, GraphnetError, ShapeError
from ..node import Node, apply
from ..op import Op, Operand, Sample, Serial, Target
from ..site import located
from ..types import Type, concrete, normalise_axes
from .broadcast import reshape
from .compare import ne as ne_node
from .compare import where
from .index import squeeze
from .move import slice
from .rearrange import split
from .reduce import mean
from .take import gather_elements


def _key(x: Expr) -> Expr:
    """What is compared: bools as numbers."""
    return cast_expr(x, "i32") if x.dtype == "bool" else x


def below(x: Expr, y: Expr) -> Expr:
    """x < y, where NaN is greater than all numbers."""
    if not is_float(x.dtype):
        return x < y
    return (x < y) | (eq_expr(x, x) & ne(y, y))


@dataclass(frozen=True)
class MergeOrder(Op):
    """The places of the elements along an axis in stable order (int32): both planes of the result (2, ...) hold them.
    Merging reads one plane and writes the other."""

    name = "merge_order"
    kind = "serial"
    axis: int
    descending: bool = False

    def infer(self, x: Type) -> Type:
        if not 0 <= self.axis < x.rank:
            raise ShapeError(f"axis {self.axis} is out of range for {x}")
        return Type("int32", (2, *x.shape))

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        # Descending and stable: the ascending order of the array turned around, turned around.
        n = x.shape[self.axis]
        y = np.flip(x, self.axis) if self.descending else x
        order = np.argsort(y, self.axis, kind="stable")
        if self.descending:
            order = n - 1 - np.flip(order, self.axis)
        return np.stack([order, order]).astype(np.int32)

    def serial(self, output: Target, x: Operand) -> Serial:
        n = x.shape[self.axis]
        axes = [axis(f"p{a}", e) for a, e in enumerate(x.shape) if a != self.axis]

        def at(i: Expr) -> tuple[Expr, ...]:
            index: list[Expr] = [a.var for a in axes]
            index.insert(self.axis, i)
            return tuple(index)

        def on(plane: int, i: Expr) -> tuple[Expr, ...]:
            return (lift(plane, "i64"), *at(i))

        own = Buffer("heads", "i64", (2,), "local")
        stages = []
        for number in range(max(1, (n - 1).bit_length())):
            width, plane = 1 << number, number % 2
            run, k = Var("run"), Var("k")
            start = run * (2 * width)
            middle, end = minimum(start + width, n), minimum(start + 2 * width, n)
            heads = Var("left"), Var("right")
            # The numbers of the elements at the heads of both runs; before the first pass that is their places.
            each: list[Expr] = [
                minimum(h, n - 1) if number == 0 else cast_expr(output(*on(1 - plane, minimum(h, n - 1))), "i64")
                for h in heads
            ]
            a, b = Var("a"), Var("b")
            keys = [_key(x(*at(v))) for v in (a, b)]
            earlier = below(keys[0], keys[1]) if self.descending else below(keys[1], keys[0])
            taken = Var("takes_left", "bool")
            choice = Binary("or", Binary("le", Var("end"), heads[1]), unary("not", earlier))
            body: tuple[Stmt, ...] = (
                Let(heads[0], own[0]),
                Let(heads[1], own[1]),
                Let(a, each[0]),
                Let(b, each[1]),
                Let(taken, (heads[0] < Var("middle")) & choice),
                output.store(on(plane, k), cast_expr(select(taken, a, b), "i32")),
                store(own, (0,), select(taken, heads[0] + 1, heads[0])),
                store(own, (1,), select(taken, heads[1], heads[1] + 1)),
            )
            merge: tuple[Stmt, ...] = (
                Let(Var("middle"), middle),
                Let(Var("end"), end),
                store(own, (0,), start),
                store(own, (1,), Var("middle")),
                loop("serial", k, start, Var("end"), *body),
            )
            stages.append(Stage(axis("run", -(-n // (2 * width))), merge))
        last, k = (len(stages) - 1) % 2, Var("k")
        stages.append(Stage(axis("k", n), (output.store(on(1 - last, k), output(*on(last, k))),)))
        return Serial(tuple(axes), tuple(stages))

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
        value, found = _key(values(*here)), _key(vector(minimum(middle, max(n, 1) - 1)))
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


# ------------------------------------------------------------------------------------------ for users


@located
def argsort(x: Node, axis: int = -1, descending: bool = False) -> Node:
    """The places (int32) of the elements along `axis` in ascending or descending order; of equal ones the first comes
    first. numpy.argsort(kind="stable")."""
    (a,) = normalise_axes(axis, x.rank)
    planes = apply(MergeOrder(a, bool(descending)), x)
    return reshape(slice(planes, [0] * planes.rank, [1, *x.shape]), x.shape)


@located
def sort(x: Node, axis: int = -1, descending: bool = False) -> Node:
    """The elements along `axis` in ascending or descending order. Differentiable. numpy.sort."""
    return gather_elements(x, argsort(x, axis, descending), axis)


@located
def top_k(x: Node, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Node, Node]:
    """The k largest or smallest elements along `axis`, best first, and their places (int32); of equal ones the first.
    `sorted=False` says that their order does not matter; they are sorted all the same. torch.topk; ONNX TopK."""
    (a,) = normalise_axes(axis, x.rank)
    e = x.shape[a]
    if not isinstance(k, int) or k < 0 or (isinstance(e, int) and k > e):
        raise ShapeError(f"top_k: k is an integer from 0 to {e}, the extent of axis {a} of {x!r}, not {k!r}")
    order = argsort(x, a, largest)
    best = slice(order, [0] * x.rank, [k if b == a else n for b, n in enumerate(x.shape)])
    return gather_elements(x, best, a), best


@located
def kth_value(x: Node, k: int, axis: int = -1) -> tuple[Node, Node]:
    """The k-th smallest element along `axis` (from 1), and its place (int32), both without the axis. torch.kthvalue."""
    (a,) = normalise_axes(axis, x.rank)
    values, places = top_k(x, k, a, largest=False)
    if k < 1:
        raise ShapeError(f"kth_value: k is at least 1, not {k}")
    return squeeze(split(values, [k - 1, 1], a)[1], a), squeeze(split(places, [k - 1, 1], a)[1], a)


@located
def median(x: Node, axis: int = -1) -> Node:
    """The middle element along `axis`, or the mean of the two in the middle; NaN if there is one. numpy.median."""
    (a,) = normalise_axes(axis, x.rank)
    (n,) = concrete((x.shape[a],))
    if n == 0 or not x.type.is_float:
        raise DTypeError(f"median takes floats along an axis with elements, not {x!r}")
    ordered = sort(x, a)
    _, middle, _ = split(ordered, [(n - 1) // 2, 2 - n % 2, (n - 1) // 2], a)
    last = split(ordered, [n - 1, 1], a)[1]  # NaN, if there is one
    return where(ne_node(squeeze(last, a), squeeze(last, a)), squeeze(last, a), mean(middle, a))


def _refused(name: str, instead: str) -> None:
    raise GraphnetError(
        f"{name}: the shape of the result depends on the values, and all sizes are known before a graph runs; {instead}"
    )


@located
def nonzero(x: Node) -> None:
    """Refused: how many elements are not zero is not known before the graph runs."""
    _refused("nonzero", "use gn.where(x != 0, ..., 0), or gn.top_k of the mask for a fixed number of places")


@located
def unique(x: Node) -> None:
    """Refused: how many different elements there are is not known before the graph runs."""
    _refused("unique", "use gn.sort, or gn.bincount(x, length) for integers in a known range")


@located
def compress(condition: Node, x: Node, axis: int | None = None) -> None:
    """Refused: how many elements a condition selects is not known before the graph runs."""
    _refused("compress", "use gn.where(condition, x, 0), or gn.take with a fixed number of indices")
