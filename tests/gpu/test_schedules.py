"""GPU schedules give NumPy's answer: interpreted, emulated, and with every check on."""

from __future__ import annotations

import numpy as np
import pytest

from codegen.compute import Computation, Reduce, Reduction, axis
from codegen.emulator import to_cpu
from codegen.expr import Buffer, Var
from codegen.interpret import interpret
from codegen.kernels import gpu
from codegen.kernels.contraction import analyse
from codegen.kernels.gpu_common import launch_shape
from codegen.loops import For, statements, store
from codegen.verify import verify

from .kernels import CASES, PRODUCTS, Case, affine_map, conv, emulate, emulate_checked, matmul, row_reduce, schedules

PAIRS = [(name, how) for name, case in CASES.items() for how in schedules(case)]


@pytest.mark.parametrize(("name", "how"), PAIRS)
def test_emulated_schedule(name: str, how: str) -> None:
    case = CASES[name]
    kernel = schedules(case)[how]
    verify(kernel, "gpu")
    verify(to_cpu(kernel), "cpu")
    arrays = case.fresh()
    emulate(kernel, arrays)
    case.check(arrays)


SMALL: dict[str, Case] = {
    "map": affine_map(3, 5),
    "sum": row_reduce("sum", 2, 70),
    "argmax": row_reduce("argmax", 2, 40),
    "matmul": matmul(3, 5, 4),
    "conv": conv(),
}


# Interpreting 256 threads is slow: the tiled convolution has the loops of the tiled matrix product.
INTERPRETED = [
    (name, how)
    for name, case in SMALL.items()
    for how in schedules(case)
    if "128" not in how and not ("tiled" in how and name == "conv")
]


@pytest.mark.parametrize(("name", "how"), INTERPRETED)
def test_emulation_has_the_bits_of_the_interpreter(name: str, how: str) -> None:
    case = SMALL[name]
    kernel = schedules(case)[how]
    interpreted, emulated = case.fresh(), case.fresh()
    interpret(kernel, interpreted)
    emulate(kernel, emulated)
    case.check(interpreted)
    np.testing.assert_array_equal(interpreted[-1], emulated[-1])


@pytest.mark.parametrize("name", sorted(CASES))
def test_the_chosen_schedule_passes_every_check(name: str) -> None:
    case = CASES[name]
    arrays = case.fresh()
    assert emulate_checked(gpu.schedule(case.computation), arrays) == ""
    case.check(arrays)


def test_products_are_recognised() -> None:
    unrecognised = {name for name, case in PRODUCTS.items() if analyse(case.computation) is None}
    assert unrecognised == set()
    x = analyse(conv().computation)
    assert x is not None
    assert [[a.name for a in axes] for axes in (x.batch, x.m, x.n, x.k)] == [
        [],
        ["n", "p", "q"],
        ["k"],
        ["c", "r", "s"],
    ]


def shape_of(points: tuple[int, int], depth: int) -> str:
    """Which schedule a matrix product of that size gets."""
    a, b = Buffer("a", "f32", (points[0], depth)), Buffer("b", "f32", (depth, points[1]))
    y = Buffer("y", "f32", points)
    i, j, k, total = Var("i"), Var("j"), Var("k"), Var("total", "f32")
    c = Computation(
        "product",
        (axis("i", points[0]), axis("j", points[1])),
        (Reduction(total, Reduce("sum", (axis("k", depth),), a[i, k] * b[k, j])),),
        (),
        (store(y, (i, j), total),),
        (a, b, y),
    )
    return gpu.choose(c)[1].split(":")[0]


def test_choice_of_schedule() -> None:
    assert shape_of((4096, 4096), 4096) == "tiles of 128 x 128 x 8"
    assert shape_of((512, 512), 512).startswith("tiles of")
    assert shape_of((6, 25), 50176) == "a block a point"  # LeNet's first weight gradient
    assert gpu.choose(affine_map().computation)[1].startswith("a thread a point")
    assert gpu.choose(row_reduce("sum", 64, 4096).computation)[1].startswith("a block a point")
    assert gpu.choose(row_reduce("sum", 100_000, 3).computation)[1].startswith("a thread a point")


def test_launch_shape_and_names_that_collide() -> None:
    case = affine_map(7, 45)
    assert launch_shape(gpu.schedule(case.computation)) == (2, 256)
    x, y = Buffer("block", "f32", (5,)), Buffer("y", "f32", (5,))
    point = Var("point")
    c = Computation("names", (axis("point", 5),), (), (), (store(y, (point,), x[point] * 2.0),), (x, y))
    kernel = gpu.schedule(c)
    verify(kernel, "gpu")
    assert {s.kind for s in statements(kernel.body) if isinstance(s, For)} == {"grid", "thread"}
    arrays = [np.arange(5, dtype=np.float32), np.zeros(5, np.float32)]
    emulate(kernel, arrays)
    np.testing.assert_array_equal(arrays[1], [0, 2, 4, 6, 8])


def test_infinity_reaches_only_its_neighbours() -> None:
    """Guards zero the factor that knows them: an infinite pixel spreads over its windows and no further."""
    case = conv()
    arrays = case.fresh()
    arrays[0][0, 0, 0, 0] = np.inf
    emulate(gpu.schedule(case.computation), arrays)
    bad = ~np.isfinite(arrays[-1])
    assert bad[0, :, :2, :2].all() and bad.sum() == bad[0, :, :2, :2].size
