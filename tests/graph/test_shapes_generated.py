"""Tests that every op gets from its first sample: inputs of no elements, and inputs that are not contiguous."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from graphnet import ops  # noqa: F401  (fills OPS)
from graphnet.errors import GraphnetError
from graphnet.evaluate import evaluate
from graphnet.node import Node
from graphnet.op import OPS, Op, Sample

from .targets import run
from .test_dtypes_generated import declare, draw

FOUND = [(name, op) for name, op in OPS.items() if op.__module__.startswith("graphnet.")]
NAMED = [(name, op) for name, op in FOUND if any(s.shapes for s in op.samples())]


def first(op: type[Op]) -> Sample:
    return next(s for s in op.samples() if s.shapes)


def node_of(sample: Sample, name: str) -> Node:
    return declare(sample, sample.input_dtypes("float32"), name)


# Made by passes only, of what has elements.
INTERNAL = ("transform", "fourier", "fourier_forward", "fourier_inverse", "fourier_product", "conv")


def emptied(op: type[Op]) -> list[tuple[Sample, Node]]:
    """The samples with one of their extents 0 wherever it stands, if the op takes that."""
    found: list[tuple[Sample, Node]] = []
    for number, s in enumerate(op.samples()):
        for extent in sorted({e for shape in s.shapes for e in shape if e}):
            shapes = tuple(tuple(0 if e == extent else e for e in shape) for shape in s.shapes)
            try:
                n = node_of(replace(s, shapes=shapes), f"x{number}_{extent}_")
                if n.op.kind == "composite":
                    n.op.graph(*n.inputs)
            except GraphnetError:
                continue
            found.append((s, n))
    return found[:4]


def is_users(op: type[Op]) -> bool:
    return op.__module__.rpartition(".")[2] not in INTERNAL


@pytest.mark.parametrize("target", ["cpu", "emulator"])
@pytest.mark.parametrize("op", [pytest.param(op, id=name) for name, op in NAMED if is_users(op) and emptied(op)])
def test_no_elements(op: type[Op], target: str) -> None:
    rng = np.random.default_rng(0)
    cases = emptied(op)
    nodes = [n for _, n in cases]
    feeds = {x: draw(s, x, rng) for s, n in cases for x in n.inputs}
    for n, got, want in zip(nodes, run(nodes, feeds, target), evaluate(nodes, feeds), strict=True):
        assert got.dtype == want.dtype and got.shape == want.shape == n.shape
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5, err_msg=repr(n))


@pytest.mark.parametrize("op", [pytest.param(op, id=name) for name, op in NAMED])
def test_not_contiguous(op: type[Op]) -> None:
    """Views with strides, from the end, and in another order of axes, are what their elements are."""
    sample = first(op)
    node = node_of(sample, "x")
    feeds = {x: draw(sample, x, np.random.default_rng(0)) for x in node.inputs}
    (want,) = run([node], feeds, "cpu")
    for view in (strided, lambda a: np.asfortranarray(a) if a.ndim > 1 else a):
        (got,) = run([node], {x: view(a) for x, a in feeds.items()}, "cpu")
        np.testing.assert_array_equal(got, want)


def strided(a: np.ndarray) -> np.ndarray:
    """The same elements, every second from the end of a larger array."""
    if not a.ndim:
        return a
    wide = np.zeros((*a.shape[:-1], 2 * a.shape[-1]), a.dtype)
    view = wide[..., ::-2]
    view[...] = a
    return view
