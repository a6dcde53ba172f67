"""Convolution (cross-correlation, as networks use it) along two or three axes, and its two gradients.

    y[n,k,p,q]  = sum_crs x[n, g*C/G + c, p*stride + r*dilation - pad, q*...] * w[k,c,r,s]     g = k // (K/G)
    dx[n,c,h,w] = sum_krs dy[n,k,p,q] * w[k, c mod C/G, r, s]   where p*stride + r*dilation - pad = h, and so for q
    dw[k,c,r,s] = sum_npq x[n, g*C/G + c, p*stride + r*dilation - pad, ...] * dy[n,k,p,q]

All three are linear in both inputs, and the gradients of each are the other two. Padding costs nothing:
the bounds of the sums leave out what would be read outside of x. With G groups each K/G outputs see C/G inputs;
G = C is depthwise convolution. This file has what is the same along any number of axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from codegen.compute import Reduce, axis
from codegen.expr import Expr, maximum, minimum
from codegen.expr import eq as eq_expr

from ..errors import DTypeError, ShapeError
from ..node import Node, apply
from ..op import Op, Operand
from ..types import FLOATS, Extent, Shape, Type, concrete, elements
from .move import flip as flip_axes
from .window import Ints, Padding, check_window, ints_of, output_extents, padding_of, span

KINDS = ("auto", "direct", "winograd", "fft")  # of algorithms; after one, the rest of a name of `passes/choose_conv.py`
PREFER = "prefer "  # before a kind or name: where it can be used, else its kind, else "auto"


@dataclass(frozen=True)
class Convolution(Op):
    """Base: the attributes that the three have in common. `spatial` axes follow those of batch and channels, named
    `taps` in kernels, `places` in outputs."""

    kind = "contract"
    spatial: ClassVar[int] = 2
    taps: ClassVar[str] = "rs"
    places: ClassVar[str] = "pq"
    exact: ClassVar[tuple[str, ...]] = ()  # integers that it takes, besides floats
    stride: Ints = (1, 1)
    padding: Padding = ((0, 0), (0, 0))
    dilation: Ints = (1, 1)
    groups: int = field(default=1, kw_only=True)
    algorithm: str = field(default="auto", kw_only=True)

    def __post_init__(self) -> None:
        check_window(self.name, self.spatial, self.stride, self.padding, self.dilation)
        if isinstance(self.groups, bool) or not isinstance(self.groups, int) or self.groups < 1:
            raise ShapeError(f"{self.name}: groups must be an integer from 1, not {self.groups!r}")
        words = str(self.algorithm).removeprefix(PREFER).split()
        if not words or words[0] not in KINDS:
            text = f"algorithm must be one of {', '.join(KINDS)}, or begin with one, not {self.algorithm!r}"
            raise ShapeError(f"{self.name}: {text}")

    def _check(self, x: Type, y: Type) -> None:
        rank = 2 + self.spatial
        if x.rank != rank or y.rank != rank:
            raise ShapeError(f"{self.name} needs values of rank {rank}, not {x} and {y}")
        if x.dtype != y.dtype:
            raise DTypeError(f"operands of different dtypes, {x.dtype} and {y.dtype}; convert with gn.cast")
        if not x.is_float and x.dtype not in self.exact:
            raise DTypeError(f"{self.name} takes {', '.join((*FLOATS, *self.exact))}, not {x.dtype}; see gn.cast")

    def _check_groups(self, channels: Extent, what: str) -> None:
        if isinstance(channels, int) and channels % self.groups:
            raise ShapeError(f"{self.groups} groups do not divide the {channels} {what}")

    def _settings(self) -> tuple[Ints, Padding, Ints]:
        return self.stride, self.padding, self.dilation

    def _part(self, channels: Extent) -> int:
        """Channels of one group."""
        return concrete((channels,))[0] // self.groups

    def relative(self, part: int, size: Shape = ()) -> Convolution:
        """The convolution (0), input gradient (1) or weight gradient (2) with the same settings. Of gradients, the
        algorithm is the same one, or one of the same kind, where that can be used. `size`: the gradient's."""
        cls = FAMILY[self.spatial][part]
        chosen = self.algorithm if self.algorithm == "auto" else PREFER + self.algorithm.removeprefix(PREFER)
        rest = (size,) if part else ()
        return cls(*self._settings(), *rest, groups=self.groups, algorithm=chosen)

    def _windows(self, out: Sequence[int], tap: Ints) -> Any:
        """For evaluate: the elements of padded x that meet one tap of the window, at all positions."""
        each = zip(out, tap, self.stride, self.dilation, strict=True)
        return (..., *(slice(t * d, t * d + (n - 1) * s + 1, s) for n, t, s, d in each))

    def _padded(self, x: np.ndarray) -> np.ndarray:
        return np.pad(_wide(x), ((0, 0), (0, 0), *self.padding))

    def _grouped(self, x: np.ndarray, axis: int) -> np.ndarray:
        """For evaluate: in float64 or as integers, the channels on `axis` as groups and channels of a group."""
        each = x.shape[axis] // self.groups
        return _wide(x).reshape(*x.shape[:axis], self.groups, each, *x.shape[axis + 1 :])

    def _flops(self, y: Type, w: Sequence[Extent]) -> int:
        """Of the output y and the kernel w (K,C,...)."""
        return 2 * elements(y) * math.prod(concrete(w[1:]))


def _wide(x: np.ndarray) -> np.ndarray:
    return x.astype(np.int64 if x.dtype.kind == "i" else np.float64)


FAMILY: dict[int, tuple[type[Convolution], type[Convolution], type[Convolution]]] = {}  # by the number of axes


@dataclass(frozen=True)
class Forward(Convolution):
    """Base: x (N,C,H,W), w (K,C/G,R,S) -> y (N,K,P,Q)."""

    exact: ClassVar[tuple[str, ...]] = ("int32", "int64")

    def infer(self, x: Type, w: Type) -> Type:
        self._check(x, w)
        self._check_groups(x.shape[1], f"channels of the input {x}")
        self._check_groups(w.shape[0], f"outputs of the kernel {w}")
        if x.shape[1] != w.shape[1] * self.groups:
            each = f" in each of {self.groups} groups" if self.groups > 1 else ""
            raise ShapeError(f"the input {x} has {x.shape[1]} channels, the kernel {w} takes {w.shape[1]}{each}")
        return x.with_shape((x.shape[0], w.shape[0], *output_extents(x.shape[2:], w.shape[2:], *self._settings())))

    def evaluate(self, x: np.ndarray, w: np.ndarray) -> np.ndarray:
        out = concrete(output_extents(x.shape[2:], w.shape[2:], *self._settings()))
        kernel = self._grouped(w, 0)
        y = np.zeros((x.shape[0], self.groups, kernel.shape[1], *out), kernel.dtype)
        padded = self._grouped(self._padded(x), 1)
        for tap in np.ndindex(*w.shape[2:]):
            y += np.einsum("ngc...,gkc->ngk...", padded[self._windows(out, tap)], kernel[(..., *tap)])
        return y.reshape(x.shape[0], w.shape[0], *out).astype(x.dtype)

    def body(self, index: tuple[Expr, ...], x: Operand, w: Operand) -> Reduce:
        n, k, *place = index
        size = x.shape[2:]
        out = concrete(output_extents(size, w.shape[2:], *self._settings()))
        c = axis("c", w.shape[1])
        taps, source = [], []
        for a, (name, i) in enumerate(zip(self.taps, place, strict=True)):
            (low, _), stride, step = self.padding[a], self.stride[a], self.dilation[a]
            most = (out[a] - 1) * stride - low
            taps.append(span(name, w.shape[2 + a], i * stride - low, -low, most, step, size[a]))
            source.append(i * stride + taps[a].var * step - low)
        channel = c.var if self.groups == 1 else k // self._part(w.shape[0]) * w.shape[1] + c.var
        return Reduce("sum", (c, *taps), x(n, channel, *source) * w(k, c.var, *(t.var for t in taps)))

    def blocks(self, output: Type, *inputs: Type) -> dict[int, int]:
        return {1: self._part(output.shape[1])} if self.groups > 1 else {}

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        x, w = node.inputs
        to_x, to_w = self.relative(1, x.shape[2:]), self.relative(2, concrete(w.shape[2:]))
        return apply(to_x, w, cotangent), apply(to_w, x, cotangent)

    def flops(self, output: Type, *inputs: Type) -> int:
        return self._flops(output, inputs[1].shape)


@dataclass(frozen=True)
class InputGradient(Convolution):
    """Base: w (K,C/G,R,S), dy (N,K,P,Q) -> dx (N,C,H,W) with (H,W) = size: the transpose of convolution in x."""

    size: Shape = (1, 1)

    def infer(self, w: Type, dy: Type) -> Type:
        self._check(w, dy)
        self._check_groups(w.shape[0], f"outputs of the kernel {w}")
        if w.shape[0] != dy.shape[1]:
            raise ShapeError(f"the kernel {w} makes {w.shape[0]} channels, the cotangent {dy} has {dy.shape[1]}")
        out = output_extents(self.size, w.shape[2:], *self._settings())
        if out != dy.shape[2:]:
            raise ShapeError(f"an input of {self.size} gives outputs of {out}, the cotangent is {dy}")
        return dy.with_shape((dy.shape[0], w.shape[1] * self.groups, *self.size))

    def evaluate(self, w: np.ndarray, dy: np.ndarray) -> np.ndarray:
        size = concrete(self.size)
        kernel, cotangent = self._grouped(w, 0), self._grouped(dy, 1)
        padded = (n + low + high for n, (low, high) in zip(size, self.padding, strict=True))
        dx = np.zeros((dy.shape[0], self.groups, w.shape[1], *padded))
        for tap in np.ndindex(*w.shape[2:]):
            dx[self._windows(dy.shape[2:], tap)] += np.einsum("ngk...,gkc->ngc...", cotangent, kernel[(..., *tap)])
        inside: Any = (..., *(slice(low, low + n) for n, (low, _) in zip(size, self.padding, strict=True)))
        return dx[inside].reshape(dy.shape[0], self.groups * w.shape[1], *size).astype(dy.dtype)

    def body(self, index: tuple[Expr, ...], w: Operand, dy: Operand) -> Reduce:
        n, c, *pixel = index
        k = axis("k", w.shape[0] // self.groups)
        taps, places, source, size = [], [], [], concrete(self.size)
        where: Expr | None = None
        for a, (name, i) in enumerate(zip(self.taps, pixel, strict=True)):
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
        channel: Expr = k.var
        within = c
        if self.groups > 1:
            channel, within = c // w.shape[1] * k.extent + k.var, c % w.shape[1]
        return Reduce("sum", (k, *taps), dy(n, channel, *source) * w(channel, within, *places), where)

    def blocks(self, output: Type, *inputs: Type) -> dict[int, int]:
        return {1: self._part(output.shape[1])} if self.groups > 1 else {}

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        w, dy = node.inputs
        return apply(self.relative(2, concrete(w.shape[2:])), cotangent, dy), apply(self.relative(0), cotangent, w)

    def flops(self, output: Type, *inputs: Type) -> int:
        return self._flops(inputs[1], inputs[0].shape)


@dataclass(frozen=True)
class WeightGradient(Convolution):
    """Base: x (N,C,H,W), dy (N,K,P,Q) -> dw (K,C/G,R,S) with (R,S) = kernel: the transpose of convolution in w."""

    kernel: Ints = (1, 1)

    def infer(self, x: Type, dy: Type) -> Type:
        self._check(x, dy)
        self._check_groups(x.shape[1], f"channels of the input {x}")
        self._check_groups(dy.shape[1], f"channels of the cotangent {dy}")
        if x.shape[0] != dy.shape[0]:
            raise ShapeError(f"batches differ: {x} and {dy}")
        out = output_extents(x.shape[2:], self.kernel, *self._settings())
        if out != dy.shape[2:]:
            raise ShapeError(f"a kernel of {self.kernel} gives outputs of {out}, the cotangent is {dy}")
        channels = self._part(x.shape[1]) if self.groups > 1 else x.shape[1]
        return x.with_shape((dy.shape[1], channels, *self.kernel))

    def evaluate(self, x: np.ndarray, dy: np.ndarray) -> np.ndarray:
        out = dy.shape[2:]
        padded, cotangent = self._grouped(self._padded(x), 1), self._grouped(dy, 1)
        dw = np.zeros((self.groups, cotangent.shape[2], padded.shape[2], *self.kernel))
        for tap in np.ndindex(*self.kernel):
            met = padded[self._windows(out, tap)]
            met, dys = (a.reshape(*a.shape[:3], math.prod(out)) for a in (met, cotangent))
            dw[(..., *tap)] = np.einsum("ngcx,ngkx->gkc", met, dys)
        return dw.reshape(dy.shape[1], dw.shape[2], *self.kernel).astype(x.dtype)

    def body(self, index: tuple[Expr, ...], x: Operand, dy: Operand) -> Reduce:
        k, c, *tap = index
        n = axis("n", x.shape[0])
        places, source = [], []
        for a, (name, i) in enumerate(zip(self.places, tap, strict=True)):
            (low, _), stride, step = self.padding[a], self.stride[a], self.dilation[a]
            most = (self.kernel[a] - 1) * step - low
            places.append(span(name, dy.shape[2 + a], i * step - low, -low, most, stride, x.shape[2 + a]))
            source.append(places[a].var * stride + i * step - low)
        channel = c if self.groups == 1 else k // self._part(dy.shape[1]) * self._part(x.shape[1]) + c
        return Reduce("sum", (n, *places), x(n.var, channel, *source) * dy(n.var, k, *(p.var for p in places)))

    def blocks(self, output: Type, *inputs: Type) -> dict[int, int]:
        return {0: self._part(output.shape[0])} if self.groups > 1 else {}

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        x, dy = node.inputs
        return apply(self.relative(1, x.shape[2:]), cotangent, dy), apply(self.relative(0), x, cotangent)

    def flops(self, output: Type, *inputs: Type) -> int:
        return self._flops(inputs[1], output.shape)


def convolve(
    op: type[Forward],
    x: Node,
    w: Node,
    stride: int | Ints,
    padding: str | int | Ints | Padding,
    dilation: int | Ints,
    groups: int,
    flip: bool,
    algorithm: str,
) -> Node:
    """What users of any number of axes call."""
    rank, letters = op.spatial, ",".join(op.taps.upper())
    image = ",".join("DHW"[3 - rank :])
    if x.rank != 2 + rank or w.rank != 2 + rank:
        raise ShapeError(f"{op.name} needs an input (N,C,{image}) and a kernel (K,C,{letters}), not {x!r} and {w!r}")
    strides = ints_of(stride, f"{op.name}: stride", rank)
    dilations = ints_of(dilation, f"{op.name}: dilation", rank)
    if not all(isinstance(k, int) for k in w.shape[2:]):
        raise ShapeError(f"{op.name}: the kernel must have concrete sizes, not {w!r}")
    window = ints_of(concrete(w.shape[2:]), f"{op.name}: kernel", rank)
    pads = padding_of(padding, x.shape[2:], window, strides, dilations)
    made = op(strides, pads, dilations, groups=groups, algorithm=algorithm)
    return apply(made, x, flip_axes(w, tuple(range(2, 2 + rank))) if flip else w)
