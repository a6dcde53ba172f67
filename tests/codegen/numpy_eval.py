"""Expressions over whole NumPy arrays at once: fast enough for a million points.

Both sides of a select are computed, as SIMD code does. An f32 fma rounds twice (through f64) and an f64
fma is an error-free transformation: either may miss correct rounding, never by more than half an ULP + 1e-9.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from codegen.dtypes import numpy_dtype
from codegen.expr import MATH, MATH2, Binary, Bitcast, Cast, Const, Expr, Fma, Select, Unary, Var
from codegen.mathlib import expansion
from codegen.traverse import walk

Array = np.ndarray[Any, np.dtype[Any]]

UNARY: dict[str, Callable[[Array], Array]] = {
    "neg": np.negative, "abs": np.abs, "sqrt": np.sqrt, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc,
    "rint": np.rint,
}  # fmt: skip
BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "min": np.minimum,
    "max": np.maximum,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "shl": np.left_shift,
    "shr": np.right_shift,
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}


def evaluate(e: Expr, variables: dict[str, Array]) -> Array:
    """The value of `e` at every point of the variables' arrays."""
    with np.errstate(all="ignore"):
        memo: dict[int, Array] = {}
        for x in walk(e):
            memo[id(x)] = _node(x, memo, variables)
        return memo[id(e)]


def _node(x: Expr, memo: dict[int, Array], variables: dict[str, Array]) -> Array:
    match x:
        case Const(value, dtype):
            return np.asarray(value, numpy_dtype(dtype))
        case Var(name):
            return variables[name]
        case Unary(op, a) if op in MATH:
            return evaluate(expansion(op, a.dtype), {"x": memo[id(a)]})
        case Binary(op, a, b) if op in MATH2:
            return evaluate(expansion(op, a.dtype), {"x": memo[id(a)], "y": memo[id(b)]})
        case Unary(op, a):
            return UNARY[op](memo[id(a)])
        case Binary(op, a, b):
            return BINARY[op](memo[id(a)], memo[id(b)])
        case Select(c, a, b):
            return np.where(memo[id(c)], memo[id(a)], memo[id(b)])
        case Cast(a, dtype):
            return memo[id(a)].astype(numpy_dtype(dtype))
        case Bitcast(a, dtype):
            return memo[id(a)].view(numpy_dtype(dtype))
        case Fma(a, b, c):
            return _fma(memo[id(a)], memo[id(b)], memo[id(c)])
    raise TypeError(f"no array form of {x!r}")


def _fma(a: Array, b: Array, c: Array) -> Array:
    if a.dtype == np.float32:
        return (a.astype(np.float64) * b.astype(np.float64) + c).astype(np.float32)
    product, product_error = _two_product(a, b)
    total = product + c
    shifted = total - product
    total_error = (product - (total - shifted)) + (c - shifted)
    exact = total + (total_error + product_error)
    return np.where(np.isfinite(exact), exact, a * b + c)


def _two_product(a: Array, b: Array) -> tuple[Array, Array]:
    """a * b and its rounding error (Dekker 1971; no overflow as long as |a|, |b| < 2**996)."""
    a_high, b_high = _split(a), _split(b)
    a_low, b_low = a - a_high, b - b_high
    p = a * b
    return p, ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


def _split(a: Array) -> Array:
    scaled = a * 134217729.0  # 2**27 + 1
    return scaled - (scaled - a)
