"""The checks of emulated kernels find what is wrong, and nothing in kernels that are right."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from codegen.checks import count_barriers, instrument, remove_barrier
from codegen.emulator import to_cpu
from codegen.errors import CodegenError
from codegen.expr import Buffer, Expr, Var, binary, select
from codegen.interpret import interpret
from codegen.loops import Alloc, Barrier, If, Kernel, Let, Stmt, loop, store
from codegen.verify import verify

from .kernels import (
    Case,
    affine_map,
    conv,
    conv_weight_gradient,
    emulate_checked,
    matmul,
    moments,
    row_reduce,
    run_native,
    schedules,
)

t, b = Var("t"), Var("b")
X, Y = Buffer("x", "f32", (8,)), Buffer("y", "f32", (8,))


def gpu(*body: Stmt, shared: tuple[Buffer, ...] = (), blocks: int = 1, threads: int = 8) -> Kernel:
    inner = loop("thread", t, 0, threads, *body)
    return Kernel("planted", (X, Y), (loop("grid", b, 0, blocks, *(Alloc(s) for s in shared), inner),))


def find(kernel: Kernel) -> str:
    verify(kernel, "gpu")
    verify(instrument(kernel).kernel, "gpu")
    return emulate_checked(kernel, [np.arange(8, dtype=np.float32), np.zeros(8, np.float32)])


# ------------------------------------------------------------------------------------------- bounds


def test_load_outside() -> None:
    message = find(gpu(store(Y, (t,), X[t + 1])))
    assert message == "kernel planted: thread 7 of block 0 reads x[8], outside its shape (8,)"


def test_store_outside_does_not_happen() -> None:
    message = find(gpu(store(Y, (t - 1,), 1.0)))
    assert "thread 0 of block 0 writes y[-1], outside" in message


@pytest.mark.parametrize("guard", ["select", "if", "bounds"])
def test_what_is_guarded_is_not_evaluated(guard: str) -> None:
    inside = t + 1 < 8
    body: dict[str, Stmt] = {
        "select": store(Y, (t,), select(inside, X[t + 1], 0.0)),
        "if": If(inside, (store(Y, (t,), X[t + 1]),)),
        "bounds": loop("serial", "i", t + 1, 8, store(Y, (t,), X[Var("i")])),
    }
    assert find(gpu(body[guard])) == ""


def test_outside_in_one_side_of_a_select_and_through_an_index() -> None:
    wrong: Expr = select(t < 4, X[t + 6], X[t])
    assert "thread 2 of block 0 reads x[8]" in find(gpu(store(Y, (t,), wrong)))
    indirect = Buffer("i", "i64", (8,), "local")
    kernel = gpu(Alloc(indirect), store(indirect, (0,), t * 2), Let(Var("v", "f32"), X[indirect[0]]))
    assert "thread 4 of block 0 reads x[8]" in find(kernel)
    beyond = gpu(
        Alloc(indirect), loop("serial", "n", 0, 8, store(indirect, (Var("n"),), t)), store(Y, (t,), X[indirect[t + 1]])
    )
    assert "thread 7 of block 0 reads i[8]" in find(replace(beyond, name="planted"))


# -------------------------------------------------------------------------------------------- races


def test_one_word_two_threads() -> None:
    assert "writes y[0], which thread 0 of this block" in find(gpu(store(Y, (t // 2,), 1.0)))


def test_read_of_a_neighbour() -> None:
    part = Buffer("part", "f32", (8,), "shared")
    write, read = store(part, (t,), X[t]), store(Y, (t,), part[binary("mod", t + 1, 8)])
    assert find(gpu(write, Barrier(), read, shared=(part,))) == ""
    message = find(gpu(write, read, shared=(part,)))
    assert "part[1]" in message and "with no barrier between (race)" in message


def test_race_between_blocks() -> None:
    assert find(gpu(store(Y, (b * 4 + t,), 1.0), blocks=2, threads=4)) == ""
    message = find(gpu(store(Y, (t,), 1.0), blocks=2, threads=4))
    assert "thread 0 of block 1 writes y[0], which thread 0 of block 0 used" in message
    read_then_write = gpu(If(b < 2, (store(Y, (b * 4,), Y[7]),), (store(Y, (7,), 1.0),)), blocks=3, threads=1)
    assert "several blocks" in find(read_then_write)


def test_barrier_orders_rounds_of_a_loop() -> None:
    part = Buffer("part", "f32", (8,), "shared")
    rounds = loop(
        "serial",
        "i",
        0,
        3,
        store(part, (t,), X[t]),
        Barrier(),
        store(Y, (t,), part[7 - t]),
        Barrier(),
    )
    kernel = gpu(rounds, shared=(part,))
    assert find(kernel) == ""
    assert "race" in find(remove_barrier(kernel, 0)) and "race" in find(remove_barrier(kernel, 1))


# Every schedule that has barriers, with shapes whose loops run more than once.
CHECKED = {
    "sum": row_reduce("sum", 2, 30),
    "argmax": row_reduce("argmax", 2, 60),
    "moments": moments(2, 30),
    "matmul": matmul(20, 33, 18),
    "conv": conv(),
    "weight_gradient": conv_weight_gradient(),
}
TEMPLATES = {
    (name, how): kernel
    for name, case in CHECKED.items()
    for how, kernel in schedules(case).items()
    if (how == "block_a_point") == (name in ("sum", "argmax", "moments"))  # a product's tree is that of a sum
    and how in ("block_a_point", "tiled_16x16", "tiled_16x64")
}


@pytest.mark.parametrize(("name", "how"), TEMPLATES)
def test_each_barrier_is_needed_and_its_absence_found(name: str, how: str) -> None:
    kernel, case = TEMPLATES[name, how], CHECKED[name]
    assert count_barriers(kernel) >= 2
    arrays = case.fresh()
    assert emulate_checked(kernel, arrays) == ""
    case.check(arrays)
    for n in range(count_barriers(kernel)):
        assert "race" in emulate_checked(remove_barrier(kernel, n), case.fresh()), f"barrier {n}"


@pytest.mark.parametrize(
    "case", [affine_map(3, 5), row_reduce("sum", 2, 40), matmul(3, 5, 4)], ids=["map", "sum", "mm"]
)
def test_checks_in_the_interpreter(case: Case) -> None:
    """The instrumented kernel is an ordinary kernel: the interpreter runs it to the same end."""
    kernel = list(schedules(case).values())[1 if case.computation.reductions else 0]
    checked = instrument(kernel)
    arrays, extra = case.fresh(), checked.extra_arrays()
    interpret(checked.kernel, [*arrays, *extra])
    checked.verify(extra[0])
    case.check(arrays)
    if count_barriers(kernel):
        broken = instrument(remove_barrier(kernel, 0))
        extra = broken.extra_arrays()
        interpret(broken.kernel, [*case.fresh(), *extra])
        with pytest.raises(CodegenError, match="race"):
            broken.verify(extra[0])


def test_no_such_barrier() -> None:
    with pytest.raises(ValueError, match="has 0 barriers"):
        remove_barrier(gpu(store(Y, (t,), 1.0)), 0)


# ---------------------------------------------------------------------------- fission, the hard parts


def run_both(kernel: Kernel) -> tuple[np.ndarray, np.ndarray]:
    from_interpreter, from_cpu = np.zeros(8, np.float32), np.zeros(8, np.float32)
    x = np.arange(8, dtype=np.float32)
    interpret(kernel, [x, from_interpreter])
    run_native(to_cpu(kernel), [x.copy(), from_cpu])
    return from_interpreter, from_cpu


def test_lets_and_registers_live_across_barriers() -> None:
    part = Buffer("part", "f32", (8,), "shared")
    acc, other = Buffer("acc", "f32", (2,), "register"), Buffer("other", "f32", (1,), "register")
    u, v, once = Var("u"), Var("v", "f32"), Var("once", "f32")
    n = Var("n")
    kernel = gpu(
        Let(u, t * 2),  # computed again in each piece
        Let(v, X[t]),  # kept: it loads
        Alloc(acc),
        store(acc, (1,), v + 1.0),
        Let(n, binary("mod", b + 3, 8)),  # uniform, and a bound below
        store(part, (t,), v),
        Barrier(),
        loop(
            "serial",
            "i",
            0,
            n,
            Let(once, part[binary("mod", t + Var("i"), 8)]),
            Alloc(other),
            store(other, (0,), once * 2.0),
            Barrier(),
            store(part, (t,), other[0] + once),
            store(acc, (1,), acc[1] + once + v),
            Barrier(),
        ),
        If(n < 5, (Barrier(), store(acc, (0,), part[7 - t]), Barrier()), (Barrier(),)),
        store(Y, (binary("mod", u + u // 8, 8),), acc[0] + acc[1] + v),
        shared=(part,),
    )
    verify(kernel, "gpu")
    verify(to_cpu(kernel), "cpu")
    expected, got = run_both(kernel)
    np.testing.assert_array_equal(got, expected)
    assert find(kernel) == ""


def test_register_used_in_one_piece_stays_private() -> None:
    acc = Buffer("acc", "f32", (1,), "register")
    kernel = gpu(Alloc(acc), Barrier(), store(acc, (0,), X[t]), store(Y, (t,), acc[0] * 2.0))
    expected, got = run_both(kernel)
    np.testing.assert_array_equal(got, expected)


def test_thread_loops_without_constant_bounds_are_refused() -> None:
    bad = Kernel("bad", (X, Y), (loop("grid", b, 0, 2, loop("thread", t, 0, b + 1, store(Y, (t,), 1.0))),))
    with pytest.raises(CodegenError, match="kernel bad: the thread loop t needs constant bounds"):
        to_cpu(bad)
    outside = replace(bad, body=(loop("thread", t, 0, 8, store(Y, (t,), 1.0)),))
    with pytest.raises(CodegenError, match="outside a grid loop"):
        to_cpu(outside)
