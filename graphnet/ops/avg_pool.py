"""Average pooling (avg_pool, x -> y) and its gradient (avg_pool_scatter, dy -> dx), its transpose, along one, two or
three axes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from codegen.compute import Reduce, axis
from codegen.expr import Expr, const, maximum, minimum, select
from codegen.expr import cast as cast_expr

from ..errors import ShapeError
from ..node import Node, apply
from ..op import Operand, Sample
from ..site import located
from ..types import Shape, Type, concrete, elements
from .move import all_of
from .pool import Pooling, add_at, candidates, inside, over, settings
from .window import Ints, Padding

FEW = 4  # windows that may cover a pixel, up to which they are summed without a loop
UNEVEN = (3, 2), (2, 1), ((1, 1), (0, 1))


@dataclass(frozen=True)
class Averaging(Pooling):
    """Base: the sum of a window over its elements in the padded image, or with count_include_pad False over those in
    the image; or over `divisor`, if there is one."""

    count_include_pad: bool = True
    divisor: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.divisor is not None and (not isinstance(self.divisor, int) or self.divisor == 0):
            raise ShapeError(f"{self.name}: divisor must be an integer other than 0, or None, not {self.divisor!r}")

    def _all_settings(self) -> tuple[Ints, Ints, Padding, Ints, bool, bool, int | None]:
        return (*self._settings(), self.count_include_pad, self.divisor)

    def _scale(self, places: Sequence[Expr], shape: Sequence[int], dtype: str) -> Expr:
        """1 / (how many elements the window at (p, q) averages over)."""
        if self.divisor is not None:
            return const(1.0 / self.divisor, dtype)
        if self.count_include_pad:  # only those beyond all padding are left out
            low, high = zip(*self.padding, strict=True)
            op = Pooling(self.window, self.stride, ((0, 0),) * len(low), self.dilation, self.ceil_mode)
            taps, _ = op._taps(places, [n + a + b for n, a, b in zip(shape, low, high, strict=True)])
        else:
            taps, _ = self._taps(places, shape)
        if all(t.is_full for t in taps):
            return const(1.0 / prod(self.window), dtype)
        count = taps[0].hi - taps[0].lo
        for t in taps[1:]:
            count = count * (t.hi - t.lo)
        return 1.0 / cast_expr(count, dtype)

    def _counts(self, shape: Sequence[int]) -> np.ndarray:
        """For evaluate: elements averaged over, (P,Q)."""
        out = concrete(self._out(shape))
        total = np.zeros(out, np.int64)
        for place, (_, pixels) in zip(np.ndindex(*self.window), self._patches(shape), strict=True):
            counted = inside(pixels)
            if self.count_include_pad:
                each = zip(place, out, shape, self.stride, self.padding, self.dilation, strict=True)
                ends = [np.arange(o) * s + t * d < n + a + b for t, o, n, s, (a, b), d in each]
                counted = inside(tuple(e.astype(int) - 1 for e in ends))
            total += counted
        return total if self.divisor is None else np.full_like(total, self.divisor)


@dataclass(frozen=True)
class AvgPool(Averaging):
    """x (N,C,H,W) -> (N,C,P,Q), the average of each window."""

    name = "avg_pool"

    def infer(self, x: Type) -> Type:
        return self._pooled_float(x)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        y = np.zeros((*x.shape[:2], *concrete(self._out(x.shape[2:]))), dtype=np.float64)
        for _, pixels in self._patches(x.shape[2:]):
            y += np.where(inside(pixels), x[over(pixels)], 0.0)
        return (y / self._counts(x.shape[2:])).astype(x.dtype)

    def body(self, index: tuple[Expr, ...], x: Operand) -> Reduce:
        n, c, *place = index
        taps, source = self._taps(place, x.shape[2:])
        return Reduce("sum", tuple(taps), x(n, c, *source) * self._scale(place, x.shape[2:], x.dtype))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        return (apply(AvgPoolScatter(*self._all_settings(), x.shape[2:]), cotangent),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 2, 4, 6),))
        yield Sample(cls(*UNEVEN), ((1, 2, 5, 4),))
        yield Sample(cls(*UNEVEN, count_include_pad=False), ((1, 2, 5, 4),))
        yield Sample(cls((3,), (2,), ((1, 0),), (2,), True), ((1, 2, 9),))
        yield Sample(cls((2, 1, 2), (2, 1, 2), ((0, 0),) * 3, (1, 1, 1), True, divisor=3), ((1, 1, 3, 2, 3),))


@dataclass(frozen=True)
class AvgPoolScatter(Averaging):
    """dy (N,C,P,Q) -> dx (N,C,H,W) with (H,W) = size: the transpose of avg_pool."""

    name = "avg_pool_scatter"
    index_names = "nchw"
    size: Shape = (1, 1)

    def infer(self, dy: Type) -> Type:
        return self._spread(dy, self.size)

    def evaluate(self, dy: np.ndarray) -> np.ndarray:
        shape = concrete(self.size)
        dx = np.zeros((*dy.shape[:2], *shape), dtype=np.float64)
        share = dy / self._counts(shape)
        for _, pixels in self._patches(shape):
            add_at(dx, pixels, share)
        return dx.astype(dy.dtype)

    def body(self, index: tuple[Expr, ...], dy: Operand) -> Expr | Reduce:
        n, c, *pixel = index
        shape = concrete(self.size)
        few = prod(-(-k // s) for k, s in zip(self.window, self.stride, strict=True)) <= FEW
        if few or any(d > 1 for d in self.dilation):
            total: Expr | None = None
            for axes in candidates(self, pixel, shape, dy.shape[2:]):
                place = [w.window for w in axes]
                part = dy(n, c, *place) * self._scale(place, shape, dy.dtype)
                part = select(all_of([e for w in axes for e in w.conditions]), part, 0.0)
                total = part if total is None else total + part
            assert total is not None
            return total
        taps, place = [], []
        for a, i in enumerate(pixel):
            (low, _), stride, k, windows = self.padding[a], self.stride[a], self.window[a], dy.shape[2 + a]
            # p * stride <= i + low < p * stride + k
            first = maximum((i + (low - k + stride)) // stride, 0)
            last = minimum((i + low) // stride + 1, windows)
            taps.append(axis("opq"[a - len(pixel)], min(-(-k // stride), windows), 0, last - first))
            place.append(first + taps[a].var)
        return Reduce("sum", tuple(taps), dy(n, c, *place) * self._scale(place, shape, dy.dtype))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (apply(AvgPool(*self._all_settings()), cotangent),)

    def flops(self, output: Type, *inputs: Type) -> int:
        return elements(inputs[0]) * prod(self.window)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(size=(4, 7)), ((2, 2, 2, 3),))
        yield Sample(cls(*UNEVEN, size=(5, 4)), ((1, 2, 3, 4),))
        yield Sample(cls(*UNEVEN, count_include_pad=False, size=(5, 4)), ((1, 2, 3, 4),))
        yield Sample(cls((3,), (2,), ((1, 0),), (2,), True, size=(9,)), ((1, 2, 4),))
        yield Sample(cls((3, 2), (2, 1), ((0, 0),) * 2, (1, 1), True, size=(6, 4)), ((1, 1, 3, 3),))


@located
def avg_pool(
    x: Node,
    window: int | Ints,
    stride: int | Ints | None = None,
    padding: str | int | Ints | Padding = "valid",
    count_include_pad: bool = True,
    dilation: int | Ints = 1,
    ceil_mode: bool = False,
    divisor: int | None = None,
) -> Node:
    """x (N,C,L), (N,C,H,W) or (N,C,D,H,W) -> the average of each window; the stride is the window unless given.

    Padding counts as zeros (PyTorch's default) unless count_include_pad is False; what `ceil_mode` adds beyond it
    never does. `divisor`, if given, takes the place of the count: 1 makes sums."""
    made = settings("avg_pool", x, window, stride, padding, dilation, ceil_mode)
    return apply(AvgPool(*made, bool(count_include_pad), divisor), x)


@located
def avg_pool1d(
    x: Node,
    window: int,
    stride: int | None = None,
    padding: str | int | Padding = "valid",
    count_include_pad: bool = True,
    dilation: int = 1,
    ceil_mode: bool = False,
    divisor: int | None = None,
) -> Node:
    """x (N,C,L) -> the average of each window: see `avg_pool`."""
    made = settings("avg_pool1d", x, window, stride, padding, dilation, ceil_mode)
    return apply(AvgPool(*made, bool(count_include_pad), divisor), x)


@located
def avg_pool2d(
    x: Node,
    window: int | Ints,
    stride: int | Ints | None = None,
    padding: str | int | Ints | Padding = "valid",
    count_include_pad: bool = True,
    dilation: int | Ints = 1,
    ceil_mode: bool = False,
    divisor: int | None = None,
) -> Node:
    """x (N,C,H,W) -> the average of each window; the stride is the window unless given: see `avg_pool`."""
    made = settings("avg_pool2d", x, window, stride, padding, dilation, ceil_mode)
    return apply(AvgPool(*made, bool(count_include_pad), divisor), x)


@located
def avg_pool3d(
    x: Node,
    window: int | Ints,
    stride: int | Ints | None = None,
    padding: str | int | Ints | Padding = "valid",
    count_include_pad: bool = True,
    dilation: int | Ints = 1,
    ceil_mode: bool = False,
    divisor: int | None = None,
) -> Node:
    """x (N,C,D,H,W) -> the average of each window: see `avg_pool`."""
    made = settings("avg_pool3d", x, window, stride, padding, dilation, ceil_mode)
    return apply(AvgPool(*made, bool(count_include_pad), divisor), x)
