"""Tests that every op gets for every dtype that its `infer` accepts, from its samples: values on the CPU and on the
emulator of GPUs. (float32 and float64 have tests of their own, with all samples.)"""

from __future__ import annotations

import numpy as np
import pytest

from graphnet import ops  # noqa: F401  (fills OPS)
from graphnet.errors import GraphnetError
from graphnet.evaluate import evaluate
from graphnet.node import Node, apply, input
from graphnet.op import OPS, Op, Sample
from graphnet.types import DTYPES, STORAGE

from .targets import run

ROUNDED = {"float16": 2.0**-8, "bfloat16": 2.0**-5}  # some units in the last place: of composite ops, a node each
OTHERS = [d for d in DTYPES if d not in ("float32", "float64")]


def others(op: type[Op]) -> list[tuple[Sample, tuple[str, ...]]]:
    """For each dtype that the op accepts, a sample and the dtypes of its inputs: "float" of the sample's dtypes is
    replaced, or the only one that there is."""
    found = []
    samples = list(op.samples())
    for dtype in OTHERS:
        for sample in samples:
            given = sample.dtypes or ("float",) * len(sample.shapes)
            replaced = "float" if "float" in given else given[0] if given else ""
            dtypes = tuple(dtype if d == replaced else d for d in given)
            if dtypes and accepts(sample, dtypes):
                found.append((sample, dtypes))
                break
    return found


def accepts(sample: Sample, dtypes: tuple[str, ...]) -> bool:
    try:
        declare(sample, dtypes, "x")
    except GraphnetError:
        return False
    return True


def declare(sample: Sample, dtypes: tuple[str, ...], name: str) -> Node:
    shapes = zip(sample.shapes, dtypes, strict=True)
    return apply(sample.op, *(input(f"{name}{k}", s, d) for k, (s, d) in enumerate(shapes)))


def draw(sample: Sample, x: Node, rng: np.random.Generator) -> np.ndarray:
    shape = tuple(int(e) for e in x.shape)
    if x.dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if x.type.is_integer:
        low = max(int(sample.low), 0) if x.dtype.startswith("uint") else int(sample.low)
        return np.asarray(rng.integers(low, max(int(sample.high), low + 1), shape)).astype(x.dtype)
    if sample.distinct:
        count = int(np.prod(shape))
        return ((rng.permutation(count) - count / 2 + 0.3) * 2e-2).reshape(shape).astype(x.dtype)
    return np.asarray(rng.uniform(sample.low, sample.high, shape)).astype(x.dtype)


CASES = [
    pytest.param(op, id=name) for name, op in OPS.items() if op.__module__.startswith("graphnet.") and others(op)
]


@pytest.mark.parametrize("target", ["cpu", "emulator"])
@pytest.mark.parametrize("op", CASES)
def test_every_dtype(op: type[Op], target: str) -> None:
    rng = np.random.default_rng(0)
    nodes = [declare(s, dtypes, f"x{k}_") for k, (s, dtypes) in enumerate(others(op))]
    feeds = {x: draw(s, x, rng) for n, (s, _) in zip(nodes, others(op), strict=True) for x in n.inputs}
    want = evaluate(nodes, feeds)
    for n, w, g in zip(nodes, want, run(nodes, feeds, target), strict=True):
        assert g.dtype == w.dtype == n.dtype, n
        assert g.shape == w.shape == n.shape, n
        storage = [d for d in (n.dtype, *(i.dtype for i in n.inputs)) if d in STORAGE]
        if not n.type.is_float:
            np.testing.assert_array_equal(g, w, err_msg=repr(n))
            continue
        tolerance = max((ROUNDED[d] for d in storage), default=1e-5)
        g, w = g.astype(np.float64), w.astype(np.float64)
        scale = float(np.max(np.abs(w), initial=1.0, where=np.isfinite(w)))
        np.testing.assert_allclose(g, w, rtol=tolerance, atol=tolerance * scale, err_msg=repr(n))
