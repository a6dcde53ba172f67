"""Sums of products in Einstein's notation, as products of matrices.

    equation = term {"," term} ["->" term]        term = letters and at most one "..."

A letter is an axis; in one term twice, it is the diagonal of the two. Letters that the result does not name are summed
over. Without "->" the result has the axes of "..." and then, in alphabetical order, the letters that stand once. The
axes of "..." are aligned at the right, as in broadcasting; an extent of 1 is repeated.

Two terms at a time, those first that take the fewest products: axes of both that are summed over become the inner axis
of a matrix product, axes of both that stay its batch, all others its rows and columns. Where nothing is summed, or
nothing but the batch stays, elements are multiplied and then summed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import prod

from ..errors import GraphnetError, ShapeError
from ..node import Node
from ..site import located
from ..types import Extent, size
from .broadcast import reshape, sum
from .matmul import matmul
from .move import slice, transpose

Labels = tuple[str, ...]
UNKNOWN = 64  # what a symbolic extent counts, where terms are ordered


@dataclass(frozen=True, slots=True)
class _Term:
    x: Node
    labels: Labels

    def extents(self) -> dict[str, Extent]:
        return dict(zip(self.labels, self.x.shape, strict=True))

    def in_order(self, labels: Sequence[str]) -> Node:
        """x with its axes in this order."""
        return transpose(self.x, tuple(self.labels.index(a) for a in labels))

    def among(self, labels: Sequence[str], extents: dict[str, Extent]) -> Node:
        """x with all these axes, those that it lacks of extent 1."""
        mine = self.in_order([a for a in labels if a in self.labels])
        return reshape(mine, [extents[a] if a in self.labels else 1 for a in labels])

    def keep(self, labels: Iterable[str]) -> _Term:
        """Summed over all axes but those."""
        kept = set(labels)
        away = tuple(k for k, a in enumerate(self.labels) if a not in kept)
        return _Term(sum(self.x, away), tuple(a for a in self.labels if a in kept)) if away else self


@located
def einsum(equation: str, *operands: Node) -> Node:
    """Sums of products of the operands, as `equation` says: einsum("bij,bjk->bik", x, y). NumPy's and PyTorch's."""
    terms, result = _parse(equation, operands)
    terms = _broadcast(equation, [_diagonals(equation, t) for t in terms])
    known = {a for t in terms for a in t.labels}
    for a in result:
        if a not in known:
            raise GraphnetError(f"einsum {equation!r}: the result's axis {a!r} is in no operand")
    while len(terms) > 1:
        i, j = _cheapest(terms)
        others = [t for k, t in enumerate(terms) if k not in (i, j)]
        wanted = {*result, *(a for t in others for a in t.labels)}
        terms = [_product(terms[i], terms[j], wanted, result), *others]
    return terms[0].keep(result).in_order(result)


def _parse(equation: str, operands: Sequence[Node]) -> tuple[list[_Term], Labels]:
    """The operands with their labels, and the labels of the result. The axes of "..." are labelled by digits, counted
    from the right."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(operands):
        raise GraphnetError(f"einsum {equation!r}: {len(texts)} terms for {len(operands)} operands")
    terms = []
    for text, x in zip(texts, operands, strict=True):
        before, dots, after = text.partition("...")
        named = len(before) + len(after)
        if named > x.rank or (not dots and named != x.rank):
            raise ShapeError(f"einsum {equation!r}: {text!r} names {named} axes of {x!r}, which has {x.rank}")
        terms.append(_Term(x, (*before, *_counted(x.rank - named), *after)))
    each = [a for t in terms for a in t.labels]
    widest = _counted(max((len([a for a in t.labels if a.isdigit()]) for t in terms), default=0))
    if arrow:
        before, dots, after = right.partition("...")
        result = (*before, *(widest if dots else ()), *after)
    else:
        result = (*widest, *sorted(a for a in set(each) if each.count(a) == 1 and not a.isdigit()))
    for text in (*texts, right):
        if not all(a.isalpha() for a in text.replace("...", "", 1)):
            raise GraphnetError(f"einsum {equation!r}: {text!r} is not letters and at most one '...'")
    if len(set(result)) != len(result):
        raise GraphnetError(f"einsum {equation!r}: the result names an axis twice")
    return terms, result


def _counted(n: int) -> Labels:
    return tuple(str(k) for k in reversed(range(n)))


def _diagonals(equation: str, t: _Term) -> _Term:
    """With every label once: the diagonal of axes that share one, a slice of the two axes as one."""
    while (twice := next((a for a in t.labels if t.labels.count(a) > 1), None)) is not None:
        i, j = [k for k, a in enumerate(t.labels) if a == twice][:2]
        n = t.x.shape[i]
        if n != t.x.shape[j]:
            raise ShapeError(f"einsum {equation!r}: axis {twice!r} of {t.x!r} has extents {n} and {t.x.shape[j]}")
        if not isinstance(n, int):
            raise ShapeError(f"einsum {equation!r}: the diagonal {twice!r} needs a known extent, not {n}")
        rest = [k for k in range(t.x.rank) if k not in (i, j)]
        shape = tuple(t.x.shape[k] for k in rest)
        flat = reshape(transpose(t.x, (*rest, i, j)), (*shape, n * n))
        whole = [0] * len(rest)
        x = slice(flat, (*whole, 0), (*shape, n * n), (*(1 for _ in rest), n + 1))
        t = _Term(x, (*(t.labels[k] for k in rest), twice))
    return t


def _broadcast(equation: str, terms: list[_Term]) -> list[_Term]:
    """Without the axes of extent 1 that others have longer."""
    extents: dict[str, Extent] = {}
    for t in terms:
        for a, e in t.extents().items():
            known = extents.get(a, 1)
            if known != 1 and e not in (1, known):
                name = "..." if a.isdigit() else a
                raise ShapeError(f"einsum {equation!r}: axis {name!r} has extents {known} and {e}")
            extents[a] = known if e == 1 else e
    out = []
    for t in terms:
        kept = [(a, e) for a, e in t.extents().items() if e == extents[a]]
        out.append(_Term(reshape(t.x, [e for _, e in kept]), tuple(a for a, _ in kept)))
    return out


def _cheapest(terms: Sequence[_Term]) -> tuple[int, int]:
    """The first two terms whose product takes the fewest multiplications."""

    def cost(pair: tuple[int, int]) -> int:
        extents = terms[pair[0]].extents() | terms[pair[1]].extents()
        return prod(e if isinstance(e, int) else UNKNOWN for e in extents.values())

    return min(itertools.combinations(range(len(terms)), 2), key=cost)


def _product(a: _Term, b: _Term, wanted: set[str], result: Labels) -> _Term:
    """Two terms as one, with the axes that are still wanted."""
    a, b = a.keep(wanted | set(b.labels)), b.keep(wanted | set(a.labels))
    extents = a.extents() | b.extents()
    place = {label: k for k, label in enumerate(result)}
    both = [x for x in a.labels if x in b.labels]
    inner = [x for x in both if x not in wanted]
    batch, rows, columns = (
        sorted(group, key=lambda x: place.get(x, len(place)))
        for group in (
            [x for x in both if x in wanted],
            [x for x in a.labels if x not in both],
            [x for x in b.labels if x not in both],
        )
    )
    if rows and columns and place.get(rows[0], len(place)) > place.get(columns[0], len(place)):
        return _product(b, a, wanted, result)  # what comes first in the result is the product's rows
    labels = (*batch, *rows, *columns)
    shape = [extents[x] for x in labels]
    if not inner or not (rows or columns):
        every = [*labels, *inner]
        x, y = (t.among(every, extents) for t in (a, b))
        return _Term(x * y, tuple(every)).keep(labels)
    m, n, k = (size(tuple(extents[x] for x in group)) for group in (rows, columns, inner))
    lead = [extents[x] for x in batch]
    left = reshape(a.in_order([*batch, *rows, *inner]), (*lead, m, k))
    right = reshape(b.in_order([*batch, *inner, *columns]), (*lead, k, n))
    return _Term(reshape(matmul(left, right), shape), labels)

