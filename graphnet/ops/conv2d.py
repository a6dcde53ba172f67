"""Convolution of images (N,C,H,W) and its gradients: see `conv`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..node import Node
from ..op import Sample
from ..site import located
from .conv import FAMILY, Forward, InputGradient, WeightGradient, convolve
from .window import Ints, Padding


@dataclass(frozen=True)
class Conv2d(Forward):
    """x (N,C,H,W), w (K,C/G,R,S) -> y (N,K,P,Q): y[n,k,p,q] = sum_crs x[n, c', p*stride + r*dilation - pad, ...]
    w[k,c,r,s] with c' = k // (K/G) * C/G + c, for G groups."""

    name = "conv2d"
    index_names = "nkpq"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 2, 4, 5), (3, 2, 3, 2)))
        yield Sample(cls((2, 1), ((1, 2), (0, 1)), (1, 2)), ((1, 2, 5, 6), (2, 2, 3, 2)))
        yield Sample(cls((3, 2), ((2, 2), (1, 1))), ((1, 1, 7, 6), (2, 1, 2, 3)))
        yield Sample(cls((2, 1), ((1, 0), (0, 1)), groups=2), ((2, 4, 4, 5), (6, 2, 3, 2)))
        yield Sample(cls((1, 2), ((1, 1), (1, 1)), groups=3), ((1, 3, 4, 5), (3, 1, 3, 3)))  # depthwise
        yield Sample(cls(), ((1, 2, 4, 5), (3, 2, 3, 2)), ("int32",) * 2, -9, 9, differentiable=False)


@dataclass(frozen=True)
class Conv2dInputGrad(InputGradient):
    """w (K,C/G,R,S), dy (N,K,P,Q) -> dx (N,C,H,W) with (H,W) = size: conv2d's transpose in x."""

    name = "conv2d_input_grad"
    index_names = "nchw"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(size=(4, 5)), ((3, 2, 3, 2), (2, 3, 2, 4)))
        yield Sample(cls((2, 1), ((1, 2), (0, 1)), (1, 2), (5, 6)), ((2, 2, 3, 2), (1, 2, 3, 5)))
        yield Sample(cls((3, 2), ((2, 2), (1, 1)), size=(7, 6)), ((2, 1, 2, 3), (1, 2, 4, 3)))
        yield Sample(cls((2, 3), ((1, 0), (0, 2)), size=(8, 9)), ((2, 2, 5, 1), (2, 2, 3, 4)))
        yield Sample(cls((2, 1), ((1, 0), (0, 1)), size=(4, 5), groups=2), ((4, 2, 3, 2), (2, 4, 2, 5)))
        yield Sample(cls((1, 2), ((1, 1), (1, 1)), size=(4, 5), groups=3), ((6, 1, 3, 3), (1, 6, 4, 3)))


@dataclass(frozen=True)
class Conv2dWeightGrad(WeightGradient):
    """x (N,C,H,W), dy (N,K,P,Q) -> dw (K,C/G,R,S) with (R,S) = kernel: conv2d's transpose in w."""

    name = "conv2d_weight_grad"
    index_names = "kcrs"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(kernel=(3, 2)), ((2, 2, 4, 5), (2, 3, 2, 4)))
        yield Sample(cls((2, 1), ((1, 2), (0, 1)), (1, 2), (3, 2)), ((1, 2, 5, 6), (1, 2, 3, 5)))
        yield Sample(cls((3, 2), ((2, 2), (1, 1)), kernel=(2, 3)), ((1, 1, 7, 6), (1, 2, 4, 3)))
        yield Sample(cls((2, 1), ((1, 0), (0, 1)), kernel=(3, 2), groups=2), ((2, 4, 4, 5), (2, 4, 2, 5)))
        yield Sample(cls((1, 2), ((1, 1), (1, 1)), kernel=(3, 3), groups=3), ((1, 3, 4, 5), (1, 6, 4, 3)))


FAMILY[2] = (Conv2d, Conv2dInputGrad, Conv2dWeightGrad)


@located
def conv2d(
    x: Node,
    w: Node,
    stride: int | Ints = 1,
    padding: str | int | Ints | Padding = "valid",
    dilation: int | Ints = 1,
    flip: bool = False,
    algorithm: str = "auto",
    groups: int = 1,
) -> Node:
    """x (N,C,H,W), w (K,C/groups,R,S) -> (N,K,P,Q). Padding: "valid", "same" (output ceil(n / stride), as
    TensorFlow; "same_lower" puts the odd one before), a number, or ((top, bottom), (left, right)). The kernel slides
    without being mirrored (cross-correlation); `flip=True` mirrors it, which is convolution in the mathematical sense.
    Of `groups`, each K/groups outputs see C/groups channels; as many as channels make a depthwise convolution.

    algorithm: "auto" takes the cheapest by a model; "direct", "winograd" and "fft" the cheapest of that kind; a
    name as `explain()` prints it, such as "winograd F(4x4, 3x3)", that one. Compilation fails where it cannot be
    used; "prefer fft" falls back to "auto" there, and is what the gradients of "fft" inherit."""
    return convolve(Conv2d, x, w, stride, padding, dilation, groups, flip, algorithm)
