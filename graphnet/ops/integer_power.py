"""Powers of integers to integers, both of them nodes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.dtypes import DTYPES
from codegen.expr import Expr, binary, const, eq, ne, select

from ..node import Node, apply
from ..op import Sample
from .elementwise import Binary, pair


@dataclass(frozen=True)
class IntegerPower(Binary):
    """x ** y of integers, by squaring, what does not fit cut off. Where y is negative it is x ** y rounded toward zero:
    1 or -1 for x = 1 and -1, else 0 (0 for x = 0 too). numpy.power, which refuses negative y."""

    name = "integer_power"
    accepts = "integer"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        positive = np.power(x, np.where(y < 0, 0, y).astype(y.dtype))
        if x.dtype.kind == "u":
            return positive
        unit = np.where(x == 1, 1, np.where(x == -1, np.where(y % 2, -1, 1), 0))
        return np.where(y < 0, unit, positive).astype(x.dtype)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        one = const(1, x.dtype)
        result: Expr = one
        base = x
        signed = DTYPES[x.dtype].kind == "int"
        bits = 8 * DTYPES[x.dtype].bytes - signed
        for bit in range(bits):
            # base or 1, without a choice: each would compute its sides anew, and there are many behind each other.
            result = result * (binary("and", y >> bit, 1) * (base - 1) + 1)
            base = base * base if bit + 1 < bits else base
        if not signed:
            return result
        odd = ne(binary("and", y, 1), 0)
        unit = select(eq(x, 1), one, select(eq(x, -1), select(odd, -1, one), 0))
        return select(y < 0, unit, result)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4), (4,)), dtypes=("int32", "int32"), low=-3, high=6, differentiable=False)
        yield Sample(cls(), ((3, 4), (3, 4)), dtypes=("uint8", "uint8"), low=0, high=9, differentiable=False)


def integer_power(x: Any, y: Any) -> Node:
    """x ** y of integers."""
    return apply(IntegerPower(), *pair(x, y))
