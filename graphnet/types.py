"""Types of graph values: an element type and a shape whose extents may be symbolic.

A `Dim` is an integer polynomial over named sizes, kept in normal form, so that shape arithmetic is
checked when the graph is built: `Dim.named("N") * 400 == 400 * Dim.named("N")`. Floor division by an
integer that does not divide exactly becomes an atom of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from codegen.dtypes import FROM_NUMPY, is_float, is_storage

from .errors import DTypeError, ShapeError

DTYPES = tuple(FROM_NUMPY)  # "float32", "float64", "int32", ...
FLOATS = tuple(d for d, code in FROM_NUMPY.items() if is_float(code))
STORAGE = tuple(d for d, code in FROM_NUMPY.items() if is_storage(code))  # computed in float32, rounded at each node
INTEGERS = tuple(d for d in DTYPES if d not in FLOATS and d != "bool")

Monomial = tuple["Atom", ...]


@dataclass(frozen=True, slots=True)
class Quotient:
    """floor(dim / divisor), where it is not exact."""

    dim: Dim
    divisor: int

    def __str__(self) -> str:
        return f"({self.dim})//{self.divisor}"


Atom = str | Quotient


@dataclass(frozen=True, slots=True)
class Dim:
    """A symbolic extent: a sum of coefficient * product of atoms, sorted, without zero terms."""

    terms: tuple[tuple[Monomial, int], ...]

    @staticmethod
    def named(name: str) -> Dim:
        if not name.isidentifier():
            raise ShapeError(f"a symbolic dimension must be an identifier such as 'N', not {name!r}")
        return Dim((((name,), 1),))

    def __add__(self, other: Extent) -> Extent:
        return _normal(_terms(self) + _terms(other))

    __radd__ = __add__

    def __neg__(self) -> Extent:
        return self * -1

    def __sub__(self, other: Extent) -> Extent:
        return self + (-other)

    def __rsub__(self, other: Extent) -> Extent:
        return (-self) + other

    def __mul__(self, other: Extent) -> Extent:
        return _normal([(a + b, x * y) for a, x in _terms(self) for b, y in _terms(other)])

    __rmul__ = __mul__

    def __floordiv__(self, divisor: int) -> Extent:
        if all(c % divisor == 0 for _, c in self.terms):
            return _normal([(m, c // divisor) for m, c in self.terms])
        return Dim((((Quotient(self, divisor),), 1),))

    def __str__(self) -> str:
        parts = []
        for monomial, c in self.terms:
            factors = [str(a) for a in monomial]
            if len(factors) + (c != 1) > 1:
                # 2*((N+1)//2) is not 2*(N+1)//2.
                factors = [f"({f})" if "//" in f else f for f in factors]
            parts.append("*".join(([str(c)] if c != 1 or not factors else []) + factors))
        return "+".join(parts).replace("+-", "-")

    __repr__ = __str__

    def substitute(self, sizes: Mapping[str, int]) -> Extent:
        """The extent with named sizes filled in; an int when all are known."""
        total: Extent = 0
        for monomial, c in self.terms:
            term: Extent = c
            for a in monomial:
                if isinstance(a, Quotient):
                    term = term * (substitute(a.dim, sizes) // a.divisor)
                else:
                    term = term * (sizes[a] if a in sizes else Dim.named(a))
            total = total + term
        return total

    @property
    def names(self) -> frozenset[str]:
        found: set[str] = set()
        for monomial, _ in self.terms:
            for a in monomial:
                found |= a.dim.names if isinstance(a, Quotient) else {a}
        return frozenset(found)


Extent = int | Dim
Shape = tuple[Extent, ...]


def _terms(e: Extent) -> list[tuple[Monomial, int]]:
    return list(e.terms) if isinstance(e, Dim) else [((), int(e))]


def _normal(terms: list[tuple[Monomial, int]]) -> Extent:
    total: dict[Monomial, int] = {}
    for monomial, c in terms:
        key = tuple(sorted(monomial, key=str))
        total[key] = total.get(key, 0) + c
    kept = sorted(((m, c) for m, c in total.items() if c), key=lambda t: (-len(t[0]), str(t[0])))
    if not kept:
        return 0
    if len(kept) == 1 and kept[0][0] == ():
        return kept[0][1]
    return Dim(tuple(kept))


def substitute(e: Extent, sizes: Mapping[str, int]) -> Extent:
    return e.substitute(sizes) if isinstance(e, Dim) else e


def size(shape: Shape) -> Extent:
    """The number of elements."""
    return prod(shape, start=1)


def concrete(shape: Iterable[Extent]) -> tuple[int, ...]:
    """Extents that must be numbers by now, as at specialisation."""
    found = tuple(shape)
    for e in found:
        if not isinstance(e, int):
            raise ShapeError(f"size {e} is not known yet: give values for {', '.join(sorted(e.names))}")
    return found  # type: ignore[return-value]


def elements(t: Type) -> int:
    """The number of elements of a value whose sizes are known."""
    return prod(concrete(t.shape))


def divide_exactly(total: Extent, part: Extent) -> Extent | None:
    """total / part where that is a polynomial, else None; part must be a single term."""
    (monomial, c), *rest = _terms(part) or [((), 0)]
    if rest or c == 0:
        return None
    quotient = []
    for m, d in _terms(total):
        left = list(m)
        for a in monomial:
            if a not in left:
                return None
            left.remove(a)
        if d % c:
            return None
        quotient.append((tuple(left), d // c))
    return _normal(quotient)


def extent(value: object) -> Extent:
    """A user's extent: an int >= 0, a name, or a Dim."""
    if isinstance(value, Dim):
        return value
    if isinstance(value, str):
        return Dim.named(value)
    if hasattr(value, "__index__") and not isinstance(value, bool):
        n = value.__index__()
        if n >= 0:
            return n
    raise ShapeError(f"an extent is an integer >= 0 or a name such as 'N', not {value!r}")


@dataclass(frozen=True, slots=True)
class Type:
    """dtype and shape of a value; prints as `float32[N, 1, 28, 28]`."""

    dtype: str
    shape: Shape

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    @property
    def is_integer(self) -> bool:
        return self.dtype in INTEGERS

    def with_shape(self, shape: Shape) -> Type:
        return Type(self.dtype, shape)

    def with_dtype(self, dtype: str) -> Type:
        return Type(dtype, self.shape)

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join(map(str, self.shape))}]"


def check_dtype(dtype: object) -> str:
    name = getattr(dtype, "__name__", None) if isinstance(dtype, type) else str(dtype)
    if name not in DTYPES:
        raise DTypeError(f"unknown dtype {dtype!r}; graphnet has {', '.join(DTYPES)}")
    return name


def broadcast_shapes(*shapes: Shape) -> Shape:
    """NumPy's broadcasting, over symbolic extents: aligned at the right, equal or 1.

    Raises ShapeError where two extents differ, or may differ (a name against a number)."""
    rank = max((len(s) for s in shapes), default=0)
    out: list[Extent] = []
    for axis in range(rank):
        result: Extent = 1
        for s in shapes:
            e = s[axis - rank + len(s)] if axis - rank + len(s) >= 0 else 1
            if e == 1 or e == result:
                continue
            if result != 1:
                wanted = " and ".join(str(list(s)).replace("'", "") for s in shapes)
                raise ShapeError(f"shapes {wanted} do not broadcast: {result} against {e} on axis {axis - rank}")
            result = e
        out.append(result)
    return tuple(out)


def normalise_axes(axes: int | tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """Axes as sorted non-negative numbers without repeats; None means all."""
    if axes is None:
        return tuple(range(rank))
    given = axes if isinstance(axes, tuple) else (axes,)
    for a in given:
        if not -rank <= a < rank:
            raise ShapeError(f"axis {a} is out of range for a value of rank {rank}")
    out = tuple(sorted(a % rank for a in given))
    if len(set(out)) != len(out):
        raise ShapeError(f"axes {given} name an axis twice")
    return out
