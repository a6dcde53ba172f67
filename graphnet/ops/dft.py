"""Discrete Fourier transforms of few points along one axis, as straight-line code: see `graphnet.fourier`.

Complex values are pairs, real and imaginary part, in a last axis of extent 2. Sums are as they stand, with no factor:

    dft     X[k] = sum_j x[j] exp(sign 2 pi i jk / n)           (..., n, ..., 2) -> (..., n, ..., 2)
    rdft    X[k] = sum_j x[j] exp(-2 pi i jk / n), k <= n / 2    (..., n, ...) -> (..., n // 2 + 1, ..., 2)
    irdft   x[j] = sum_k X[k] exp(+2 pi i jk / n), X[n - k] = conj X[k]    (..., n // 2 + 1, ..., 2) -> (..., n, ...)

`ops.fft` makes transforms of any length of these. Each is the other's transpose, up to factors: their gradients.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.compute import Axis, axis
from codegen.expr import Expr, Var, lift

from ..errors import DTypeError, ShapeError
from ..fourier import Code, Complex, Value, dft, factor, irdft, rdft
from ..node import Node, apply, constant
from ..op import Op, Operand, Point, Sample, Tile
from ..types import STORAGE, Extent, Type
from .broadcast import reshape

LONGEST = 32  # points of a transform as one straight line


def is_short(n: int) -> bool:
    """Whether there is straight-line code for n points, and short enough."""
    try:
        factor(n)
    except ValueError:
        return False
    return n <= LONGEST


@dataclass(frozen=True)
class _Line(Op):
    """Base: a transform along `axis`."""

    kind = "transform"
    axis: int

    def _check(self, x: Type, complex: bool, n: Extent | None = None) -> int:
        """The number of points."""
        if not x.is_float or x.dtype in STORAGE:
            raise DTypeError(f"{self.name} takes floats, not {x.dtype}; convert with gn.cast")
        if not 0 <= self.axis < x.rank - complex or (complex and x.shape[-1] != 2):
            pairs = " and pairs in the last axis" if complex else ""
            raise ShapeError(f"{self.name} needs points along axis {self.axis}{pairs}, not {x}")
        points = x.shape[self.axis] if n is None else n
        if not isinstance(points, int) or points < 1 or not is_short(points):
            raise ShapeError(f"{self.name} of {points} points: sizes are products of 2, 3, 5 and 7 up to {LONGEST}")
        return points

    def _others(self, shape: Sequence[int]) -> tuple[tuple[Axis, ...], tuple[Expr, ...], tuple[Expr, ...]]:
        """Axes over all positions beside the line, of a real operand's shape; their variables before and after it."""
        axes = tuple(axis(f"i{a}", e) for a, e in enumerate(shape) if a != self.axis)
        index = tuple(Var(a.name) for a in axes)
        return axes or (axis("once", 1),), index[: self.axis], index[self.axis :]

    @staticmethod
    def _tile(code: Code, axes: tuple[Axis, ...], places: Sequence[tuple[Expr, ...]], values: Sequence[Value]) -> Tile:
        found = [code.expression(v) for v in values]
        points = tuple(Point(place, e) for place, e in zip(places, found, strict=True))
        return Tile(axes, code.needed(found), points)


def _pairs(x: Operand, code: Code, place: Sequence[tuple[Expr, ...]]) -> list[Complex]:
    zero, one = lift(0, "i64"), lift(1, "i64")
    return [(code.bind(x(*p, zero)), code.bind(x(*p, one))) for p in place]


def _both(places: Sequence[tuple[Expr, ...]]) -> list[tuple[Expr, ...]]:
    return [(*p, lift(part, "i64")) for p in places for part in range(2)]


@dataclass(frozen=True)
class Dft(_Line):
    """x (..., n, ..., 2) -> its transform along `axis`, with exp(sign 2 pi i jk / n).

    With `turned`, values are also multiplied by exp(sign i t), with t given as a table (n, m, 2) of cosines and sines
    for this axis and the next: "after" or "before" the transform. This joins the two steps of a longer one."""

    name = "dft"
    sign: int = -1
    turned: str = ""

    def infer(self, x: Type, *table: Type) -> Type:
        n = self._check(x, True)
        if self.sign not in (-1, 1) or self.turned not in ("", "before", "after"):
            raise ShapeError(f"{self.name}: sign {self.sign} and turned {self.turned!r}")
        if self.turned and self.axis + 2 >= x.rank:
            raise ShapeError(f"{self.name}: no axis after {self.axis} in {x}")
        wanted = [x.with_shape((n, x.shape[self.axis + 1], 2))] if self.turned else []
        if list(table) != wanted:
            raise ShapeError(f"{self.name}: after {x}, expected {wanted or 'nothing'}, not {list(table)}")
        return x

    def evaluate(self, x: np.ndarray, *table: np.ndarray) -> np.ndarray:
        z = x[..., 0].astype(np.float64) + 1j * x[..., 1]
        turn = (table[0][..., 0] + self.sign * 1j * table[0][..., 1]) if table else np.ones(())
        turn = turn.reshape(*turn.shape, *(1,) * (z.ndim - self.axis - turn.ndim))
        z = z * turn if self.turned == "before" else z
        z = np.fft.fft(z, axis=self.axis) if self.sign < 0 else np.fft.ifft(z, axis=self.axis, norm="forward")
        z = z * turn if self.turned == "after" else z
        return np.stack([z.real, z.imag], -1).astype(x.dtype)

    def tile(self, x: Operand, *table: Operand) -> Tile:
        axes, before, after = self._others(x.shape[:-1])
        places = [(*before, lift(j, "i64"), *after) for j in range(x.shape[self.axis])]
        code = Code(x.dtype)
        values = _pairs(x, code, places)
        turns: list[Complex] = []
        for t in table:
            cosines = _pairs(t, code, [(lift(j, "i64"), after[0]) for j in range(len(values))])
            turns = [(c, None if s is None else (self.sign * s[0], s[1])) for c, s in cosines]
        if self.turned == "before":
            values = [code.times(v, t) for v, t in zip(values, turns, strict=True)]
        values = dft(code, values, self.sign)
        if self.turned == "after":
            values = [code.times(v, t) for v, t in zip(values, turns, strict=True)]
        return self._tile(code, axes, _both(places), [part for v in values for part in v])

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        other = {"": "", "after": "before", "before": "after"}[self.turned]
        dx = apply(Dft(self.axis, -self.sign, other), cotangent, *node.inputs[1:])
        return dx, *(None for _ in node.inputs[1:])

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(1), ((2, 6, 3, 2),))
        yield Sample(cls(0, 1), ((8, 2),))
        yield Sample(cls(1), ((0, 4, 2),))
        for turned in ("before", "after"):
            yield Sample(cls(1, -1, turned), ((2, 4, 3, 2), (4, 3, 2)), differentiable=False)


@dataclass(frozen=True)
class Rdft(_Line):
    """x (..., n, ...) of real values -> the first n // 2 + 1 numbers of its transform along `axis`, (..., 2); the
    others are their conjugates."""

    name = "rdft"

    def infer(self, x: Type) -> Type:
        n = self._check(x, False)
        return x.with_shape((*x.shape[: self.axis], n // 2 + 1, *x.shape[self.axis + 1 :], 2))

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        z = np.fft.rfft(x.astype(np.float64), axis=self.axis)
        return np.stack([z.real, z.imag], -1).astype(x.dtype)

    def tile(self, x: Operand) -> Tile:
        axes, before, after = self._others(x.shape)
        code, n = Code(x.dtype), x.shape[self.axis]
        found = rdft(code, [code.bind(x(*before, lift(j, "i64"), *after)) for j in range(n)])
        places = [(*before, lift(k, "i64"), *after) for k in range(len(found))]
        return self._tile(code, axes, _both(places), [part for v in found for part in v])

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        n = x.shape[self.axis]
        assert isinstance(n, int)
        return (apply(Irdft(self.axis, n), cotangent * once(n, node.rank - 1 - self.axis, 0.5, x.dtype)),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(1), ((2, 8, 3),))
        yield Sample(cls(0), ((7,),))
        yield Sample(cls(1), ((0, 4),))


@dataclass(frozen=True)
class Irdft(_Line):
    """x (..., n // 2 + 1, ..., 2), numbers of the transform of `n` real values -> those values along `axis`, times n.
    The imaginary parts of the first number and, for even n, of the last are taken as 0."""

    name = "irdft"
    n: int = 1

    def infer(self, x: Type) -> Type:
        n = self._check(x, True, self.n)
        if x.shape[self.axis] != n // 2 + 1:
            raise ShapeError(f"{self.name} of {n} points needs {n // 2 + 1} along axis {self.axis} of {x}")
        return x.with_shape((*x.shape[: self.axis], n, *x.shape[self.axis + 1 : -1]))

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        z = x[..., 0].astype(np.float64) + 1j * x[..., 1]
        return np.fft.irfft(z, self.n, self.axis, norm="forward").astype(x.dtype)

    def tile(self, x: Operand) -> Tile:
        axes, before, after = self._others(x.shape[:-1])
        code = Code(x.dtype)
        half = _pairs(x, code, [(*before, lift(k, "i64"), *after) for k in range(self.n // 2 + 1)])
        for k in {0, self.n // 2} if self.n % 2 == 0 else {0}:
            half[k] = half[k][0], None
        places = [(*before, lift(j, "i64"), *after) for j in range(self.n)]
        return self._tile(code, axes, places, irdft(code, half, self.n))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        return (apply(Rdft(self.axis), cotangent) * once(self.n, node.rank - self.axis, 2.0, x.dtype),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(1, 8), ((2, 5, 3, 2),))
        yield Sample(cls(0, 7), ((4, 2),))
        yield Sample(cls(0, 2), ((2, 0, 2),))


def once(n: int, after: int, other: float, dtype: str) -> Node:
    """For each of n // 2 + 1 numbers: 1 for those that are their own conjugates, else `other`; `after` more axes."""
    found = np.full(n // 2 + 1, other)
    found[0] = 1.0
    if n % 2 == 0:
        found[-1] = 1.0
    return reshape(constant(found, dtype), (n // 2 + 1, *(1,) * after))
