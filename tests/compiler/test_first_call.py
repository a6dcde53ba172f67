"""What the first call does beside compiling: first values, drawn meanwhile; threads and the search for cycles."""

import gc
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import graphnet as gn
from codegen.expr import Var
from codegen.kernels.common import parallel_over, serial_over
from codegen.loops import For, Let, loop
from graphnet.errors import GraphnetError
from graphnet.init import CHUNK, Initialiser

LARGE = (CHUNK // 256 + 1, 512)


@dataclass(frozen=True)
class Refusing(Initialiser):
    name = "refusing"

    def fill(self, out, rng):
        raise GraphnetError("no such value")


def product(init=None):
    x, w = gn.input("x", ("N", LARGE[0])), gn.parameter("w", LARGE, init=init)
    return gn.compile(gn.tanh(x @ w), [x], threads=2), w


def test_values_drawn_meanwhile_are_those_drawn_when_asked_for():
    f, w = product()
    assert "w" not in f.state  # nobody has asked
    f(np.ones((2, LARGE[0]), "f"))
    np.testing.assert_array_equal(f.state[w], gn.State().array(w))
    assert f.state[w].flags.writeable is False


def test_values_that_are_there_are_not_drawn_again():
    f, w = product()
    f.state[w] = np.zeros(LARGE, "f")
    assert not np.any(f(np.ones((2, LARGE[0]), "f")))


def test_what_an_initialiser_raises_is_raised_by_the_call_and_by_the_next():
    f, _ = product(Refusing())
    for _ in range(2):
        with pytest.raises(GraphnetError, match="no such value"):
            f(np.ones((2, LARGE[0]), "f"))


def test_compiling_leaves_the_collector_and_the_switches_as_they_were():
    interval = sys.getswitchinterval()
    f, _ = product()
    f.specialise({"N": 2})
    assert gc.isenabled() and sys.getswitchinterval() == interval
    assert gc.get_freeze_count() == 0
    assert gc.get_count()[0] < 1000  # what was kept is old


def test_objects_that_the_user_froze_stay_frozen():
    gc.freeze()
    try:
        product()[0].specialise({"N": 2})
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


def nest_of(axes, body):
    s = serial_over(parallel_over(axes, body))
    found = []
    while isinstance(s, For):
        found.append((s.var.name, s.kind, s.stop.value))
        s = s.body[0]
    return found, s


def test_a_loop_over_several_axes_is_one_in_another_for_one_thread():
    i, j, k, body = Var("i"), Var("j"), Var("k"), (Let(Var("x"), Var("i") + Var("k")),)
    found, inner = nest_of([(i, 5), (j, 3), (k, 7)], body)
    assert found == [("i", "serial", 5), ("j", "serial", 3), ("k", "serial", 7)] and inner == body[0]
    s = serial_over(parallel_over([(i, 5)], body))
    assert s.kind == "serial" and isinstance(s.body[0], Let)
    first = loop("serial", Var("n"), 0, 2)  # something else before the axes: the loop stays one
    flat = parallel_over([(i, 5), (k, 7)], body)
    assert serial_over(loop("parallel", flat.var, 0, 35, first, *flat.body)).stop.value == 35
