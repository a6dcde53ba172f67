"""The transforms of Winograd's convolution, each a tile at a time. See `graphnet.winograd`.

    x (N,C,H,W)  -> (A,T,C)      T = N*Th*Tw tiles of alpha x alpha that overlap by r - 1, zeros outside of x
    w (K,C,R,S)  -> (A,C,K)      A = alpha * alpha frequencies
    s (A,T,K)    -> (N,K,P,Q)    tiles of m x m, the last of a row or column cut where the result ends

Between these three stands one matrix product: (A,T,C) @ (A,C,K) -> (A,T,K). Channels are innermost everywhere, so
vectors are full whatever the batch and the image, and the tiles of an image are rows of the product. Tiles need not
be square: m, r and alpha are pairs. Of many channels the transformed kernels come in panels of some columns,
(A,K/panel,C,panel), and so does the product: a product walks a panel in one stream, where rows of all K would fall
into few sets of the caches.

The weight gradient slides the cotangent over the input, r outputs of m taps: F(r, m), with the same points and thus
the same transform of x, which a training step computes once for both.

    dy (N,K,P,Q) -> (A,T,K)      tiles of m x m that do not overlap, as "weights" of m taps, zeros outside of dy
    (A,C,T) @ (A,T,K) -> (A,C,K) sums over all tiles of all images
    s (A,C,K)    -> (K,C,R,S)

A convolution of stride s is one of stride 1 between phases: with x'[a][i] = x[i s + a] and w'[a][j] = w[j s + a], the
s * s phases of a channel are channels (a, b, c) of their own, with kernels of r = ceil(R / s) taps. The transforms
read and write images and kernels phase by phase, so nothing is rearranged in memory; where a pixel has too few
channels to fill a vector, `phases.Phases` brings them together first, as channels (c, a, b).

Only the pass that chooses convolution algorithms makes these ops, after differentiation, so they have no gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from codegen.compute import Axis, axis
from codegen.expr import Const, Expr, Var, lift

from ..errors import ShapeError
from ..op import Op, Operand, Point, Sample, Tile
from ..types import Shape, Type, concrete
from ..winograd import Matrix, combine, transforms
from .phases import Pair, Place, all_inside, guarded, interleaved, split

Matrices = tuple[Matrix, Matrix]  # along columns and along rows of a tile


class _Lets:
    """Names for intermediate values."""

    def __init__(self) -> None:
        self.lets: list[tuple[Var, Expr]] = []

    def __call__(self, e: Expr) -> Expr:
        if isinstance(e, (Var, Const)):
            return e
        var = Var(f"u{len(self.lets)}", e.dtype)
        self.lets.append((var, e))
        return var


def _both_ways(matrices: Matrices, tile: list[list[Expr]], name: _Lets) -> list[list[Expr]]:
    """first @ tile @ second^T."""
    columns = [combine(matrices[0], list(column), name) for column in zip(*tile, strict=True)]
    return [combine(matrices[1], list(row), name) for row in zip(*columns, strict=True)]


def _tile_of(t: Expr, tiles: Pair) -> tuple[Expr, Expr, Expr]:
    """Image, row and column of tile number t."""
    return t // (tiles[0] * tiles[1]), t // tiles[1] % tiles[0], t % tiles[1]


def _array(matrix: Matrix) -> np.ndarray:
    return np.array([[float(c) for c in row] for row in matrix])


@dataclass(frozen=True)
class Transform(Op):
    """Base: m outputs of r taps in each direction, of each phase of the stride."""

    kind = "transform"
    m: Pair
    r: Pair
    stride: Pair = field(default=(1, 1), kw_only=True)

    def __post_init__(self) -> None:
        try:
            for m, r in zip(self.m, self.r, strict=True):
                transforms(m, r)
        except ValueError as e:
            raise ShapeError(f"{self.name}: {e}") from None

    @property
    def alpha(self) -> Pair:
        """Inputs of a tile, in each direction."""
        return self.m[0] + self.r[0] - 1, self.m[1] + self.r[1] - 1

    @property
    def frequencies(self) -> int:
        return self.alpha[0] * self.alpha[1]

    @property
    def phases(self) -> int:
        return self.stride[0] * self.stride[1]

    def _extents(self, t: Type, rank: int) -> Shape:
        if t.rank != rank or not t.is_float:
            raise ShapeError(f"{self.name} takes floats of rank {rank}, not {t}")
        return t.shape

    def _matrices(self, part: str, turned: bool = False) -> Matrices:
        """The matrices "output", "weight" or "input" of F(m, r), or of F(r, m) if `turned`."""
        pairs = zip(self.r, self.m, strict=True) if turned else zip(self.m, self.r, strict=True)
        first, second = (getattr(transforms(*p), part) for p in pairs)
        return first, second

    def _phase(self) -> tuple[tuple[Expr, Expr], tuple[Axis, ...]]:
        """The phase (a, b), and the axes that run over all of them."""
        axes = axis("a", self.stride[0]), axis("b", self.stride[1])
        a, b = (x.var if x.extent > 1 else lift(0, "i64") for x in axes)
        return (a, b), tuple(x for x in axes if x.extent > 1)

    def _channel(self, phase: tuple[Expr, Expr], c: Expr, channels: int, together: bool = False) -> Expr:
        """The place of channel c of a phase; `together` with its other phases, as `Phases` has them."""
        if together:
            return (c * self.stride[0] + phase[0]) * self.stride[1] + phase[1]
        return (phase[0] * self.stride[1] + phase[1]) * channels + c

    @staticmethod
    def _columns(name: str, extent: int, panel: int) -> tuple[tuple[Axis, ...], Expr]:
        """The axes over the columns of a product, in panels if there are any, and the number of the column."""
        if not panel:
            whole = axis(name, extent)
            return (whole,), whole.var
        outer, inner = axis("panel", extent // panel), axis(name, panel)
        return (outer, inner), outer.var * panel + inner.var

    def _spectrum(self, name: _Lets, s: Operand, *place: Expr) -> list[list[Expr]]:
        """The tile s[:, *place]."""
        rows, columns = self.alpha
        return [[name(s(Const(i * columns + j, "i64"), *place)) for j in range(columns)] for i in range(rows)]


def _points(
    values: list[list[Expr]], first: tuple[Expr, ...], along: Callable[[int, int], Place]
) -> tuple[Point, ...]:
    """The values of a tile at [first, row, column], where those are not always outside of the result."""
    points = []
    for i, row in enumerate(values):
        for j, value in enumerate(row):
            places = along(0, i), along(1, j)
            if not any(p.never for p in places):
                points.append(Point((*first, *(p.index for p in places)), value, all_inside(*places)))
    return tuple(points)


@dataclass(frozen=True)
class TileTransform(Transform):
    """Base of those that cut images into `tiles` (Th, Tw), of which the first starts `low` before the image."""

    tiles: Pair = (1, 1)
    low: Pair = (0, 0)

    def infer(self, x: Type) -> Type:
        n, c, _, _ = self._extents(x, 4)
        return x.with_shape((self.frequencies, n * (self.tiles[0] * self.tiles[1]), self.phases * c))

    def _transformed(self, matrices: Matrices, x: np.ndarray) -> np.ndarray:
        """(N,C,H,W) -> (A,T,s*s*C): first @ tile @ second^T, a tile every m elements of a phase."""
        first, second = (_array(t) for t in matrices)
        size = first.shape[1], second.shape[1]
        reach = [(t - 1) * m + e for t, m, e in zip(self.tiles, self.m, size, strict=True)]
        wide = split(x, self.stride, self.low, (reach[0], reach[1]))
        cut = np.lib.stride_tricks.sliding_window_view(wide, size, axis=(2, 3))[:, :, :: self.m[0], :: self.m[1]]
        v = np.einsum("ai,bj,nctsij->abntsc", first, second, cut, optimize=True)
        return v.reshape(self.frequencies, -1, wide.shape[1]).astype(x.dtype)

    def _tile(self, matrices: Matrices, x: Operand) -> Tile:
        n, c, *extents = x.shape
        phase, over_phases = self._phase()
        axes = (axis("t", n * self.tiles[0] * self.tiles[1]), *over_phases, axis("c", c))
        place, ci = axes[0].var, axes[-1].var
        ni, *tile = _tile_of(place, self.tiles)
        name = _Lets()

        def along(d: int, offset: int) -> Place:
            least = offset * self.stride[d] - self.low[d]
            step = self.m[d] * self.stride[d]
            most = (self.tiles[d] - 1) * step + self.stride[d] - 1 + least
            return Place(tile[d] * step + phase[d] + least, least, most, extents[d])

        rows, columns = len(matrices[0][0]), len(matrices[1][0])
        d = [[name(guarded(x, (ni, ci), along(0, i), along(1, j))) for j in range(columns)] for i in range(rows)]
        channel = self._channel(phase, ci, c)
        values = [e for row in _both_ways(matrices, d, name) for e in row]
        points = [Point((Const(f, "i64"), place, channel), v) for f, v in enumerate(values)]
        return Tile(axes, tuple(name.lets), tuple(points))


@dataclass(frozen=True)
class WinogradInput(TileTransform):
    """v[f, (n*Th + th)*Tw + tw, (a, b, c)] = (B^T d B)[f], d[i, j] = x[n, c, (th*m + i)*s + a - low, ...] or 0."""

    name = "winograd_input"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return self._transformed(self._matrices("input"), x)

    def tile(self, x: Operand) -> Tile:
        return self._tile(self._matrices("input"), x)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((2, 2), (3, 3), (2, 1)), ((2, 3, 6, 4),), differentiable=False)
        yield Sample(cls((4, 1), (3, 2), (2, 3), (1, 2)), ((2, 3, 7, 4),), differentiable=False)
        yield Sample(cls((2, 3), (2, 2), (2, 2), (1, -1), stride=(2, 3)), ((2, 3, 7, 16),), differentiable=False)


@dataclass(frozen=True)
class WinogradWeight(Transform):
    """u[f, (a, b, c), k] = (G t G^T)[f] of the taps t[i, j] = w[k, c, i*s + a + shift, j*s + b + shift], or 0.

    turned: u[f, k, (a, b, c)] of the taps in reversed order, as the input gradient convolves with.
    panel: the last axis as two, of which the first comes before the rows; 0 leaves it as it is.
    together: u[f, (c, a, b), k]; not if turned."""

    name = "winograd_weight"
    turned: bool = False
    shift: Pair = (0, 0)
    panel: int = field(default=0, kw_only=True)
    together: bool = field(default=False, kw_only=True)

    def infer(self, w: Type) -> Type:
        k, c, *window = self._extents(w, 4)
        if [-(-e // s) for e, s in zip(concrete(window), self.stride, strict=True)] != list(self.r):
            raise ShapeError(f"{self.name}: {self.r} taps at stride {self.stride} are not those of {w}")
        if self.turned and self.together:
            raise ShapeError(f"{self.name}: the phases of results lie outside of their channels")
        inner = self.phases * concrete((c,))[0]
        rows, columns = (concrete((k,))[0], inner) if self.turned else (inner, concrete((k,))[0])
        if not self.panel:
            return w.with_shape((self.frequencies, rows, columns))
        if concrete((c if self.turned else k,))[0] % self.panel:
            raise ShapeError(f"{self.name}: panels of {self.panel} do not divide the columns of {w}")
        return w.with_shape((self.frequencies, columns // self.panel, rows, self.panel))

    def evaluate(self, w: np.ndarray) -> np.ndarray:
        first, second = (_array(g) for g in self._matrices("weight"))
        taps = split(w, self.stride, (-self.shift[0], -self.shift[1]), self.r, self.together)
        taps = taps[:, :, ::-1, ::-1].swapaxes(0, 1) if self.turned else taps
        u = np.einsum("ai,bj,kcij->abck", first, second, taps, optimize=True)
        u = u.reshape(self.frequencies, *u.shape[2:]).astype(w.dtype)
        return u.reshape(*u.shape[:2], -1, self.panel).swapaxes(1, 2) if self.panel else u

    def tile(self, w: Operand) -> Tile:
        k_axes, k = self._columns("k", w.shape[0], 0 if self.turned else self.panel)
        c_axes, c = self._columns("c", w.shape[1], self.panel if self.turned else 0)
        phase, over_phases = self._phase()
        rows = (*c_axes, *over_phases) if self.together else (*over_phases, *c_axes)
        axes = (*k_axes, *rows) if self.turned else (*rows, *k_axes)
        name = _Lets()

        def along(d: int, t: int) -> Place:
            t = self.r[d] - 1 - t if self.turned else t
            least = t * self.stride[d] + self.shift[d]
            return Place(phase[d] + least, least, least + self.stride[d] - 1, w.shape[2 + d])

        size = self.r
        taps = [[name(guarded(w, (k, c), along(0, i), along(1, j))) for j in range(size[1])] for i in range(size[0])]
        values = [e for row in _both_ways(self._matrices("weight"), taps, name) for e in row]
        channel = self._channel(phase, c, w.shape[1], self.together)
        place: tuple[Expr, ...] = (k, channel) if self.turned else (channel, k)
        if self.panel:
            panel, inside = axes[-2].var, axes[-1].var
            axes = (axes[-2], *axes[:-2], axes[-1])  # in the order in which results lie
            of = self._channel(phase, panel, w.shape[1] // self.panel) if self.turned else panel
            place = (of, place[0], inside)
        return Tile(axes, tuple(name.lets), tuple(Point((Const(f, "i64"), *place), v) for f, v in enumerate(values)))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((2, 2), (3, 3)), ((2, 3, 3, 3),), differentiable=False)
        yield Sample(cls((2, 2), (3, 2), turned=True), ((2, 3, 3, 2),), differentiable=False)
        yield Sample(cls((4, 2), (2, 2), stride=(2, 3)), ((3, 2, 3, 5),), differentiable=False)
        yield Sample(cls((4, 2), (2, 2), True, (-1, 0), stride=(2, 2)), ((3, 2, 3, 3),), differentiable=False)
        yield Sample(cls((2, 2), (2, 2), True, stride=(2, 2), panel=2), ((3, 4, 3, 3),), differentiable=False)
        yield Sample(cls((2, 2), (3, 3), panel=2), ((4, 3, 3, 3),), differentiable=False)
        yield Sample(cls((4, 2), (2, 2), stride=(2, 3), together=True), ((3, 2, 3, 5),), differentiable=False)


@dataclass(frozen=True)
class WinogradOutput(Transform):
    """y[n, k, (th*m + i)*s + a - low, ...] = (A^T s[:, (n*Th + th)*Tw + tw, (a, b, k)] A)[i, j], inside `size` (P, Q).

    The product s is (A,T,K), or (A,K/panel,T,panel)."""

    name = "winograd_output"
    index_names = "nkpq"
    size: Pair = (1, 1)
    low: Pair = (0, 0)

    @property
    def tiles(self) -> Pair:
        each = zip(self.size, self.low, self.m, self.stride, strict=True)
        rows, columns = (-(-(e + low) // (m * s)) for e, low, m, s in each)
        return rows, columns

    def infer(self, s: Type) -> Type:
        f, *panels, t, k = concrete(self._extents(s, 4 if s.rank == 4 else 3))
        images, rest = divmod(t, self.tiles[0] * self.tiles[1])
        channels, odd = divmod(k * (panels[0] if panels else 1), self.phases)
        if f != self.frequencies or rest or odd:
            raise ShapeError(f"{self.name}: {s} is not {self.frequencies} frequencies of tiles that cover {self.size}")
        return s.with_shape((images, channels, *self.size))

    def evaluate(self, s: np.ndarray) -> np.ndarray:
        first, second = (_array(a) for a in self._matrices("output"))
        s = s.swapaxes(1, 2).reshape(s.shape[0], s.shape[2], -1) if s.ndim == 4 else s
        tiles = s.reshape(*self.alpha, -1, *self.tiles, s.shape[2])
        y = np.einsum("ia,jb,abntsk->nktisj", first, second, tiles, optimize=True)
        n, k, th, m, tw, q = y.shape
        return interleaved(y.reshape(n, k, th * m, tw * q), self.stride, self.low, self.size).astype(s.dtype)

    def tile(self, s: Operand) -> Tile:
        _, *panels, t, width = s.shape
        k = width * (panels[0] if panels else 1) // self.phases
        phase, over_phases = self._phase()
        columns, ki = self._columns("k", k, width if panels else 0)
        axes = (axis("t", t), *over_phases, *columns)
        place: tuple[Expr, ...] = (axes[0].var, self._channel(phase, ki, k))
        if panels:
            place = (self._channel(phase, columns[0].var, k // width), axes[0].var, columns[1].var)
        ni, *tile = _tile_of(axes[0].var, self.tiles)
        name = _Lets()
        y = _both_ways(self._matrices("output"), self._spectrum(name, s, *place), name)

        def along(d: int, i: int) -> Place:
            least = i * self.stride[d] - self.low[d]
            step = self.m[d] * self.stride[d]
            most = (self.tiles[d] - 1) * step + self.stride[d] - 1 + least
            return Place(tile[d] * step + phase[d] + least, least, most, self.size[d])

        return Tile(axes, tuple(name.lets), _points(y, (ni, ki), along))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((2, 2), (3, 3), (4, 3)), ((16, 8, 3),), differentiable=False)
        yield Sample(cls((4, 4), (3, 3), (5, 2)), ((36, 2, 3),), differentiable=False)
        yield Sample(cls((4, 2), (3, 1), (8, 5)), ((12, 6, 6),), differentiable=False)
        yield Sample(cls((2, 2), (2, 2), (7, 5), (1, 0), stride=(2, 3)), ((9, 4, 12),), differentiable=False)
        yield Sample(cls((2, 2), (2, 2), (7, 5), (1, 0), stride=(2, 3)), ((9, 12, 4, 2),), differentiable=False)


@dataclass(frozen=True)
class WinogradCotangent(TileTransform):
    """d[f, (n*Th + th)*Tw + tw, k] = (G t G^T)[f] of the tile t of dy[n, k] at (th*m, tw*m), G of F(r, m)."""

    name = "winograd_cotangent"

    def evaluate(self, dy: np.ndarray) -> np.ndarray:
        return self._transformed(self._matrices("weight", turned=True), dy)

    def tile(self, dy: Operand) -> Tile:
        return self._tile(self._matrices("weight", turned=True), dy)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((4, 4), (3, 3), (2, 1)), ((2, 3, 8, 4),), differentiable=False)
        yield Sample(cls((2, 1), (5, 3), (2, 3)), ((3, 2, 3, 3),), differentiable=False)


@dataclass(frozen=True)
class WinogradKernel(Transform):
    """dw[k, c, i*s + a, j*s + b] = (A^T s[:, (a, b, c), k] A)[i, j], A of F(r, m), inside `window` (R, S).

    together: s[:, (c, a, b), k]."""

    name = "winograd_kernel"
    index_names = "kcrs"
    window: Pair = (1, 1)
    together: bool = field(default=False, kw_only=True)

    def infer(self, s: Type) -> Type:
        f, c, k = self._extents(s, 3)
        channels, odd = divmod(concrete((c,))[0], self.phases)
        if f != self.frequencies or odd:
            raise ShapeError(f"{self.name}: {s} is not {self.frequencies} frequencies of {self.phases} phases")
        return s.with_shape((k, channels, *self.window))

    def evaluate(self, s: np.ndarray) -> np.ndarray:
        first, second = (_array(a) for a in self._matrices("output", turned=True))
        tiles = s.reshape(*self.alpha, *s.shape[1:])
        taps = np.einsum("ia,jb,abck->kcij", first, second, tiles, optimize=True)
        return interleaved(taps, self.stride, (0, 0), self.window, self.together).astype(s.dtype)

    def tile(self, s: Operand) -> Tile:
        channels = s.shape[1] // self.phases
        phase, over_phases = self._phase()
        inputs, outputs = axis("c", channels), axis("k", s.shape[2])
        axes = (inputs, *over_phases, outputs) if self.together else (*over_phases, inputs, outputs)
        c, k = inputs.var, outputs.var
        name = _Lets()
        spectrum = self._spectrum(name, s, self._channel(phase, c, channels, self.together), k)
        taps = _both_ways(self._matrices("output", turned=True), spectrum, name)

        def along(d: int, i: int) -> Place:
            least = i * self.stride[d]
            return Place(phase[d] + least, least, least + self.stride[d] - 1, self.window[d])

        return Tile(axes, tuple(name.lets), _points(taps, (k, c), along))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((4, 4), (3, 3), (3, 3)), ((36, 3, 4),), differentiable=False)
        yield Sample(cls((2, 1), (5, 3), (5, 3)), ((18, 2, 3),), differentiable=False)
        yield Sample(cls((4, 2), (2, 2), (3, 5), stride=(2, 3)), ((15, 12, 3),), differentiable=False)
        yield Sample(cls((4, 2), (2, 2), (3, 5), stride=(2, 3), together=True), ((15, 12, 3),), differentiable=False)
