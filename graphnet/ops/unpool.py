"""Max pooling with indices, and max unpooling, which puts values back to where they were.

An index counts the elements of one image's channel, row-major, as PyTorch; or of the whole value, and column-major, as
ONNX can have it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.expr import Expr, lift
from codegen.expr import cast as cast_expr

from ..errors import DTypeError, ShapeError
from ..node import Node, apply, constant
from ..op import Operand, Sample
from ..site import located
from ..types import Extent, Shape, Type, concrete, elements
from ..types import size as volume
from .broadcast import broadcast_to, reshape
from .max_pool import MaxPool, MaxPoolGather, MaxPoolIndex
from .pool import IMAGES, settings
from .take import scatter_elements
from .window import Ints, Padding, ints_of


@dataclass(frozen=True)
class MaxPoolPositions(MaxPoolGather):
    """i int32 (N,C,P,Q), places in windows by max_pool_index -> int64: their index in the image (H,W) = size, counted
    over the `whole` value or each image's channel, and in it by columns or by rows."""

    name = "max_pool_positions"
    kind = "elementwise"
    size: Shape = (1, 1)
    whole: bool = False
    column_major: bool = False

    def infer(self, place: Type, x: Type | None = None) -> Type:
        if place.dtype != "int32" or place.shape[2:] != self._out(self.size):
            wanted = f"int32 of {self._out(self.size)}"
            raise ShapeError(f"places {place} are not those of windows of {self.size}, {wanted}")
        return place.with_dtype("int64")

    def evaluate(self, place: np.ndarray, x: np.ndarray | None = None) -> np.ndarray:
        shape = concrete(self.size)
        numbers = np.arange(int(np.prod(shape))).reshape(shape, order="F" if self.column_major else "C")
        numbers = np.broadcast_to(numbers, (*place.shape[:2], *shape))
        if self.whole:
            images = np.arange(place.shape[0] * place.shape[1]).reshape(*place.shape[:2], *(1,) * len(shape))
            numbers = numbers + images * int(np.prod(shape))
        return super().evaluate(place, numbers)

    def body(self, index: tuple[Expr, ...], place: Operand, x: Operand | None = None) -> Expr:
        n, c, *window = index
        pixel = self.pixel(window, cast_expr(place(*index), "i64"))
        number: Expr = n * place.shape[1] + c if self.whole else lift(0, "i64")
        shape = concrete(self.size)
        for i, extent in list(zip(pixel, shape, strict=True))[:: -1 if self.column_major else 1]:
            number = number * extent + i
        return number

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (None,)

    def flops(self, output: Type, *inputs: Type) -> int:
        return elements(output)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        windows = (3, 3), (2, 1), ((1, 1), (0, 0))
        for op in (cls(*windows, size=(5, 6)), cls(*windows, size=(5, 6), whole=True, column_major=True)):
            yield Sample(op, ((2, 2, 3, 4),), dtypes=("int32",), low=3, high=6, differentiable=False)


@located
def max_pool_with_indices(
    x: Node,
    window: int | Ints,
    stride: int | Ints | None = None,
    padding: str | int | Ints | Padding = "valid",
    dilation: int | Ints = 1,
    ceil_mode: bool = False,
    whole: bool = False,
    column_major: bool = False,
) -> tuple[Node, Node]:
    """`max_pool`, and int64 indices of what it found: in each image's channel, row-major, as PyTorch. `whole` counts on
    from one channel to the next, `column_major` by columns, as ONNX's indices and its storage_order 1."""
    made = settings("max_pool_with_indices", x, window, stride, padding, dilation, ceil_mode)
    place = apply(MaxPoolIndex(*made), x)
    op = MaxPoolPositions(*made, size=x.shape[2:], whole=bool(whole), column_major=bool(column_major))
    return apply(MaxPool(*made), x), apply(op, place)


@located
def max_unpool(x: Node, indices: Node, size: int | Ints, whole: bool = False) -> Node:
    """x (N,C,P,Q), indices by `max_pool_with_indices` -> (N,C,*size): zeros, but for the elements of x at their
    indices. Of several for one place the last remains. `whole`: as there."""
    if x.rank not in IMAGES or indices.shape != x.shape:
        images = " or ".join(IMAGES.values())
        raise ShapeError(f"max_unpool needs {images} and indices of its shape, not {x!r} and {indices!r}")
    if indices.dtype not in ("int32", "int64"):
        raise DTypeError(f"max_unpool: indices are int32 or int64, not {indices!r}")
    wanted = ints_of(size, "max_unpool: size", x.rank - 2)
    outside: tuple[Extent, ...] = () if whole else x.shape[:2]
    flat: Shape = (*outside, volume(x.shape[len(outside) :]))
    room: Shape = (*outside, volume((*x.shape[len(outside) : 2], *wanted)))
    zeros = broadcast_to(constant(0, x.dtype), room)
    y = scatter_elements(zeros, reshape(indices, flat), reshape(x, flat), axis=len(outside))
    return reshape(y, (*x.shape[:2], *wanted))

