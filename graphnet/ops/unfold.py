"""Windows of images as rows of a matrix, and back: PyTorch's unfold (im2col) and fold (col2im), in any number of
spatial dimensions. The two are each other's transposes, so each is the other's gradient."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product as combinations
from math import prod
from typing import Any

import numpy as np

from codegen.compute import Reduce, axis
from codegen.expr import Expr, lift, maximum, minimum, select
from codegen.expr import eq as eq_expr

from ..errors import DTypeError, ShapeError
from ..node import Node, apply
from ..op import Op, Operand, Sample
from ..site import located
from ..types import Extent, Shape, Type, concrete, elements, size
from .broadcast import reshape
from .move import all_of
from .window import output_extent

Ints = tuple[int, ...]
Key = tuple[Any, ...]
Sides = tuple[tuple[int, int], ...]  # (before, after) of each dimension


@dataclass(frozen=True)
class Windows(Op):
    """What both share: windows, one of them every `stride`, of elements `dilation` apart, over an image with `padding`
    zeros around."""

    window: Ints
    stride: Ints
    padding: Sides
    dilation: Ints

    def counts(self, spatial: Shape) -> tuple[Extent, ...]:
        """How many windows there are along each dimension."""
        each = zip(spatial, self.window, self.stride, self.padding, self.dilation, strict=True)
        found = tuple(output_extent(e, k, s, p, d) for e, k, s, p, d in each)
        if any(isinstance(e, int) and e < 1 for e in found):
            raise ShapeError(f"a window of {self.window} does not fit {list(spatial)}")
        return found

    def places(self, counts: Ints) -> Iterable[tuple[Key, Key]]:
        """For each element of the window: its key in the unfolded image, and in the padded one."""
        images = (slice(None), slice(None))
        for r in combinations(*map(range, self.window)):
            each = zip(r, self.dilation, self.stride, counts, strict=True)
            yield (*images, *r), (*images, *(slice(i * d, i * d + (n - 1) * s + 1, s) for i, d, s, n in each))


@dataclass(frozen=True)
class Unfold(Windows):
    """(N,C,spatial...) -> (N,C,window...,windows...): element r of window p is x[p * stride + r * dilation - before],
    0 outside."""

    name = "unfold"
    kind = "move"

    def infer(self, x: Type) -> Type:
        if x.rank != 2 + len(self.window):
            raise ShapeError(f"unfold of windows {self.window} takes (N,C) and as many dimensions, not {x}")
        return x.with_shape((*x.shape[:2], *self.window, *self.counts(x.shape[2:])))

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        counts = concrete(self.counts(x.shape[2:]))
        padded = np.pad(x, ((0, 0), (0, 0), *self.padding))
        out = np.empty((*x.shape[:2], *self.window, *counts), dtype=x.dtype)
        for r, place in self.places(counts):
            out[r] = padded[place]
        return out

    def body(self, index: tuple[Expr, ...], x: Operand) -> Expr:
        d = len(self.window)
        source, inside = [], []
        each = zip(index[2 : 2 + d], index[2 + d :], x.shape[2:], self.stride, self.padding, self.dilation, strict=True)
        for r, p, e, stride, (before, after), step in each:
            at = p * stride + r * step - before
            inside += [lift(0, "i64") <= at] * (before > 0) + [at < e] * (after > 0)
            source.append(at)
        value = x(*index[:2], *source)
        return select(all_of(inside), value, lift(0, value.dtype))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        spatial = node.inputs[0].shape[2:]
        return (apply(Fold(self.window, self.stride, self.padding, self.dilation, spatial), cotangent),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((2, 3), (1, 2), ((1, 0), (0, 2)), (2, 1)), ((2, 3, 5, 4),))
        yield Sample(cls((3,), (2,), ((0, 0),), (1,)), ((1, 2, 7),))
        yield Sample(cls((2, 1), (1, 1), ((0, 0), (1, 1)), (1, 1)), ((1, 1, 3, 2),), ("int32",), differentiable=False)


@dataclass(frozen=True)
class Fold(Windows):
    """(N,C,window...,windows...) -> (N,C,spatial...): the sum of all elements of windows that lie over each other."""

    name = "fold"
    kind = "window"
    spatial: Shape = ()

    def infer(self, y: Type) -> Type:
        if y.dtype == "bool":
            raise DTypeError("fold of bool; use gn.cast(x, 'int32') first")
        if y.rank != 2 + 2 * len(self.window) or y.shape[2:] != (*self.window, *self.counts(self.spatial)):
            wanted = y.with_shape((*y.shape[:2], *self.window, *self.counts(self.spatial)))
            raise ShapeError(f"fold to {list(self.spatial)} takes {wanted}, not {y}")
        return y.with_shape((*y.shape[:2], *self.spatial))

    def evaluate(self, y: np.ndarray) -> np.ndarray:
        spatial = concrete(self.spatial)
        whole = (e + a + b for e, (a, b) in zip(spatial, self.padding, strict=True))
        padded = np.zeros((*y.shape[:2], *whole), dtype=y.dtype)
        for r, place in self.places(y.shape[2 + len(self.window) :]):
            padded[place] += y[r]
        inner = (slice(a, a + e) for e, (a, _) in zip(spatial, self.padding, strict=True))
        return np.ascontiguousarray(padded[(slice(None), slice(None), *inner)])

    def body(self, index: tuple[Expr, ...], y: Operand) -> Reduce:
        taps, source, meets = [], [], []
        counts = y.shape[2 + len(self.window) :]
        each = zip(index[2:], self.window, counts, self.stride, self.padding, self.dilation, strict=True)
        for number, (i, k, n, stride, (before, _), step) in enumerate(each):
            # i + before = p * stride + r * step, with 0 <= p < n
            last = (n - 1) * stride
            low = maximum((i + (before - last + step - 1)) // step, 0)
            tap = axis(f"r{number}", k, minimum(low, k), minimum((i + before) // step + 1, k))
            reached = i + before - tap.var * step
            if stride > 1:
                meets.append(eq_expr(reached % stride, 0))
            taps.append(tap)
            source.append(reached // stride)
        value = y(*index[:2], *(t.var for t in taps), *source)
        return Reduce("sum", tuple(taps), value, all_of(meets) if meets else None)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (apply(Unfold(self.window, self.stride, self.padding, self.dilation), cotangent),)

    def flops(self, output: Type, *inputs: Type) -> int:
        return elements(inputs[0])

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((2, 3), (1, 2), ((1, 0), (0, 2)), (2, 1), (5, 4)), ((2, 3, 2, 3, 4, 2),))
        yield Sample(cls((3,), (2,), ((0, 0),), (1,), (8,)), ((1, 2, 3, 3),))
        yield Sample(cls((1,), (3,), ((1, 1),), (1,), (4,)), ((1, 1, 1, 2),))


# ------------------------------------------------------------------------------------------ for users


def _settings(window: Any, stride: Any, padding: Any, dilation: Any, rank: int) -> tuple[Ints, Ints, Sides, Ints]:
    def each(value: Any, what: str) -> tuple[Any, ...]:
        found = (value,) * rank if isinstance(value, int) else tuple(value)
        if len(found) != rank:
            raise ShapeError(f"{what} {value!r}: expected one number, or one for each of {rank} dimensions")
        return found

    sides = tuple((p, p) if isinstance(p, int) else tuple(p) for p in each(padding, "padding"))
    positive = [each(v, w) for v, w in ((window, "window"), (stride, "stride"), (dilation, "dilation"))]
    if any(n < 1 for v in positive for n in v) or any(n < 0 for s in sides for n in s):
        raise ShapeError(f"windows, strides and dilations are >= 1, paddings >= 0: {positive}, {sides}")
    return positive[0], positive[1], sides, positive[2]


@located
def unfold(
    x: Node,
    window: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int | tuple[int, int]] = 0,
    dilation: int | Sequence[int] = 1,
) -> Node:
    """(N,C,spatial...) -> (N, C * window, windows): every window as a column. torch.nn.functional.unfold."""
    y = apply(Unfold(*_settings(window, stride, padding, dilation, x.rank - 2)), x)
    d = x.rank - 2
    return reshape(y, (y.shape[0], size(y.shape[1 : 2 + d]), size(y.shape[2 + d :])))


@located
def fold(
    y: Node,
    spatial: Sequence[Extent],
    window: int | Sequence[int],
    stride: int | Sequence[int] = 1,
    padding: int | Sequence[int | tuple[int, int]] = 0,
    dilation: int | Sequence[int] = 1,
) -> Node:
    """(N, C * window, windows) -> (N,C,spatial...): unfold's transpose, which adds up what lies over each other.
    torch.nn.functional.fold."""
    op = Fold(*_settings(window, stride, padding, dilation, len(spatial)), tuple(spatial))
    if y.rank != 3 or (isinstance(y.shape[1], int) and y.shape[1] % prod(op.window)):
        raise ShapeError(f"fold takes (N, C * {prod(op.window)}, windows), not {y!r}")
    return apply(op, reshape(y, (y.shape[0], y.shape[1] // prod(op.window), *op.window, *op.counts(op.spatial))))
