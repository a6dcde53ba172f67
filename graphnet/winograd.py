"""Winograd's minimal filtering F(m, r): m outputs of an r-tap filter by m + r - 1 multiplications.

    y = A^T [(G g) * (B^T d)]        g: r taps, d: m + r - 1 inputs, y_i = sum_k g_k d_{i+k}

The matrices come from Toom and Cook's evaluation at m + r - 2 points and infinity, transposed, in exact
arithmetic (S. Winograd 1980; A. Lavin, S. Gray 2015, arXiv 1509.09308). With L(a) the product of the
differences of point a to the others:

    A^T[i, a] = a^i                       infinity: 1 in the last row
    G[a, k]   = a^k / L(a)                infinity: 1 in the last column
    B^T[a]    = coefficients of prod over the others of (x - point); infinity: of the product over all

`combine` turns a matrix into straight-line code: rows that differ in the signs of some terms, as those of
points a and -a do, share the sums of the terms that agree and of those that do not.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

from codegen.expr import Binary, Expr, Fma, Var, const
from codegen.traverse import walk

Matrix = tuple[tuple[Fraction, ...], ...]

POINTS = tuple(Fraction(p) for p in ("0", "1", "-1", "2", "-2", "1/2", "-1/2"))


@dataclass(frozen=True, slots=True)
class Transforms:
    """A^T (m, alpha), G (alpha, r), B^T (alpha, alpha), where alpha = m + r - 1."""

    output: Matrix
    weight: Matrix
    input: Matrix


def _polynomial(roots: Sequence[Fraction]) -> list[Fraction]:
    """Coefficients of prod (x - root), lowest first."""
    p = [Fraction(1)]
    for a in roots:
        p = [x - a * y for x, y in zip([Fraction(0), *p], [*p, Fraction(0)], strict=True)]
    return p


@cache
def transforms(m: int, r: int) -> Transforms:
    """The matrices of F(m, r), for up to 8 inputs a tile: beyond that, rounding errors grow too large."""
    alpha = m + r - 1
    if m < 1 or r < 1 or alpha - 1 > len(POINTS):
        raise ValueError(f"F({m}, {r}) needs {alpha - 1} points; there are {len(POINTS)}")
    points = POINTS[: alpha - 1]
    weight, inputs = [], []
    for a in points:
        others = [b for b in points if b != a]
        scale = Fraction(1)
        for b in others:
            scale *= a - b
        weight.append(tuple(a**k / scale for k in range(r)))
        inputs.append((*_polynomial(others), Fraction(0)))
    weight.append(tuple(Fraction(int(k == r - 1)) for k in range(r)))
    inputs.append(tuple(_polynomial(points)))
    output = [(*(a**i for a in points), Fraction(int(i == m - 1))) for i in range(m)]
    return Transforms(tuple(output), tuple(weight), tuple(inputs))


# ------------------------------------------------------------------------------- straight-line code

Name = Callable[[Expr], Expr]  # binds an expression to a name, and gives the name


Row = tuple[tuple[float, int], ...]  # a weighted sum: factors, and which values


def combine(matrix: Matrix, values: Sequence[Expr], name: Name) -> list[Expr]:
    """matrix @ values. Rows are taken in pairs where that saves work: even + odd, even - odd."""
    results: list[Expr | None] = [None] * len(matrix)
    for i, j, row, odd in _plan(matrix):
        if j is None:
            results[i] = name(_sum(row, values))
        else:
            e, o = name(_sum(row, values)), name(_sum(odd, values))
            results[i], results[j] = name(Binary("add", e, o)), name(Binary("sub", e, o))
    return [x for x in results if x is not None]


@cache
def _plan(matrix: Matrix) -> tuple[tuple[int, int | None, Row, Row], ...]:
    """Which rows are computed as they are, (i, None, row, ()), and which as pairs, (i, j, even, odd)."""
    plan: list[tuple[int, int | None, Row, Row]] = []
    done: set[int] = set()
    for i, row in enumerate(matrix):
        if i in done:
            continue
        for j in range(i + 1, len(matrix)):
            even = tuple((a + b) / 2 for a, b in zip(row, matrix[j], strict=True))
            odd = tuple((a - b) / 2 for a, b in zip(row, matrix[j], strict=True))
            shared = _terms(even) + _terms(odd) + 2
            if j not in done and any(even) and any(odd) and shared < _terms(row) + _terms(matrix[j]):
                plan.append((i, j, _row(even), _row(odd)))
                done.add(j)
                break
        else:
            plan.append((i, None, _row(row), ()))
    return tuple(plan)


@cache
def operations(matrix: Matrix) -> int:
    """Additions, products and fused pairs of both in `combine`."""
    count = 0

    def name(e: Expr) -> Expr:
        nonlocal count
        count += sum(1 for x in walk(e) if isinstance(x, (Binary, Fma)))
        return Var(f"named{count}", e.dtype)

    combine(matrix, [Var(f"x{i}", "f32") for i in range(len(matrix[0]))], name)
    return count


def _terms(row: Sequence[Fraction]) -> int:
    return sum(1 for c in row if c)


def _row(row: Sequence[Fraction]) -> Row:
    """Terms of weight one first, since they cost only an addition."""
    return tuple(sorted(((float(c), k) for k, c in enumerate(row) if c), key=lambda t: abs(t[0]) != 1))


def _sum(row: Row, values: Sequence[Expr]) -> Expr:
    total: Expr | None = None
    for c, k in row:
        x = values[k]
        weight = const(c, x.dtype)
        if total is None:
            total = x if c == 1 else Binary("mul", x, weight)
        elif abs(c) == 1:
            total = Binary("add" if c == 1 else "sub", total, x)
        else:
            total = Fma(x, weight, total)
    return total if total is not None else const(0.0, values[0].dtype)
