"""An op is one class: what a newcomer writes is all that it takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from codegen.expr import Expr, unary
from graphnet.node import Node, apply, input, make_graph
from graphnet.op import OPS, Sample
from graphnet.ops.elementwise import Unary
from graphnet.text import parse, to_text

from .targets import TARGETS, run
from .test_ops_generated import test_derivatives as check_derivatives


@pytest.fixture
def softsign() -> Iterator[type[Unary]]:
    @dataclass(frozen=True)
    class Softsign(Unary):
        """x / (1 + |x|)."""

        name = "softsign"

        def evaluate(self, x: np.ndarray) -> np.ndarray:
            return x / (1 + np.abs(x))

        def scalar(self, x: Expr) -> Expr:
            return x / (1.0 + unary("abs", x))

        def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
            return (cotangent * (1.0 - abs(node)) ** 2,)

        @classmethod
        def samples(cls) -> Iterable[Sample]:
            yield Sample(cls(), ((3, 4),))

    yield Softsign
    del OPS["softsign"]


def test_softsign(softsign: type[Unary]) -> None:
    x = input("x", (3,))
    y = apply(softsign(), x)
    for target in TARGETS:
        (got,) = run([y], {x: np.array([-1.0, 0.0, 3.0], "f")}, target)
        np.testing.assert_array_equal(got, np.array([-0.5, 0, 0.75], "f"))
    for sample in softsign.samples():
        for target in ("reference", "cpu", "emulator"):
            check_derivatives(sample, target)
    graph = make_graph([y], [x])
    assert "softsign(x)" in to_text(graph) and parse(to_text(graph)) is graph
