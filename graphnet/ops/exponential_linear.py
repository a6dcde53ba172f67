"""Activations that are linear above 0 and an exponential below: ELU, SELU, CELU. Derivatives are read off the output,
which is finite where exp(x) is not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.expr import Expr, select, unary

from ..errors import GraphnetError
from ..node import Node
from ..op import Sample
from .activation import check_finite
from .compare import where
from .elementwise import Unary


@dataclass(frozen=True)
class _ExponentialLinear(Unary):
    alpha: float = 1.0

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), distinct=True)
        yield Sample(cls(1.4), ((3, 4),), low=-1e4, high=-0.1)


@dataclass(frozen=True)
class Elu(_ExponentialLinear):
    """x where it is positive, else alpha (exp(x) - 1); derivative alpha at 0."""

    name = "elu"

    def __post_init__(self) -> None:
        check_finite(self, "alpha")

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0).astype(np.float64))).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        return select(x > 0, x, unary("expm1", x) * self.alpha)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (where(node.inputs[0] > 0, cotangent, cotangent * (node + self.alpha)),)


@dataclass(frozen=True)
class Selu(_ExponentialLinear):
    """gamma x where x is positive, else gamma alpha (exp(x) - 1); derivative gamma alpha at 0. (Klambauer et al.,
    Self-normalizing neural networks, 2017.)"""

    name = "selu"
    alpha: float = 1.6732632423543772848170429916717
    gamma: float = 1.0507009873554804934193349852946

    def __post_init__(self) -> None:
        check_finite(self, "alpha", "gamma")

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)
        return (self.gamma * np.where(x > 0, wide, self.alpha * np.expm1(np.minimum(wide, 0)))).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        return select(x > 0, x * self.gamma, unary("expm1", x) * (self.gamma * self.alpha))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        below = cotangent * (node + self.gamma * self.alpha)
        return (where(node.inputs[0] > 0, cotangent * self.gamma, below),)


@dataclass(frozen=True)
class Celu(_ExponentialLinear):
    """x where it is positive, else alpha (exp(x / alpha) - 1); derivative 1 at 0. (Barron, Continuously differentiable
    exponential linear units, 2017.)"""

    name = "celu"

    def __post_init__(self) -> None:
        check_finite(self, "alpha")
        if self.alpha == 0:
            raise GraphnetError("celu: alpha must not be 0")

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        below = self.alpha * np.expm1(np.where(x > 0, 0, x.astype(np.float64)) / self.alpha)
        return np.where(x > 0, x, below).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        return select(x > 0, x, unary("expm1", x / self.alpha) * self.alpha)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (where(node.inputs[0] > 0, cotangent, cotangent * (node * (1 / self.alpha) + 1.0)),)
