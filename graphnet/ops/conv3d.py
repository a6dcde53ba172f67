"""Convolution of volumes (N,C,D,H,W) and its gradients: see `conv`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from ..node import Node
from ..op import Sample
from ..site import located
from ..types import Shape
from .conv import FAMILY, Convolution, Forward, InputGradient, WeightGradient, convolve
from .window import Ints, Padding

UNPADDED: Padding = ((0, 0),) * 3


@dataclass(frozen=True)
class Volumes(Convolution):
    """Base: the attributes along three axes."""

    spatial: ClassVar[int] = 3
    taps: ClassVar[str] = "trs"
    places: ClassVar[str] = "opq"
    stride: Ints = (1, 1, 1)
    padding: Padding = UNPADDED
    dilation: Ints = (1, 1, 1)


@dataclass(frozen=True)
class Conv3d(Volumes, Forward):
    """x (N,C,D,H,W), w (K,C/G,T,R,S) -> y (N,K,O,P,Q): as conv2d, with a depth."""

    name = "conv3d"
    index_names = "nkopq"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((1, 2, 3, 3, 4), (2, 2, 2, 2, 3)))
        yield Sample(cls((2, 1, 1), ((1, 0), (0, 1), (1, 1)), (1, 2, 1), groups=2), ((1, 2, 3, 3, 3), (2, 1, 2, 2, 2)))


@dataclass(frozen=True)
class Conv3dInputGrad(Volumes, InputGradient):
    """w (K,C/G,T,R,S), dy (N,K,O,P,Q) -> dx (N,C,D,H,W) with (D,H,W) = size: conv3d's transpose in x."""

    name = "conv3d_input_grad"
    index_names = "ncdhw"
    size: Shape = (1, 1, 1)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(size=(3, 3, 4)), ((2, 2, 2, 2, 3), (1, 2, 2, 2, 2)))
        pads = ((1, 0), (0, 1), (1, 1))
        op = cls((2, 1, 1), pads, (1, 2, 1), (3, 3, 3), groups=2)
        yield Sample(op, ((2, 1, 2, 2, 2), (1, 2, 2, 2, 4)))


@dataclass(frozen=True)
class Conv3dWeightGrad(Volumes, WeightGradient):
    """x (N,C,D,H,W), dy (N,K,O,P,Q) -> dw (K,C/G,T,R,S) with (T,R,S) = kernel: conv3d's transpose in w."""

    name = "conv3d_weight_grad"
    index_names = "kctrs"
    kernel: Ints = (1, 1, 1)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(kernel=(2, 2, 3)), ((1, 2, 3, 3, 4), (1, 2, 2, 2, 2)))
        op = cls((2, 1, 1), ((1, 0), (0, 1), (1, 1)), (1, 2, 1), (2, 2, 2), groups=2)
        yield Sample(op, ((1, 2, 3, 3, 3), (1, 2, 2, 2, 4)))


FAMILY[3] = (Conv3d, Conv3dInputGrad, Conv3dWeightGrad)


@located
def conv3d(
    x: Node,
    w: Node,
    stride: int | Ints = 1,
    padding: str | int | Ints | Padding = "valid",
    dilation: int | Ints = 1,
    flip: bool = False,
    algorithm: str = "auto",
    groups: int = 1,
) -> Node:
    """x (N,C,D,H,W), w (K,C/groups,T,R,S) -> (N,K,O,P,Q), by direct sums. The arguments are those of `conv2d`."""
    return convolve(Conv3d, x, w, stride, padding, dilation, groups, flip, algorithm)
