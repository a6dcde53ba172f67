"""Products of spectra, real and imaginary parts apart: see `fourier`.

Both are of one spectrum and the conjugate of another: x conj(y) = (re x re y + im x im y) + i (im x re y - re x im y).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from codegen.compute import Reduce, axis
from codegen.expr import Expr, select

from ..errors import ShapeError
from ..op import Op, Operand, Sample
from ..types import Type, concrete, elements

CONFLICT = 256  # elements: lines at multiples of this meet in few sets


@dataclass(frozen=True)
class Spectra(Op):
    """Base of what makes spectra (F,2,rows,columns): matrices, in memory `spare` rows apart."""

    spare: int = field(default=0, kw_only=True)

    def room(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        return (*shape[:2], shape[2] + self.spare, shape[3])


def spare(rows: int, columns: int) -> int:
    """Rows between matrices that would all begin in the same few sets of a cache."""
    return 1 if rows * columns % CONFLICT == 0 else 0


@dataclass(frozen=True)
class FourierProduct(Spectra):
    """s[f, :, t, k] = sum over c of v[f, :, t, c] conj(u[f, :, c, k])."""

    name = "fourier_product"
    kind = "contract"
    index_names = "fbtk"

    def infer(self, v: Type, u: Type) -> Type:
        _spectra(v, u)
        if v.shape[3] != u.shape[2]:
            raise ShapeError(f"channels of {v} and {u} differ")
        return v.with_shape((*v.shape[:3], u.shape[3]))

    def evaluate(self, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        return _parts(np.matmul(_complex(v), _complex(u).conj()), v)

    def body(self, index: tuple[Expr, ...], v: Operand, u: Operand) -> Reduce:
        f, b, t, k = index
        a, c = axis("a", 2), axis("c", v.shape[3])
        y = u(f, (a.var + b) % 2, c.var, k)
        return Reduce("sum", (c, a), v(f, a.var, t, c.var) * _conjugate(y, a.var, b))

    def flops(self, output: Type, *inputs: Type) -> int:
        return 4 * elements(output) * concrete(inputs[0].shape)[3]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 2, 4, 5), (3, 2, 5, 6)), differentiable=False)
        yield Sample(cls(), ((2, 2, 17, 3), (2, 2, 3, 18)), differentiable=False)


@dataclass(frozen=True)
class FourierCorrelation(Spectra):
    """g[f, :, c, k] = sum over tiles t of v[f, :, t, c] conj(d[f, :, t, k])."""

    name = "fourier_correlation"
    kind = "contract"
    index_names = "fbck"

    def infer(self, v: Type, d: Type) -> Type:
        _spectra(v, d)
        if v.shape[2] != d.shape[2]:
            raise ShapeError(f"tiles of {v} and {d} differ")
        return v.with_shape((*v.shape[:2], v.shape[3], d.shape[3]))

    def evaluate(self, v: np.ndarray, d: np.ndarray) -> np.ndarray:
        return _parts(np.matmul(_complex(v).swapaxes(1, 2), _complex(d).conj()), v)

    def body(self, index: tuple[Expr, ...], v: Operand, d: Operand) -> Reduce:
        f, b, c, k = index
        a, t = axis("a", 2), axis("t", v.shape[2])
        y = d(f, (a.var + b) % 2, t.var, k)
        return Reduce("sum", (t, a), v(f, a.var, t.var, c) * _conjugate(y, a.var, b))

    def flops(self, output: Type, *inputs: Type) -> int:
        return 4 * elements(output) * concrete(inputs[0].shape)[2]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 2, 4, 5), (3, 2, 4, 6)), differentiable=False)
        yield Sample(cls(), ((2, 2, 17, 3), (2, 2, 17, 18)), differentiable=False)


def _conjugate(y: Expr, a: Expr, b: Expr) -> Expr:
    """By what part a of x is multiplied in part b of x conj(y), if y is part (a + b) % 2 of y."""
    return select(a < b, -y, y)


def _complex(x: np.ndarray) -> np.ndarray:
    """(F,2,...) -> (F,...)"""
    return x[:, 0].astype(np.float64) + 1j * x[:, 1]


def _parts(z: np.ndarray, like: np.ndarray) -> np.ndarray:
    """(F,...) -> (F,2,...)"""
    return np.stack([z.real, z.imag], 1).astype(like.dtype)


def _spectra(x: Type, y: Type) -> None:
    if x.rank != 4 or y.rank != 4 or not x.is_float or x.dtype != y.dtype or x.shape[:2] != y.shape[:2]:
        raise ShapeError(f"expected floats (F,2,...) of the same frequencies, not {x} and {y}")
    if x.shape[1] != 2:
        raise ShapeError(f"{x} has no real and imaginary part")
