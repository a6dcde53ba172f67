"""Expressions: evaluated once in each scope, chosen lazily, loaded from memory."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from .. import half
from ..affine import Affine, number, ssa
from ..dtypes import DTYPES, is_float, is_storage
from ..expr import MATH, MATH2, Binary, Bitcast, Cast, Const, Expr, Fma, Load, Select, Unary, Var
from ..mathlib import expansion
from ..traverse import children, walk
from .arithmetic import FLOAT_COMPARE, FLOAT_OPS, INT_COMPARE, INT_OPS, UINT_COMPARE, UINT_OPS
from .builder import Operand, Scope, Value, float_text, type_text
from .memory import Memory

NOTHING: frozenset[str] = frozenset()


@cache
def _steps(op: str, dtype: str) -> list[Expr]:
    """The expression of a function and all that is in it, operands first."""
    return walk(expansion(op, dtype))


class Expressions(Memory):
    """Evaluates expressions of the loop language."""

    def operand(self, e: Expr) -> Operand:
        key = id(e)
        found = self.values.get(key)
        if found is not None:
            return found
        if isinstance(e, Var):
            bound = self.env.get(e.name)
            if bound is None:
                raise self.error(f"variable {e.name} is used before it is defined")
            return bound
        if isinstance(e, Const):
            return self.constant(e)
        result = _EVALUATE[type(e)](self, e)
        self.values[key] = result
        self.scopes[-1].expressions.append(key)
        for name in self.buffers_read(e):
            self.readers.setdefault(name, set()).add(key)
        return result

    def constant(self, e: Const) -> Operand:
        if e.type == "i64":
            return number(int(e.value))
        if e.type == "bool":
            return Value("true" if e.value else "false", "bool")
        return Value(float_text(float(e.value), e.type) if is_float(e.type) else str(int(e.value)), e.type)

    def fma(self, e: Fma) -> Operand:
        values, lanes = self.unify(self.value(e.a), self.value(e.b), self.value(e.c))
        return self.call("llvm.fma", tuple(values), e.c.dtype, lanes)

    def bitcast(self, e: Bitcast) -> Operand:
        x = self.value(e.a)
        return self.new(f"bitcast {x} to {type_text(e.type, x.lanes)}", e.type, x.lanes)

    def conversion(self, e: Cast) -> Operand:
        """A cast; from and to storage types by operations on bits."""
        if e.type == e.a.dtype or not (is_storage(e.type) or is_storage(e.a.dtype)):
            return self.cast(self.operand(e.a), e.a.dtype, e.type)
        key = (f"cast to {e.type}", id(e.a))
        if key not in self.expanded:
            self.expanded[key] = (e.a, half.convert(e.a, e.type))
        return self.operand(self.expanded[key][1])

    def unary(self, op: str, a: Expr) -> Operand:
        if op in MATH:
            return self.elementary(op, a)
        v = self.operand(a)
        if isinstance(v, Affine):
            if op == "neg":
                return v.scale(-1)
            v = self.materialise(v)
        if op == "not":
            if v.dtype == "bool":
                return self.invert(v)
            ones = "-1" if v.lanes == 1 else f"splat ({DTYPES[v.dtype].llvm} -1)"
            result = self.pure(f"xor {v}, {ones}", (v.text,), v.dtype, v.lanes)
            return ssa(result.text) if v.dtype == "i64" and v.lanes == 1 else result
        if op == "neg":
            if is_float(v.dtype):
                return self.new(f"fneg {v}", v.dtype, v.lanes)
            zero = "0" if v.lanes == 1 else "zeroinitializer"
            return self.new(f"sub {v.type} {zero}, {v.text}", v.dtype, v.lanes)
        if op == "abs" and not is_float(v.dtype):
            return self.extremum("smax", v, self.materialise(self.unary("neg", a)))
        return self.call("llvm.fabs" if op == "abs" else f"llvm.{op}", (v,), v.dtype, v.lanes)

    def elementary(self, op: str, *args: Expr) -> Operand:
        """A function of `mathlib`: its expression of x and y, operands first, so that no recursion is as deep as it."""
        outside = self.env
        self.env = {name: self.operand(a) for name, a in zip("xy", args, strict=False)}
        steps = _steps(op, args[0].dtype)
        for e in steps:
            result = self.operand(e)
        for e in steps:  # the next use has other arguments
            self.values.pop(id(e), None)
        self.env = outside
        return result

    def binary(self, op: str, a: Expr, b: Expr) -> Operand:
        if op in MATH2:
            return self.elementary(op, a, b)
        x, y = self.operand(a), self.operand(b)
        if isinstance(x, Affine) and isinstance(y, Affine):
            folded = self.affine(op, x, y)
            if folded is not None:
                return folded
        p, q = self.materialise(x), self.materialise(y)
        if p.dtype == "bool":
            return self.boolean(op, p, q)
        if op in ("min", "max"):
            integer = "u" if DTYPES[p.dtype].kind == "uint" else "s"
            name = {"min": "minimum", "max": "maximum"}[op] if is_float(p.dtype) else f"{integer}{op}"
            result = self.extremum(name, p, q)
            return ssa(result.text) if result.dtype == "i64" and result.lanes == 1 else result
        (p, q), lanes = self.unify(p, q)
        if op in FLOAT_COMPARE:
            integers = UINT_COMPARE if DTYPES[p.dtype].kind == "uint" else INT_COMPARE
            kind, table = ("fcmp", FLOAT_COMPARE) if is_float(p.dtype) else ("icmp", integers)
            return self.pure(f"{kind} {table[op]} {p}, {q.text}", (p.text, q.text), "bool", lanes)
        if is_float(p.dtype):
            return self.new(f"{FLOAT_OPS[op]} {p}, {q.text}", p.dtype, lanes)
        if op in ("floordiv", "mod"):
            result = self.divide(op, p, q, lanes)
        else:
            ops = UINT_OPS if DTYPES[p.dtype].kind == "uint" else INT_OPS
            result = self.pure(f"{ops[op]} {p}, {q.text}", (p.text, q.text), p.dtype, lanes)
        return ssa(result.text) if result.dtype == "i64" and lanes == 1 else result

    def buffers_read(self, e: Expr) -> frozenset[str]:
        """The names of the buffers that an expression loads from."""
        found = self.read_by.get(id(e))
        if found is None:
            names = frozenset((e.buffer.name,)) if isinstance(e, Load) else NOTHING
            for c in children(e):
                if not isinstance(c, (Const, Var)):
                    below = self.buffers_read(c)
                    names = names | below if names else below
            found = self.read_by[id(e)] = (e, names)
        return found[1]

    def select(self, e: Select) -> Operand:
        cond = self.value(e.cond)
        if cond.text in ("true", "false"):
            return self.operand(e.a if cond.text == "true" else e.b)
        lazy = bool(self.buffers_read(e.a) or self.buffers_read(e.b))
        if cond.lanes == 1 and lazy:
            return self.choose(cond, e)
        if cond.lanes > 1 and lazy:
            with self.masked(cond):
                a = self.value(e.a)
            with self.masked(self.invert(cond)):
                b = self.value(e.b)
        else:
            a, b = self.value(e.a), self.value(e.b)
        (a, b), lanes = self.unify(a, b) if cond.lanes == 1 else ([self.splat(a), self.splat(b)], cond.lanes)
        result = self.new(f"select {cond}, {a}, {b}", e.dtype, lanes)
        return ssa(result.text) if e.dtype == "i64" and lanes == 1 else result

    def choose(self, cond: Value, e: Select) -> Operand:
        """Only the side that is taken runs."""
        sides = []
        before = self.scopes[-1].block
        for side in (e.a, e.b):
            block = self.new_block("side")
            with self.scope(block):
                v = self.value(side)
                sides.append((block, self.scopes[-1].block, v, len(self.scopes)))
        lanes = max(v.lanes for _, _, v, _ in sides)
        values = []
        for _, last, v, _ in sides:
            if v.lanes < lanes:
                self.scopes.append(Scope(last))
                v = self.splat(v)
                self.scopes.pop()
            values.append(v)
        done = self.new_block("chosen")
        before.end = f"br i1 {cond.text}, label %{sides[0][0].label}, label %{sides[1][0].label}"
        for _, last, _, _ in sides:
            last.end = f"br label %{done.label}"
        self.continue_in(done)
        arms = ", ".join(f"[ {v.text}, %{last.label} ]" for v, (_, last, _, _) in zip(values, sides, strict=True))
        result = self.new(f"phi {values[0].type} {arms}", e.dtype, lanes)
        return ssa(result.text) if e.dtype == "i64" and lanes == 1 else result


_EVALUATE: dict[type, Callable[[Expressions, Any], Operand]] = {
    Load: lambda self, e: self.load(e.buffer, e.index),
    Select: Expressions.select,
    Fma: Expressions.fma,
    Cast: Expressions.conversion,
    Bitcast: Expressions.bitcast,
    Unary: lambda self, e: self.unary(e.op, e.a),
    Binary: lambda self, e: self.binary(e.op, e.a, e.b),
}
