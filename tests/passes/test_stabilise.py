"""Losses written as in a textbook, at logits where the textbook's formula overflows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphnet import ops
from graphnet.evaluate import evaluate
from graphnet.gradient import gradient
from graphnet.module import Module
from graphnet.node import Node, apply, input, make_graph, toposort
from graphnet.op import OPS
from graphnet.ops.broadcast import sum
from graphnet.ops.reduce import mean
from graphnet.passes import stabilise
from graphnet.passes.simplify import simplify
from graphnet.rewrite import compile_rule, rewritten

from .test_rules import instances

assert ops  # its import is what fills OPS

Z, Y = input("z", ("N", 3)), input("y", ("N", 3))


def n(op: str, *inputs: Node, **attributes: object) -> Node:
    return apply(OPS[op](**attributes), *inputs)


def log(x: Node) -> Node:
    return n("log", x)


def exp(x: Node) -> Node:
    return n("exp", x)


def sigmoid(x: Node) -> Node:
    return n("sigmoid", x)


def normalised(x: Node) -> Node:
    return exp(x) / sum(exp(x), 1, keepdims=True)


def log_softmax64(z: np.ndarray) -> np.ndarray:
    return z - np.logaddexp.reduce(z, axis=1, keepdims=True)


def bce64(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.logaddexp(0, z) - z * y).mean()


def nll64(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return -(y * log_softmax64(z)).sum(1).mean()


def bce_slope(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.exp(-np.logaddexp(0, -z)) - y) / z.size


def nll_slope(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return (np.exp(log_softmax64(z)) * y.sum(1, keepdims=True) - y) / len(z)


def softplus_slope(z: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0, -z)) / z.size


Reference = Callable[[np.ndarray, np.ndarray], np.ndarray]

P = sigmoid(Z)
LOSSES: dict[str, tuple[Node, Reference, Reference]] = {
    "-mean(y log p + (1 - y) log(1 - p))": (-mean(Y * log(P) + (1 - Y) * log(1 - P)), bce64, bce_slope),
    "mean(-y log p - (1 - y) log(1 - p))": (mean(-Y * log(P) - (1 - Y) * log(1 - P)), bce64, bce_slope),
    "binary_cross_entropy(sigmoid z, y)": (mean(n("binary_cross_entropy", P, Y)), bce64, bce_slope),
    "-mean(sum(y log softmax z))": (-mean(sum(Y * log(n("softmax", Z, axis=1)), 1)), nll64, nll_slope),
    "-mean(sum(y log(exp z / sum exp z)))": (-mean(sum(Y * log(normalised(Z)), 1)), nll64, nll_slope),
    "mean log sum exp z": (
        mean(log(sum(exp(Z), 1))),
        lambda z, y: np.logaddexp.reduce(z, axis=1).mean(),
        lambda z, y: np.exp(log_softmax64(z)) / len(z),
    ),
    "mean log(1 + exp z)": (mean(log(1 + exp(Z))), lambda z, y: np.logaddexp(0, z).mean(), softplus_slope),
    "mean log1p(exp z)": (mean(n("log1p", exp(Z))), lambda z, y: np.logaddexp(0, z).mean(), softplus_slope),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients_are_right_at_any_logits(name: str) -> None:
    loss, value, slope = LOSSES[name]
    written = make_graph([loss, gradient(loss, Z)], [Z, Y])
    stable = stabilise.stabilise(Module(written)).graph
    z = np.array([[-300, 0, 300], [1, 2, 3], [1e4, -1e4, 5], [30, -40, 0.5]], np.float32)
    y = np.eye(3, dtype=np.float32)[[2, 0, 1, 1]]
    got_loss, got_slope = evaluate(stable, {"z": z, "y": y})
    wide = z.astype(np.float64)
    np.testing.assert_allclose(got_loss, value(wide, y), rtol=1e-6)
    np.testing.assert_allclose(got_slope, slope(wide, y), rtol=1e-5, atol=1e-8)
    # As written, float32 cannot do that: this is what the pass is for.
    plain = evaluate(written, {"z": z, "y": y})
    if name.startswith(("-mean", "mean")):
        assert not all(np.isfinite(v).all() for v in plain)


@pytest.mark.parametrize("rule", stabilise.RULES, ids=str)
def test_left_sides_are_in_the_form_that_algebra_leaves(rule: object) -> None:
    """Otherwise the rule would never meet what it is for."""
    compiled = compile_rule(rule)  # type: ignore[arg-type]
    fired = [old for old in instances(compiled) if rewritten(compiled, old) is not None]
    assert any(simplify(Module(make_graph([old], _leaves(old)))).graph.outputs == (old,) for old in fired)


def _leaves(node: Node) -> list[Node]:
    return [i for i in toposort([node]) if i.op.name == "input"]
