"""The transforms of Fourier's convolution, each a tile at a time, in two stages. See `graphnet.fourier`.

    x (N,C,H,W)    -> (F,2,T,C)    T = N*Th*Tw tiles of rows x columns points, one every `step`; zeros outside of x
    w (K,C,R,S)    -> (F,2,C,K)    the spectrum of the kernel, or its conjugate
    s (F,2,T,K)    -> (N,K,P,Q)    inverse; of each tile the points that no other overlaps
    g (F,2,C,K)    -> (K,C,R,S)    inverse of a sum of products of two spectra

Axis 1 is the real and the imaginary part, channels are innermost: products over channels are then matrix products of
real numbers, of rows and columns that lie together.

A tile's transform is the real one along its rows (columns/2 + 1 numbers remain), then the complex one along the
columns: F = rows * (columns/2 + 1) frequencies, f = column * rows + row. A long `line` of rows * columns points
in an image of one row works the same way (Cooley and Tukey 1965): element i + rows * j stands in row i, column j, and
between the two stages are multiplications by exp(-2 pi i ik/n), from a table that is the op's last input.

Only the pass that chooses convolution algorithms makes these ops, after differentiation, so they have no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.compute import Axis, Stage, axis
from codegen.expr import Buffer, Expr, Var, lift, maximum, minimum
from codegen.loops import Store, store

from ..errors import ShapeError
from ..fourier import Code, Complex, Value, dft, factor, irdft, rdft, root, signed
from ..op import Op, Operand
from ..types import Type, concrete
from .window import Pair

Element = Callable[[Expr, int], Expr | None]  # of a row and column; None: zero
Spectrum = Callable[[Code, Expr], Complex]  # of a frequency


def turns(points: Pair) -> np.ndarray:
    """The table (rows, columns/2 + 1, 2) of cos and sin of 2 pi ik / (rows * columns)."""
    rows, columns = points
    return np.array([[root(i * k, rows * columns) for k in range(columns // 2 + 1)] for i in range(rows)])


@dataclass(frozen=True)
class Fourier(Op):
    """Base: `points` (rows, columns) of a tile, or of a line of rows * columns."""

    kind = "transform"
    points: Pair
    line: bool

    def __post_init__(self) -> None:
        try:
            for n in self.points:
                factor(n)
        except ValueError as e:
            raise ShapeError(f"{self.name}: {e}") from None

    @property
    def half(self) -> int:
        return self.points[1] // 2 + 1

    @property
    def frequencies(self) -> int:
        return self.points[0] * self.half

    @property
    def extent(self) -> Pair:
        """Rows and columns of the image that a tile covers."""
        return (1, self.points[0] * self.points[1]) if self.line else self.points

    def _check(self, t: Type, rank: int, table: Sequence[Type]) -> tuple[int, ...]:
        if t.rank != rank or not t.is_float:
            raise ShapeError(f"expected floats of rank {rank}, not {t}")
        wanted = [t.with_shape((self.points[0], self.half, 2))] if self.line else []
        if list(table) != wanted:
            raise ShapeError(f"after {t}, expected {wanted or 'nothing'}, not {list(table)}")
        return concrete(t.shape)

    # by NumPy

    def _spectra(self, x: np.ndarray, *table: np.ndarray) -> np.ndarray:
        """(..., h, w) of a tile's extent -> (..., F)."""
        rows, columns = self.points
        if self.line:
            x = np.moveaxis(x.reshape(*x.shape[:-2], columns, rows), -1, -2)  # (..., i, j)
        f = np.fft.rfft(x, columns)
        if self.line:
            f = f * (table[0][..., 0] - 1j * table[0][..., 1])
        f = np.fft.fft(f, axis=-2)
        return np.moveaxis(f, -1, -2).reshape(*f.shape[:-2], -1)

    def _images(self, f: np.ndarray, *table: np.ndarray) -> np.ndarray:
        """(..., F) -> (..., h, w), the inverse without its factor."""
        rows, columns = self.points
        f = np.moveaxis(f.reshape(*f.shape[:-1], self.half, rows), -1, -2)
        z = np.fft.ifft(f, axis=-2)
        if self.line:
            z = z * (table[0][..., 0] + 1j * table[0][..., 1])
        x = np.fft.irfft(z, columns) * (rows * columns)
        return np.moveaxis(x, -1, -2).reshape(*x.shape[:-2], 1, rows * columns) if self.line else x

    # in index notation

    def _between(self, dtype: str, rows: int) -> Buffer:
        """What lies between the stages: real and imaginary part, of each row and column."""
        return Buffer("between", dtype, (rows, self.half, 2), "local")

    def _forward(
        self, element: Element, rows: Rows, dtype: str, table: Sequence[Operand]
    ) -> tuple[tuple[Stage, ...], Axis, Code, list[tuple[Expr, Complex]]]:
        """The transform of `element(row, column)`: its stages, the axis of the last, its code, each f and value."""
        code, i, f = Code(dtype), Var("i"), Var("f")
        if self.points[0] == 1:
            found = rdft(code, [code.bind(element(i, j)) for j in range(self.points[1])])
            return (), axis("i", 1), code, [(lift(k, "i64"), v) for k, v in enumerate(found)]
        between = self._between(dtype, rows.stop - rows.start)
        clear = [store(between, (i - rows.start, k, part), 0.0) for k in range(self.half) for part in range(2)]
        stages = [Stage(axis("i", self.points[0], *bounds), tuple(clear)) for bounds in rows.outside()]
        row = Code(dtype)
        found = rdft(row, [row.bind(element(i, j)) for j in range(self.points[1])])
        if self.line:
            found = [_turned(row, v, table[0], i, lift(k, "i64"), -1) for k, v in enumerate(found)]
        puts = [p for k, v in enumerate(found) for p in _stores(row, between, (i - rows.start, lift(k, "i64")), v)]
        stages.append(_stage(axis("i", self.points[0], rows.first, rows.last), row, puts))
        column: list[Complex] = [(None, None)] * self.points[0]
        for r in range(rows.start, rows.stop):
            column[r] = code.bind(between[r - rows.start, f, 0]), code.bind(between[r - rows.start, f, 1])
        out = [(f * self.points[0] + k, v) for k, v in enumerate(dft(code, column))]
        return tuple(stages), axis("f", self.half), code, out

    def _inverse(
        self, spectrum: Spectrum, wanted: range, dtype: str, table: Sequence[Operand]
    ) -> tuple[tuple[Stage, ...], Code, list[Value]]:
        """The inverse transform of `spectrum(code, f)`: its stages, and the code and columns of row number i of those
        `wanted`."""
        code, i, f = Code(dtype), Var("i"), Var("f")
        if self.points[0] == 1:
            half = [spectrum(code, lift(k, "i64")) for k in range(self.half)]
            return (), code, irdft(code, half, self.points[1])
        between = self._between(dtype, len(wanted))
        column = Code(dtype)
        found = dft(column, [spectrum(column, f * self.points[0] + k) for k in range(self.points[0])], 1)
        if self.line:
            found = [_turned(column, v, table[0], lift(k, "i64"), f, 1) for k, v in enumerate(found)]
        puts = [p for n, r in enumerate(wanted) for p in _stores(column, between, (lift(n, "i64"), f), found[r])]
        half = [(code.bind(between[i, k, 0]), code.bind(between[i, k, 1])) for k in range(self.half)]
        return (_stage(axis("f", self.half), column, puts),), code, irdft(code, half, self.points[1])

    def _columns(self, first: int, count: int) -> Iterable[tuple[int, Expr, Expr | None]]:
        """Of the columns j of row i, those that hold one of `count` elements from number `first` on: j, which of
        these it is, and when."""
        i, rows = Var("i"), self.points[0]
        for j in range(self.points[1]):
            least, most = (rows * j, rows * j + rows - 1) if self.line else (j, j)
            place = i + least if self.line else lift(j, "i64")
            if most < first or least >= first + count:
                continue
            after = None if least >= first else lift(first, "i64") <= place
            yield j, place - first, both(after, None if most < first + count else place < first + count)


def both(a: Expr | None, b: Expr | None) -> Expr | None:
    """Two conditions, either of which may be absent."""
    return b if a is None else a if b is None else a & b


def _stage(over: Axis, code: Code, puts: Sequence[Store]) -> Stage:
    return Stage.of(over, code.needed(p.value for p in puts), [(p,) for p in puts])


def _stores(code: Code, between: Buffer, at: tuple[Expr, Expr], value: Complex) -> tuple[Store, Store]:
    re, im = (store(between, (*at, part), code.expression(v)) for part, v in enumerate(value))
    return re, im


def _turned(code: Code, x: Complex, table: Operand, i: Expr, k: Expr, sign: int) -> Complex:
    """x exp(sign 2 pi i ik/n), from the table."""
    c, s = (code.bind(table(i, k, lift(part, "i64"))) for part in range(2))
    return code.times(x, (c, signed(sign, s)))


@dataclass(frozen=True, slots=True)
class Rows:
    """Of the rows of a tile those in start ... stop may not be zero; in this tile, those in first ... last."""

    start: int
    stop: int
    first: Expr
    last: Expr

    @staticmethod
    def all(count: int) -> Rows:
        return Rows(0, count, lift(0, "i64"), lift(count, "i64"))

    @staticmethod
    def of(tile: Expr, tiles: int, step: int, low: int, keep: int, extent: int) -> Rows:
        """Rows i < keep of tile number `tile` with 0 <= tile * step - low + i < extent."""
        bounds = [(max(low - t * step, 0), min(extent + low - t * step, keep)) for t in range(tiles)]
        some = [(a, b) for a, b in bounds if a < b] or [(0, 1)]
        start, stop = min(a for a, _ in some), max(b for _, b in some)
        if all(b == (start, stop) for b in bounds):
            return Rows(start, stop, lift(start, "i64"), lift(stop, "i64"))
        first = minimum(maximum(low - tile * step, start), stop)
        return Rows(start, stop, first, maximum(minimum((extent + low) - tile * step, stop), first))

    def outside(self) -> list[tuple[Expr, Expr]]:
        """The bounds of what is zero."""
        every = ((lift(self.start, "i64"), self.first), (self.last, lift(self.stop, "i64")))
        return [(a, b) for a, b in every if a != b]
