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

from codegen.dtypes import FROM_NUMPY
from codegen.expr import Expr, cast, const

from ..errors import DTypeError, GraphnetError
from ..node import Node, apply, constant
from ..op import Op, Operand, Sample
from ..site import located
from ..types import Shape, Type, check_dtype, concrete, extent
from .arithmetic import div
from .compare import where

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
class Uniform(Op):
    """key int64 () -> `shape`, uniform in [0, 1): 24 random bits for float32, 53 for float64."""

    name = "uniform"
    kind = "random"
    shape: Shape
    dtype: str = "float32"

    def infer(self, key: Type) -> Type:
        _check_key(self.name, key)
        t = Type(check_dtype(self.dtype), self.shape)
        if not t.is_float:
            raise DTypeError(f"uniform makes float32 or float64, not {self.dtype}")
        return t

    def evaluate(self, key: np.ndarray) -> np.ndarray:
        n = np.arange(math.prod(concrete(self.shape)), dtype=np.uint64)
        zero = np.zeros_like(n)
        words = philox_reference(int(key), np.stack([n & np.uint64(MASK), n >> np.uint64(32), zero, zero]))
        if self.dtype == "float32":
            out = (words[0] >> np.uint64(8)).astype(np.float64) * 2.0**-24
        else:
            bits = ((words[0] >> np.uint64(5)) << np.uint64(26)) | (words[1] >> np.uint64(6))
            out = bits.astype(np.float64) * 2.0**-53
        return out.astype(self.dtype).reshape(concrete(self.shape))

    def body(self, index: tuple[Expr, ...], key: Operand) -> Expr:
        zero = const(0, "i64")
        n: Expr = zero
        for i, e in zip(index, concrete(self.shape), strict=True):
            n = n * e + i
        w0, w1, _, _ = philox(key(), (n & MASK, (n >> 32) & MASK, zero, zero))
        dtype = FROM_NUMPY[self.dtype]
        if dtype == "f32":
            return cast(w0 >> 8, dtype) * 2.0**-24
        return cast(((w0 >> 5) << 26) | (w1 >> 6), dtype) * 2.0**-53

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (None,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls((3, 5)), ((),), dtypes=("int64",), low=0, high=1 << 62, differentiable=False)
        yield Sample(cls((2, 2), "float64"), ((),), dtypes=("int64",), low=-99, high=-1, differentiable=False)


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
def uniform(key: Node, shape: Iterable[object], dtype: str = "float32") -> Node:
    """Uniform random numbers in [0, 1)."""
    return apply(Uniform(tuple(extent(e) for e in shape), dtype), key)


@located
def bernoulli(key: Node, p: float, shape: Iterable[object]) -> Node:
    """Random bools, True with probability p."""
    if not (isinstance(p, (int, float)) and 0 <= p <= 1):
        raise GraphnetError(f"bernoulli: the probability must be in [0, 1], not {p!r}")
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
