"""Spectra to tiles of images and to gradients of kernels: see `fourier`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from codegen.compute import axis
from codegen.expr import Expr, Var, lift, minimum

from ..errors import ShapeError
from ..fourier import Code, Complex
from ..op import Operand, Point, Sample, Tile
from ..types import Type
from .fourier import Fourier, both
from .window import Pair


@dataclass(frozen=True)
class FourierOutput(Fourier):
    """y[n, k, th*m + i, tw*m' + j] = element `first` + (i, j) of the inverse of tile (th, tw), where `size` has it;
    (m, m') is `step`."""

    name = "fourier_output"
    index_names = "nkpq"
    step: Pair
    first: Pair
    size: Pair

    @property
    def tiles(self) -> Pair:
        return -(-self.size[0] // self.step[0]), -(-self.size[1] // self.step[1])

    def infer(self, s: Type, *table: Type) -> Type:
        f, parts, t, k = self._check(s, 4, table)
        n, rest = divmod(t, self.tiles[0] * self.tiles[1])
        if f != self.frequencies or parts != 2 or rest:
            raise ShapeError(f"{s} is not {self.frequencies} complex frequencies of images of {self.tiles} tiles")
        if any(a + m > e for a, m, e in zip(self.first, self.step, self.extent, strict=True)):
            raise ShapeError(f"{self.step} elements from {self.first} on are more than a tile has, {self.extent}")
        return s.with_shape((n, k, *self.size))

    def evaluate(self, s: np.ndarray, *table: np.ndarray) -> np.ndarray:
        k = s.shape[3]
        x = self._images(np.moveaxis(s[:, 0] + 1j * s[:, 1], 0, -1), *table)  # (T,K,h,w)
        (a, b), (m, o), (th, tw) = self.first, self.step, self.tiles
        x = x[:, :, a : a + m, b : b + o].reshape(-1, th, tw, k, m, o)
        y = x.transpose(0, 3, 1, 4, 2, 5).reshape(len(x), k, th * m, tw * o)
        return y[:, :, : self.size[0], : self.size[1]].astype(s.dtype)

    def tile(self, s: Operand, *table: Operand) -> Tile:
        _, _, t, k = s.shape
        (th, tw), (m, o) = self.tiles, self.step
        axes = (axis("n", t // (th * tw)), axis("th", th), axis("tw", tw), axis("k", k))
        n, row, column, ki = (a.var for a in axes)
        tile = (n * th + row) * tw + column

        def spectrum(code: Code, f: Expr) -> Complex:
            re, im = (code.bind(s(f, lift(part, "i64"), tile, ki)) for part in range(2))
            return re, im

        wanted = range(self.points[0]) if self.line else range(self.first[0], self.first[0] + m)
        stages, code, found = self._inverse(spectrum, wanted, s.dtype, table)
        cut = not self.line and th * m > self.size[0]
        inner = axis("i", len(wanted), 0, minimum(self.size[0] - row * m, m) if cut else None)
        points = []
        for j, q, valid in self._columns(self.first[1], o):
            at = column * o + q
            if tw * o > self.size[1]:
                valid = both(valid, at < self.size[1])
            h = row if self.line else row * m + Var("i")
            points.append(Point((n, ki, h, at), code.expression(found[j]), valid))
        return Tile(axes, code.needed(p.value for p in points), tuple(points), stages, inner)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((4, 6), False, (2, 3), (1, 2), (3, 5)), ((16, 2, 8, 3),), differentiable=False)
        yield Sample(cls((1, 9), False, (1, 5), (0, 0), (2, 7)), ((5, 2, 4, 2),), differentiable=False)
        yield Sample(cls((3, 4), True, (1, 7), (0, 2), (1, 13)), ((9, 2, 4, 3), (3, 3, 2)), differentiable=False)


@dataclass(frozen=True)
class FourierKernel(Fourier):
    """dw[k, c] = the first elements of the inverse of g[f, (0, 1), c, k], re and im, divided by rows * columns."""

    name = "fourier_kernel"
    index_names = "kcrs"
    window: Pair

    def infer(self, g: Type, *table: Type) -> Type:
        f, parts, c, k = self._check(g, 4, table)
        if (f, parts) != (self.frequencies, 2):
            raise ShapeError(f"{g} is not {self.frequencies} complex frequencies")
        return g.with_shape((k, c, *self.window))

    def evaluate(self, g: np.ndarray, *table: np.ndarray) -> np.ndarray:
        f = g[:, 0] + 1j * g[:, 1]
        x = self._images(f.transpose(2, 1, 0), *table) / (self.points[0] * self.points[1])
        return x[:, :, : self.window[0], : self.window[1]].astype(g.dtype)

    def tile(self, g: Operand, *table: Operand) -> Tile:
        axes = (axis("c", g.shape[2]), axis("k", g.shape[3]))
        ci, ki = (a.var for a in axes)

        def spectrum(code: Code, f: Expr) -> Complex:
            re, im = (code.bind(g(f, lift(part, "i64"), ci, ki)) for part in range(2))
            return re, im

        wanted = range(self.points[0] if self.line else self.window[0])
        stages, code, found = self._inverse(spectrum, wanted, g.dtype, table)
        scale, points = 1.0 / (self.points[0] * self.points[1]), []
        for j, q, valid in self._columns(0, self.window[1]):
            h = lift(0, "i64") if self.line else Var("i")
            points.append(Point((ki, ci, h, q), code.expression(code.scale(found[j], scale)), valid))
        return Tile(axes, code.needed(p.value for p in points), tuple(points), stages, axis("i", len(wanted)))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((4, 6), False, (3, 2)), ((16, 2, 3, 2),), differentiable=False)
        yield Sample(cls((1, 9), False, (1, 5)), ((5, 2, 2, 3),), differentiable=False)
        yield Sample(cls((3, 4), True, (1, 7)), ((9, 2, 2, 3), (3, 3, 2)), differentiable=False)
