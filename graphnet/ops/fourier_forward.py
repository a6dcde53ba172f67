"""Tiles of images and kernels to their spectra: see `fourier`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from codegen.compute import axis
from codegen.expr import Expr, const, lift, select

from ..errors import ShapeError
from ..fourier import signed
from ..op import Operand, Point, Sample, Tile
from ..types import Type
from .fourier import Fourier, Rows, both
from .fourier_product import Spectra
from .window import Pair


@dataclass(frozen=True)
class FourierInput(Fourier, Spectra):
    """v[f, (0, 1), (n*Th + th)*Tw + tw, c] = re, im of X[f] of tile (th, tw) of x[n, c]: it begins `low` before
    (th, tw) * step, and only its first `keep` rows and columns are read."""

    name = "fourier_input"
    step: Pair
    tiles: Pair
    low: Pair
    keep: Pair

    def infer(self, x: Type, *table: Type) -> Type:
        n, c, h, _ = self._check(x, 4, table)
        if self.line and h != 1:
            raise ShapeError(f"a line has one row, not those of {x}")
        return x.with_shape((self.frequencies, 2, n * self.tiles[0] * self.tiles[1], c))

    def evaluate(self, x: np.ndarray, *table: np.ndarray) -> np.ndarray:
        n, c = x.shape[:2]
        v = np.zeros((self.frequencies, 2, n, *self.tiles, c))
        for t in np.ndindex(*self.tiles):
            part = np.zeros((n, c, *self.extent))
            starts = [i * s - a for i, s, a in zip(t, self.step, self.low, strict=True)]
            for i, j in np.ndindex(*self.keep):
                p, q = starts[0] + i, starts[1] + j
                if 0 <= p < x.shape[2] and 0 <= q < x.shape[3]:
                    part[:, :, i, j] = x[:, :, p, q]
            f = self._spectra(part, *table)  # (N,C,F)
            v[:, 0, :, t[0], t[1]] = np.moveaxis(f.real, -1, 0)
            v[:, 1, :, t[0], t[1]] = np.moveaxis(f.imag, -1, 0)
        return v.reshape(self.frequencies, 2, -1, c).astype(x.dtype)

    def tile(self, x: Operand, *table: Operand) -> Tile:
        n, c, h, w = x.shape
        axes = (axis("n", n), axis("th", self.tiles[0]), axis("tw", self.tiles[1]), axis("c", c))
        ni, th, tw, ci = (a.var for a in axes)
        starts = range(-self.low[1], self.tiles[1] * self.step[1] - self.low[1], self.step[1])
        places = {j: (q, valid) for j, q, valid in self._columns(0, self.keep[1])}
        rows = self.points[0]

        def element(i: Expr, j: int) -> Expr | None:
            if j not in places:
                return None
            q, valid = places[j]
            least, most = (rows * j, rows * j + rows - 1) if self.line else (j, j)
            if all(s + most < 0 or s + least >= w for s in starts):
                return None
            at = tw * self.step[1] + q - self.low[1]
            if starts[0] + least < 0:
                valid = both(valid, lift(0, "i64") <= at)
            if starts[-1] + most >= w:
                valid = both(valid, at < w)
            value = x(ni, ci, lift(0, "i64") if self.line else th * self.step[0] + i - self.low[0], at)
            return value if valid is None else select(valid, value, 0.0)

        reach = (th, self.tiles[0], self.step[0], self.low[0], self.keep[0], h)
        inside = Rows.all(rows) if self.line else Rows.of(*reach)
        if not self.line and rows == 1:
            assert inside.outside() == [], "a row of the image for each row of the result"
        stages, inner, code, out = self._forward(element, inside, x.dtype, table)
        tile = (ni * self.tiles[0] + th) * self.tiles[1] + tw
        points = [
            Point((f, lift(part, "i64"), tile, ci), code.expression(v)) for f, z in out for part, v in enumerate(z)
        ]
        return Tile(axes, code.needed(p.value for p in points), tuple(points), stages, inner)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((4, 6), False, (2, 3), (2, 2), (1, 2), (4, 6)), ((2, 3, 4, 5),), differentiable=False)
        yield Sample(cls((5, 8), False, (3, 4), (2, 1), (0, 0), (3, 4)), ((1, 2, 5, 4),), differentiable=False)
        yield Sample(cls((1, 9), False, (1, 5), (3, 2), (0, 1), (1, 9)), ((2, 2, 3, 8),), differentiable=False)
        line = cls((3, 4), True, (1, 7), (1, 2), (0, 2), (1, 12))
        yield Sample(line, ((2, 3, 1, 13), (3, 3, 2)), differentiable=False)


@dataclass(frozen=True)
class FourierWeight(Fourier, Spectra):
    """u[f, (0, 1), c, k] = re, im of W[f] / (rows * columns) of w[k, c], or of conj W[f] if `mirrored`."""

    name = "fourier_weight"
    mirrored: bool = False

    def infer(self, w: Type, *table: Type) -> Type:
        k, c, *window = self._check(w, 4, table)
        if any(r > e for r, e in zip(window, self.extent, strict=True)):
            raise ShapeError(f"{w} is larger than a tile, {self.extent}")
        return w.with_shape((self.frequencies, 2, c, k))

    def evaluate(self, w: np.ndarray, *table: np.ndarray) -> np.ndarray:
        part = np.zeros((*w.shape[:2], *self.extent))
        part[:, :, : w.shape[2], : w.shape[3]] = w
        f = self._spectra(part, *table) / (self.points[0] * self.points[1])  # (K,C,F)
        re, im = f.real.transpose(2, 1, 0), f.imag.transpose(2, 1, 0) * (-1 if self.mirrored else 1)
        return np.stack([re, im], 1).astype(w.dtype)

    def tile(self, w: Operand, *table: Operand) -> Tile:
        k, c, r, s = w.shape
        axes = (axis("c", c), axis("k", k))
        ci, ki = (a.var for a in axes)
        places = {j: (q, valid) for j, q, valid in self._columns(0, s)}
        scale = const(1.0 / (self.points[0] * self.points[1]), w.dtype)

        def element(i: Expr, j: int) -> Expr | None:
            if j not in places:
                return None
            q, valid = places[j]
            value = w(ki, ci, lift(0, "i64") if self.line else i, q)
            return (value if valid is None else select(valid, value, 0.0)) * scale

        inside = Rows.all(self.points[0] if self.line else r)
        stages, inner, code, out = self._forward(element, inside, w.dtype, table)
        points = []
        for f, (re, im) in out:
            for part, v in enumerate((re, signed(-1, im) if self.mirrored else im)):
                points.append(Point((f, lift(part, "i64"), ci, ki), code.expression(v)))
        return Tile(axes, code.needed(p.value for p in points), tuple(points), stages, inner)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((4, 6), False), ((2, 3, 3, 2),), differentiable=False)
        yield Sample(cls((5, 8), False, True), ((3, 2, 5, 7),), differentiable=False)
        yield Sample(cls((1, 9), False), ((3, 2, 1, 5),), differentiable=False)
        yield Sample(cls((3, 4), True), ((2, 3, 1, 7), (3, 3, 2)), differentiable=False)
