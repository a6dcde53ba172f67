"""Random numbers as functions of a key and an index: Philox4x32-10.

J. K. Salmon, M. A. Moraes, R. O. Dror, D. E. Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
Ten rounds mix a counter of four 32-bit words under a key of two. An element's counter is its row-major
position, so a mask is the same in forward and backward, at any thread count, in any fusion, on any target.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.dtypes import FROM_NUMPY, limits
from codegen.expr import Expr, cast, const, unary

from ..errors import DTypeError, GraphnetError
from ..node import Node, apply, constant
from ..op import Op, Operand, Sample
from ..site import located
from ..types import STORAGE, Shape, Type, check_dtype, concrete, extent
from .arithmetic import div
from .compare import where
from .elementwise import cast as cast_node
from .power import Log
from .reduce import argmax

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # the key's increments: golden ratio, sqrt(3) - 1
ROUNDS = 10
MASK = 0xFFFFFFFF


def _multiply(a: int, b: Expr) -> tuple[Expr, Expr]:
    """High and low word of a * b, both below 2^32, in halves so that no product reaches 2^63."""
    low = (b & 0xFFFF) * a
    high = (b >> 16) * a + (low >> 16)
    return high >> 16, ((high & 0xFFFF) << 16) | (low & 0xFFFF)


def philox(key: Expr, counter: tuple[Expr, Expr, Expr, Expr]) -> tuple[Expr, Expr, Expr, Expr]:
    """Four random 32-bit words in i64, for an i64 key and a counter of four words in i64."""
    k0, k1 = key & MASK, (key >> 32) & MASK
    c0, c1, c2, c3 = counter
    for _ in range(ROUNDS):
        high0, low0 = _multiply(MULTIPLIERS[0], c0)
        high1, low1 = _multiply(MULTIPLIERS[1], c2)
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
    return c0, c1, c2, c3


def philox_reference(key: int, counter: np.ndarray) -> np.ndarray:
    """The same for an array (4, n) of words, in unsigned NumPy arithmetic."""
    k = np.array([key & MASK, (key >> 32) & MASK], dtype=np.uint64)
    c = counter.astype(np.uint64)
    m0, m1 = (np.uint64(m) for m in MULTIPLIERS)
    for _ in range(ROUNDS):
        p0, p1 = m0 * c[0], m1 * c[2]
        shift, mask = np.uint64(32), np.uint64(MASK)
        c = np.stack([(p1 >> shift) ^ c[1] ^ k[0], p1 & mask, (p0 >> shift) ^ c[3] ^ k[1], p0 & mask])
        k = (k + np.array(WEYL, dtype=np.uint64)) & mask
    return c


def _check_key(op: str, key: Type) -> None:
    if key != Type("int64", ()):
        raise DTypeError(f"{op} needs a key, int64[], as gn.key(seed) makes; not {key}")


@dataclass(frozen=True)
class Draw(Op):
    """Base of random arrays: the four random words of each element, in i64."""

    kind = "random"
    shape: Shape
    dtype: str = "float32"

    def infer(self, key: Type) -> Type:
        _check_key(self.name, key)
        t = Type(check_dtype(self.dtype), self.shape)
        if not t.is_float:
            raise DTypeError(f"{self.name} makes floats, not {self.dtype}")
        return t

    def words_reference(self, key: np.ndarray) -> np.ndarray:
        """(4, elements), uint64."""
        n = np.arange(math.prod(concrete(self.shape)), dtype=np.uint64)
        zero = np.zeros_like(n)
        return philox_reference(int(key), np.stack([n & np.uint64(MASK), n >> np.uint64(32), zero, zero]))

    def words(self, index: tuple[Expr, ...], key: Operand) -> tuple[Expr, Expr, Expr, Expr]:
        zero = const(0, "i64")
        n: Expr = zero
        for i, e in zip(index, concrete(self.shape), strict=True):
            n = n * e + i
        return philox(key(), (n & MASK, (n >> 32) & MASK, zero, zero))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (None,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        for shape, dtype in (((3, 5), "float32"), ((2, 2), "float64"), ((40,), "float16"), ((4, 9), "bfloat16")):
            yield Sample(cls(shape, dtype), ((),), dtypes=("int64",), low=-99, high=1 << 62, differentiable=False)
        yield Sample(cls((0, 3)), ((),), dtypes=("int64",), low=0, high=9, differentiable=False)


SIGNIFICANT = {"float32": 24, "float16": 11, "bfloat16": 8}  # bits; of float64 53, from two words


@dataclass(frozen=True)
class Uniform(Draw):
    """key int64 () -> `shape`, uniform in [0, 1): as many random bits as the dtype has, 24 for float32, 53 for float64,
    11 for float16, 8 for bfloat16."""

    name = "uniform"

    def evaluate(self, key: np.ndarray) -> np.ndarray:
        words = self.words_reference(key)
        if bits := SIGNIFICANT.get(self.dtype):
            out = (words[0] >> np.uint64(32 - bits)).astype(np.float64) * 2.0**-bits
        else:
            joined = ((words[0] >> np.uint64(5)) << np.uint64(26)) | (words[1] >> np.uint64(6))
            out = joined.astype(np.float64) * 2.0**-53
        return out.astype(self.dtype).reshape(concrete(self.shape))

    def body(self, index: tuple[Expr, ...], key: Operand) -> Expr:
        w0, w1, _, _ = self.words(index, key)
        if bits := SIGNIFICANT.get(self.dtype):
            return cast(w0 >> (32 - bits), "f32") * 2.0**-bits
        return cast(((w0 >> 5) << 26) | (w1 >> 6), "f64") * 2.0**-53


@dataclass(frozen=True)
class Normal(Draw):
    """key int64 () -> `shape`, normal with mean 0 and variance 1: sqrt(-2 log u) cos(2 pi v), u and v uniform.

    G. E. P. Box, M. E. Muller, "A note on the generation of random normal deviates", 1958. u has 32 bits, and 53 for
    float64: no number is beyond 6.8, and 8.7."""

    name = "normal"

    def evaluate(self, key: np.ndarray) -> np.ndarray:
        w = self.words_reference(key).astype(np.int64)
        if self.dtype == "float64":
            u, v = (((w[i] >> 5) << 26 | w[i + 1] >> 6).astype(np.float64) for i in (0, 2))
            u, v = (u + 0.5) * 2.0**-53, v * 2.0**-53
        else:
            u = (w[0].astype(np.float32) + np.float32(0.5)).astype(np.float64) * 2.0**-32
            v = (w[1] >> 8) * 2.0**-24
        return (np.sqrt(-2 * np.log(u)) * np.cos(2 * np.pi * v)).astype(self.dtype).reshape(concrete(self.shape))

    def body(self, index: tuple[Expr, ...], key: Operand) -> Expr:
        w0, w1, w2, w3 = self.words(index, key)
        if self.dtype == "float64":
            u = (cast(((w0 >> 5) << 26) | (w1 >> 6), "f64") + 0.5) * 2.0**-53
            v = cast(((w2 >> 5) << 26) | (w3 >> 6), "f64") * 2.0**-53
        else:
            u = (cast(w0, "f32") + 0.5) * 2.0**-32
            v = cast(w1 >> 8, "f32") * 2.0**-24
        return unary("sqrt", -2.0 * unary("log", u)) * unary("cos", v * (2 * math.pi))


@dataclass(frozen=True)
class RandInt(Draw):
    """key int64 () -> `shape`, integers low <= n < high, all equally likely but for 2^-31 of their probability."""

    name = "randint"
    dtype: str = "int32"
    low: int = 0
    high: int = 2

    def infer(self, key: Type) -> Type:
        _check_key(self.name, key)
        t = Type(check_dtype(self.dtype), self.shape)
        if not t.is_integer:
            raise DTypeError(f"randint makes integers, not {self.dtype}")
        least, greatest = limits(FROM_NUMPY[self.dtype])
        if not (least <= self.low < self.high <= greatest + 1 and self.high - self.low <= 1 << 32):
            what = f"at most 2**32 of them, in {self.dtype}"
            raise GraphnetError(f"randint: expected low < high, and {what}; not {self.low} and {self.high}")
        return t

    def evaluate(self, key: np.ndarray) -> np.ndarray:
        words = self.words_reference(key)
        drawn = ((words[1] & np.uint64(0x7FFFFFFF)) << np.uint64(32) | words[0]) % np.uint64(self.high - self.low)
        low = np.asarray(self.low, self.dtype)
        return (drawn.astype(self.dtype) + low).astype(self.dtype).reshape(concrete(self.shape))

    def body(self, index: tuple[Expr, ...], key: Operand) -> Expr:
        w0, w1, _, _ = self.words(index, key)
        drawn = (((w1 & 0x7FFFFFFF) << 32) | w0) % (self.high - self.low)
        dtype = FROM_NUMPY[self.dtype]
        return cast(drawn, dtype) + const(self.low, dtype)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        for dtype, low, high in (("int32", -3, 9), ("uint8", 250, 256), ("int64", -(1 << 62), 5 - (1 << 62))):
            op = cls((3, 5), dtype, low, high)
            yield Sample(op, ((),), dtypes=("int64",), low=0, high=1 << 62, differentiable=False)


@dataclass(frozen=True)
class FoldIn(Op):
    """key int64 (), n integer () -> a new key, as good as independent for each n. Its counter's third
    word is 1, so it shares no random words with `uniform` of the same key."""

    name = "fold_in"
    kind = "random"

    def infer(self, key: Type, n: Type) -> Type:
        _check_key(self.name, key)
        if n.shape != () or n.dtype not in ("int32", "int64"):
            raise DTypeError(f"fold_in needs an integer scalar, int32[] or int64[], not {n}")
        return key

    def evaluate(self, key: np.ndarray, n: np.ndarray) -> np.ndarray:
        i = int(n)
        counter = np.array([[i & MASK], [(i >> 32) & MASK], [1], [0]], dtype=np.uint64)
        words = philox_reference(int(key), counter)
        return np.asarray((int(words[1, 0]) & 0x7FFFFFFF) << 32 | int(words[0, 0]), dtype=np.int64)

    def body(self, index: tuple[Expr, ...], key: Operand, n: Operand) -> Expr:
        i = cast(n(), "i64")
        w0, w1, _, _ = philox(key(), (i & MASK, (i >> 32) & MASK, const(1, "i64"), const(0, "i64")))
        return ((w1 & 0x7FFFFFFF) << 32) | w0

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return None, None

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        kinds = ("int64", "int64")
        yield Sample(cls(), ((), ()), dtypes=kinds, low=0, high=1 << 62, differentiable=False)
        yield Sample(cls(), ((), ()), dtypes=("int64", "int32"), low=-9, high=9, differentiable=False)


# ------------------------------------------------------------------------------------ user functions


@located
def key(seed: int) -> Node:
    """The key of a stream of random numbers."""
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or not -(1 << 63) <= int(seed) < 1 << 63:
        raise GraphnetError(f"key: the seed must be an integer of 64 bits, not {seed!r}")
    return constant(int(seed), "int64")


def fold_in(key: Node, n: Any) -> Node:
    """A new key from a key and an integer (a number, or a node such as the step)."""
    return apply(FoldIn(), key, n if isinstance(n, Node) else constant(n, "int64"))


@located
def uniform(
    key: Node, shape: Iterable[object], dtype: str = "float32", low: float = 0.0, high: float = 1.0
) -> Node:
    """Uniform random numbers in [low, high); where a bound is given, rounding may reach `high`."""
    drawn = apply(Uniform(tuple(extent(e) for e in shape), dtype), key)
    return drawn if (low, high) == (0, 1) else drawn * (float(high) - float(low)) + float(low)


@located
def normal(key: Node, shape: Iterable[object], dtype: str = "float32", mean: float = 0.0, std: float = 1.0) -> Node:
    """Normal random numbers of a mean and a standard deviation."""
    drawn = apply(Normal(tuple(extent(e) for e in shape), dtype), key)
    return drawn if (mean, std) == (0, 1) else drawn * float(std) + float(mean)


@located
def randint(key: Node, shape: Iterable[object], low: int, high: int, dtype: str = "int32") -> Node:
    """Random integers low <= n < high."""
    return apply(RandInt(tuple(extent(e) for e in shape), dtype, int(low), int(high)), key)


@located
def categorical(key: Node, logits: Node, axis: int = -1) -> Node:
    """One position (int32) along `axis` for each of the others, with probabilities softmax(logits): the greatest of
    logits - log(-log(u)), u uniform (E. J. Gumbel, 1954)."""
    if not logits.type.is_float:
        raise DTypeError(f"categorical: the logits {logits!r} are no floats; convert with gn.cast")
    dtype = "float64" if logits.dtype == "float64" else "float32"
    noise = apply(Log(), -apply(Log(), uniform(key, logits.shape, dtype)))
    return argmax(cast_node(logits, dtype) - noise, axis)


@located
def bernoulli(key: Node, p: float | Node, shape: Iterable[object] | None = None) -> Node:
    """Random bools, True with probability p: of a shape, or, where p is a node, each by its own probability."""
    if isinstance(p, Node):
        wide = cast_node(p, "float32") if p.dtype in STORAGE else p
        return uniform(key, p.shape if shape is None else shape, wide.dtype) < wide
    if shape is None or not (isinstance(p, (int, float)) and 0 <= p <= 1):
        raise GraphnetError(f"bernoulli: the probability must be in [0, 1], and there must be a shape; not {p!r}")
    return uniform(key, shape) < float(p)


@located
def dropout(x: Node, rate: float, key: Node) -> Node:
    """x with each element set to 0 with probability `rate`, the others divided by 1 - rate. The mask
    is a node of the graph, so the backward pass uses the same one; leave dropout out for inference."""
    if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 <= rate < 1:
        raise GraphnetError(f"dropout: the rate must be in [0, 1), not {rate!r}")
    if not x.type.is_float:
        raise DTypeError(f"dropout of {x!r}; convert with gn.cast")
    if rate == 0:
        return x
    return where(uniform(key, x.shape) >= float(rate), div(x, 1.0 - rate), 0.0)
