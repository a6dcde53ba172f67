"""Maps that read across what they write: square tiles turned over, whatever the extents, fused work included."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn
from codegen.compute import Computation, axis
from codegen.expr import Buffer, Var, select
from codegen.kernels import map, turned
from codegen.kernels.cpu import schedule
from codegen.loops import store
from codegen.machine import machine

i, j, p = Var("i"), Var("j"), Var("p")


def transposition(shape, value=lambda x: x, out=None):
    """y[i, p, j] = value(x[i, j, p])."""
    n, c, pixels = shape
    x = Buffer("x", "f32", (n, c, pixels))
    y = out or Buffer("y", "f32", (n, pixels, c))
    at = store(y, (i, p, j), value(x[i, j, p]))
    return Computation("turn", (axis("i", n), axis("p", pixels), axis("j", c)), (), (), (at,), (x, y))


def how(c):
    return schedule(c, machine())[1]


def test_a_transposition_is_turned_over() -> None:
    assert "turned over" in how(transposition((2, 64, 100)))


def test_neighbouring_axes_are_one() -> None:
    """Rows and columns of an image, in either direction."""
    x, y = Buffer("x", "f32", (4, 64, 9, 7)), Buffer("y", "f32", (4, 9, 7, 64))
    m, n, h, w = axis("m", 4), axis("n", 64), axis("h", 9), axis("w", 7)
    there = (store(y, (m.var, h.var, w.var, n.var), x[m.var, n.var, h.var, w.var]),)
    back = (store(x, (m.var, n.var, h.var, w.var), y[m.var, h.var, w.var, n.var]),)
    assert "63, " in how(Computation("there", (m, h, w, n), (), (), there, (x, y)))
    assert "63x" in how(Computation("back", (m, n, h, w), (), (), back, (y, x)))


def test_small_arrays_and_short_axes_are_not() -> None:
    for shape in ((2, 3, 5000), (1, 20, 20)):
        assert turned.schedule(transposition(shape), machine()) is None
        assert how(transposition(shape)) == map.schedule(transposition(shape), machine())[1]


def test_what_is_read_under_a_condition_is_not() -> None:
    """Beyond an edge there may be no memory."""
    c = transposition((2, 64, 100), lambda x: select(j < 60, x, 0.0))
    assert turned.schedule(c, machine()) is None
    c = transposition((2, 64, 100), lambda x: select(x < 0.0, x, 0.0))  # read anyway
    assert turned.schedule(c, machine()) is not None


def test_tiles_do_not_overlap_in_place() -> None:
    """A tile that is made twice must not read what it wrote."""
    x = Buffer("x", "f32", (2, 64, 64))
    assert turned.schedule(transposition((2, 64, 64), out=x), machine()) is None


@pytest.mark.parametrize("shape", [(96, 80), (88, 80), (64, 16, 3, 3), (64, 15, 3, 3)])
def test_updates_by_a_gradient_that_lies_across(shape) -> None:
    """In place where tiles do not overlap; where they would, some other way."""
    rng = np.random.default_rng(0)
    a = rng.normal(size=(*shape[1:], shape[0])).astype("f")
    g, w, v = gn.input("g", a.shape), gn.parameter("w", shape), gn.parameter("v", shape, init=gn.init.zeros())
    new = 0.5 * v + gn.transpose(g, (len(shape) - 1, *range(len(shape) - 1)))
    f = gn.compile([], [g], updates={v: new, w: w - 0.25 * new}, threads=2)
    first, across = f.state[w].copy(), np.moveaxis(a, -1, 0)
    f(a), f(a)
    np.testing.assert_allclose(f.state[v], 1.5 * across, rtol=1e-6)
    np.testing.assert_allclose(f.state[w], first - 0.625 * across, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("target", ["cpu", "cpu:simd128"])
@pytest.mark.parametrize(
    ("shape", "perm"),
    [
        ((2, 64, 9, 11), (0, 2, 3, 1)),
        ((2, 9, 11, 64), (0, 3, 1, 2)),
        ((100, 99), (1, 0)),
        ((17, 3, 5, 41), (3, 1, 2, 0)),
        ((16, 400), (1, 0)),
        ((5, 33, 33), (1, 2, 0)),
    ],
)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int32"])
def test_values(shape, perm, dtype, target, threads) -> None:
    a = np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    x = gn.input("x", shape, dtype)
    f = gn.compile([gn.transpose(x, perm)], [x], target=target, threads=threads)
    np.testing.assert_array_equal(f(a), a.transpose(perm))


def test_what_is_fused_is_computed_on_the_turned_values() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 70, 90)).astype("f"), rng.normal(size=(3, 90, 70)).astype("f")
    x, y, s = gn.input("x", a.shape), gn.input("y", b.shape), gn.input("s", (70,))
    f = gn.compile([gn.relu(gn.transpose(x, (0, 2, 1)) * 2.0 + s - y)], [x, y, s], threads=2)
    want = np.maximum(a.transpose(0, 2, 1) * np.float32(2) + b[0, 0] - b, 0)
    np.testing.assert_allclose(f(a, b, b[0, 0]), want, rtol=1e-6, atol=1e-6)
    assert "turned over" in f.profile(a, b, b[0, 0], runs=1).kernels[0].how
