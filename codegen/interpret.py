"""Run a kernel slowly and obviously: the definition of the loop language.

Everything is done by a *group of lanes*: a list of scopes (name -> value or array) that execute one
statement after the other together. Ordinary code is a group of one lane. A vector loop makes one lane of
each iteration; an `if` splits a group in two; a serial loop goes on with the lanes whose bound is not
reached. Within a statement all lanes read before any lane writes.

Each iteration of a thread loop is a group of its own, run by a generator that stops at barriers. All
threads must stop at the same barrier, or all end. Between barriers they run one after the other: a kernel
whose result depends on that has a race, which the emulator looks for.

What an operation means, where languages differ:

    integers        wrap; shifts by 0 .. bits - 1 only; shr keeps the sign of signed ones
    floordiv, mod   round toward minus infinity; division by zero is an error
    max, min        IEEE 754-2019's maximum and minimum: NaN in either gives NaN, and -0 < +0
    fma             rounded once
    cast            float to int truncates toward zero; NaN and what does not fit are errors; integers wrap;
                    integers become float16 and bfloat16 by way of float32, all else is rounded once
    select          evaluates only the side that it takes
    rint            to the nearest integer, ties to even
    exp, log, ...   the expressions of `mathlib`

Memory begins as NaN, or as the pattern 0xA5 for integers, so that a use before a store is seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from .dtypes import DTYPES, is_float, is_storage, numpy_dtype
from .errors import CodegenError
from .expr import MATH, MATH2, Binary, Bitcast, Buffer, Cast, Const, Expr, Fma, Load, Select, Unary, Var
from .loops import Alloc, Barrier, For, If, Kernel, Let, Prefetch, Shares, Stmt, Store
from .mathlib import expansion

Scalar = Any  # a NumPy scalar of the expression's dtype
Array = np.ndarray[Any, np.dtype[Any]]
Lane = dict[str, Any]  # variables to scalars, buffers to arrays


def interpret(kernel: Kernel, arrays: Sequence[Array]) -> None:
    """Run `kernel` in place on one array a parameter."""
    if len(arrays) != len(kernel.params):
        raise CodegenError(f"{kernel.name}: takes {len(kernel.params)} arrays, not {len(arrays)}")
    for buffer, array in zip(kernel.params, arrays, strict=True):
        if array.shape != buffer.shape or array.dtype != numpy_dtype(buffer.dtype):
            raise CodegenError(
                f"{kernel.name}: {buffer.name} is {buffer.dtype}{list(buffer.shape)}, "
                f"not an array of {array.dtype}{list(array.shape)}"
            )
    lane: Lane = {b.name: a for b, a in zip(kernel.params, arrays, strict=True)}
    with np.errstate(all="ignore"):
        try:
            for _ in _block(kernel.body, [lane]):
                raise CodegenError("barrier() outside a thread loop")
        except CodegenError as e:
            raise CodegenError(f"{kernel.name}: {e}") from None


# -------------------------------------------------------------------------------------- statements


def _block(block: tuple[Stmt, ...], lanes: list[Lane]) -> Iterator[Barrier]:
    """Execute a block for all lanes; yields each barrier that they reach."""
    if not lanes:
        return
    for s in block:
        yield from _statement(s, lanes)


def _statement(s: Stmt, lanes: list[Lane]) -> Iterator[Barrier]:
    match s:
        case Let(var, value):
            for lane in lanes:
                lane[var.name] = _evaluate(value, lane, {})
        case Store(buffer, index, value):
            writes = [(_position(buffer, index, lane), _evaluate(value, lane, {}), lane) for lane in lanes]
            for position, v, lane in writes:
                _array(buffer, lane)[position] = v
        case If(cond, then, orelse):
            taken = [bool(_evaluate(cond, lane, {})) for lane in lanes]
            yield from _block(then, [lane for lane, t in zip(lanes, taken, strict=True) if t])
            yield from _block(orelse, [lane for lane, t in zip(lanes, taken, strict=True) if not t])
        case Alloc(buffer):
            fresh = _fresh(buffer)
            for lane in lanes:
                lane[buffer.name] = fresh
        case Prefetch():
            pass
        case Barrier():
            yield s
        case Shares(first, last, extent, body):  # one thread has them all
            if extent:
                whole = {first.name: np.int64(0), last.name: np.int64(extent)}
                yield from _block(body, [{**lane, **whole} for lane in lanes])
        case For(kind="vector"):
            yield from _block(s.body, [_with(lane, s.var, i) for lane in lanes for i in _range(s, lane)])
        case For(kind="thread"):
            for lane in lanes:
                _threads([_block(s.body, [_with(lane, s.var, i)]) for i in _range(s, lane)])
        case For():
            yield from _serial(s, lanes)


def _serial(s: For, lanes: list[Lane]) -> Iterator[Barrier]:
    """One iteration after another; lanes with fewer of them wait for the rest."""
    waiting = [(lane, _range(s, lane)) for lane in lanes]
    step = 0
    while active := [(lane, r[step]) for lane, r in waiting if step < len(r)]:
        for lane, i in active:
            lane[s.var.name] = np.int64(i)
        yield from _block(s.body, [lane for lane, _ in active])
        step += 1


def _threads(threads: list[Iterator[Barrier]]) -> None:
    """Run all threads from barrier to barrier."""
    while True:
        stops = [next(t, None) for t in threads]
        if all(stop is None for stop in stops):
            return
        if any(stop is not stops[0] for stop in stops):
            late = next(i for i, stop in enumerate(stops) if stop is not stops[0])
            raise CodegenError(f"a barrier is not reached by all threads: 0 and {late} part ways")


def _range(s: For, lane: Lane) -> range:
    return range(int(_evaluate(s.start, lane, {})), int(_evaluate(s.stop, lane, {})))


def _with(lane: Lane, var: Var, value: int) -> Lane:
    return {**lane, var.name: np.int64(value)}


def _fresh(buffer: Buffer) -> Array:
    array = np.empty(buffer.shape, numpy_dtype(buffer.dtype))
    if is_float(buffer.dtype):
        array.fill(np.nan)
    else:
        array.view(np.uint8).fill(0xA5 if buffer.dtype != "bool" else 1)
    return array


def _array(buffer: Buffer, lane: Lane) -> Array:
    array = lane.get(buffer.name)
    if not isinstance(array, np.ndarray):
        raise CodegenError(f"no buffer {buffer.name} is in scope")
    return array


def _position(buffer: Buffer, index: tuple[Expr, ...], lane: Lane) -> tuple[int, ...]:
    position = tuple(int(_evaluate(i, lane, {})) for i in index)
    inside = len(position) == len(buffer.shape) and all(0 <= i < n for i, n in zip(position, buffer.shape, strict=True))
    if not inside:
        raise CodegenError(f"index {list(position)} is outside {buffer.name}, of shape {list(buffer.shape)}")
    return position


# ------------------------------------------------------------------------------------- expressions

_TYPES = {name: numpy_dtype(name).type for name in DTYPES}


def evaluate(e: Expr, lane: Lane) -> Scalar:
    """The value of an expression, a NumPy scalar of its dtype."""
    with np.errstate(all="ignore"):
        return _evaluate(e, lane, {})


def _evaluate(e: Expr, lane: Lane, memo: dict[int, Scalar]) -> Scalar:
    if id(e) not in memo:
        memo[id(e)] = _compute(e, lane, memo)
    return memo[id(e)]


def _compute(e: Expr, lane: Lane, memo: dict[int, Scalar]) -> Scalar:
    match e:
        case Const(value, dtype):
            return _TYPES[dtype](value)
        case Var(name):
            if name not in lane:
                raise CodegenError(f"no variable {name} is in scope")
            return lane[name]
        case Load(buffer, index):
            return _array(buffer, lane)[_position(buffer, index, lane)]
        case Select(cond, a, b):
            return _evaluate(a if _evaluate(cond, lane, memo) else b, lane, memo)
        case Unary(op, a) if op in MATH:
            return _evaluate(expansion(op, a.dtype), {"x": _evaluate(a, lane, memo)}, {})
        case Unary(op, a):
            return _UNARY[op](_evaluate(a, lane, memo))
        case Binary(op, a, b) if op in MATH2:
            arguments = {"x": _evaluate(a, lane, memo), "y": _evaluate(b, lane, memo)}
            return _evaluate(expansion(op, a.dtype), arguments, {})
        case Binary(op, a, b):
            return _BINARY[op](_evaluate(a, lane, memo), _evaluate(b, lane, memo))
        case Fma(a, b, c):
            return _fma(_evaluate(a, lane, memo), _evaluate(b, lane, memo), _evaluate(c, lane, memo))
        case Cast(a, dtype):
            return _cast(_evaluate(a, lane, memo), a.dtype, dtype)
        case Bitcast(a, dtype):
            return np.asarray(_evaluate(a, lane, memo), numpy_dtype(a.dtype)).view(numpy_dtype(dtype))[()]
    raise TypeError(f"not an expression: {e!r}")


def fma(a: Scalar, b: Scalar, c: Scalar) -> Scalar:
    """a * b + c, rounded once."""
    with np.errstate(all="ignore"):
        return _fma(a, b, c)


def _fma(a: Scalar, b: Scalar, c: Scalar) -> Scalar:
    kind = type(c)
    if not (np.isfinite(a) and np.isfinite(b)):
        return a * b + c
    if not np.isfinite(c):
        return c  # even where a * b would overflow
    if kind is np.float32:
        return _fma_f32(a, b, c)
    exact = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    if exact == 0:
        return a * b + c  # exact, and it has the right sign
    try:
        return kind(exact.numerator / exact.denominator)  # Python rounds this quotient correctly
    except OverflowError:
        return kind(np.inf if exact > 0 else -np.inf)


def _fma_f32(a: np.float32, b: np.float32, c: np.float32) -> np.float32:
    """The product is exact in f64. The sum there is rounded to odd, so that rounding it again to f32 is
    as good as rounding once (Boldo and Melquiond, Emulation of FMA and correctly rounded sums, 2008)."""
    x, y = np.float64(a) * np.float64(b), np.float64(c)
    total = x + y
    shifted = total - x
    error = (x - (total - shifted)) + (y - shifted)  # Knuth's TwoSum: x + y = total + error, exactly
    if error != 0 and total.view(np.int64) % 2 == 0:
        total = np.nextafter(total, np.inf if error > 0 else -np.inf)
    return np.float32(total)


def _cast(x: Scalar, source: str, dtype: str) -> Scalar:
    target = numpy_dtype(dtype)
    if is_storage(source) or (is_storage(dtype) and not is_float(source)):
        x = np.float32(x)
    if DTYPES[dtype].kind in ("int", "uint") and isinstance(x, np.floating):
        limits = np.iinfo(target)
        if not (np.isfinite(x) and limits.min <= int(x) <= limits.max):
            raise CodegenError(f"cast of {x} to {dtype}, which does not hold it")
        return target.type(int(x))
    return x.astype(target)


def _shift(shift: Callable[[Scalar, Scalar], Scalar]) -> Callable[[Scalar, Scalar], Scalar]:
    def checked(a: Scalar, b: Scalar) -> Scalar:
        if not 0 <= int(b) < 8 * a.dtype.itemsize:
            raise CodegenError(f"shift of {8 * a.dtype.itemsize} bits by {b}")
        return shift(a, b)

    return checked


def _division(divide: Callable[[Scalar, Scalar], Scalar]) -> Callable[[Scalar, Scalar], Scalar]:
    def checked(a: Scalar, b: Scalar) -> Scalar:
        if b == 0:
            raise CodegenError("integer division by zero")
        return divide(a, b)

    return checked


_UNARY: dict[str, Callable[[Scalar], Scalar]] = {
    "neg": np.negative,
    "abs": np.abs,
    "not": np.invert,
    "sqrt": np.sqrt,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
    "rint": np.rint,
}

_BINARY: dict[str, Callable[[Scalar, Scalar], Scalar]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "div": np.divide,
    "floordiv": _division(np.floor_divide),
    "mod": _division(np.remainder),
    "min": lambda a, b: a if a < b or a != a or (a == b and np.signbit(a)) else b,
    "max": lambda a, b: a if a > b or a != a or (a == b and not np.signbit(a)) else b,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "shl": _shift(np.left_shift),
    "shr": _shift(np.right_shift),
    "lt": np.less,
    "le": np.less_equal,
    "eq": np.equal,
    "ne": np.not_equal,
}
