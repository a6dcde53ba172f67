"""Indices as affine forms over SSA values, so that address arithmetic is mostly done at compile time.

    Affine = sum of coefficient * SSA name  +  lane * (vector lane number)  +  constant

The coefficient of the lane decides how memory is touched: 0 is one scalar for all lanes, 1 is a
contiguous vector, anything else is a gather or scatter.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True, slots=True)
class Affine:
    terms: tuple[tuple[str, int], ...]  # sorted by name; no zero coefficients
    lane: int = 0
    constant: int = 0

    @property
    def is_constant(self) -> bool:
        return not self.terms and not self.lane

    def __add__(self, other: Affine) -> Affine:
        if not other.terms or not self.terms:
            return Affine(self.terms or other.terms, self.lane + other.lane, self.constant + other.constant)
        total = dict(self.terms)
        for name, c in other.terms:
            total[name] = total.get(name, 0) + c
        kept = tuple(sorted((n, c) for n, c in total.items() if c))
        return Affine(kept, self.lane + other.lane, self.constant + other.constant)

    def scale(self, k: int) -> Affine:
        if k == 1:
            return self
        if k == 0:
            return ZERO
        return Affine(tuple((n, c * k) for n, c in self.terms), self.lane * k, self.constant * k)

    def __sub__(self, other: Affine) -> Affine:
        return self + other.scale(-1)

    def divide(self, k: int) -> tuple[Affine, int] | None:
        """(floor(self / k), self mod k) where that is affine: when k divides every coefficient."""
        if k <= 0 or self.lane % k or any(c % k for _, c in self.terms):
            return None
        quotient = Affine(tuple((n, c // k) for n, c in self.terms), self.lane // k, self.constant // k)
        return quotient, self.constant % k


@cache
def number(value: int) -> Affine:
    return Affine((), 0, value)


def ssa(name: str) -> Affine:
    return Affine(((name, 1),))


ZERO = number(0)
LANE = Affine((), 1, 0)
