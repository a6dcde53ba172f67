"""The transforms of Winograd's convolution, each a tile at a time, and the product of its weight gradient.
See `graphnet.winograd`.

    x (N,C,H,W)    -> (A, Th, C, Tw*N)     H = Th*m + r - 1: tiles of alpha x alpha that overlap by r - 1
    w (K,C,r,r)    -> (A, 1, K, C)         A = alpha * alpha frequencies
    s (A,Th,K,Tw*N) -> (N,K,P,Q)           P <= Th*m: tiles of m x m, the last of a row cut where P ends

Between these three stands one matrix product: (A,1,K,C) @ (A,Th,C,Tw*N) -> (A,Th,K,Tw*N). Its columns are all images'
tiles of a row of tiles, so that a small batch fills vectors too. 

The weight gradient slides the cotangent over the input, r outputs of m taps: F(r, m), with the same points and thus
the same transform of x, which a training step computes once for both.

    dy (N,K,P,Q)   -> (A, Th, K, Tw*N)     P = Th*m: tiles of m x m that do not overlap, as "weights" of m taps
    d (A,Th,K,L), v (A,Th,C,L) -> (A,K,C)  sums over all tiles and images
    s (A,K,C)      -> (K,C,r,r)

Only the pass that chooses convolution algorithms makes these ops, after differentiation, so they have no gradient.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from codegen.compute import Axis, Reduce, axis
from codegen.expr import Const, Expr, Var

from ..errors import ShapeError
from ..op import Op, Operand, Point, Sample, Tile
from ..types import Type, concrete, elements
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
        return self.m + self.r - 1

    def _extents(self, t: Type, rank: int) -> tuple[int, ...]:
        if t.rank != rank or not t.is_float:
            raise ShapeError(f"expected floats of rank {rank}, not {t}")
        return concrete(t.shape)

    def _tiles(self, extent: int) -> int:
        count, rest = divmod(extent - self.r + 1, self.m)
        if rest or count < 1:
            raise ShapeError(f"{extent} is not a whole number of tiles of {self.m} plus {self.r - 1}")
        return count


@dataclass(frozen=True)
class WinogradInput(Transform):
    """v[f, th, c, tw*N + n] = (B^T d B)[f] of the tile d of x[n, c] at (th*m, tw*m)."""

    name = "winograd_input"

    def infer(self, x: Type) -> Type:
        n, c, h, w = self._extents(x, 4)
        return x.with_shape((self.alpha**2, self._tiles(h), c, self._tiles(w) * n))

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        bt, a, m = _array(transforms(self.m, self.r).input), self.alpha, self.m
        d = np.lib.stride_tricks.sliding_window_view(x, (a, a), axis=(2, 3))[:, :, ::m, ::m]
        v = np.einsum("ai,bj,nctsij->abtcsn", bt, bt, d, optimize=True)
        return v.reshape(a * a, *v.shape[2:4], -1).astype(x.dtype)

    def tile(self, x: Operand) -> Tile:
        n, c, h, w = x.shape
        axes = (axis("th", self._tiles(h)), axis("c", c), axis("tw", self._tiles(w)), axis("n", n))
        th, ci, tw, ni = (a.var for a in axes)
        name, a = _Lets(), self.alpha
        d = [[name(x(ni, ci, th * self.m + i, tw * self.m + j)) for j in range(a)] for i in range(a)]
        v = _both_ways(transforms(self.m, self.r).input, d, name)
        place = (th, ci, tw * n + ni)
        points = [Point((Const(i * a + j, "i64"), *place), v[i][j]) for i in range(a) for j in range(a)]
        return Tile(axes, tuple(name.lets), tuple(points))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(2, 3), ((2, 3, 6, 4),), differentiable=False)
        yield Sample(cls(4, 3), ((3, 2, 10, 6),), differentiable=False)


@dataclass(frozen=True)
class WinogradWeight(Transform):
    """u[f, 0, k, c] = (G w[k, c] G^T)[f]."""

    name = "winograd_weight"

    def infer(self, w: Type) -> Type:
        k, c, *window = self._extents(w, 4)
        if window != [self.r, self.r]:
            raise ShapeError(f"F({self.m}, {self.r}) transforms kernels of {self.r}x{self.r}, not {w}")
        return w.with_shape((self.alpha**2, 1, k, c))

    def evaluate(self, w: np.ndarray) -> np.ndarray:
        g = _array(transforms(self.m, self.r).weight)
        u = np.einsum("ai,bj,kcij->abkc", g, g, w, optimize=True)
        return u.reshape(self.alpha**2, 1, *u.shape[2:]).astype(w.dtype)

    def tile(self, w: Operand) -> Tile:
        axes = (axis("k", w.shape[0]), axis("c", w.shape[1]))
        k, c = (a.var for a in axes)
        name, a, zero = _Lets(), self.alpha, Const(0, "i64")
        taps = [[name(w(k, c, Const(i, "i64"), Const(j, "i64"))) for j in range(self.r)] for i in range(self.r)]
        u = _both_ways(transforms(self.m, self.r).weight, taps, name)
        points = [Point((Const(i * a + j, "i64"), zero, k, c), u[i][j]) for i in range(a) for j in range(a)]
        return Tile(axes, tuple(name.lets), tuple(points))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(2, 3), ((2, 3, 3, 3),), differentiable=False)
        yield Sample(cls(4, 5), ((3, 2, 5, 5),), differentiable=False)


@dataclass(frozen=True)
class WinogradOutput(Transform):
    """y[n, k, th*m + i, tw*m + j] = (A^T s[:, th, k, tw*N + n] A)[i, j], for the points inside `size`."""

    name = "winograd_output"
    index_names = "nkpq"
    size: tuple[int, int] = (1, 1)

    def infer(self, s: Type) -> Type:
        f, th, k, columns = self._extents(s, 4)
        n, rest = divmod(columns, self._across)
        if f != self.alpha**2 or -(-self.size[0] // self.m) != th or rest:
            raise ShapeError(f"{s} is not {self.alpha}x{self.alpha} frequencies of tiles that cover {self.size}")
        return s.with_shape((n, k, *self.size))

    @property
    def _across(self) -> int:
        """Tiles in a row."""
        return -(-self.size[1] // self.m)

    def evaluate(self, s: np.ndarray) -> np.ndarray:
        at, a = _array(transforms(self.m, self.r).output), self.alpha
        tiles = s.reshape(a, a, *s.shape[1:3], self._across, -1)
        y = np.einsum("ia,jb,abtksn->nktisj", at, at, tiles, optimize=True)
        n, k, th, m, tw, _ = y.shape
        return y.reshape(n, k, th * m, tw * m)[:, :, : self.size[0], : self.size[1]].astype(s.dtype)

    def tile(self, s: Operand) -> Tile:
        _, tiles_h, k, columns = s.shape
        tiles_w = self._across
        n = columns // tiles_w
        axes: tuple[Axis, ...] = (axis("th", tiles_h), axis("k", k), axis("tw", tiles_w), axis("n", n))
        th, ki, tw, ni = (a.var for a in axes)
        name, a = _Lets(), self.alpha
        f = [[name(s(Const(i * a + j, "i64"), th, ki, tw * n + ni)) for j in range(a)] for i in range(a)]
        y = _both_ways(transforms(self.m, self.r).output, f, name)
        points = []
        for i in range(self.m):
            for j in range(self.m):
                p, q = th * self.m + i, tw * self.m + j
                conditions = [
                    x < e
                    for x, e, t in ((p, self.size[0], tiles_h), (q, self.size[1], tiles_w))
                    if t * self.m > e  # the last tile is cut
                ]
                valid = None
                for condition in conditions:
                    valid = condition if valid is None else valid & condition
                points.append(Point((ni, ki, p, q), y[i][j], valid))
        return Tile(axes, tuple(name.lets), tuple(points))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(2, 3, (4, 3)), ((16, 2, 3, 4),), differentiable=False)
        yield Sample(cls(4, 3, (8, 5)), ((36, 2, 2, 6),), differentiable=False)


@dataclass(frozen=True)
class WinogradCotangent(Transform):
    """d[f, th, k, tw*N + n] = (G t G^T)[f] of the tile t of dy[n, k] at (th*m, tw*m), G of F(r, m)."""

    name = "winograd_cotangent"

    def infer(self, dy: Type) -> Type:
        n, k, p, q = self._extents(dy, 4)
        if p % self.m or q % self.m:
            raise ShapeError(f"{dy} is not a whole number of tiles of {self.m}x{self.m}")
        return dy.with_shape((self.alpha**2, p // self.m, k, q // self.m * n))

    def evaluate(self, dy: np.ndarray) -> np.ndarray:
        g, m, (n, k, p, q) = _array(transforms(self.r, self.m).weight), self.m, dy.shape
        tiles = dy.reshape(n, k, p // m, m, q // m, m)
        d = np.einsum("ai,bj,nktisj->abtksn", g, g, tiles, optimize=True)
        return d.reshape(self.alpha**2, p // m, k, -1).astype(dy.dtype)

    def tile(self, dy: Operand) -> Tile:
        n, k, p, q = dy.shape
        axes = (axis("th", p // self.m), axis("k", k), axis("tw", q // self.m), axis("n", n))
        th, ki, tw, ni = (a.var for a in axes)
        name, a, m = _Lets(), self.alpha, self.m
        taps = [[name(dy(ni, ki, th * m + i, tw * m + j)) for j in range(m)] for i in range(m)]
        d = _both_ways(transforms(self.r, self.m).weight, taps, name)
        place = (th, ki, tw * n + ni)
        points = [Point((Const(i * a + j, "i64"), *place), d[i][j]) for i in range(a) for j in range(a)]
        return Tile(axes, tuple(name.lets), tuple(points))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(4, 3), ((2, 3, 8, 4),), differentiable=False)
        yield Sample(cls(2, 5), ((3, 2, 4, 6),), differentiable=False)


@dataclass(frozen=True)
class WinogradProduct(Op):
    """s[f, k, c] = sum over th, l of d[f, th, k, l] v[f, th, c, l]."""

    name = "winograd_product"
    kind = "contract"
    index_names = "fkc"

    def infer(self, d: Type, v: Type) -> Type:
        if d.rank != 4 or v.rank != 4 or not d.is_float or d.dtype != v.dtype:
            raise ShapeError(f"expected floats (A,Th,K,L) and (A,Th,C,L), not {d} and {v}")
        if (d.shape[0], d.shape[1], d.shape[3]) != (v.shape[0], v.shape[1], v.shape[3]):
            raise ShapeError(f"frequencies, rows or columns of {d} and {v} differ")
        return d.with_shape((d.shape[0], d.shape[2], v.shape[2]))

    def evaluate(self, d: np.ndarray, v: np.ndarray) -> np.ndarray:
        wide = np.einsum("ftkl,ftcl->fkc", d.astype(np.float64), v.astype(np.float64), optimize=True)
        return wide.astype(d.dtype)

    def body(self, index: tuple[Expr, ...], d: Operand, v: Operand) -> Reduce:
        f, k, c = index
        th, columns = axis("th", d.shape[1]), axis("l", d.shape[3])
        return Reduce("sum", (th, columns), d(f, th.var, k, columns.var) * v(f, th.var, c, columns.var))

    def flops(self, output: Type, *inputs: Type) -> int:
        return 2 * elements(inputs[0]) * concrete(inputs[1].shape)[2]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((4, 2, 3, 5), (4, 2, 2, 5)), differentiable=False)
        yield Sample(cls(), ((2, 3, 7, 18), (2, 3, 6, 18)), differentiable=False)


@dataclass(frozen=True)
class WinogradKernel(Transform):
    """dw[k, c] = A^T s[:, k, c] A, A of F(r, m)."""

    name = "winograd_kernel"
    index_names = "kcrs"

    def infer(self, s: Type) -> Type:
        f, k, c = self._extents(s, 3)
        if f != self.alpha**2:
            raise ShapeError(f"{s} is not {self.alpha}x{self.alpha} frequencies")
        return s.with_shape((k, c, self.r, self.r))

    def evaluate(self, s: np.ndarray) -> np.ndarray:
        at, a = _array(transforms(self.r, self.m).output), self.alpha
        tiles = s.reshape(a, a, *s.shape[1:])
        return np.einsum("ia,jb,abkc->kcij", at, at, tiles, optimize=True).astype(s.dtype)

    def tile(self, s: Operand) -> Tile:
        axes = (axis("k", s.shape[1]), axis("c", s.shape[2]))
        k, c = (a.var for a in axes)
        name, a = _Lets(), self.alpha
        f = [[name(s(Const(i * a + j, "i64"), k, c)) for j in range(a)] for i in range(a)]
        w = _both_ways(transforms(self.r, self.m).output, f, name)
        places = [(i, j) for i in range(self.r) for j in range(self.r)]
        points = [Point((k, c, Const(i, "i64"), Const(j, "i64")), w[i][j]) for i, j in places]
        return Tile(axes, tuple(name.lets), tuple(points))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(4, 3), ((36, 3, 4),), differentiable=False)
        yield Sample(cls(2, 5), ((36, 2, 3),), differentiable=False)
