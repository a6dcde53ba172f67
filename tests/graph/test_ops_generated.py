"""Tests that every op gets from its `samples`: values on every target, first and second derivative."""

from __future__ import annotations

import numpy as np
import pytest

from graphnet import ops  # noqa: F401  (fills OPS)
from graphnet.errors import GraphnetError
from graphnet.evaluate import evaluate
from graphnet.gradient import vjp
from graphnet.node import Node, apply, constant, input, make_graph
from graphnet.op import OPS, Sample
from graphnet.ops.broadcast import sum
from graphnet.text import parse, to_text
from graphnet.verify import verify

from .targets import TARGETS, run

WITHOUT_SAMPLES = {"input", "parameter", "constant"}
CASES = [
    pytest.param(sample, id=f"{name}-{k}")
    for name, op in OPS.items()
    if op.__module__.startswith("graphnet.")
    for k, sample in enumerate(op.samples())
]
SMOOTH = [c for c in CASES if c.values[0].differentiable and c.values[0].shapes]


def declare(sample: Sample, float_dtype: str) -> list[Node]:
    kinds = sample.input_dtypes(float_dtype)
    return [input(f"x{k}", s, d) for k, (s, d) in enumerate(zip(sample.shapes, kinds, strict=True))]


def draw(sample: Sample, xs: list[Node], seed: int = 0) -> dict[Node, np.ndarray]:
    """Random values in the sample's range; the distinct ones are 2e-2 apart."""
    rng = np.random.default_rng(seed)
    values = {}
    for x in xs:
        shape = tuple(int(e) for e in x.shape)
        if x.dtype == "bool":
            values[x] = rng.integers(0, 2, shape).astype(bool)
        elif not x.type.is_float:
            values[x] = np.asarray(rng.integers(int(sample.low), int(sample.high), shape), dtype=x.dtype)
        elif sample.distinct:
            count = int(np.prod(shape))
            values[x] = ((rng.permutation(count) - count / 2 + 0.3) * 2e-2).reshape(shape).astype(x.dtype)
        else:
            values[x] = np.asarray(rng.uniform(sample.low, sample.high, shape), dtype=x.dtype)
    return values


def test_every_op_has_samples() -> None:
    missing = [n for n, op in OPS.items() if op.__module__.startswith("graphnet.") and not list(op.samples())]
    assert set(missing) <= WITHOUT_SAMPLES


@pytest.mark.parametrize("op", [op for op in OPS.values() if op.__module__.startswith("graphnet.ops")])
def test_every_op_has_a_docstring(op: type) -> None:
    assert op.__doc__ and not op.__doc__.startswith(f"{op.__name__}("), op


VALUES = [
    pytest.param(c.values[0], dtype, id=f"{c.id}-{dtype}")
    for c in CASES
    for dtype in ("float32", "float64")
    if dtype == "float32" or "float" in (c.values[0].dtypes or ("float",))
]


@pytest.mark.parametrize("target", [t for t in TARGETS if t != "reference"])
@pytest.mark.parametrize(("sample", "float_dtype"), VALUES)
def test_value(sample: Sample, float_dtype: str, target: str) -> None:
    xs = declare(sample, float_dtype)
    feeds = draw(sample, xs)
    node = apply(sample.op, *xs)
    (want,) = evaluate(node, feeds)
    (got,) = run([node], feeds, target)
    assert got.dtype == want.dtype == node.dtype
    assert got.shape == want.shape == node.shape
    tolerance = 1e-5 if node.dtype == "float32" or float_dtype == "float32" else 1e-13
    scale = float(np.max(np.abs(want), initial=1.0, where=np.isfinite(want))) if node.type.is_float else 1.0
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance * scale)


@pytest.mark.parametrize("sample", CASES)
def test_text(sample: Sample) -> None:
    from_op = apply(sample.op, *declare(sample, "float32"))
    inputs = list(dict.fromkeys(from_op.inputs))
    graph = make_graph([from_op], inputs)
    verify(graph)
    assert parse(to_text(graph)) is graph


def slope(f: Node, xs: list[Node], at: dict[Node, np.ndarray], u: dict[Node, np.ndarray]) -> float:
    """The derivative of a scalar along u, by five points: error h^4."""
    h = 1e-3

    def value(t: float) -> float:
        moved = {x: at[x] + t * u[x] if x in u else at[x] for x in xs}
        return float(evaluate(f, moved)[0])

    return (8 * (value(h) - value(-h)) - (value(2 * h) - value(-2 * h))) / (12 * h)


def along(f: Node, xs: list[Node], u: dict[Node, np.ndarray]) -> Node:
    """The derivative of a scalar node along constants u, by `gradient`."""
    grads = vjp([f], xs, [constant(1.0, f.dtype)])
    total = constant(0.0, "float64")
    for x, g in zip(xs, grads, strict=True):
        if g is not None:
            total = total + sum(g * constant(u[x]))
    return total


def directions(xs: list[Node], seed: int) -> dict[Node, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {x: rng.uniform(-1, 1, tuple(int(e) for e in x.shape)) for x in xs if x.type.is_float}


@pytest.mark.parametrize("target", ["reference", "cpu", "emulator"])
@pytest.mark.parametrize("sample", SMOOTH)
def test_derivatives(sample: Sample, target: str) -> None:
    """Both derivatives along random directions, against finite differences of the references in float64."""
    xs = declare(sample, "float64")
    at = draw(sample, xs, seed=1)
    node = apply(sample.op, *xs)
    weights = np.random.default_rng(2).uniform(0.5, 1.5, tuple(int(e) for e in node.shape))
    f = sum(node * constant(weights))
    floats = [x for x in xs if x.type.is_float]
    u, v = directions(xs, 3), directions(xs, 4)
    first = along(f, floats, u)
    got = run([first, along(first, floats, v)], at, target)
    compare(float(got[0]), f, xs, at, u)
    compare(float(got[1]), first, xs, at, v)


def compare(got: float, f: Node, xs: list[Node], at: dict[Node, np.ndarray], u: dict[Node, np.ndarray]) -> None:
    want = slope(f, xs, at, u)
    size = max(abs(want), abs(float(evaluate(f, at)[0])), 1e-3)
    assert abs(got - want) <= 1e-6 * size, (got, want)


@pytest.mark.parametrize("sample", CASES)
def test_rejects_other_inputs(sample: Sample) -> None:
    """One input too many, or of a wild type, is a GraphnetError that names the op; or it is accepted."""
    xs = declare(sample, "float32")
    odd = input("odd", (7, 11, 13), "bool")
    for k in range(len(xs)):
        wrong = [*xs[:k], odd, *xs[k + 1 :]]
        try:
            apply(sample.op, *wrong)
        except GraphnetError as e:
            assert sample.op.name in str(e) and "test_ops_generated.py" in str(e)
