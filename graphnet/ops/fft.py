"""Fourier transforms of any length, over any axes, after NumPy's functions of the same names.

Complex values are pairs: a last axis of extent 2 holds the real and the imaginary part. `axis` and `axes` do not count
it: -1 is the last axis before it. Where a complex value is taken, a last axis of extent 1 holds the real part alone.

    short, a product of 2, 3, 5, 7      straight-line code (`ops.dft`)
    n = a b, a short                    transforms of a points, turns, transforms of b points (Cooley and Tukey 1965)
    short, with another prime           a product with the matrix of the transform
    other                               a convolution with a chirp, by longer transforms (Bluestein 1970)
    real, of even length                a complex one of half the length
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from ..errors import DTypeError, GraphnetError, ShapeError
from ..fourier import factor, root
from ..node import Node, apply, constant
from ..site import located
from ..types import STORAGE, normalise_axes
from .broadcast import reshape
from .dft import LONGEST, Dft, Irdft, Rdft, is_short, once
from .matmul import matmul
from .move import concatenate, flip, slice, transpose
from .pad import pad

MATRIX = 64  # points up to which a transform is a product with a matrix, where there is no code for it
NORMS = ("backward", "ortho", "forward")

Lengths = Sequence[int | None] | None


# --------------------------------------------------------------------------------- without factors


def transform(x: Node, axis: int, sign: int) -> Node:
    """sum_j x[j] exp(sign 2 pi i jk / n) along `axis` of pairs."""
    n = _length(x, axis)
    if n == 1:
        return x
    if is_short(n):
        return apply(Dft(axis, sign), x)
    a = _first(n)
    if a > 1 and (n > MATRIX or is_short(n // a)):
        # j = b j1 + j2, k = k1 + a k2
        b, shape = n // a, x.shape
        table = constant(np.array([[root(k1 * j2, n) for j2 in range(b)] for k1 in range(a)]), x.dtype)
        y = reshape(x, (*shape[:axis], a, b, *shape[axis + 1 :]))
        y = transform(apply(Dft(axis, sign, "after"), y, table), axis + 1, sign)
        order = [axis + 1 if d == axis else axis if d == axis + 1 else d for d in range(y.rank)]
        return reshape(transpose(y, order), shape)
    return _matrix(x, axis, sign) if n <= MATRIX else _bluestein(x, axis, sign)


def _first(n: int) -> int:
    """The divisor of n that is the first step: of so few steps as there must be, as even as can be; 1 if none is
    short."""
    short = [a for a in range(2, LONGEST + 1) if n % a == 0 and is_short(a)]
    steps = math.ceil(math.log(n) / math.log(LONGEST) - 1e-9)
    return min(short, key=lambda a: abs(math.log(a) - math.log(n) / steps), default=1)


def _matrix(x: Node, axis: int, sign: int) -> Node:
    """By the real matrix of 2n rows and columns."""
    n = _length(x, axis)
    turns = np.array([[root(j * k, n) for k in range(n)] for j in range(n)])
    c, s = turns[..., 0], sign * turns[..., 1]
    m = np.stack([np.stack([c, s], -1), np.stack([-s, c], -1)], 1)  # (j, part, k, part)
    order = [a for a in range(x.rank) if a not in (axis, x.rank - 1)]
    y = transpose(x, (*order, axis, x.rank - 1))
    flat = reshape(y, (*y.shape[:-2], 2 * n))
    found = reshape(matmul(reshape(flat, (-1, 2 * n)), constant(m.reshape(2 * n, 2 * n), x.dtype)), y.shape)
    back = [*order, axis, x.rank - 1]
    return transpose(found, tuple(back.index(a) for a in range(x.rank)))


def _bluestein(x: Node, axis: int, sign: int) -> Node:
    """jk = (j^2 + k^2 - (k - j)^2) / 2: X[k] = c[k] sum_j (x[j] c[j]) conj c[k - j], c[j] = exp(sign pi i j^2 / n)."""
    n = _length(x, axis)
    m = _smooth(2 * n - 1)
    c = np.array([complex(*root(j * j % (2 * n), 2 * n)) for j in range(n)])
    chirp = c if sign > 0 else c.conj()
    kernel = np.zeros(m, complex)
    kernel[:n] = chirp.conj()
    kernel[m - n + 1 :] = chirp.conj()[:0:-1]
    y = _resized(times(x, chirp, axis), axis, m)
    y = times(transform(y, axis, -1), np.fft.fft(kernel) / m, axis)
    return times(_resized(transform(y, axis, 1), axis, n), chirp, axis)


def _smooth(least: int) -> int:
    """The least product of 2, 3, 5 and 7 that is not smaller."""
    n = least
    while True:
        try:
            factor(n)
            return n
        except ValueError:
            n += 1


def times(x: Node, z: np.ndarray, axis: int) -> Node:
    """Pairs times complex numbers along `axis`."""
    wide = (len(z), *(1,) * (x.rank - 2 - axis))
    straight = constant(z.real.reshape(*wide, 1), x.dtype)
    crossed = constant(np.stack([-z.imag, z.imag], -1).reshape(*wide, 2), x.dtype)
    return x * straight + flip(x, x.rank - 1) * crossed


def _real_transform(x: Node, axis: int) -> Node:
    """The first n // 2 + 1 numbers of the transform of real values."""
    n = _length(x, axis)
    if is_short(n):
        return apply(Rdft(axis), x)
    if n % 2:
        full = transform(_pairs(reshape(x, (*x.shape, 1))), axis, -1)
        return _resized(full, axis, n // 2 + 1)
    # z[j] = x[2j] + i x[2j + 1]; with its transform Z, X[k] = (Z[k] + conj Z[-k]) / 2 - i w^k (Z[k] - conj Z[-k]) / 2
    m = n // 2
    halves = reshape(x, (*x.shape[:axis], m, 2, *x.shape[axis + 1 :]))
    z = transform(transpose(halves, _to_end(halves.rank, axis + 1)), axis, -1)
    z = concatenate([z, _part(z, axis, 0, 1)], axis)
    other = conj(flip(z, axis))
    turns = np.array([complex(*root(-k, n)) for k in range(m + 1)])
    return (z + other) * 0.5 + times(z - other, -0.5j * turns, axis)


def _real_inverse(x: Node, axis: int, n: int) -> Node:
    """n times the real values of which x has the first n // 2 + 1 numbers."""
    if is_short(n):
        return apply(Irdft(axis, n), x)
    # The imaginary parts of what is its own conjugate do not count.
    mask = 1.0 - once(n, x.rank - 1 - axis, 0.0, x.dtype) * constant(np.array([0.0, 1.0]), x.dtype)
    x = x * mask
    if n % 2:
        rest = conj(flip(_part(x, axis, 1, n // 2 + 1), axis))
        return _real(transform(concatenate([x, rest], axis), axis, 1))
    # The steps of `_real_transform` backwards: Z[k] = X[k] + conj X[m - k] + i w^-k (X[k] - conj X[m - k])
    m = n // 2
    other = conj(flip(x, axis))
    turns = np.array([complex(*root(k, n)) for k in range(m + 1)])
    z = _resized(x + other + times(x - other, 1j * turns, axis), axis, m)
    y = transform(z, axis, 1)
    order = _to_end(y.rank, axis + 1)
    back = transpose(y, tuple(order.index(a) for a in range(y.rank)))
    return reshape(back, (*x.shape[:axis], n, *x.shape[axis + 1 : -1]))


def _to_end(rank: int, axis: int) -> tuple[int, ...]:
    return (*(a for a in range(rank) if a != axis), axis)


# ----------------------------------------------------------------------------------------- pieces


def conj(x: Node) -> Node:
    """The conjugates of pairs."""
    return x * constant(np.array([1.0, -1.0]), x.dtype)


def _part(x: Node, axis: int, start: int, stop: int) -> Node:
    starts = [start if a == axis else 0 for a in range(x.rank)]
    return slice(x, starts, [stop if a == axis else e for a, e in enumerate(x.shape)])


def _resized(x: Node, axis: int, n: int) -> Node:
    """The first n along `axis`, with zeros after them if there are fewer."""
    length = _length(x, axis)
    if n <= length:
        return _part(x, axis, 0, n)
    return pad(x, [(0, n - length if a == axis else 0) for a in range(x.rank)])


def _real(x: Node) -> Node:
    """The real parts of pairs."""
    return reshape(_part(x, x.rank - 1, 0, 1), x.shape[:-1])


def _pairs(x: Node) -> Node:
    """Pairs, of those or of real parts alone."""
    return x if x.shape[-1] == 2 else pad(x, [(0, 1 if a == x.rank - 1 else 0) for a in range(x.rank)])


def _length(x: Node, axis: int) -> int:
    n = x.shape[axis]
    if not isinstance(n, int):
        raise ShapeError(f"a Fourier transform of {n} points: the length must be known, of {x!r}")
    return n


def _arguments(op: str, x: Node, axes: Sequence[int] | None, norm: str, complex: bool) -> tuple[Node, list[int]]:
    """x as what is transformed, and the axes as numbers >= 0."""
    if not x.type.is_float or x.dtype in STORAGE:
        raise DTypeError(f"{op} takes floats, not {x.dtype}; convert with gn.cast")
    if norm not in NORMS:
        raise GraphnetError(f"{op}: norm must be {', '.join(map(repr, NORMS))}, not {norm!r}")
    if complex and (x.rank < 2 or x.shape[-1] not in (1, 2)):
        raise ShapeError(f"{op} needs a last axis of real and imaginary parts, or of real parts alone, not {x!r}")
    rank = x.rank - complex
    found = list(range(rank)) if axes is None else [a + rank if -rank <= a < 0 else a for a in axes]
    normalise_axes(tuple(found), rank)
    return (_pairs(x) if complex else x), found


def _factor(n: int, norm: str, inverse: bool) -> float:
    if norm == "ortho":
        return 1 / math.sqrt(n)
    return 1.0 / n if (norm == "backward") == inverse else 1.0


def _scaled(x: Node, factor: float) -> Node:
    return x if factor == 1 else x * factor


def _lengths(op: str, s: Lengths, axes: Sequence[int], x: Node) -> list[int]:
    given = [None] * len(axes) if s is None else list(s)
    if len(given) != len(axes):
        raise ShapeError(f"{op}: {len(given)} lengths for {len(axes)} axes")
    found = [_length(x, a) if n is None else n for n, a in zip(given, axes, strict=True)]
    if any(n < 1 for n in found):
        raise ShapeError(f"{op}: lengths {found} of {x!r} must be >= 1")
    return found


# ------------------------------------------------------------------------------------ user functions


def _complex(op: str, x: Node, s: Lengths, axes: Sequence[int] | None, norm: str, sign: int) -> Node:
    y, along = _arguments(op, x, axes, norm, True)
    factor = 1.0
    for a, n in zip(along, _lengths(op, s, along, y), strict=True):
        y = transform(_resized(y, a, n), a, sign)
        factor *= _factor(n, norm, sign > 0)
    return _scaled(y, factor)


@located
def fft(x: Node, n: int | None = None, axis: int = -1, norm: str = "backward") -> Node:
    """sum_j x[j] exp(-2 pi i jk / n) of pairs (..., 2) along `axis`, cut or filled with zeros to n. norm: "backward",
    no factor here and 1 / n for the inverse; "forward", the reverse; "ortho", 1 / sqrt(n) for both. numpy.fft.fft."""
    return _complex("fft", x, (n,), (axis,), norm, -1)


@located
def ifft(x: Node, n: int | None = None, axis: int = -1, norm: str = "backward") -> Node:
    """The inverse of `fft`. numpy.fft.ifft."""
    return _complex("ifft", x, (n,), (axis,), norm, 1)


@located
def fftn(x: Node, s: Lengths = None, axes: Sequence[int] | None = None, norm: str = "backward") -> Node:
    """`fft` over some axes, all by default. numpy.fft.fftn."""
    return _complex("fftn", x, s, axes, norm, -1)


@located
def ifftn(x: Node, s: Lengths = None, axes: Sequence[int] | None = None, norm: str = "backward") -> Node:
    """The inverse of `fftn`. numpy.fft.ifftn."""
    return _complex("ifftn", x, s, axes, norm, 1)


@located
def fft2(x: Node, s: Lengths = None, axes: Sequence[int] = (-2, -1), norm: str = "backward") -> Node:
    """`fft` over two axes. numpy.fft.fft2."""
    return _complex("fft2", x, s, axes, norm, -1)


@located
def ifft2(x: Node, s: Lengths = None, axes: Sequence[int] = (-2, -1), norm: str = "backward") -> Node:
    """The inverse of `fft2`. numpy.fft.ifft2."""
    return _complex("ifft2", x, s, axes, norm, 1)


@located
def rfftn(x: Node, s: Lengths = None, axes: Sequence[int] | None = None, norm: str = "backward") -> Node:
    """The transform of real values over some axes, all by default, as pairs; of the last of the axes only the first
    n // 2 + 1 numbers. numpy.fft.rfftn."""
    y, along = _arguments("rfftn", x, axes, norm, False)
    lengths = _lengths("rfftn", s, along, y)
    *first, last = zip(along, lengths, strict=True)
    y = _real_transform(_resized(y, *last), last[0])
    for a, n in first:
        y = transform(_resized(y, a, n), a, -1)
    return _scaled(y, math.prod(_factor(n, norm, False) for n in lengths))


@located
def irfftn(x: Node, s: Lengths = None, axes: Sequence[int] | None = None, norm: str = "backward") -> Node:
    """The real values whose `rfftn` is x; the last length is 2 (m - 1) for m numbers unless given. numpy.fft.irfftn."""
    y, along = _arguments("irfftn", x, axes, norm, True)
    given: list[int | None] = [None] * len(along) if s is None else list(s)
    if given and given[-1] is None:
        given[-1] = 2 * (_length(y, along[-1]) - 1)
    lengths = _lengths("irfftn", given, along, y)
    *first, last = zip(along, lengths, strict=True)
    for a, n in first:
        y = transform(_resized(y, a, n), a, 1)
    y = _real_inverse(_resized(y, last[0], last[1] // 2 + 1), *last)
    return _scaled(y, math.prod(_factor(n, norm, True) for n in lengths))


@located
def rfft(x: Node, n: int | None = None, axis: int = -1, norm: str = "backward") -> Node:
    """The first n // 2 + 1 numbers, as pairs (..., 2), of the transform of real values. numpy.fft.rfft."""
    return rfftn(x, (n,), (axis,), norm)


@located
def irfft(x: Node, n: int | None = None, axis: int = -1, norm: str = "backward") -> Node:
    """The n real values whose `rfft` is x, 2 (m - 1) for m numbers unless given. numpy.fft.irfft."""
    return irfftn(x, (n,), (axis,), norm)


@located
def rfft2(x: Node, s: Lengths = None, axes: Sequence[int] = (-2, -1), norm: str = "backward") -> Node:
    """`rfftn` over two axes. numpy.fft.rfft2."""
    return rfftn(x, s, axes, norm)


@located
def irfft2(x: Node, s: Lengths = None, axes: Sequence[int] = (-2, -1), norm: str = "backward") -> Node:
    """`irfftn` over two axes. numpy.fft.irfft2."""
    return irfftn(x, s, axes, norm)
