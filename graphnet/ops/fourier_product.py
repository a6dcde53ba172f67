"""Products of spectra, real and imaginary parts apart: see `fourier`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from codegen.compute import Reduce, axis
from codegen.expr import Expr

from ..errors import ShapeError
from ..op import Op, Operand, Sample
from ..types import Type, concrete, elements


@dataclass(frozen=True)
class FourierProduct(Op):
    """s[f, b, t, k] = sum over a, c of v[f, a, t, c] u[f, b, a, c, k]."""

    name = "fourier_product"
    kind = "contract"
    index_names = "fbtk"

    def infer(self, v: Type, u: Type) -> Type:
        _floats(v, u, 4, 5)
        if (v.shape[0], v.shape[1], v.shape[3]) != (u.shape[0], u.shape[2], u.shape[3]):
            raise ShapeError(f"frequencies, parts or channels of {v} and {u} differ")
        return v.with_shape((v.shape[0], u.shape[1], v.shape[2], u.shape[4]))

    def evaluate(self, v: np.ndarray, u: np.ndarray) -> np.ndarray:
        wide = np.einsum("fatc,fback->fbtk", v.astype(np.float64), u.astype(np.float64), optimize=True)
        return wide.astype(v.dtype)

    def body(self, index: tuple[Expr, ...], v: Operand, u: Operand) -> Reduce:
        f, b, t, k = index
        a, c = axis("a", v.shape[1]), axis("c", v.shape[3])
        return Reduce("sum", (a, c), v(f, a.var, t, c.var) * u(f, b, a.var, c.var, k))

    def flops(self, output: Type, *inputs: Type) -> int:
        return 2 * elements(inputs[0]) * math.prod(concrete((inputs[1].shape[1], inputs[1].shape[4])))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 2, 4, 5), (3, 2, 2, 5, 6)), differentiable=False)
        yield Sample(cls(), ((2, 2, 17, 3), (2, 2, 2, 3, 18)), differentiable=False)


@dataclass(frozen=True)
class FourierCorrelation(Op):
    """g[f, b, a, c, k] = sum over tiles t of v[f, a, t, c] d[f, b, t, k]."""

    name = "fourier_correlation"
    kind = "contract"
    index_names = "fback"

    def infer(self, v: Type, d: Type) -> Type:
        _floats(v, d, 4, 4)
        if (v.shape[0], v.shape[2]) != (d.shape[0], d.shape[2]):
            raise ShapeError(f"frequencies or tiles of {v} and {d} differ")
        return v.with_shape((v.shape[0], d.shape[1], v.shape[1], v.shape[3], d.shape[3]))

    def evaluate(self, v: np.ndarray, d: np.ndarray) -> np.ndarray:
        wide = np.einsum("fatc,fbtk->fback", v.astype(np.float64), d.astype(np.float64), optimize=True)
        return wide.astype(v.dtype)

    def body(self, index: tuple[Expr, ...], v: Operand, d: Operand) -> Reduce:
        f, b, a, c, k = index
        t = axis("t", v.shape[2])
        return Reduce("sum", (t,), v(f, a, t.var, c) * d(f, b, t.var, k))

    def flops(self, output: Type, *inputs: Type) -> int:
        return 2 * elements(output) * concrete(inputs[0].shape)[2]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 2, 4, 5), (3, 2, 4, 6)), differentiable=False)
        yield Sample(cls(), ((2, 2, 17, 3), (2, 2, 17, 18)), differentiable=False)


def _floats(a: Type, b: Type, *ranks: int) -> None:
    if (a.rank, b.rank) != ranks or not a.is_float or a.dtype != b.dtype:
        raise ShapeError(f"expected floats of ranks {ranks}, not {a} and {b}")
