"""Initialisers: frozen descriptions of a parameter's first value, part of the graph's text.

fan_in, fan_out    inputs and outputs of one unit: dense weights (in, out), kernels (K, C, R, S) with
                   C * R * S and K * R * S, vectors (n,) with n and n
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from .errors import GraphnetError, ShapeError
from .site import located
from .types import Type, check_dtype

INITIALISERS: dict[str, type[Initialiser]] = {}


@dataclass(frozen=True)
class Initialiser:
    """Base: `sample` makes the value; fields are the settings."""

    name: ClassVar[str] = ""

    def __init_subclass__(cls, **kw: Any) -> None:
        super().__init_subclass__(**kw)
        INITIALISERS[cls.name] = cls

    def __post_init__(self) -> None:
        for field, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise GraphnetError(f"{self.name}: {field} must be a finite number, not {value}")

    def sample(self, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> np.ndarray:
        raise NotImplementedError(f"initialiser {self.name} has no sample")


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """(fan_in, fan_out) of a weight."""
    if not shape:
        return 1, 1
    if len(shape) == 1:
        return shape[0], shape[0]
    if len(shape) == 2:
        return shape
    window = math.prod(shape[2:])
    return shape[1] * window, shape[0] * window


def _size(value: float, what: str) -> float:
    """A setting that must be a number >= 0, as a float."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise GraphnetError(f"{what} must be a finite number >= 0, not {value!r}")
    return float(value)


@dataclass(frozen=True)
class Zeros(Initialiser):
    name = "zeros"

    def sample(self, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> np.ndarray:
        return np.zeros(shape, dtype)


@dataclass(frozen=True)
class Ones(Initialiser):
    name = "ones"

    def sample(self, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> np.ndarray:
        return np.ones(shape, dtype)


@dataclass(frozen=True)
class Filled(Initialiser):
    """One number everywhere."""

    name = "constant"
    value: float

    def sample(self, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> np.ndarray:
        return np.full(shape, self.value, dtype)


@dataclass(frozen=True)
class Normal(Initialiser):
    """Normal with mean 0."""

    name = "normal"
    std: float = 1.0

    def sample(self, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> np.ndarray:
        return (rng.standard_normal(shape) * self.std).astype(dtype)


@dataclass(frozen=True)
class Uniform(Initialiser):
    """Uniform in [-limit, limit)."""

    name = "uniform"
    limit: float = 1.0

    def sample(self, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> np.ndarray:
        return rng.uniform(-self.limit, self.limit, shape).astype(dtype)


@dataclass(frozen=True)
class HeNormal(Initialiser):
    """Normal with standard deviation sqrt(gain / fan_in). He et al. 2015, "Delving deep into rectifiers":
    gain 2 keeps the variance through relu."""

    name = "he_normal"
    gain: float = 2.0

    def sample(self, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> np.ndarray:
        std = math.sqrt(self.gain / max(fans(shape)[0], 1))
        return (rng.standard_normal(shape) * std).astype(dtype)


@dataclass(frozen=True)
class GlorotUniform(Initialiser):
    """Uniform within sqrt(6 / (fan_in + fan_out)). Glorot and Bengio 2010, "Understanding the difficulty
    of training deep feedforward neural networks"."""

    name = "glorot_uniform"

    def sample(self, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> np.ndarray:
        limit = math.sqrt(6 / max(sum(fans(shape)), 1))
        return rng.uniform(-limit, limit, shape).astype(dtype)


@dataclass(frozen=True)
class Value(Initialiser):
    """An array, held as bytes so that it can be compared and printed."""

    name = "value"
    type: Type
    data: bytes

    def sample(self, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> np.ndarray:
        if self.type.shape != tuple(shape):
            raise ShapeError(f"the initial value is {self.type}, the parameter's shape {tuple(shape)}")
        return np.frombuffer(self.data, self.type.dtype).reshape(shape).astype(dtype)


def zeros() -> Zeros:
    return Zeros()


def ones() -> Ones:
    return Ones()


@located
def constant(value: float) -> Filled:
    """`value` everywhere."""
    return Filled(float(value))


@located
def normal(std: float = 1.0) -> Normal:
    """Normal with mean 0."""
    return Normal(_size(std, "normal: std"))


@located
def uniform(limit: float = 1.0) -> Uniform:
    """Uniform in [-limit, limit)."""
    return Uniform(_size(limit, "uniform: limit"))


@located
def he_normal(gain: float = 2.0) -> HeNormal:
    """Normal with standard deviation sqrt(gain / fan_in)."""
    return HeNormal(_size(gain, "he_normal: gain"))


def glorot_uniform() -> GlorotUniform:
    """Uniform within sqrt(6 / (fan_in + fan_out))."""
    return GlorotUniform()


@located
def value(array: Any) -> Value:
    """An array as it is; cast to the parameter's dtype."""
    a = np.asarray(array)
    return Value(Type(check_dtype(a.dtype), a.shape), np.ascontiguousarray(a).tobytes())


def initialiser(init: Any, shape: tuple[int, ...], dtype: str) -> Initialiser:
    """What a user gave as `init`: an initialiser, a number, an array, or None for the default, which is
    he_normal() for weights (rank >= 2) and zeros() for all else."""
    if init is None:
        return he_normal() if len(shape) >= 2 else zeros()
    if isinstance(init, Initialiser):
        found = init
    elif isinstance(init, (bool, int, float)):
        found = constant(init)
    elif isinstance(init, (np.ndarray, np.generic, list, tuple)):
        found = value(np.asarray(init, dtype=dtype))
    else:
        raise GraphnetError(
            f"init must be an initialiser such as gn.init.he_normal(), a number or an array, not {init!r}"
        )
    if isinstance(found, Value) and found.type.shape != shape:
        raise ShapeError(f"the initial value is {found.type}, the parameter's shape {shape}")
    return found
