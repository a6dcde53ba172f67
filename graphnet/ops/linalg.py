"""Products of vectors, matrices and tensors under their usual names; norms, determinants and inverses of matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..errors import DTypeError, GraphnetError, ShapeError
from ..node import Node, apply, constant
from ..site import located
from ..types import Extent, normalise_axes, size
from .arithmetic import Abs
from .broadcast import reshape, sum
from .compare import where
from .matmul import matmul, matrix_transpose
from .move import transpose
from .power import Sqrt, Square
from .reduce import max, min

LARGEST = 6  # rows of matrices whose determinants are made: see `_leverrier`


@located
def outer(a: Node, b: Node) -> Node:
    """All products a[i] * b[j] of the elements in order, (size of a, size of b). numpy.outer."""
    return reshape(a, (-1, 1)) * reshape(b, (1, -1))


@located
def vecdot(a: Node, b: Node, axis: int = -1) -> Node:
    """The sum of a * b along `axis`, after broadcasting. numpy.vecdot."""
    product = a * b
    (k,) = normalise_axes(axis, product.rank)
    return sum(product, k)


@located
def inner(a: Node, b: Node) -> Node:
    """The sum of products over the last axis of both; a product where one is a scalar. numpy.inner."""
    return a * b if a.rank == 0 or b.rank == 0 else tensordot(a, b, (-1, -1))


@located
def dot(a: Node, b: Node) -> Node:
    """The sum of products over the last axis of `a` and the last but one of `b`, or its only one; a product where one
    is a scalar. numpy.dot."""
    return a * b if a.rank == 0 or b.rank == 0 else tensordot(a, b, (-1, -2 if b.rank > 1 else -1))


@located
def tensordot(a: Node, b: Node, axes: int | Sequence[int | Sequence[int]] = 2) -> Node:
    """The sum of products over some axes of `a` and as many of `b`: the last of a and the first of b for a number, else
    (axes of a, axes of b). The result has all others of a, then of b. numpy.tensordot."""
    if isinstance(axes, int):
        if not 0 <= axes <= a.rank or axes > b.rank:
            raise ShapeError(f"tensordot: {a!r} and {b!r} have not {axes} axes")
        axes = (range(a.rank - axes, a.rank), range(axes))
    one, two = ([g] if isinstance(g, int) else list(g) for g in axes)
    for x, given in ((a, one), (b, two)):
        if len(normalise_axes(tuple(given), x.rank)) != len(one):
            raise ShapeError(f"tensordot: {one} and {two} are not as many axes")
    one, two = [k % a.rank for k in one], [k % b.rank for k in two]
    for j, k in zip(one, two, strict=True):
        if a.shape[j] != b.shape[k]:
            raise ShapeError(f"tensordot: axis {j} of {a!r} is {a.shape[j]}, axis {k} of {b!r} is {b.shape[k]}")
    rows, columns = [k for k in range(a.rank) if k not in one], [k for k in range(b.rank) if k not in two]
    m, n = tuple(a.shape[k] for k in rows), tuple(b.shape[k] for k in columns)
    depth = size(tuple(a.shape[k] for k in one))
    left = reshape(transpose(a, (*rows, *one)), (size(m), depth))
    right = reshape(transpose(b, (*two, *columns)), (depth, size(n)))
    return reshape(matmul(left, right), (*m, *n))


@located
def kron(a: Node, b: Node) -> Node:
    """Every element of `a` times the whole of `b`, side by side: extents multiply. numpy.kron."""
    rank = a.rank if a.rank > b.rank else b.rank
    wide = [(1,) * (rank - x.rank) + x.shape for x in (a, b)]
    left = reshape(a, [e for k in wide[0] for e in (k, 1)])
    right = reshape(b, [e for k in wide[1] for e in (1, k)])
    return reshape(left * right, [m * n for m, n in zip(*wide, strict=True)])


@located
def linear(x: Node, weight: Node, bias: Node | None = None) -> Node:
    """x (..., I) and weight (O, I) -> x @ weight.T + bias, (..., O). torch.nn.functional.linear."""
    if weight.rank != 2:
        raise ShapeError(f"linear needs a weight (outputs, inputs), not {weight!r}")
    y = matmul(x, matrix_transpose(weight))
    return y if bias is None else y + bias


@located
def gemm(
    a: Node,
    b: Node,
    c: Node | None = None,
    alpha: float = 1.0,
    beta: float = 1.0,
    trans_a: bool = False,
    trans_b: bool = False,
) -> Node:
    """alpha * a' @ b' + beta * c for matrices, a' and b' transposed where asked for; c is broadcast. ONNX's Gemm."""
    for x in (a, b):
        if x.rank != 2:
            raise ShapeError(f"gemm needs matrices, not {x!r}")
    y = matmul(matrix_transpose(a) if trans_a else a, matrix_transpose(b) if trans_b else b)
    y = y if alpha == 1 else y * alpha
    if c is None or beta == 0:
        return y
    return y + (c if beta == 1 else c * beta)


@located
def matrix_norm(x: Node, ord: str | float = "fro", keepdims: bool = False) -> Node:
    """The norm of the matrices (..., M, N): "fro", the root of the sum of squares; 1 and -1, the greatest and the least
    sum of a column's absolute values; infinite and -infinite, of a row's. The others need singular values, which there
    are not. The derivative of "fro" at 0 is 0, as in PyTorch."""
    _floats("matrix_norm", x)
    if x.rank < 2:
        raise ShapeError(f"matrix_norm needs matrices, not {x!r}")
    if ord == "fro":
        squares = sum(apply(Square(), x), (x.rank - 2, x.rank - 1), keepdims)
        some = squares > 0.0
        return where(some, apply(Sqrt(), where(some, squares, 1.0)), 0.0)
    if ord not in (1, -1, math.inf, -math.inf):
        raise GraphnetError(f"matrix_norm: ord must be 'fro', 1, -1, inf or -inf, not {ord!r}")
    assert not isinstance(ord, str)
    along = x.rank - (2 if abs(ord) == 1 else 1)
    totals = sum(apply(Abs(), x), along, keepdims=True)
    found = (max if ord > 0 else min)(totals, (x.rank - 2, x.rank - 1), keepdims=True)
    return found if keepdims else reshape(found, x.shape[:-2])


@located
def det(x: Node) -> Node:
    """The determinants (...) of small matrices (..., n, n), n <= 6. numpy.linalg.det."""
    determinant, _ = _leverrier("det", x)
    return determinant


@located
def inv(x: Node) -> Node:
    """The inverses of small matrices (..., n, n), n <= 6; of one that has none, not finite. numpy.linalg.inv."""
    determinant, adjugate = _leverrier("inv", x)
    return adjugate / reshape(determinant, (*x.shape[:-2], 1, 1))


def _leverrier(op: str, x: Node) -> tuple[Node, Node]:
    """Determinant and adjugate by n - 1 products (Leverrier and Faddeev): with M1 = I and c1 = trace(A), in turn
    M = A M - c I, c = trace(A M) / k; at the end det = (-1)^(n-1) c and adj = (-1)^(n-1) M. Nothing is divided by
    elements, so it is differentiable everywhere; roundings grow with the powers of A, so only for small n."""
    _floats(op, x)
    if x.rank < 2 or x.shape[-1] != x.shape[-2]:
        raise ShapeError(f"{op} needs square matrices, not {x!r}")
    n: Extent = x.shape[-1]
    if not isinstance(n, int) or not 1 <= n <= LARGEST:
        raise ShapeError(f"{op} of matrices of up to {LARGEST} rows, not {n}")
    one = constant(np.eye(n), x.dtype)
    matrix, product = one, x
    c = _trace(product, one)
    for k in range(2, n + 1):
        matrix = product - c * one
        product = matmul(x, matrix)
        c = _trace(product, one) / k
    sign = -1.0 if n % 2 == 0 else 1.0
    return reshape(c, x.shape[:-2]) * sign, matrix * sign


def _trace(x: Node, one: Node) -> Node:
    """(..., 1, 1)"""
    return sum(x * one, (x.rank - 2, x.rank - 1), keepdims=True)


def _floats(op: str, x: Node) -> None:
    if not x.type.is_float:
        raise DTypeError(f"{op} takes floats, not {x.dtype}; convert with gn.cast")
