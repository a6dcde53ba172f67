"""Scalars, vectors and masks: integer arithmetic, splats, comparisons, division, conversion."""

from __future__ import annotations

from ..affine import Affine, number, ssa
from ..dtypes import DTYPES, is_float
from ..expr import Expr
from .builder import Builder, Operand, Value, float_text

FLOAT_OPS = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
INT_OPS = {
    "add": "add",
    "sub": "sub",
    "mul": "mul",
    "and": "and",
    "or": "or",
    "xor": "xor",
    "shl": "shl",
    "shr": "ashr",
}
UINT_OPS = {**INT_OPS, "shr": "lshr"}
FLOAT_COMPARE = {"lt": "olt", "le": "ole", "eq": "oeq", "ne": "une"}
INT_COMPARE = {"lt": "slt", "le": "sle", "eq": "eq", "ne": "ne"}
UINT_COMPARE = {"lt": "ult", "le": "ule", "eq": "eq", "ne": "ne"}
CASTS = {  # (from kind, to kind) -> instruction when widening, when narrowing, when the same size
    ("float", "float"): ("fpext", "fptrunc", ""),
    ("float", "int"): ("fptosi",) * 3,
    ("float", "uint"): ("fptoui",) * 3,
    ("int", "float"): ("sitofp",) * 3,
    ("uint", "float"): ("uitofp",) * 3,
    ("bool", "float"): ("uitofp",) * 3,
    ("int", "int"): ("sext", "trunc", ""),
    ("int", "uint"): ("sext", "trunc", ""),
    ("uint", "int"): ("zext", "trunc", ""),
    ("uint", "uint"): ("zext", "trunc", ""),
    ("bool", "int"): ("zext",) * 3,
    ("bool", "uint"): ("zext",) * 3,
}


class Arithmetic(Builder):
    """Operations on values that are already emitted."""

    def operand(self, e: Expr) -> Operand:
        raise NotImplementedError("given by Expressions, which evaluates what these operations are applied to")

    def integer(self, e: Expr) -> Affine:
        v = self.operand(e)
        if not isinstance(v, Affine):
            raise self.error("an index differs between lanes in a way that is not affine")
        return v

    def scalar(self, a: Affine) -> Value:
        """An affine form without lanes as an i64, summed from the outermost operand inwards."""
        if a.is_constant:
            return Value(str(a.constant), "i64")
        total: Value | None = None
        for name, c in sorted(a.terms, key=lambda t: (self.depth.get(t[0], 0), t[0])):
            term = Value(name, "i64") if c == 1 else self.pure(f"mul nsw i64 {name}, {c}", (name,), "i64")
            total = (
                term
                if total is None
                else self.pure(f"add nsw i64 {total.text}, {term.text}", (total.text, term.text), "i64")
            )
        assert total is not None
        if a.constant:
            total = self.pure(f"add nsw i64 {total.text}, {a.constant}", (total.text,), "i64")
        return total

    def materialise(self, v: Operand) -> Value:
        """An i64 operand as an LLVM value, a vector if lanes differ."""
        if isinstance(v, Value):
            return v
        base = self.scalar(Affine(v.terms, 0, v.constant))
        if not v.lane:
            return base
        steps = ", ".join(f"i64 {i * v.lane}" for i in range(self.lanes))
        wide = self.splat(base)
        return self.pure(f"add nsw {wide}, <{steps}>", (wide.text,), "i64", self.lanes)

    def splat(self, v: Value) -> Value:
        """A scalar in every lane."""
        if v.lanes > 1:
            return v
        t = f"<{self.lanes} x {DTYPES[v.dtype].llvm}>"
        if not v.text.startswith("%"):
            return Value(f"splat ({v})", v.dtype, self.lanes)
        one = self.pure(f"insertelement {t} poison, {v}, i64 0", (v.text,), v.dtype, self.lanes)
        zeros = f"<{self.lanes} x i32> zeroinitializer"
        return self.pure(f"shufflevector {t} {one.text}, {t} poison, {zeros}", (one.text,), v.dtype, self.lanes)

    def unify(self, *values: Value) -> tuple[list[Value], int]:
        lanes = max(v.lanes for v in values)
        return ([self.splat(v) for v in values] if lanes > 1 else list(values)), lanes

    def logic(self, op: str, a: Value, b: Value) -> Value:
        (a, b), lanes = self.unify(a, b)
        return self.pure(f"{op} {a}, {b.text}", (a.text, b.text), "bool", lanes)

    def invert(self, a: Value) -> Value:
        if a.text in ("true", "false"):
            return Value("false" if a.text == "true" else "true", "bool")
        ones = "true" if a.lanes == 1 else "splat (i1 true)"
        return self.pure(f"xor {a}, {ones}", (a.text,), "bool", a.lanes)

    def call(self, intrinsic: str, args: tuple[Value, ...], dtype: str, lanes: int) -> Value:
        suffix = ("" if lanes == 1 else f"v{lanes}") + ("f" if is_float(dtype) else "i") + str(8 * DTYPES[dtype].bytes)
        name = f"@{intrinsic}.{suffix}"
        types = ", ".join(a.type for a in args)
        self.declarations.add(f"declare {args[0].type} {name}({types})")
        flags = "nsz " if intrinsic in ("llvm.minimum", "llvm.maximum") else ""
        return self.new(f"call {flags}{args[0].type} {name}({', '.join(map(str, args))})", dtype, lanes)

    def extremum(self, which: str, a: Value, b: Value) -> Value:
        (a, b), lanes = self.unify(a, b)
        return self.call(f"llvm.{which}", (a, b), a.dtype, lanes)

    def affine(self, op: str, x: Affine, y: Affine) -> Operand | None:
        """i64 arithmetic that stays affine, or comparisons that can be decided or need one i64."""
        if op == "add":
            return x + y
        if op == "sub":
            return x - y
        if op == "mul" and (x.is_constant or y.is_constant):
            return y.scale(x.constant) if x.is_constant else x.scale(y.constant)
        if op in ("floordiv", "mod") and y.is_constant:
            exact = x.divide(y.constant)
            if exact is not None:
                return exact[0] if op == "floordiv" else number(exact[1])
        difference = x - y
        if op in INT_COMPARE and difference.is_constant:
            c = difference.constant
            return Value("true" if {"lt": c < 0, "le": c <= 0, "eq": c == 0, "ne": c != 0}[op] else "false", "bool")
        if op in ("lt", "le") and difference.lane in (1, -1):
            return self.lane_mask(op, difference)
        if op in ("min", "max") and difference.is_constant:
            return x if (difference.constant < 0) == (op == "min") else y
        return None

    def lane_mask(self, op: str, d: Affine) -> Value:
        """lane * d.lane + rest < 0 (or <= 0) for each lane, by a comparison of 32-bit lane numbers."""
        rest = Affine(d.terms, 0, d.constant)
        # d.lane = 1: lane < -rest;  d.lane = -1: rest < lane; "le" shifts the bound by one
        bound = rest.scale(-1) if d.lane == 1 else rest
        if op == "le":
            bound = bound + number(1 if d.lane == 1 else -1)
        if bound.is_constant:
            holds = [(i < bound.constant) if d.lane == 1 else (bound.constant < i) for i in range(self.lanes)]
            if all(holds) or not any(holds):
                return Value("true" if holds[0] else "false", "bool")
            return Value("<" + ", ".join(f"i1 {'true' if h else 'false'}" for h in holds) + ">", "bool", self.lanes)
        b = self.scalar(bound)
        self.declarations |= {"declare i64 @llvm.smin.i64(i64, i64)", "declare i64 @llvm.smax.i64(i64, i64)"}
        b = self.pure(f"call i64 @llvm.smax.i64(i64 {b.text}, i64 -1)", (b.text,), "i64")
        b = self.pure(f"call i64 @llvm.smin.i64(i64 {b.text}, i64 {self.lanes})", (b.text,), "i64")
        b = self.splat(self.pure(f"trunc i64 {b.text} to i32", (b.text,), "i32"))
        t = f"<{self.lanes} x i32>"
        lane = "<" + ", ".join(f"i32 {i}" for i in range(self.lanes)) + ">"
        first, second = (lane, b.text) if d.lane == 1 else (b.text, lane)
        return self.pure(f"icmp slt {t} {first}, {second}", (b.text,), "bool", self.lanes)

    def boolean(self, op: str, p: Value, q: Value) -> Value:
        if op in ("and", "or"):
            neutral = "true" if op == "and" else "false"
            for x, y in ((p, q), (q, p)):
                if x.text in ("true", "false"):
                    return y if x.text == neutral else x
            return self.logic(op, p, q)
        if op in ("eq", "ne", "xor"):
            different = self.logic("xor", p, q)
            return self.invert(different) if op == "eq" else different
        raise self.error(f"{op} does not take booleans")

    def divide(self, op: str, p: Value, q: Value, lanes: int) -> Value:
        """Floor division or its remainder; LLVM's divide truncates toward zero."""
        names = (p.text, q.text)
        t = p.type
        if DTYPES[p.dtype].kind == "uint":
            return self.pure(f"{'udiv' if op == 'floordiv' else 'urem'} {p}, {q.text}", names, p.dtype, lanes)
        if lanes == 1 and q.text.isdigit() and int(q.text) & (int(q.text) - 1) == 0:
            shift, rest = int(q.text).bit_length() - 1, int(q.text) - 1
            if op == "floordiv":
                return self.pure(f"ashr {p}, {shift}", names, p.dtype)
            return self.pure(f"and {p}, {rest}", names, p.dtype)
        r = self.pure(f"srem {p}, {q.text}", names, p.dtype, lanes)
        bits = DTYPES[p.dtype].bytes * 8 - 1
        amount = str(bits) if lanes == 1 else f"splat ({DTYPES[p.dtype].llvm} {bits})"
        sign = self.pure(f"xor {t} {r.text}, {q.text}", (r.text, q.text), p.dtype, lanes)
        sign = self.pure(f"ashr {t} {sign.text}, {amount}", (sign.text,), p.dtype, lanes)  # -1 if signs differ
        zero = "0" if lanes == 1 else "zeroinitializer"
        inexact = self.pure(f"icmp ne {t} {r.text}, {zero}", (r.text,), "bool", lanes)
        cond = self.splat(inexact) if lanes > 1 else inexact
        fix = self.pure(
            f"select {cond}, {t} {sign.text}, {t} {zero}", (cond.text, sign.text), p.dtype, lanes
        )  # -1 where the quotient must be lowered
        if op == "floordiv":
            quotient = self.pure(f"sdiv {p}, {q.text}", names, p.dtype, lanes)
            return self.pure(f"add {t} {quotient.text}, {fix.text}", (quotient.text, fix.text), p.dtype, lanes)
        back = self.pure(f"and {t} {fix.text}, {q.text}", (fix.text, q.text), p.dtype, lanes)
        return self.pure(f"add {t} {r.text}, {back.text}", (r.text, back.text), p.dtype, lanes)

    def cast(self, v: Operand, source: str, target: str) -> Operand:
        if source == target:
            return v
        x = self.materialise(v)
        old, new = DTYPES[source], DTYPES[target]
        if target == "bool":
            zero = "zeroinitializer" if x.lanes > 1 else float_text(0.0, source) if is_float(source) else "0"
            compare = "fcmp une" if is_float(source) else "icmp ne"
            return self.pure(f"{compare} {x}, {zero}", (x.text,), "bool", x.lanes)
        which = 2 if old.bytes == new.bytes else 0 if new.bytes > old.bytes else 1
        instruction = CASTS[old.kind, new.kind][which]
        if not instruction:
            same = Value(x.text, target, x.lanes)
            return ssa(x.text) if target == "i64" and x.lanes == 1 and x.text.startswith("%") else same
        to = Value("", target, x.lanes).type
        result = self.pure(f"{instruction} {x} to {to}", (x.text,), target, x.lanes)
        return ssa(result.text) if target == "i64" and x.lanes == 1 else result
