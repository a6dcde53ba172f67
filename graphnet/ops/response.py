"""Local response normalisation, and the sliding sum that it needs.

A. Krizhevsky, I. Sutskever, G. E. Hinton: ImageNet classification with deep convolutional neural networks. NIPS 2012.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.compute import Reduce, axis
from codegen.expr import Expr, maximum, minimum

from ..errors import DTypeError, GraphnetError, ShapeError
from ..node import Node, apply
from ..op import Op, Operand, Sample
from ..site import located
from ..types import Type, elements
from .power import Reciprocal, Sqrt, Square, power


@dataclass(frozen=True)
class WindowSum(Op):
    """y[i] = x[i - before] + ... + x[i + after] along `axis`, of those that exist. Its transpose, and so its gradient,
    has `before` and `after` exchanged."""

    name = "window_sum"
    kind = "window"
    axis: int
    before: int
    after: int

    def infer(self, x: Type) -> Type:
        if not x.is_float:
            raise DTypeError(f"{self.name} takes floats, not {x.dtype}; convert with gn.cast")
        if not 0 <= self.axis < x.rank:
            raise ShapeError(f"axis {self.axis} is out of range for {x}")
        if self.before < 0 or self.after < 0:
            raise ShapeError(f"a window reaches 0 elements or more to both sides, not {self.before} and {self.after}")
        return x

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        n = x.shape[self.axis]
        i, j = np.arange(n)[:, None], np.arange(n)
        band = ((i - self.before <= j) & (j <= i + self.after)).astype(np.float64)
        return np.moveaxis(np.tensordot(band, x, (1, self.axis)), 0, self.axis).astype(x.dtype)

    def body(self, index: tuple[Expr, ...], x: Operand) -> Reduce:
        i, n = index[self.axis], x.shape[self.axis]
        lo, hi = maximum(self.before - i, 0), minimum(n + self.before - i, self.before + self.after + 1)
        r = axis("r", self.before + self.after + 1, lo, hi)
        return Reduce("sum", (r,), x(*(i + r.var - self.before if a == self.axis else e for a, e in enumerate(index))))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (apply(WindowSum(self.axis, self.after, self.before), cotangent),)

    def flops(self, output: Type, *inputs: Type) -> int:
        return elements(output) * (self.before + self.after + 1)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(1, 2, 2), ((2, 6, 3),))
        yield Sample(cls(1, 1, 0), ((2, 5),))
        yield Sample(cls(0, 3, 4), ((2, 3),))
        yield Sample(cls(1, 1, 1), ((0, 3),))


@located
def local_response_norm(
    x: Node,
    size: int,
    alpha: float = 1e-4,
    beta: float = 0.75,
    k: float = 1.0,
    axis: int = 1,
    ends: str = "torch",
) -> Node:
    """x / (k + alpha / size * s)^beta, s the sum of x^2 over a window of `size` channels around each, zeros outside.

    A window of even size has its longer half before the channel for ends="torch", after it for ends="onnx"; odd
    ones are the same. The paper, and TensorFlow, multiply alpha itself: pass alpha * size."""
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise GraphnetError(f"local_response_norm: size must be an integer >= 1, not {size!r}")
    if ends not in ("torch", "onnx"):
        raise GraphnetError(f"local_response_norm: ends must be 'torch' or 'onnx', not {ends!r}")
    if x.rank < 2 or not -x.rank <= axis < x.rank:
        raise ShapeError(f"local_response_norm needs (N, C, ...) with the channels on axis {axis}, not {x!r}")
    short, long = (size - 1) // 2, size // 2
    window = WindowSum(axis % x.rank, *((long, short) if ends == "torch" else (short, long)))
    return x * _inverse_power(apply(window, apply(Square(), x)) * (alpha / size) + k, beta)


def _inverse_power(x: Node, e: float) -> Node:
    """x^-e; the usual 3/4 by roots, which are much faster than logarithms."""
    if e == 0.5:
        return apply(Reciprocal(), apply(Sqrt(), x))
    if e == 0.75:
        root = apply(Sqrt(), x)
        return apply(Reciprocal(), root * apply(Sqrt(), root))
    return power(x, -e)
