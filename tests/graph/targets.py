"""Running a few nodes on a target: "reference" by the ops' NumPy evaluate, "body" by their index notation,
and the compiler's own targets by compiling.

The interpreter of bodies below works point by point on Python numbers. It shares nothing with codegen's.
"""

from __future__ import annotations

import itertools
import math
from collections import ChainMap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from codegen.compute import Axis, Reduce
from codegen.dtypes import DTYPES, FROM_NUMPY, numpy_dtype, wide
from codegen.expr import MATH, MATH2, Binary, Bitcast, Buffer, Cast, Const, Expr, Fma, Load, Select, Unary, Var, cast
from codegen.loops import For, If, Let, Stmt, Store
from graphnet.evaluate import evaluate
from graphnet.function import compile
from graphnet.node import Node, toposort
from graphnet.op import Op, Operand, Target
from graphnet.state import State

from ..codegen.ulp import NUMPY

TARGETS = ("reference", "body", "cpu", "cpu:simd128", "emulator")


def run(nodes: Sequence[Node], feeds: Mapping[Node, np.ndarray], target: str) -> list[np.ndarray]:
    """The values of `nodes`, given those of the inputs (and of parameters, if there are any)."""
    if target == "reference":
        return evaluate(nodes, feeds)
    if target == "body":
        values = dict(feeds)
        with np.errstate(all="ignore"):
            for n in toposort(nodes):
                if n not in values:
                    values[n] = _value(n, [values[i] for i in n.inputs])
        return [values[n] for n in nodes]
    given = {n: a for n, a in feeds.items() if n.op.name == "input"}
    state = State()
    for n, a in feeds.items():
        if n.op.name == "parameter":
            state[n] = a
    found = compile(list(nodes), list(given), target=target, threads=2, state=state)(*given.values())
    results = found if isinstance(found, tuple) else (found,)
    return [np.asarray(r) for r in results]


def _value(n: Node, inputs: list[np.ndarray]) -> np.ndarray:
    if n.op.kind == "leaf":
        return n.op.evaluate()
    if n.op.kind == "composite":
        return run([n.op.graph(*n.inputs)], dict(zip(n.inputs, inputs, strict=True)), "body")[0]
    shape = tuple(int(e) for e in n.shape)
    index = tuple(Var(f"i{a}") for a in range(len(shape)))
    buffers = [Buffer(f"x{k}", FROM_NUMPY[x.dtype.name], x.shape) for k, x in enumerate(inputs)]
    operands = [_BufferOperand(b) for b in buffers]
    if type(n.op).tile is not Op.tile:
        return _tiled(n, operands, {b.name: x for b, x in zip(buffers, inputs, strict=True)})
    if n.op.kind == "serial":
        return _in_order(n, operands, {b.name: x for b, x in zip(buffers, inputs, strict=True)})
    body = n.op.body(index, *operands)
    arrays = {b.name: x for b, x in zip(buffers, inputs, strict=True)}
    out = np.zeros(shape, dtype=n.dtype)
    for point in itertools.product(*map(range, shape)):
        env = {v.name: i for v, i in zip(index, point, strict=True)}
        out[point] = reduce(body, env, arrays) if isinstance(body, Reduce) else Point(env, arrays).value(body)
    return out


def _tiled(n: Node, operands: Sequence[Operand], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """An op that makes its elements a tile at a time, perhaps in stages."""
    tile = n.op.tile(*operands)
    out = np.full(tuple(int(e) for e in n.shape), np.nan, dtype=n.dtype)
    for point in itertools.product(*(range(a.extent) for a in tile.axes)):
        place = {a.name: i for a, i in zip(tile.axes, point, strict=True)}
        own: dict[str, np.ndarray] = {}  # the memory between stages
        memory = ChainMap(own, dict(arrays))
        for stage in tile.stages:
            for at in _along(stage.axis, place, memory):
                for s in stage.body:
                    if isinstance(s, Let):
                        at.env = {**at.env, s.var.name: at.value(s.value)}
                        continue
                    assert isinstance(s, Store) and s.buffer.space == "local"
                    array = own.setdefault(s.buffer.name, np.full(s.buffer.shape, np.nan))
                    array[tuple(at.value(i) for i in s.index)] = at.value(s.value)
        for at in _along(tile.inner, place, memory):
            for v, e in tile.lets:
                at.env = {**at.env, v.name: at.value(e)}
            for p in tile.points:
                if p.valid is None or at.value(p.valid):
                    out[tuple(at.value(i) for i in p.index)] = at.value(p.value)
    return out


def _in_order(n: Node, operands: Sequence[Operand], arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """An op that works in place."""
    out = np.full(tuple(int(e) for e in n.shape), -7, dtype=n.dtype)
    found = n.op.serial(_TargetOperand(Buffer("out", FROM_NUMPY[n.dtype], out.shape)), *operands)
    for point in itertools.product(*(range(a.extent) for a in found.axes)):
        own: dict[str, np.ndarray] = {}
        memory = ChainMap(own, {"out": out}, dict(arrays))

        def execute(block: Sequence[Stmt], here: Point, own: dict[str, np.ndarray] = own) -> None:
            for s in block:
                at = Point(here.env, here.arrays)  # what was loaded may have changed
                match s:
                    case Let(var, value):
                        here.env = {**here.env, var.name: at.value(value)}
                    case Store(buffer, index, value):
                        if buffer.space == "local" and buffer.name not in own:
                            own[buffer.name] = np.zeros(buffer.shape, numpy_dtype(buffer.dtype))
                        place = tuple(at.value(i) for i in index)
                        assert all(0 <= i < e for i, e in zip(place, buffer.shape, strict=True))
                        here.arrays[buffer.name][place] = at.value(value)
                    case If(cond, then, orelse):
                        execute(then if at.value(cond) else orelse, Point(here.env, here.arrays))
                    case For(var, start, stop, "serial", body):
                        for i in range(at.value(start), at.value(stop)):
                            execute(body, Point({**here.env, var.name: i}, here.arrays))
                    case _:
                        raise TypeError(f"no statement of a serial op: {s!r}")

        place = {a.name: i for a, i in zip(found.axes, point, strict=True)}
        for stage in found.stages:
            for here in _along(stage.axis, place, memory):
                execute(stage.body, here)
    return out


def _along(axis: Axis | None, place: dict[str, int], arrays: Mapping[str, np.ndarray]) -> Iterator[Point]:
    """The points of a stage."""
    if axis is None:
        yield Point(place, arrays)
        return
    here = Point(place, arrays)
    for i in range(here.value(axis.lo), here.value(axis.hi)):
        yield Point({**place, axis.name: i}, arrays)


class _BufferOperand(Operand):
    def __init__(self, buffer: Buffer) -> None:
        self.buffer, self.dtype, self.shape = buffer, wide(buffer.dtype), buffer.shape

    def __call__(self, *index: Expr) -> Expr:
        return cast(self.buffer[index], self.dtype)


class _TargetOperand(_BufferOperand, Target):
    def store(self, index: Sequence[Expr], value: Expr) -> Store:
        return Store(self.buffer, tuple(index), cast(value, self.buffer.dtype))


def reduce(r: Reduce, env: dict[str, int], arrays: Mapping[str, np.ndarray]) -> Any:
    """A reduction at one point, over the positions that its bounds and condition leave."""
    here = Point(env, arrays)
    ranges = [range(here.value(a.lo), here.value(a.hi)) for a in r.axes]
    for a, extent in zip(r.axes, ranges, strict=True):
        assert not extent or (extent[0] >= 0 and extent[-1] < a.extent), f"bounds of {a.name}: {extent}"
    found: list[tuple[int, Any]] = []
    for point in itertools.product(*ranges):
        position = 0
        for a, i in zip(r.axes, point, strict=True):
            position = position * a.extent + i
        at = Point({**env, **{a.name: i for a, i in zip(r.axes, point, strict=True)}}, arrays)
        if r.where is None or at.value(r.where):
            found.append((position, at.value(r.value)))
    values = [v for _, v in found]
    if r.op == "argmax":
        return found[int(np.argmax(values))][0]
    dtype = numpy_dtype(r.dtype)
    if not values and r.op in ("max", "min") and r.dtype == "u8":  # of `any` and `all`
        return 0 if r.op == "max" else 255
    return {"sum": np.sum, "prod": np.prod, "max": np.max, "min": np.min}[r.op](np.array(values, dtype=dtype))


_BITS = {d.name: 8 * d.bytes for d in DTYPES.values() if d.kind in ("int", "uint")}

_FUNCTIONS = {
    "neg": lambda a: -a, "abs": abs, "not": lambda a: not a if isinstance(a, bool) else ~a,
    "sqrt": np.sqrt, "floor": np.floor, "ceil": np.ceil, "trunc": np.trunc, "rint": np.rint,
    **{f: getattr(np, NUMPY.get(f, f)) for f in (*MATH, *MATH2) if hasattr(np, NUMPY.get(f, f))},
    "erf": math.erf, "erfc": math.erfc, "ndtr": lambda a: 0.5 * math.erfc(-a * math.sqrt(0.5)),
    "sigmoid": lambda a: np.exp(-np.logaddexp(0, -a)), "tanh_shrink": lambda a: a - np.tanh(a),
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": lambda a, b: a / b,
    "floordiv": lambda a, b: a // b, "mod": lambda a, b: a % b, "min": min, "max": max,
    "and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b,
    "shl": lambda a, b: a << b, "shr": lambda a, b: a >> b,
    "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "eq": lambda a, b: a == b, "ne": lambda a, b: a != b,
}  # fmt: skip


class Point:
    """Expressions at one point: shared subexpressions are computed once, sides not taken never."""

    def __init__(self, env: Mapping[str, int], arrays: Mapping[str, np.ndarray]) -> None:
        self.env, self.arrays = env, arrays
        self.memo: dict[int, Any] = {}

    def value(self, e: Expr) -> Any:
        if id(e) not in self.memo:
            self.memo[id(e)] = _as(e.dtype, self._value(e))
        return self.memo[id(e)]

    def _value(self, e: Expr) -> Any:
        match e:
            case Const(value=v):
                return v
            case Var(name=name):
                return self.env[name]
            case Unary(op, a):
                return _FUNCTIONS[op](self.value(a))
            case Binary(op, a, b):
                assert op not in ("floordiv", "mod") or self.value(b) != 0
                out = _FUNCTIONS[op](self.value(a), self.value(b))
                # Index arithmetic and Philox must not rely on how a target wraps.
                assert e.dtype != "i64" or -(1 << 63) <= out < 1 << 63, f"{op} overflows"
                return out
            case Select(cond, a, b):
                return self.value(a if self.value(cond) else b)
            case Fma(a, b, c):
                return self.value(a) * self.value(b) + self.value(c)
            case Cast(a, t):
                v = self.value(a)
                return v != 0 if t == "bool" else int(v) if t in _BITS else v
            case Bitcast(a, t):
                return np.array(self.value(a), numpy_dtype(a.dtype)).view(numpy_dtype(t))[()]
            case Load(buffer, index):
                at = tuple(self.value(i) for i in index)
                inside = all(0 <= i < n for i, n in zip(at, buffer.shape, strict=True))
                assert inside, f"{buffer.name}{list(at)} is outside of {buffer.shape}"
                found = self.arrays[buffer.name][at]
                return found if DTYPES[buffer.dtype].wide else found.item()
        raise TypeError(f"not an expression: {e!r}")


def _as(dtype: str, v: Any) -> Any:
    """A value as the dtype holds it: floats rounded, integers wrapped."""
    if dtype == "bool":
        return bool(v)
    if dtype in _BITS:
        bits = _BITS[dtype]
        v = int(v) & ((1 << bits) - 1)
        return v - (1 << bits) if DTYPES[dtype].kind == "int" and v >> (bits - 1) else v
    return numpy_dtype(dtype).type(v)
