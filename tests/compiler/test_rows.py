"""Kernels over the same rows run as one, a few rows at a time: the same values, one pass over memory."""

import numpy as np
import pytest

import graphnet as gn
from graphnet.passes.rows import _order

ROWS, COLUMNS = 96, 130  # a block of rows is one or more whole rows; 130 columns leave a tail in every vector
x, g = gn.input("x", (ROWS, COLUMNS), "float64"), gn.input("g", (ROWS, COLUMNS), "float64")
labels = gn.input("labels", (ROWS,), "int32")


def normalised(x):
    away = x - gn.mean(x, 1, keepdims=True)
    return away / gn.sqrt(gn.mean(away * away, 1, keepdims=True) + 1e-5)


CASES = {
    "softmax": ([gn.softmax(x)], 1),
    "its gradient": (gn.gradient(gn.sum(gn.softmax(x) * g), [x]), 1),
    "log-softmax": ([gn.log_softmax(x)], 1),
    "layer normalisation": ([normalised(x)], 1),
    "cross-entropy and its gradient": (
        [gn.cross_entropy(x, labels), *gn.gradient(gn.cross_entropy(x, labels), [x])],
        2,  # the mean over rows is another kernel
    ),
}


def arrays(inputs, dtype):
    rng = np.random.default_rng(0)
    return [
        rng.integers(0, 9, n.shape, "int32") if n is labels else rng.normal(size=n.shape).astype(dtype) for n in inputs
    ]


@pytest.mark.parametrize("target", ["cpu", "cpu:simd128", "interpret"])
@pytest.mark.parametrize("case", CASES)
def test_rows_are_read_once(case, target):
    outputs, kernels = CASES[case]
    f = gn.compile(outputs, [x, g, labels], target=target, threads=2)
    given = arrays([x, g, labels], "float64")
    got = f(*given)
    want = gn.evaluate(outputs, dict(zip(("x", "g", "labels"), given, strict=True)))
    for a, b in zip(got if isinstance(got, tuple) else (got,), want, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)
    assert len(f.specializations[0].program.steps) == kernels


@pytest.mark.parametrize("case", CASES)
def test_the_same_bits_with_any_number_of_threads(case):
    outputs, _ = CASES[case]
    given = arrays([x, g, labels], "float64")
    one, three = (gn.compile(outputs, [x, g, labels], threads=t)(*given) for t in (1, 3))
    for a, b in zip(*((r if isinstance(r, tuple) else (r,)) for r in (one, three)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_reads_other_rows_is_another_kernel():
    """A sum over rows must see them all; and what follows it waits for that."""
    y = gn.softmax(x)
    f = gn.compile([y - gn.mean(y, 0), gn.softmax(y, 0)], [x])
    a = arrays([x], "float64")[0]
    f(a)
    first = f.specializations[0].module.groups[0]
    assert first.stages and all(n.shape[0] == ROWS for n in first.nodes)
    want = gn.evaluate([y - gn.mean(y, 0), gn.softmax(y, 0)], {"x": a})
    for got, w in zip(f(a), want, strict=True):
        np.testing.assert_allclose(got, w, rtol=1e-12, atol=1e-14)


def test_rows_too_long_for_a_cache_stay_apart():
    wide = gn.input("wide", (32, 1 << 19))
    f = gn.compile(gn.softmax(wide), [wide])
    f.specialise({})
    assert not any(group.stages for group in f.specializations[0].module.groups)


def test_no_kernel_stands_both_before_and_after_another():
    assert _order([[0, 3], [1, 4]], [set(), set(), {0}, {0}, {1, 2}]) == ([0, 2, 1], set())
    assert _order([[0, 2]], [set(), {0}, {0}]) == ([0, 1], set())
    assert _order([[0, 2]], [set(), {0}, {0, 1}]) == ([0, 1, 2], {0})  # 1 needs 0, and 2 needs 1
    # Each chain needs the other: one of the two stays.
    assert _order([[0, 3], [1, 4]], [set(), set(), set(), {0, 1}, {1, 0}]) == ([1, 0, 2, 4], {1})


def test_what_stages_hand_to_each_other_is_one_parameter():
    """Parameters of a kernel never overlap where one is written: under another shape, it is the same one."""
    x = gn.input("x", (3, 2, 2), "float64")
    inverse = gn.inv(x)
    f = gn.compile([inverse, gn.gradient(gn.sum(inverse), x)], [x])
    f.specialise({})
    steps = f.specializations[0].program.steps
    assert any(len(step.writes) > 1 for step in steps)
    for step in steps:
        for slot in step.writes:
            assert step.slots.count(slot) == 1
