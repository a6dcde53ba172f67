"""Kernels print as text that parses back to the same kernel."""

from __future__ import annotations

import math
import random

import pytest

from codegen.errors import CodegenError
from codegen.expr import (
    BINARY,
    UNARY,
    Binary,
    Bitcast,
    Buffer,
    Cast,
    Const,
    Expr,
    Fma,
    Load,
    Select,
    Unary,
    Var,
)
from codegen.loops import Kernel, Let
from codegen.text import parse, print_expression, print_kernel

GOLDEN = """\
def conv1(x: f32[1, 32, 64], flags: bool[4], scale: f32[()]):
    for t in parallel(0, 784):
        p = t // 28
        prefetch(x[0, p + 1, 0])
        acc = register(f32, 6, 16)
        for i in unrolled(0, 6):
            for v in vector(0, 16):
                acc[i, v] = f32(0.0)
        if p < 3:
            x[0, p, 0] = max(acc[0, 0], f32(0.0)) * scale[()]
            x[0, p, 1] = stream(acc[0, 1], 64)
        elif (p == 3) | (p == 5):
            pass
        else:
            x[0, p, -p % 4 + 1] = select(~flags[p], -acc[0, 0], exp(acc[0, 1]))
    for b in grid(0, 4):
        s = shared(f32, 64)
        for t in thread(0, 64):
            s[t] = fma(x[0, 0, t], f32(0.1), f32("-inf"))
            barrier()
            for k in serial(0, t):
                x[0, 1, t] = bitcast(bitcast(s[63 - t], i32) << i32(1), f32) + cast(k, f32)
"""

X = Buffer("x", "f32", (4,))
J, F, B = Var("i"), Var("f", "f32"), Var("b", "bool")
LEAVES: tuple[Expr, ...] = (
    J, F, B, Const(-3, "i64"), Const(7, "i64"), Const(-5, "i32"), Const(200, "u8"), Const(True, "bool"),
    Const(0.1, "f32"), Const(-0.0, "f64"), Const(1e-45, "f32"), Const(5e-324, "f64"), Const(math.inf, "f32"),
    Const(-math.inf, "f64"), Const(math.nan, "f32"), Load(X, (J,)), Load(Buffer("scalar", "f64", ()), ()),
)  # fmt: skip


def random_expression(rng: random.Random, depth: int) -> Expr:
    """Any tree at all: the text does not care about dtypes."""
    if depth == 0:
        return rng.choice(LEAVES)
    a, b, c = (random_expression(rng, rng.randrange(depth)) for _ in range(3))
    return rng.choice(
        [
            Unary(rng.choice(UNARY), a),
            Binary(rng.choice(BINARY), a, b),
            Binary(rng.choice(BINARY), a, b),
            Select(a, b, c),
            Fma(a, b, c),
            Cast(a, "i32"),
            Bitcast(a, "f64"),
            Load(X, (a,)),
        ]
    )


def round_trip(e: Expr) -> Expr:
    kernel = Kernel("k", (X, Buffer("scalar", "f64", ())), (Let(Var("r", e.dtype), e),))
    bound = [Let(v, Const(0, v.type)) for v in (J, F, B)]
    statement = parse(print_kernel(Kernel("k", kernel.params, (*bound, *kernel.body)))).body[-1]
    assert isinstance(statement, Let)
    return statement.value


def test_a_text_is_reprinted_as_it_was() -> None:
    assert print_kernel(parse(GOLDEN)) == GOLDEN


def test_random_expressions_survive_printing_and_parsing() -> None:
    rng = random.Random(0)
    for _ in range(2000):
        e = random_expression(rng, 5)
        # repr tells -0.0 from 0.0 and True from 1, which == does not
        assert round_trip(e) == e and repr(round_trip(e)) == repr(e)


@pytest.mark.parametrize(
    "e, text",
    [
        (J - (J - J), "i - (i - i)"),
        (Binary("sub", J - J, J), "i - i - i"),
        ((J + 1) * (J + 1), "(i + 1) * (i + 1)"),
        (-(F * F), "-(f * f)"),
        (-F * F, "-f * f"),
        (Unary("neg", Const(3, "i64")), "neg(3)"),
        ((J < 3) & (B | B), "(i < 3) & (b | b)"),
        (Binary("eq", J < 3, B), "(i < 3) == b"),
    ],
)  # fmt: skip
def test_parentheses_appear_only_where_needed(e: Expr, text: str) -> None:
    assert print_expression(e) == text


def test_the_parser_does_not_fold_what_is_written() -> None:
    assert round_trip(Binary("add", J, Const(0, "i64"))) == Binary("add", J, Const(0, "i64"))


def test_a_name_leaves_scope_with_its_block() -> None:
    text = "def k(x: f32[4]):\n    if True:\n        a = 1\n    x[a] = f32(0.0)\n"
    with pytest.raises(CodegenError, match="line 4: no variable `a`"):
        parse(text)


@pytest.mark.parametrize(
    "line, message",
    [
        ("x[0] = ", "line 2: invalid syntax"),
        ("x[0] = y[0]", "line 2: no buffer `y`"),
        ("x[0] = max(x[0])", "line 2: max takes 2 operands"),
        ("x[0] = hypot(x[0], x[0])", "line 2: unknown operation `hypot`"),
        ("x[0] = 0.5", "line 2: expected an expression"),
        ("a = 1 < 2 < 3", "line 2: expected an expression"),
        ("a = i32(0.5)", "line 2: expected an integer"),
        ("a = register(f8, 4)", "line 2: expected `register\\(dtype, extents\\)`"),
        ("while True: pass", "line 2: expected a let, a store"),
        ("for i in range(0, 3): pass", "line 2: .* a loop of serial, parallel"),
        ("import os", "line 2: expected a let"),
    ],
)
def test_malformed_text_is_refused_with_its_line(line: str, message: str) -> None:
    with pytest.raises(CodegenError, match=message):
        parse(f"def k(x: f32[4]):\n    {line}\n")


def test_a_parameter_needs_a_known_dtype() -> None:
    with pytest.raises(CodegenError, match="line 1: a parameter is"):
        parse("def k(x: f8[4]):\n    pass\n")
