"""What a well-formed kernel is: each rule, by a kernel that keeps it and one that breaks it."""

from __future__ import annotations

import pytest

from codegen.errors import CodegenError
from codegen.expr import Binary, Buffer, Const, Fma, Unary, Var
from codegen.loops import For, If, Kernel, Let, Store
from codegen.text import parse
from codegen.verify import verify

X = Buffer("x", "f32", (8,))


def kernel(body: str) -> Kernel:
    """A kernel from statements, one a line, with any indentation."""
    lines = "\n".join("    " + line for line in body.strip("\n").split("\n"))
    return parse(f"def k(x: f32[8], n: i64[1], flag: bool[1]):\n{lines}\n")


CPU = """
for t in parallel(0, 2):
    acc = register(f32, 2, 4)
    m = n[0]
    prefetch(x[m + 99])
    prefetch(x[99])
    for i in unrolled(0, 2):
        for v in vector(0, 4):
            acc[i, v] = f32(0.0)
            for k in serial(0, m):
                if k < v:
                    acc[i, 3 - v] = acc[i, v] + x[v]
    a = 1
for t in parallel(0, 4):
    a = 2.0
""".replace("2.0", "f32(2.0)")

GPU = """
for b in grid(0, 2):
    s = shared(f32, 4)
    for t in thread(0, 4):
        own = register(f32, 1)
        s[t] = x[t]
        for k in serial(0, b):
            if k % 2 == 0:
                barrier()
        own[0] = s[3 - t]
        if t < 2:
            x[t] = own[0]
"""


@pytest.mark.parametrize("body, target", [(CPU, "cpu"), (CPU, "any"), (GPU, "gpu"), (GPU, "any")])
def test_well_formed_kernels_pass(body: str, target: str) -> None:
    verify(kernel(body), target)


@pytest.mark.parametrize("body, target, message", [(CPU, "gpu", "no parallel loops"), (GPU, "cpu", "no grid loops")])
def test_a_target_refuses_loops_it_does_not_take(body: str, target: str, message: str) -> None:
    with pytest.raises(CodegenError, match=message):
        verify(kernel(body), target)


REFUSED = {
    "x[0] = 1": "a value of i64: expected f32",
    "a = x[0] + f64(1.0)": "add: operands of f32 and f64",
    "a = x[0] & x[0]": "and of f32: expected i8, i16, i32, i64, u8",
    "a = exp(n[0])": "exp of i64: expected f32, f64",
    "a = ~x[0]": "not of f32: expected i8, i16",
    "a = sqrt(cast(x[0], f16))": "sqrt of f16, a storage type: expected its operands cast to f32",
    "a = fma(n[0], n[0], n[0])": "fma of i64",
    "a = select(n[0], 1, 2)": "a condition of i64",
    "a = select(flag[0], 1, x[0])": "select: i64 or f32",
    "a = bitcast(x[0], f64)": "bitcast of f32 to f64",
    "a = i32(3000000000)": "is no constant of i32",
    "if n[0]:\n    pass": "a condition of i64: expected bool",
    "x[x[0]] = f32(0.0)": "index 0 of x is f32: expected i64",
    "x[0, 0] = f32(0.0)": "x has 1 dimensions, not 2",
    "x[8] = f32(0.0)": "index 8 of x is not in 0 .. 7",
    "a = x[-1]": "index -1 of x is not in 0 .. 7",
    "for i in serial(0, x[0]):\n    pass": "a loop bound of f32",
    "a = 1\na = 2": "a already names something here",
    "x = 1": "x already names something here",
    "for i in serial(0, 2):\n    i = 1": "i already names something here",
    "a = 1\nfor i in serial(0, 2):\n    a = local(f32, 2)": "a already names something here",
    "for v in vector(0, n[0]):\n    pass": "the bounds of a vector loop must be constants",
    "for v in unrolled(0, n[0]):\n    pass": "the bounds of a unrolled loop must be constants",
    "for v in vector(0, 0):\n    pass": "at least one lane",
    "for v in vector(0, 4):\n    for w in vector(0, 4):\n        pass": "a vector loop in a vector loop",
    "for v in vector(0, 4):\n    a = local(f32, 4)": "an allocation in a vector loop",
    "for i in serial(0, 2):\n    for t in parallel(0, 4):\n        pass": "a parallel loop must be outermost",
    "if flag[0]:\n    for t in parallel(0, 4):\n        pass": "a parallel loop must be outermost",
    "for b in grid(0, 2):\n    for c in grid(0, 4):\n        pass": "a grid loop must be outermost",
    "for t in parallel(0, 4):\n    pass\nfor t in grid(0, 4):\n    pass": "no target takes both",
    "for t in thread(0, 4):\n    pass": "a thread loop must stand directly in a grid loop",
    "for b in grid(0, 2):\n    x[0] = f32(0.0)": "a grid loop stores nothing itself",
    "for b in grid(0, 2):\n    a = local(f32, 2)": "allocate it in the thread loop",
    "a = shared(f32, 2)": "shared memory must be allocated in a grid loop",
    "for b in grid(0, 2):\n    for t in thread(0, 2):\n        a = shared(f32, 2)": "shared memory must be allocated",
    "a = local(f32, 2)\nfor t in parallel(0, 2):\n    a[t] = x[t]": "allocate it in the loop that uses it",
    "a = register(f32, 4)\nfor i in serial(0, 4):\n    a[i] = f32(0.0)": "index 0 of register buffer a",
    "a = register(f32, 4)\na[n[0]] = f32(0.0)": "index 0 of register buffer a",
    "a = local(f32, 4)\nprefetch(a[0])": "a is local: only global memory is far",
    "prefetch(x[0, 0])": "x has 1 dimensions, not 2",
    "for v in vector(0, 4):\n    prefetch(x[v])": "prefetch.* in a vector loop",
    "barrier()": "outside thread loops",
}  # fmt: skip


@pytest.mark.parametrize("body", REFUSED)
def test_ill_formed_kernels_are_refused_with_the_reason(body: str) -> None:
    with pytest.raises(CodegenError, match=REFUSED[body]):
        verify(kernel(body))


DIVERGENT = {
    "the thread's index": "if t < 2:\n    barrier()",
    "a let of it": "a = t * 2\nif 3 < a:\n    pass\nelse:\n    barrier()",
    "memory": "if flag[0]:\n    barrier()",
    "a loop bound": "for i in serial(0, n[0]):\n    barrier()",
    "the variable of such a loop": "for i in serial(t, 4):\n    if i == 2:\n        barrier()",
}


@pytest.mark.parametrize("reason", DIVERGENT)
def test_a_barrier_needs_all_threads_to_reach_it(reason: str) -> None:
    body = "\n".join("        " + line for line in DIVERGENT[reason].split("\n"))
    with pytest.raises(CodegenError, match="threads part ways at"):
        verify(kernel(f"for b in grid(0, 2):\n    for t in thread(0, 4):\n{body}"))


def test_the_error_names_the_kernel_and_the_statement() -> None:
    with pytest.raises(CodegenError, match=r"^k: in `x\[0\] = x\[9\]`: index 9 of x is not in 0 .. 7$"):
        verify(kernel("x[0] = x[9]"))


@pytest.mark.parametrize(
    "statement, message",
    [
        (Let(Var("a", "f32"), Const(1, "i64")), "a is f32, its value is i64"),
        (Let(Var("a"), Var("b")), "no variable b"),
        (Let(Var("a", "f32"), Unary("gamma", Const(1.0, "f32"))), "unknown operation gamma"),
        (Let(Var("a", "f32"), Fma(Const(1.0, "f32"), Const(1.0, "f64"), Const(1.0, "f32"))), "fma: operands of"),
        (Let(Var("class"), Const(1, "i64")), "'class' cannot be a name"),
        (Store(Buffer("x", "f32", (9,)), (Const(8, "i64"),), Const(1.0, "f32")), "declared as global f32\\[8\\]"),
        (If(Binary("lt", Const(1, "i64"), Const(2, "i64")), (Let(Var("x"), Const(1, "i64")),)), "x already names"),
        (For(Var("i"), Const(0, "i64"), Const(1, "i64"), "tensor", ()), "no tensor loops"),
    ],
)
def test_what_no_text_can_say_is_refused_too(statement: Let | Store | If | For, message: str) -> None:
    with pytest.raises(CodegenError, match=message):
        verify(Kernel("k", (X,), (statement,)))
