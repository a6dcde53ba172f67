"""Which numbers are NaN, infinite or finite."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from codegen.dtypes import is_float
from codegen.expr import Expr, const, eq, ne, unary

from ..op import Sample
from .elementwise import Unary


@dataclass(frozen=True)
class Classify(Unary):
    """Base: of all numbers, to bool. Integers are always finite."""

    accepts = "number"
    result = "bool"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), differentiable=False)
        yield Sample(cls(), ((0,),), differentiable=False)


@dataclass(frozen=True)
class IsNan(Classify):
    """Whether x is NaN. numpy.isnan."""

    name = "isnan"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.isnan(x)

    def scalar(self, x: Expr) -> Expr:
        return ne(x, x) if is_float(x.dtype) else const(False, "bool")


@dataclass(frozen=True)
class IsInf(Classify):
    """Whether x is an infinity: of either sign, or only of those asked for. numpy.isinf."""

    name = "isinf"
    detect_negative: bool = True
    detect_positive: bool = True

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.isinf(x) & (((x > 0) & self.detect_positive) | ((x < 0) & self.detect_negative))

    def scalar(self, x: Expr) -> Expr:
        if not is_float(x.dtype) or not (self.detect_negative or self.detect_positive):
            return const(False, "bool")
        if self.detect_negative and self.detect_positive:
            return eq(unary("abs", x), math.inf)
        return eq(x, math.inf if self.detect_positive else -math.inf)


@dataclass(frozen=True)
class IsFinite(Classify):
    """Whether x is neither NaN nor infinite. numpy.isfinite."""

    name = "isfinite"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.isfinite(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("abs", x) < math.inf if is_float(x.dtype) else const(True, "bool")
