"""Executables come and go: their code, memory and threads with them."""

import gc
import os
import weakref

import numpy as np
import pytest

import graphnet as gn
from benchmarks import compilations
from codegen.cpu import compiler
from codegen.machine import machine


def resident():
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def build_and_run(width):
    x = gn.input("x", ("N", 64))
    w = gn.parameter("w", (64, width))
    f = gn.compile(gn.tanh(x @ w), [x], threads=2)
    f(np.ones((8, 64), "f"))
    return f


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_dropped_executables_give_their_memory_back():
    for _ in range(10):
        build_and_run(32)
    gc.collect()
    before = resident()
    for _ in range(60):
        build_and_run(32)
    gc.collect()
    assert resident() - before < 10 << 20


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="reads /proc")
def test_a_hundred_different_programs_leave_little_behind(monkeypatch):
    """A tenth of benchmarks/compilations.py, with what fragments of memory differ from run to run."""
    monkeypatch.setenv("GRAPHNET_CACHE", "off")
    assert compilations.main(100) < 6


def test_a_compiler_is_used_again_but_never_by_two():
    m = machine()
    with compiler(m) as first, compiler(m) as second:
        assert first is not second
    with compiler(m) as again:
        assert again in (first, second)


def test_a_dropped_function_frees_its_executable_and_its_graph():
    f = build_and_run(16)
    executable = weakref.ref(f.specializations[0].executable)
    graph = weakref.ref(f.graph)
    del f
    gc.collect()
    assert executable() is None and graph() is None


def test_two_functions_share_parameters_through_a_state():
    x = gn.input("x", (4,))
    w = gn.parameter("w", (4,), init=gn.init.ones())
    step = gn.compile(gn.sum(w * x), [x], updates={w: w - x})
    predict = gn.compile(gn.sum(w * x), [x], state=step.state)
    a = np.arange(4, dtype="f")
    assert predict(a) == 6
    step(a)
    assert predict(a) == 6 - 14
    step.state["w"] = np.zeros(4, "f")
    assert predict(a) == 0


def test_functions_can_be_called_from_several_threads():
    from concurrent.futures import ThreadPoolExecutor

    f = build_and_run(32)
    a = np.random.default_rng(0).standard_normal((8, 64)).astype("f")
    want = f(a)
    with ThreadPoolExecutor(4) as workers:
        for got in workers.map(lambda _: f(a), range(50)):
            np.testing.assert_array_equal(got, want)


def test_a_large_result_is_written_where_a_dropped_one_was():
    x = gn.input("x", (1 << 19,))
    f = gn.compile(x + 1, [x])
    x0 = np.zeros(1 << 19, "f")
    first = f(x0)
    at = first.ctypes.data
    del first
    assert f(x0).ctypes.data == at


@pytest.mark.parametrize("view", [lambda y: y[3:5], lambda y: memoryview(y), lambda y: y.reshape(2, -1).T, iter])
def test_memory_of_a_result_is_not_used_again_while_a_view_of_it_lives(view):
    x = gn.input("x", (1 << 19,))
    f = gn.compile(x + 1, [x])
    held = view(f(np.zeros(1 << 19, "f")))
    others = [f(np.full(1 << 19, k, "f")) for k in (7, 8, 9)]
    assert [o[0] for o in others] == [8, 9, 10]
    assert (next(held) if view is iter else np.asarray(held).reshape(-1)[0]) == 1
