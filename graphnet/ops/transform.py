"""The transforms of Winograd's convolution, each a tile at a time. See `graphnet.winograd`.

    x (N,C,H,W)  -> (A,T,C)      T = N*Th*Tw tiles of alpha x alpha that overlap by r - 1, zeros outside of x
    w (K,C,r,r)  -> (A,C,K)      A = alpha * alpha frequencies
    s (A,T,K)    -> (N,K,P,Q)    tiles of m x m, the last of a row or column cut where the result ends

Between these three stands one matrix product: (A,T,C) @ (A,C,K) -> (A,T,K). Channels are innermost everywhere, so
vectors are full whatever the batch and the image, and the tiles of an image are rows of the product.

The weight gradient slides the cotangent over the input, r outputs of m taps: F(r, m), with the same points and thus
the same transform of x, which a training step computes once for both.

    dy (N,K,P,Q) -> (A,T,K)      tiles of m x m that do not overlap, as "weights" of m taps, zeros outside of dy
    (A,C,T) @ (A,T,K) -> (A,C,K) sums over all tiles of all images
    s (A,C,K)    -> (K,C,r,r)

Only the pass that chooses convolution algorithms makes these ops, after differentiation, so they have no gradient.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.compute import axis
from codegen.expr import Const, Expr, Var, lift, select

from ..errors import ShapeError
from ..op import Op, Operand, Point, Sample, Tile
from ..types import Shape, Type, concrete
from ..winograd import Matrix, combine, transforms


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


def _both_ways(matrix: Matrix, tile: list[list[Expr]], name: _Lets) -> list[list[Expr]]:
    """matrix @ tile @ matrix^T."""
    columns = [combine(matrix, list(column), name) for column in zip(*tile, strict=True)]
    return [combine(matrix, list(row), name) for row in zip(*columns, strict=True)]


def _tile_of(t: Expr, tiles: tuple[int, int]) -> tuple[Expr, Expr, Expr]:
    """Image, row and column of tile number t."""
    return t // (tiles[0] * tiles[1]), t // tiles[1] % tiles[0], t % tiles[1]


def _array(matrix: Matrix) -> np.ndarray:
    return np.array([[float(c) for c in row] for row in matrix])


@dataclass(frozen=True)
class Transform(Op):
    """Base: m outputs of r taps in each direction."""

    kind = "transform"
    m: int
    r: int

    def __post_init__(self) -> None:
        try:
            transforms(self.m, self.r)
        except ValueError as e:
            raise ShapeError(f"{self.name}: {e}") from None

    @property
    def alpha(self) -> int:
        """Inputs of a tile, in each direction."""
        return self.m + self.r - 1

    def _extents(self, t: Type, rank: int) -> Shape:
        if t.rank != rank or not t.is_float:
            raise ShapeError(f"{self.name} takes floats of rank {rank}, not {t}")
        return t.shape

    def _both(self, matrix: Matrix, tile: list[list[Expr]], name: _Lets) -> list[Expr]:
        """The elements of matrix @ tile @ matrix^T, row after row."""
        return [e for row in _both_ways(matrix, tile, name) for e in row]


def _guarded(x: Operand, index: tuple[Expr, ...], checks: Sequence[tuple[Expr, int, int, int]]) -> Expr:
    """x[index], or 0 where some i of `checks` (i, least, most, extent), known to lie in least..most, is not
    an index into extent elements."""
    inside: Expr | None = None
    for i, least, most, extent in checks:
        for needed, condition in ((least < 0, lift(0, "i64") <= i), (most >= extent, i < extent)):
            if needed:
                inside = condition if inside is None else inside & condition
    return x(*index) if inside is None else select(inside, x(*index), 0.0)


@dataclass(frozen=True)
class TileTransform(Transform):
    """Base of those that cut images into `tiles` (Th, Tw), of which the first starts `low` before the image."""

    tiles: tuple[int, int] = (1, 1)
    low: tuple[int, int] = (0, 0)

    def infer(self, x: Type) -> Type:
        n, c, _, _ = self._extents(x, 4)
        return x.with_shape((self.alpha**2, n * (self.tiles[0] * self.tiles[1]), c))

    def _cut(self, x: np.ndarray, size: int) -> np.ndarray:
        """(N,C,H,W) -> (N,C,Th,Tw,size,size), a tile every m elements."""
        reach = [(t - 1) * self.m + size for t in self.tiles]
        wide = np.zeros((*x.shape[:2], *(r + e for r, e in zip(reach, x.shape[2:], strict=True))), x.dtype)
        wide[:, :, self.low[0] : self.low[0] + x.shape[2], self.low[1] : self.low[1] + x.shape[3]] = x
        wide = wide[:, :, : reach[0], : reach[1]]
        return np.lib.stride_tricks.sliding_window_view(wide, (size, size), axis=(2, 3))[:, :, :: self.m, :: self.m]

    def _transformed(self, matrix: Matrix, x: np.ndarray) -> np.ndarray:
        """(N,C,H,W) -> (A,T,C): matrix @ tile @ matrix^T."""
        t = _array(matrix)
        v = np.einsum("ai,bj,nctsij->abntsc", t, t, self._cut(x, t.shape[1]), optimize=True)
        return v.reshape(self.alpha**2, -1, x.shape[1]).astype(x.dtype)

    def _tile(self, matrix: Matrix, x: Operand) -> Tile:
        n, c, h, w = x.shape
        axes = (axis("t", n * self.tiles[0] * self.tiles[1]), axis("c", c))
        place, ci = (a.var for a in axes)
        ni, th, tw = _tile_of(place, self.tiles)
        name, size = _Lets(), len(matrix[0])

        def element(i: int, j: int) -> Expr:
            checks = []
            for tile, offset, count, low, extent in (
                (th, i, self.tiles[0], self.low[0], h),
                (tw, j, self.tiles[1], self.low[1], w),
            ):
                least = offset - low
                checks.append((tile * self.m + least, least, (count - 1) * self.m + least, extent))
            return _guarded(x, (ni, ci, checks[0][0], checks[1][0]), checks)

        d = [[name(element(i, j)) for j in range(size)] for i in range(size)]
        values = self._both(matrix, d, name)
        points = [Point((Const(f, "i64"), place, ci), v) for f, v in enumerate(values)]
        return Tile(axes, tuple(name.lets), tuple(points))


@dataclass(frozen=True)
class WinogradInput(TileTransform):
    """v[f, (n*Th + th)*Tw + tw, c] = (B^T d B)[f] of the tile d of x[n, c] at (th*m, tw*m) - low."""

    name = "winograd_input"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return self._transformed(transforms(self.m, self.r).input, x)

    def tile(self, x: Operand) -> Tile:
        return self._tile(transforms(self.m, self.r).input, x)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(2, 3, (2, 1)), ((2, 3, 6, 4),), differentiable=False)
        yield Sample(cls(4, 3, (2, 1), (1, 2)), ((2, 3, 7, 4),), differentiable=False)


@dataclass(frozen=True)
class WinogradWeight(Transform):
    """u[f, c, k] = (G w[k, c] G^T)[f]; turned: of w[c, k] turned around, as the input gradient convolves with."""

    name = "winograd_weight"
    turned: bool = False

    def infer(self, w: Type) -> Type:
        k, c, *window = self._extents(w, 4)
        if window != [self.r, self.r]:
            raise ShapeError(f"F({self.m}, {self.r}) transforms kernels of {self.r}x{self.r}, not {w}")
        return w.with_shape((self.alpha**2, *((k, c) if self.turned else (c, k))))

    def evaluate(self, w: np.ndarray) -> np.ndarray:
        g = _array(transforms(self.m, self.r).weight)
        w = w[:, :, ::-1, ::-1].swapaxes(0, 1) if self.turned else w
        u = np.einsum("ai,bj,kcij->abck", g, g, w, optimize=True)
        return u.reshape(self.alpha**2, *u.shape[2:]).astype(w.dtype)

    def tile(self, w: Operand) -> Tile:
        outer, inner = (0, 1) if self.turned else (1, 0)
        axes = (axis("c", w.shape[outer]), axis("k", w.shape[inner]))
        c, k = (a.var for a in axes)
        name = _Lets()

        def tap(i: int, j: int) -> Expr:
            if self.turned:
                return w(c, k, Const(self.r - 1 - i, "i64"), Const(self.r - 1 - j, "i64"))
            return w(k, c, Const(i, "i64"), Const(j, "i64"))

        taps = [[name(tap(i, j)) for j in range(self.r)] for i in range(self.r)]
        values = self._both(transforms(self.m, self.r).weight, taps, name)
        return Tile(axes, tuple(name.lets), tuple(Point((Const(f, "i64"), c, k), v) for f, v in enumerate(values)))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(2, 3), ((2, 3, 3, 3),), differentiable=False)
        yield Sample(cls(2, 3, turned=True), ((2, 3, 3, 3),), differentiable=False)
        yield Sample(cls(4, 5), ((3, 2, 5, 5),), differentiable=False)


@dataclass(frozen=True)
class WinogradOutput(Transform):
    """y[n, k, th*m + i, tw*m + j] = (A^T s[:, (n*Th + th)*Tw + tw, k] A)[i, j], for the points inside `size` (P, Q)."""

    name = "winograd_output"
    index_names = "nkpq"
    size: tuple[int, int] = (1, 1)

    @property
    def tiles(self) -> tuple[int, int]:
        return -(-self.size[0] // self.m), -(-self.size[1] // self.m)

    def infer(self, s: Type) -> Type:
        f, t, k = self._extents(s, 3)
        images, rest = divmod(concrete((t,))[0], self.tiles[0] * self.tiles[1])
        if f != self.alpha**2 or rest:
            raise ShapeError(f"{s} is not {self.alpha}x{self.alpha} frequencies of tiles that cover {self.size}")
        return s.with_shape((images, k, *self.size))

    def evaluate(self, s: np.ndarray) -> np.ndarray:
        at, a = _array(transforms(self.m, self.r).output), self.alpha
        tiles = s.reshape(a, a, -1, *self.tiles, s.shape[2])
        y = np.einsum("ia,jb,abntsk->nktisj", at, at, tiles, optimize=True)
        n, k, th, m, tw, _ = y.shape
        return y.reshape(n, k, th * m, tw * m)[:, :, : self.size[0], : self.size[1]].astype(s.dtype)

    def tile(self, s: Operand) -> Tile:
        _, t, k = s.shape
        (rows, columns), a = self.tiles, self.alpha
        axes = (axis("t", t), axis("k", k))
        place, ki = (x.var for x in axes)
        ni, th, tw = _tile_of(place, self.tiles)
        name = _Lets()
        f = [[name(s(Const(i * a + j, "i64"), place, ki)) for j in range(a)] for i in range(a)]
        y = _both_ways(transforms(self.m, self.r).output, f, name)
        points = []
        for i in range(self.m):
            for j in range(self.m):
                p, q = th * self.m + i, tw * self.m + j
                conditions = [
                    x < e
                    for x, e, last in (
                        (p, self.size[0], rows * self.m - self.m + i),
                        (q, self.size[1], columns * self.m - self.m + j),
                    )
                    if last >= e  # the last tile is cut
                ]
                valid = None
                for condition in conditions:
                    valid = condition if valid is None else valid & condition
                points.append(Point((ni, ki, p, q), y[i][j], valid))
        return Tile(axes, tuple(name.lets), tuple(points))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(2, 3, (4, 3)), ((16, 8, 3),), differentiable=False)
        yield Sample(cls(4, 3, (8, 5)), ((36, 4, 6),), differentiable=False)


@dataclass(frozen=True)
class WinogradCotangent(TileTransform):
    """d[f, (n*Th + th)*Tw + tw, k] = (G t G^T)[f] of the tile t of dy[n, k] at (th*m, tw*m), G of F(r, m)."""

    name = "winograd_cotangent"

    def evaluate(self, dy: np.ndarray) -> np.ndarray:
        return self._transformed(transforms(self.r, self.m).weight, dy)

    def tile(self, dy: Operand) -> Tile:
        return self._tile(transforms(self.r, self.m).weight, dy)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(4, 3, (2, 1)), ((2, 3, 8, 4),), differentiable=False)
        yield Sample(cls(2, 5, (2, 3)), ((3, 2, 3, 6),), differentiable=False)


@dataclass(frozen=True)
class WinogradKernel(Transform):
    """dw[k, c] = A^T s[:, c, k] A, A of F(r, m)."""

    name = "winograd_kernel"
    index_names = "kcrs"

    def infer(self, s: Type) -> Type:
        f, c, k = self._extents(s, 3)
        if f != self.alpha**2:
            raise ShapeError(f"{s} is not {self.alpha}x{self.alpha} frequencies")
        return s.with_shape((k, c, self.r, self.r))

    def evaluate(self, s: np.ndarray) -> np.ndarray:
        at, a = _array(transforms(self.r, self.m).output), self.alpha
        tiles = s.reshape(a, a, *s.shape[1:])
        return np.einsum("ia,jb,abck->kcij", at, at, tiles, optimize=True).astype(s.dtype)

    def tile(self, s: Operand) -> Tile:
        axes = (axis("c", s.shape[1]), axis("k", s.shape[2]))
        c, k = (a.var for a in axes)
        name, a = _Lets(), self.alpha
        f = [[name(s(Const(i * a + j, "i64"), c, k)) for j in range(a)] for i in range(a)]
        w = _both_ways(transforms(self.r, self.m).output, f, name)
        places = [(i, j) for i in range(self.r) for j in range(self.r)]
        points = [Point((k, c, Const(i, "i64"), Const(j, "i64")), w[i][j]) for i, j in places]
        return Tile(axes, tuple(name.lets), tuple(points))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(4, 3), ((36, 3, 4),), differentiable=False)
        yield Sample(cls(2, 5), ((36, 2, 3),), differentiable=False)
