"""Matrix products."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.compute import Reduce, axis
from codegen.expr import Expr

from ..errors import DTypeError, ShapeError
from ..node import Node, apply
from ..op import Op, Operand, Sample
from ..site import located
from ..types import Type, broadcast_shapes, concrete, elements
from .broadcast import at, reshape, sum_to
from .move import transpose


class _Batch(Operand):
    """An operand whose matrix axes are fixed at (i, j), seen as a function of its batch index."""

    def __init__(self, x: Operand, i: Expr, j: Expr) -> None:
        self.x, self.i, self.j = x, i, j
        self.dtype, self.shape = x.dtype, x.shape[:-2]

    def __call__(self, *index: Expr) -> Expr:
        return self.x(*index, self.i, self.j)


@dataclass(frozen=True)
class MatMul(Op):
    """(..., M, K) @ (..., K, N) -> (..., M, N), leading axes broadcast: y[i, j] = sum_k a[i, k] b[k, j].
    numpy.matmul of rank >= 2."""

    name = "matmul"
    kind = "contract"
    index_names = "ij"

    def infer(self, a: Type, b: Type) -> Type:
        if a.dtype != b.dtype:
            raise DTypeError(f"operands of different dtypes, {a.dtype} and {b.dtype}; convert with gn.cast")
        if a.dtype == "bool":
            raise DTypeError("matmul of bool; convert with gn.cast")
        if a.rank < 2 or b.rank < 2:
            raise ShapeError(f"matmul needs matrices, not {a} and {b}")
        if a.shape[-1] != b.shape[-2]:
            raise ShapeError(f"{a} has {a.shape[-1]} columns but {b} has {b.shape[-2]} rows")
        batch = broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return a.with_shape((*batch, a.shape[-2], b.shape[-1]))

    def evaluate(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        wide = np.float64 if a.dtype.kind == "f" else a.dtype
        return np.matmul(a.astype(wide), b.astype(wide)).astype(a.dtype)

    def body(self, index: tuple[Expr, ...], a: Operand, b: Operand) -> Reduce:
        *batch, i, j = index
        k = axis("k", a.shape[-1])
        return Reduce("sum", (k,), at(_Batch(a, i, k.var), batch) * at(_Batch(b, k.var, j), batch))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        a, b = node.inputs
        da = apply(self, cotangent, matrix_transpose(b))  # (M,N) (N,K) -> (M,K)
        db = apply(self, matrix_transpose(a), cotangent)  # (K,M) (M,N) -> (K,N)
        return sum_to(da, a.shape), sum_to(db, b.shape)

    def flops(self, output: Type, *inputs: Type) -> int:
        return 2 * elements(output) * concrete(inputs[0].shape[-1:])[0]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4), (4, 5)))
        yield Sample(cls(), ((2, 3, 4), (2, 4, 2)))
        yield Sample(cls(), ((2, 1, 2, 3), (3, 2)))


def matrix_transpose(x: Node) -> Node:
    """The last two axes exchanged."""
    return transpose(x, (*range(x.rank - 2), x.rank - 1, x.rank - 2))


@located
def matmul(a: Node, b: Node) -> Node:
    """The matrix product `a @ b`; vectors are taken as a row on the left, a column on the right."""
    if a.rank == 0 or b.rank == 0:
        raise ShapeError(f"matmul of a scalar: {a!r}, {b!r}; use *")
    left = reshape(a, (1, *a.shape)) if a.rank == 1 else a
    right = reshape(b, (*b.shape, 1)) if b.rank == 1 else b
    out = apply(MatMul(), left, right)
    if a.rank > 1 and b.rank > 1:
        return out
    rows = out.shape[:-2] if a.rank == 1 else out.shape[:-1]
    return reshape(out, rows if b.rank == 1 else (*rows, out.shape[-1]))
