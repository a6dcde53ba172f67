"""Initialisers: frozen descriptions of a parameter's first value, part of the graph's text.

fan_in, fan_out    inputs and outputs of one unit: dense weights (in, out), kernels (K, C, R, S) with
                   C * R * S and K * R * S, vectors (n,) with n and n
"""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from codegen.machine import available_threads

from .errors import GraphnetError, ShapeError
from .site import located
from .types import Type, check_dtype

CHUNK = 1 << 18  # random numbers of one stream

INITIALISERS: dict[str, type[Initialiser]] = {}


@dataclass(frozen=True)
class Initialiser:
    """Base: `fill` writes the value; fields are the settings."""

    name: ClassVar[str] = ""

    def __init_subclass__(cls, **kw: Any) -> None:
        super().__init_subclass__(**kw)
        INITIALISERS[cls.name] = cls

    def __post_init__(self) -> None:
        for field, value in vars(self).items():
            if isinstance(value, float) and not math.isfinite(value):
                raise GraphnetError(f"{self.name}: {field} must be a finite number, not {value}")

    def sample(self, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> np.ndarray:
        """A value of that shape and dtype."""
        out = np.zeros(shape, dtype)
        self.fill(out, rng)
        return out

    def fill(self, out: np.ndarray, rng: np.random.Generator) -> None:
        """Writes a value into `out`, which is contiguous, and zero so far."""
        raise NotImplementedError(f"initialiser {self.name} has no fill")


def _draw(out: np.ndarray, rng: np.random.Generator, draw: Callable[[np.random.Generator, np.ndarray], None]) -> None:
    """Fills `out` with random numbers: `draw` fills a float32 or float64 array from a generator.

    Each CHUNK elements have a stream of their own, of one key that `rng` gives: threads share the work, and the
    values do not depend on how many there are."""
    key = rng.integers(1 << 64, size=2, dtype=np.uint64)
    flat = out.reshape(-1)

    def chunk(number: int) -> None:
        part = flat[number * CHUNK : (number + 1) * CHUNK]
        real = part if part.dtype in (np.float32, np.float64) else np.empty(part.shape)
        draw(np.random.Generator(np.random.Philox(key=key, counter=[0, 0, 0, number])), real)
        part[...] = real

    chunks = range(-(-flat.size // CHUNK))
    if len(chunks) < 2:
        for number in chunks:
            chunk(number)
    else:
        with ThreadPoolExecutor(min(len(chunks), available_threads())) as threads:
            list(threads.map(chunk, chunks))


def _normal(out: np.ndarray, rng: np.random.Generator, std: float) -> None:
    def draw(stream: np.random.Generator, part: np.ndarray) -> None:
        stream.standard_normal(dtype=part.dtype.type, out=part)
        part *= std

    _draw(out, rng, draw)


def _uniform(out: np.ndarray, rng: np.random.Generator, limit: float) -> None:
    def draw(stream: np.random.Generator, part: np.ndarray) -> None:
        stream.random(dtype=part.dtype.type, out=part)
        part *= 2 * limit
        part -= limit

    _draw(out, rng, draw)


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
    """Nothing to write: the system clears new memory when it is first touched, in a step's threads."""

    name = "zeros"

    def fill(self, out: np.ndarray, rng: np.random.Generator) -> None:
        pass


@dataclass(frozen=True)
class Ones(Initialiser):
    name = "ones"

    def fill(self, out: np.ndarray, rng: np.random.Generator) -> None:
        out[...] = 1


@dataclass(frozen=True)
class Filled(Initialiser):
    """One number everywhere."""

    name = "constant"
    value: float

    def fill(self, out: np.ndarray, rng: np.random.Generator) -> None:
        out[...] = self.value


@dataclass(frozen=True)
class Normal(Initialiser):
    """Normal with mean 0."""

    name = "normal"
    std: float = 1.0

    def fill(self, out: np.ndarray, rng: np.random.Generator) -> None:
        _normal(out, rng, self.std)


@dataclass(frozen=True)
class Uniform(Initialiser):
    """Uniform in [-limit, limit)."""

    name = "uniform"
    limit: float = 1.0

    def fill(self, out: np.ndarray, rng: np.random.Generator) -> None:
        _uniform(out, rng, self.limit)


@dataclass(frozen=True)
class HeNormal(Initialiser):
    """Normal with standard deviation sqrt(gain / fan_in). He et al. 2015, "Delving deep into rectifiers":
    gain 2 keeps the variance through relu."""

    name = "he_normal"
    gain: float = 2.0

    def fill(self, out: np.ndarray, rng: np.random.Generator) -> None:
        _normal(out, rng, math.sqrt(self.gain / max(fans(out.shape)[0], 1)))


@dataclass(frozen=True)
class HeUniform(Initialiser):
    """Uniform with the same standard deviation, within sqrt(3 gain / fan_in): a third of the time to draw."""

    name = "he_uniform"
    gain: float = 2.0

    def fill(self, out: np.ndarray, rng: np.random.Generator) -> None:
        _uniform(out, rng, math.sqrt(3 * self.gain / max(fans(out.shape)[0], 1)))


@dataclass(frozen=True)
class GlorotUniform(Initialiser):
    """Uniform within sqrt(6 / (fan_in + fan_out)). Glorot and Bengio 2010, "Understanding the difficulty
    of training deep feedforward neural networks"."""

    name = "glorot_uniform"

    def fill(self, out: np.ndarray, rng: np.random.Generator) -> None:
        _uniform(out, rng, math.sqrt(6 / max(sum(fans(out.shape)), 1)))


@dataclass(frozen=True)
class Value(Initialiser):
    """An array, held as bytes so that it can be compared and printed."""

    name = "value"
    type: Type
    data: bytes

    def fill(self, out: np.ndarray, rng: np.random.Generator) -> None:
        if self.type.shape != out.shape:
            raise ShapeError(f"the initial value is {self.type}, the parameter's shape {out.shape}")
        out[...] = np.frombuffer(self.data, self.type.dtype).reshape(out.shape)


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


@located
def he_uniform(gain: float = 2.0) -> HeUniform:
    """Uniform with standard deviation sqrt(gain / fan_in)."""
    return HeUniform(_size(gain, "he_uniform: gain"))


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
