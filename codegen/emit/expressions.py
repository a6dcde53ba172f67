"""Expressions: evaluated once in each scope, chosen lazily, loaded from memory."""

from __future__ import annotations

from .. import mathlib
from ..affine import Affine, number, ssa
from ..dtypes import is_float
from ..expr import Binary, Bitcast, Buffer, Cast, Const, Expr, Fma, Load, Select, Unary, Var
from ..traverse import children
from .arithmetic import FLOAT_COMPARE, FLOAT_OPS, INT_COMPARE, INT_OPS
from .builder import Operand, Scope, Value, float_text
from .memory import Memory


class Expressions(Memory):
    """Evaluates expressions of the loop language."""

    def operand(self, e: Expr) -> Operand:
        key = ("e", id(e))
        found = self.known(key)
        if found is not None:
            return found
        result = self.evaluate(e)
        if not isinstance(e, (Const, Var)):
            scope = self.scopes[-1]
            scope.known[key] = result
            for buffer in self.buffers_read(e):
                scope.readers.setdefault(buffer, []).append(key)
        return result

    def evaluate(self, e: Expr) -> Operand:
        match e:
            case Const(value, dtype):
                if dtype == "i64":
                    return number(int(value))
                if dtype == "bool":
                    return Value("true" if value else "false", "bool")
                return Value(float_text(float(value), dtype) if is_float(dtype) else str(int(value)), dtype)
            case Var(name):
                if name not in self.env:
                    raise self.error(f"variable {name} is used before it is defined")
                return self.env[name]
            case Load(buffer, index):
                return self.load(buffer, index)
            case Select():
                return self.select(e)
            case Fma(a, b, c):
                (x, y, z), lanes = self.unify(self.value(a), self.value(b), self.value(c))
                return self.call("llvm.fma", (x, y, z), c.dtype, lanes)
            case Cast(a, dtype):
                return self.cast(self.operand(a), a.dtype, dtype)
            case Bitcast(a, dtype):
                x = self.value(a)
                to = Value("", dtype, x.lanes).type
                return self.new(f"bitcast {x} to {to}", dtype, x.lanes)
            case Unary(op, a):
                return self.unary(op, a)
            case Binary(op, a, b):
                return self.binary(op, a, b)
        raise self.error(f"unknown expression {e!r}")

    def unary(self, op: str, a: Expr) -> Operand:
        if op in ("exp", "log", "tanh"):
            key = (op, id(a))
            if key not in self.expanded:
                self.expanded[key] = (a, mathlib.expand(op, a))
            return self.operand(self.expanded[key][1])
        v = self.operand(a)
        if isinstance(v, Affine):
            if op == "neg":
                return v.scale(-1)
            v = self.materialise(v)
        if op == "not":
            return self.invert(v)
        if op == "neg":
            if is_float(v.dtype):
                return self.new(f"fneg {v}", v.dtype, v.lanes)
            zero = "0" if v.lanes == 1 else "zeroinitializer"
            return self.new(f"sub {v.type} {zero}, {v.text}", v.dtype, v.lanes)
        if op == "abs" and not is_float(v.dtype):
            return self.extremum("smax", v, self.materialise(self.unary("neg", a)))
        return self.call({"abs": "llvm.fabs", "sqrt": "llvm.sqrt", "floor": "llvm.floor"}[op], (v,), v.dtype, v.lanes)

    def binary(self, op: str, a: Expr, b: Expr) -> Operand:
        x, y = self.operand(a), self.operand(b)
        if isinstance(x, Affine) and isinstance(y, Affine):
            folded = self.affine(op, x, y)
            if folded is not None:
                return folded
        p, q = self.materialise(x), self.materialise(y)
        if p.dtype == "bool":
            return self.boolean(op, p, q)
        if op in ("min", "max"):
            name = {"min": "minimum", "max": "maximum"}[op] if is_float(p.dtype) else f"s{op}"
            result = self.extremum(name, p, q)
            return ssa(result.text) if result.dtype == "i64" and result.lanes == 1 else result
        (p, q), lanes = self.unify(p, q)
        if op in FLOAT_COMPARE:
            kind, table = ("fcmp", FLOAT_COMPARE) if is_float(p.dtype) else ("icmp", INT_COMPARE)
            return self.pure(f"{kind} {table[op]} {p}, {q.text}", (p.text, q.text), "bool", lanes)
        if is_float(p.dtype):
            return self.new(f"{FLOAT_OPS[op]} {p}, {q.text}", p.dtype, lanes)
        if op in ("floordiv", "mod"):
            result = self.divide(op, p, q, lanes)
        else:
            result = self.pure(f"{INT_OPS[op]} {p}, {q.text}", (p.text, q.text), p.dtype, lanes)
        return ssa(result.text) if result.dtype == "i64" and lanes == 1 else result

    def buffers_read(self, e: Expr) -> frozenset[Buffer]:
        if id(e) not in self.read_by:
            found = frozenset((e.buffer,)) if isinstance(e, Load) else frozenset()
            self.read_by[id(e)] = (e, found.union(*(self.buffers_read(c) for c in children(e))))
        return self.read_by[id(e)][1]

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
