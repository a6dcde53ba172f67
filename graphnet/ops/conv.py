"""Two-dimensional convolution (cross-correlation, as networks use it) and its two gradients.

    y[n,k,p,q]  = sum_crs x[n, c, p*stride + r*dilation - pad, q*...] * w[k,c,r,s]
    dx[n,c,h,w] = sum_krs dy[n,k,p,q] * w[k,c,r,s]   where p*stride + r*dilation - pad = h, and so for q
    dw[k,c,r,s] = sum_npq x[n, c, p*stride + r*dilation - pad, ...] * dy[n,k,p,q]

All three are linear in both inputs, and the gradients of each are the other two. Padding costs nothing:
the bounds of the sums leave out what would be read outside of x.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from codegen.compute import Axis, Reduce, axis
from codegen.expr import Expr, maximum, minimum
from codegen.expr import eq as eq_expr

from ..errors import DTypeError, ShapeError
from ..node import Node, apply
from ..op import Op, Operand, Sample
from ..site import located
from ..types import Extent, Shape, Type, concrete, elements
from .move import flip as flip_axes

Pair = tuple[int, int]
Padding = tuple[Pair, Pair]

KINDS = ("auto", "direct", "winograd", "fft")  # of algorithms; after one, the rest of a name of `passes/choose_conv.py`
PREFER = "prefer "  # before a kind or name: where it can be used, else its kind, else "auto"


def pair_of(value: object, what: str, least: int = 1) -> Pair:
    """An integer, or two, each at least `least`."""
    items: list[Any] = list(value) if isinstance(value, (tuple, list)) else [value, value]
    if len(items) != 2 or any(isinstance(i, bool) or not hasattr(i, "__index__") for i in items):
        raise ShapeError(f"{what} must be an integer or two, not {value!r}")
    a, b = (i.__index__() for i in items)
    if a < least or b < least:
        raise ShapeError(f"{what} must be at least {least}, not {value!r}")
    return a, b


def padding_of(value: object, shape: Sequence[Extent], window: Pair, stride: Pair, dilation: Pair) -> Padding:
    """Rows and columns added before and after: "valid" adds none, "same" makes the output ceil(n / stride)
    with the odd one after (as TensorFlow), a number goes on all sides, two on each axis, or pairs as they are."""
    if value == "valid":
        return (0, 0), (0, 0)
    if value == "same":
        sides = []
        for n, k, s, d in zip(shape, window, stride, dilation, strict=True):
            reach = d * (k - 1) + 1
            if s == 1:
                total = reach - 1
            elif isinstance(n, int):
                total = max((-(-n // s) - 1) * s + reach - n, 0)
            else:
                raise ShapeError(f'padding "same" with stride {s} depends on the symbolic size {n}; give numbers')
            sides.append((total // 2, total - total // 2))
        return sides[0], sides[1]
    if isinstance(value, (tuple, list)) and len(value) == 2 and all(isinstance(v, (tuple, list)) for v in value):
        return pair_of(value[0], "padding", 0), pair_of(value[1], "padding", 0)
    if isinstance(value, str):
        raise ShapeError(f'padding must be "valid", "same", a number or pairs, not {value!r}')
    a, b = pair_of(value, "padding", 0)
    return (a, a), (b, b)


def check_window(op: str, stride: Pair, padding: Padding, dilation: Pair = (1, 1)) -> None:
    """Raises ShapeError for attributes that no window has, however they came."""
    pair_of(stride, f"{op}: stride")
    pair_of(dilation, f"{op}: dilation")
    if len(padding) != 2:
        raise ShapeError(f"{op}: padding must be two pairs, not {padding!r}")
    for p in padding:
        pair_of(p, f"{op}: padding", 0)


def output_extent(n: Extent, k: int, stride: int, padding: Pair, dilation: int = 1) -> Extent:
    """How many positions a window of k has in n padded elements."""
    return (n + padding[0] + padding[1] - dilation * (k - 1) - 1) // stride + 1


def output_extents(
    shape: Sequence[Extent], window: Sequence[Extent], stride: Pair, padding: Padding, dilation: Pair = (1, 1)
) -> tuple[Extent, Extent]:
    """(H, W) -> (P, Q); raises ShapeError where that would be empty or the window is not concrete."""
    if not all(isinstance(k, int) and k >= 1 for k in window):
        raise ShapeError(f"a window must have concrete sizes >= 1, not {tuple(window)}")
    each = zip(shape, window, stride, padding, dilation, strict=True)
    out = tuple(output_extent(n, int(k), s, p, d) for n, k, s, p, d in each)  # type: ignore[arg-type]
    if any(isinstance(e, int) and e < 1 for e in out):
        text = "x".join
        given, wanted, got = (text(map(str, t)) for t in (shape, window, out))
        extra = f" with dilation {dilation}" if dilation != (1, 1) else ""
        pads = f" padded by {padding}" if padding != ((0, 0), (0, 0)) else ""
        raise ShapeError(f"a {wanted} window{extra} does not fit the {given} input{pads}: the output would be {got}")
    return out[0], out[1]


def span(name: str, extent: int, first: Expr, least: int, most: int, step: int, limit: int) -> Axis:
    """The t of 0 <= t < extent for which 0 <= first + t * step < limit. `first` lies in least..most:
    where that leaves nothing out, the bounds are constants."""
    lo: object = 0 if least >= 0 else maximum(((step - 1) - first) // step, 0)
    inside = most + (extent - 1) * step < limit
    hi: object = extent if inside else minimum(((limit + step - 1) - first) // step, extent)
    return axis(name, extent, lo, hi)


@dataclass(frozen=True)
class Convolution(Op):
    """Base: the attributes that the three have in common."""

    kind = "contract"
    stride: Pair = (1, 1)
    padding: Padding = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    algorithm: str = field(default="auto", kw_only=True)

    def __post_init__(self) -> None:
        check_window(self.name, self.stride, self.padding, self.dilation)
        words = str(self.algorithm).removeprefix(PREFER).split()
        if not words or words[0] not in KINDS:
            text = f"algorithm must be one of {', '.join(KINDS)}, or begin with one, not {self.algorithm!r}"
            raise ShapeError(f"{self.name}: {text}")

    def _check(self, x: Type, y: Type) -> None:
        if x.rank != 4 or y.rank != 4:
            raise ShapeError(f"{self.name} needs values of rank 4, not {x} and {y}")
        if x.dtype != y.dtype:
            raise DTypeError(f"operands of different dtypes, {x.dtype} and {y.dtype}; convert with gn.cast")
        if not x.is_float:
            raise DTypeError(f"{self.name} takes float32 and float64, not {x.dtype}; convert with gn.cast")

    def _settings(self) -> tuple[Pair, Padding, Pair]:
        return self.stride, self.padding, self.dilation

    @property
    def _inherited(self) -> str:
        """The algorithm of gradients: the same one, or one of the same kind, where that can be used."""
        return self.algorithm if self.algorithm == "auto" else PREFER + self.algorithm.removeprefix(PREFER)

    def _windows(self, out: Sequence[int], r: int, s: int) -> tuple[slice, slice]:
        """Rows and columns of padded x that meet w[..., r, s], for all P, Q."""
        p, q = out
        (a, b), _, (c, d) = self._settings()
        return slice(r * c, r * c + (p - 1) * a + 1, a), slice(s * d, s * d + (q - 1) * b + 1, b)

    def _padded(self, x: np.ndarray) -> np.ndarray:
        return np.pad(x.astype(np.float64), ((0, 0), (0, 0), *self.padding))


def _contraction_flops(output: Type, kernel: Sequence[Extent], n: Extent) -> int:
    return 2 * elements(output) * math.prod(concrete((*kernel, n)))


@dataclass(frozen=True)
class Conv2d(Convolution):
    """x (N,C,H,W), w (K,C,R,S) -> y (N,K,P,Q); the formula is at the top of this file."""

    name = "conv2d"
    index_names = "nkpq"

    def infer(self, x: Type, w: Type) -> Type:
        self._check(x, w)
        if x.shape[1] != w.shape[1]:
            raise ShapeError(f"the input {x} has {x.shape[1]} channels, the kernel {w} takes {w.shape[1]}")
        return x.with_shape((x.shape[0], w.shape[0], *output_extents(x.shape[2:], w.shape[2:], *self._settings())))

    def evaluate(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        out = concrete(output_extents(x.shape[2:], w.shape[2:], *self._settings()))
        y = np.zeros((x.shape[0], w.shape[0], *out))
        padded = self._padded(x)
        for r, s in np.ndindex(*w.shape[2:]):
            h, v = self._windows(out, r, s)
            y += np.einsum("ncpq,kc->nkpq", padded[:, :, h, v], w[:, :, r, s].astype(np.float64))
        return y.astype(x.dtype)

    def body(self, index: tuple[Expr, ...], x: Operand, w: Operand) -> Reduce:
        n, k, p, q = index
        _, channels, height, width = x.shape
        out = concrete(output_extents((height, width), w.shape[2:], *self._settings()))
        c = axis("c", channels)
        taps, source = [], []
        for a, (name, i) in enumerate((("r", p), ("s", q))):
            (low, _), stride, step = self.padding[a], self.stride[a], self.dilation[a]
            first = i * stride - low
            most = (out[a] - 1) * stride - low
            taps.append(span(name, w.shape[2 + a], first, -low, most, step, (height, width)[a]))
            source.append(i * stride + taps[a].var * step - low)
        return Reduce("sum", (c, *taps), x(n, c.var, *source) * w(k, c.var, taps[0].var, taps[1].var))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        x, w = node.inputs
        return (
            apply(Conv2dInputGrad(*self._settings(), x.shape[2:], algorithm=self._inherited), w, cotangent),
            apply(Conv2dWeightGrad(*self._settings(), concrete(w.shape[2:]), algorithm=self._inherited), x, cotangent),
        )

    def flops(self, output: Type, *inputs: Type) -> int:
        return _contraction_flops(output, inputs[1].shape[2:], inputs[1].shape[1])

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 2, 4, 5), (3, 2, 3, 2)))
        yield Sample(cls((2, 1), ((1, 2), (0, 1)), (1, 2)), ((1, 2, 5, 6), (2, 2, 3, 2)))
        yield Sample(cls((3, 2), ((2, 2), (1, 1))), ((1, 1, 7, 6), (2, 1, 2, 3)))


@dataclass(frozen=True)
class Conv2dInputGrad(Convolution):
    """w (K,C,R,S), dy (N,K,P,Q) -> dx (N,C,H,W) with (H,W) = size: conv2d's transpose in x."""

    name = "conv2d_input_grad"
    index_names = "nchw"
    size: Shape = (1, 1)

    def infer(self, w: Type, dy: Type) -> Type:
        self._check(w, dy)
        if w.shape[0] != dy.shape[1]:
            raise ShapeError(f"the kernel {w} makes {w.shape[0]} channels, the cotangent {dy} has {dy.shape[1]}")
        out = output_extents(self.size, w.shape[2:], *self._settings())
        if out != dy.shape[2:]:
            raise ShapeError(f"an input of {self.size} gives outputs of {out}, the cotangent is {dy}")
        return dy.with_shape((dy.shape[0], w.shape[1], *self.size))

    def evaluate(self, w: np.ndarray, dy: np.ndarray) -> np.ndarray:
        height, width = concrete(self.size)
        (top, bottom), (left, right) = self.padding
        dx = np.zeros((dy.shape[0], w.shape[1], height + top + bottom, width + left + right))
        for r, s in np.ndindex(*w.shape[2:]):
            h, v = self._windows(dy.shape[2:], r, s)
            dx[:, :, h, v] += np.einsum("nkpq,kc->ncpq", dy.astype(np.float64), w[:, :, r, s].astype(np.float64))
        return dx[:, :, top : top + height, left : left + width].astype(dy.dtype)

    def body(self, index: tuple[Expr, ...], w: Operand, dy: Operand) -> Reduce:
        n, c, h, v = index
        k = axis("k", w.shape[0])
        taps, places, source, size = [], [], [], concrete(self.size)
        where: Expr | None = None
        for a, (name, i) in enumerate((("r", h), ("s", v))):
            (low, _), stride, step = self.padding[a], self.stride[a], self.dilation[a]
            extent, last = w.shape[2 + a], (dy.shape[2 + a] - 1) * stride
            if stride > 1 and step == 1:
                # i + low = p * stride + r: only every stride-th tap meets this pixel, from the remainder on.
                nearest, first = (i + low) // stride, (i + low) % stride
                fewest = maximum(nearest - (dy.shape[2 + a] - 1), 0)
                most = minimum(nearest, ((extent - 1) - first) // stride)
                taps.append(axis(name, -(-extent // stride), fewest, most + 1))
                places.append(first + taps[a].var * stride)
                source.append(nearest - taps[a].var)
                continue
            # i + low = p * stride + r * step with 0 <= p * stride <= last bounds r on both sides.
            lo: object = 0
            if size[a] - 1 + low > last:
                lo = maximum((i + (low - last + step - 1)) // step, 0)
            hi: object = extent
            if low < (extent - 1) * step:
                hi = minimum((i + low) // step + 1, extent)
            taps.append(axis(name, extent, lo, hi))
            reached = i + low - taps[a].var * step
            if stride > 1:
                meets = eq_expr(reached % stride, 0)
                where = meets if where is None else where & meets
            places.append(taps[a].var)
            source.append(reached // stride)
        return Reduce("sum", (k, *taps), dy(n, k.var, *source) * w(k.var, c, *places), where)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        w, dy = node.inputs
        return (
            apply(Conv2dWeightGrad(*self._settings(), concrete(w.shape[2:]), algorithm=self._inherited), cotangent, dy),
            apply(Conv2d(*self._settings(), algorithm=self._inherited), cotangent, w),
        )

    def flops(self, output: Type, *inputs: Type) -> int:
        return _contraction_flops(inputs[1], inputs[0].shape[2:], inputs[0].shape[1])

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(size=(4, 5)), ((3, 2, 3, 2), (2, 3, 2, 4)))
        yield Sample(cls((2, 1), ((1, 2), (0, 1)), (1, 2), (5, 6)), ((2, 2, 3, 2), (1, 2, 3, 5)))
        yield Sample(cls((3, 2), ((2, 2), (1, 1)), size=(7, 6)), ((2, 1, 2, 3), (1, 2, 4, 3)))
        yield Sample(cls((2, 3), ((1, 0), (0, 2)), size=(8, 9)), ((2, 2, 5, 1), (2, 2, 3, 4)))


@dataclass(frozen=True)
class Conv2dWeightGrad(Convolution):
    """x (N,C,H,W), dy (N,K,P,Q) -> dw (K,C,R,S) with (R,S) = kernel: conv2d's transpose in w."""

    name = "conv2d_weight_grad"
    index_names = "kcrs"
    kernel: tuple[int, ...] = (1, 1)

    def infer(self, x: Type, dy: Type) -> Type:
        self._check(x, dy)
        if x.shape[0] != dy.shape[0]:
            raise ShapeError(f"batches differ: {x} and {dy}")
        out = output_extents(x.shape[2:], self.kernel, *self._settings())
        if out != dy.shape[2:]:
            raise ShapeError(f"a kernel of {self.kernel} gives outputs of {out}, the cotangent is {dy}")
        return x.with_shape((dy.shape[1], x.shape[1], *self.kernel))

    def evaluate(self, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
        dw = np.zeros((dy.shape[1], x.shape[1], *self.kernel))
        padded = self._padded(x)
        for r, s in np.ndindex(*self.kernel):
            h, v = self._windows(dy.shape[2:], r, s)
            dw[:, :, r, s] = np.einsum("ncpq,nkpq->kc", padded[:, :, h, v], dy.astype(np.float64))
        return dw.astype(x.dtype)

    def body(self, index: tuple[Expr, ...], x: Operand, dy: Operand) -> Reduce:
        k, c, r, s = index
        n = axis("n", x.shape[0])
        places, source = [], []
        for a, (name, i) in enumerate((("p", r), ("q", s))):
            (low, _), stride, step = self.padding[a], self.stride[a], self.dilation[a]
            most = (self.kernel[a] - 1) * step - low
            places.append(span(name, dy.shape[2 + a], i * step - low, -low, most, stride, x.shape[2 + a]))
            source.append(places[a].var * stride + i * step - low)
        value = x(n.var, c, *source) * dy(n.var, k, places[0].var, places[1].var)
        return Reduce("sum", (n, *places), value)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        x, dy = node.inputs
        return (
            apply(Conv2dInputGrad(*self._settings(), x.shape[2:], algorithm=self._inherited), cotangent, dy),
            apply(Conv2d(*self._settings(), algorithm=self._inherited), x, cotangent),
        )

    def flops(self, output: Type, *inputs: Type) -> int:
        return _contraction_flops(inputs[1], self.kernel, inputs[0].shape[1])

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(kernel=(3, 2)), ((2, 2, 4, 5), (2, 3, 2, 4)))
        yield Sample(cls((2, 1), ((1, 2), (0, 1)), (1, 2), (3, 2)), ((1, 2, 5, 6), (1, 2, 3, 5)))
        yield Sample(cls((3, 2), ((2, 2), (1, 1)), kernel=(2, 3)), ((1, 1, 7, 6), (1, 2, 4, 3)))


@located
def conv2d(
    x: Node,
    w: Node,
    stride: int | Pair = 1,
    padding: str | int | Pair | Padding = "valid",
    dilation: int | Pair = 1,
    flip: bool = False,
    algorithm: str = "auto",
) -> Node:
    """x (N,C,H,W), w (K,C,R,S) -> (N,K,P,Q). Padding: "valid", "same" (output ceil(n / stride), as
    TensorFlow), a number, or ((top, bottom), (left, right)). The kernel slides without being mirrored
    (cross-correlation); `flip=True` mirrors it, which is convolution in the mathematical sense.

    algorithm: "auto" takes the cheapest by a model; "direct", "winograd" and "fft" the cheapest of that kind; a
    name as `explain()` prints it, such as "winograd F(4x4, 3x3)", that one. Compilation fails where it cannot be
    used; "prefer fft" falls back to "auto" there, and is what the gradients of "fft" inherit."""
    if x.rank != 4 or w.rank != 4:
        raise ShapeError(f"conv2d needs an input (N,C,H,W) and a kernel (K,C,R,S), not {x!r} and {w!r}")
    strides, dilations = pair_of(stride, "conv2d: stride"), pair_of(dilation, "conv2d: dilation")
    if not all(isinstance(k, int) for k in w.shape[2:]):
        raise ShapeError(f"conv2d: the kernel must have concrete sizes, not {w!r}")
    window = pair_of(concrete(w.shape[2:]), "conv2d: kernel")
    pads = padding_of(padding, x.shape[2:], window, strides, dilations)
    op = Conv2d(strides, pads, dilations, algorithm=algorithm)
    return apply(op, x, flip_axes(w, (2, 3)) if flip else w)
