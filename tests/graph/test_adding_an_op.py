"""An op is one class: what docs/adding-an-op.md shows is all that it takes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import graphnet as gn
from graphnet.op import OPS, Op
from graphnet.ops import activation

from ..docs import blocks
from .targets import TARGETS, run
from .test_ops_generated import test_derivatives as check_derivatives


@pytest.fixture
def softsign() -> type[Op]:
    (source,) = blocks("docs/adding-an-op.md", "python")
    assert source.strip() in Path(activation.__file__).read_text()
    return OPS["softsign"]


def test_softsign(softsign: type[Op]) -> None:
    x = gn.input("x", (3,))
    y = gn.softsign(x)
    dy = gn.gradient(gn.sum(y), x)
    at = np.array([-1.0, 0.0, 3.0], "f")
    for target in TARGETS:
        value, slope = run([y, dy], {x: at}, target)
        np.testing.assert_array_equal(value, np.array([-0.5, 0, 0.75], "f"))
        np.testing.assert_array_equal(slope, np.array([0.25, 1, 0.0625], "f"))
    for sample in softsign.samples():
        for target in ("reference", "cpu", "emulator"):
            check_derivatives(sample, target)
    graph = gn.make_graph([y], [x])
    assert "softsign(x)" in gn.to_text(graph) and gn.parse(gn.to_text(graph)) is graph


def test_softsign_is_fused_with_its_neighbours(softsign: type[Op]) -> None:
    x = gn.input("x", (4, 8))
    w = gn.parameter("w", (8, 16))
    step = gn.compile(gn.softsign(x @ w + 1.0), inputs=[x])
    step(np.ones((4, 8), "f"))
    assert len(step.explain().kernels) == 1
