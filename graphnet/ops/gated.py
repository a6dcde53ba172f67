"""Activations that are x times a gate between 0 and 1: GELU, SiLU, Mish, hard swish."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from codegen.expr import Expr, minimum, select, unary

from ..errors import GraphnetError
from ..node import Node, apply
from ..op import Sample
from .activation import Sigmoid, Softplus, Tanh, check_finite
from .compare import where
from .elementwise import Unary
from .error_function import Ndtr
from .power import Exp, Square


@dataclass(frozen=True)
class _Gated(Unary):
    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),))
        yield Sample(cls(), ((3, 4),), low=-1e4, high=1e4, differentiable=False)


@dataclass(frozen=True)
class Silu(_Gated):
    """x sigmoid(alpha x), Swish for alpha = 1 (Ramachandran et al., Searching for activation functions, 2017).
    Derivative s + alpha x s (1 - s) with s = sigmoid(alpha x)."""

    name = "silu"
    alpha: float = 1.0

    def __post_init__(self) -> None:
        check_finite(self, "alpha")

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)
        return (wide * np.exp(-np.logaddexp(0, -self.alpha * wide))).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        scaled = x if self.alpha == 1 else x * self.alpha
        return x * unary("sigmoid", scaled)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        s = apply(Sigmoid(), x * self.alpha)
        return (cotangent * (s + (x * self.alpha) * (s * (1.0 - s))),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        yield Sample(cls(1.7), ((3, 4),))


@dataclass(frozen=True)
class Gelu(_Gated):
    """x ndtr(x), times the normal distribution function of x; approximate="tanh": x (1 + tanh u) / 2 =
    x sigmoid(2 u), u = sqrt(2/pi) (x + 0.044715 x^3). (Hendrycks and Gimpel, Gaussian error linear units, 2016.)"""

    name = "gelu"
    approximate: str = "none"

    def __post_init__(self) -> None:
        if self.approximate not in ("none", "tanh"):
            raise GraphnetError(f'gelu: approximate is "none" or "tanh", not {self.approximate!r}')

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)
        if self.approximate == "none":
            gate = 0.5 * np.vectorize(math.erfc, otypes="d")(-wide * math.sqrt(0.5))
        else:
            gate = np.exp(-np.logaddexp(0, -2 * math.sqrt(2 / math.pi) * (wide + 0.044715 * wide**3)))
        return np.asarray(wide * gate, dtype=x.dtype)

    def scalar(self, x: Expr) -> Expr:
        if self.approximate == "none":
            return x * unary("ndtr", x)
        return x * unary("sigmoid", x * (x * x * (2 * C3) + 2 * C1))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        if self.approximate == "none":
            bell = apply(Exp(), apply(Square(), x) * -0.5) * (1 / math.sqrt(2 * math.pi))
            return (cotangent * (apply(Ndtr(), x) + x * bell),)
        square = apply(Square(), x)
        s = apply(Sigmoid(), x * (square * (2 * C3) + 2 * C1))
        slope = square * (6 * C3) + 2 * C1
        return (cotangent * (s + (x * slope) * (s * (1.0 - s))),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        yield Sample(cls("tanh"), ((3, 4),))
        yield Sample(cls("tanh"), ((3, 4),), low=-1e4, high=1e4, differentiable=False)


C1 = math.sqrt(2 / math.pi)
C3 = 0.044715 * C1


@dataclass(frozen=True)
class Mish(_Gated):
    """x tanh(softplus(x)) = x n / (n + 2), n = e (e + 2), e = exp(x) (Misra, Mish, 2019). Derivative
    t + x s (1 - t^2), t = tanh(softplus(x)), s = sigmoid(x)."""

    name = "mish"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)
        return (wide * np.tanh(np.logaddexp(0, wide))).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        e = unary("exp", minimum(x, 40.0 if x.dtype == "f64" else 20.0))  # above, the gate is 1
        n = e * (e + 2.0)
        return x * (n / (n + 2.0))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        t = apply(Tanh(), apply(Softplus(), x))
        return (cotangent * (t + x * apply(Sigmoid(), x) * (1.0 - apply(Square(), t))),)


@dataclass(frozen=True)
class HardSwish(_Gated):
    """x times x / 6 + 1/2 held between 0 and 1 (Howard et al., Searching for MobileNetV3, 2019). Derivative x / 3 + 1/2
    for -3 < x < 3, else 0 or 1."""

    name = "hard_swish"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        wide = x.astype(np.float64)
        return (wide * np.clip(wide / 6 + 0.5, 0, 1)).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        gate = (x + 3.0) * (1 / 6)
        return x * select(gate < 0, 0, select(gate > 1, 1, gate))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        middle = where(x < 3.0, cotangent * (x * (1 / 3) + 0.5), cotangent)
        return (where(x > -3.0, middle, 0.0),)
