"""Graphs as text, and well-formedness."""

from __future__ import annotations

import gc

import numpy as np
import pytest

from graphnet import init, optim
from graphnet.errors import GraphnetError, ShapeError, VerifyError
from graphnet.evaluate import evaluate
from graphnet.gradient import gradient
from graphnet.node import Graph, Node, constant, input, make_graph, parameter
from graphnet.ops.broadcast import sum
from graphnet.ops.conv2d import conv2d
from graphnet.ops.index import flatten
from graphnet.ops.loss import cross_entropy
from graphnet.ops.max_pool import max_pool2d
from graphnet.text import parse, to_text
from graphnet.types import Type
from graphnet.verify import verify


def small_step() -> Graph:
    x, y = input("x", ("N", 1, 8, 8)), input("y", ("N",), "int32")
    w, v = parameter("w", (2, 1, 3, 3), init.he_normal()), parameter("v", (18, 10), init.uniform(0.1))
    logits = flatten(max_pool2d(conv2d(x, w), 2)) @ v
    loss = cross_entropy(logits, y)
    return make_graph([loss], [x, y], optim.adam([w, v], gradient(loss, [w, v])))


def test_golden() -> None:
    x, w = input("golden", ("N", 3)), parameter("w.1", (3,), init.he_normal())
    text = to_text(make_graph([sum(x * w, 1)], [x], {w: w * 0.1}))
    site = f"# test_text.py:{test_golden.__code__.co_firstlineno + 1}"
    assert text.splitlines() == [
        f'golden = input("golden", float32[N, 3])  {site}',
        f'w_1 = parameter("w.1", float32[3], init=he_normal(gain=2.0))  {site}',
        f"v0 = mul(golden, w_1)  {site[:-2]}{int(site[-2:]) + 1}",
        f"v1 = sum(v0, axes=(1,), keepdims=False)  {site[:-2]}{int(site[-2:]) + 1}",
        f"v2 = mul(w_1, constant(float32, 0.1))  {site[:-2]}{int(site[-2:]) + 1}",
        "update(w_1, v2)",
        "return v1",
    ]


def test_round_trip_of_a_training_step() -> None:
    g = small_step()
    verify(g)
    assert parse(to_text(g)) is g
    text, feed = to_text(g), {"x": np.random.default_rng(0).normal(size=(2, 1, 8, 8)), "y": [1, 2]}
    want = evaluate(g, feed)
    del g
    gc.collect()
    again = parse(text)  # from text alone
    assert to_text(again) == text
    for a, b in zip(evaluate(again, feed), want, strict=True):
        np.testing.assert_array_equal(a, b)


AWKWARD = [
    np.array([0.1, -0.0, np.inf, -np.inf, np.nan], "f"),
    np.array([[1e-45, 3.4028235e38], [1 / 3, 16777217.0]], "f"),
    np.array([0.1, 5e-324, -np.nan]),
    np.frombuffer(b"\x01\x00\xc0\x7f", "f"),  # a NaN with a payload
    np.arange(100, dtype="int64") << 50,
    np.zeros((0, 3), "f"),
    np.zeros((3, 0), "f"),
    np.array([[True], [False]]),
    np.float64(2.5),
    np.int64(-(1 << 63)),
    np.random.default_rng(0).integers(0, 256, (4, 4, 4)).astype("uint8"),
]


@pytest.mark.parametrize("array", AWKWARD, ids=lambda a: f"{a.dtype}{a.shape}")
def test_constants(array: np.ndarray) -> None:
    node = constant(array)
    for g in (make_graph([node]), make_graph([node, parameter("p", array.shape, init.value(array), array.dtype.name)])):
        assert parse(to_text(g)) is g


def test_names_are_kept_apart() -> None:
    leaves = [input(n, (3,)) for n in ("v0", "lambda", "a b", "a_b", "1", "input")]
    leaves += [input("a_b", (4,)), parameter("a b", (3,))]
    g = make_graph([leaves[0] + leaves[1], *leaves], [n for n in leaves if n.op.name == "input"])
    assert parse(to_text(g)) is g


def test_symbolic_extents() -> None:
    x = input("x", (2, 3, "H", "W"))
    y = conv2d(x, parameter("w", (4, 3, 3, 3)), stride=2)
    g = make_graph([gradient(sum(y[..., ::2]), x)], [x])
    assert "2*((H" in to_text(g) or "//2" in to_text(g)
    assert parse(to_text(g)) is g


def test_sites_survive_text() -> None:
    x = input("x", ())
    text = "x = input('x', float32)\ny = exp(x)  # net.py:12 (gradient), net.py:13\nreturn y\n"
    out = parse(text).outputs[0]
    assert [str(s) for s in out.sites] == ["net.py:12 (gradient)", "net.py:13"]
    assert x.op == out.inputs[0].op


WRONG = [
    ("x = = 1", "line 1"),
    ("x = input('x', float32)\ny = frob(x)", "line 2: unknown op 'frob'"),
    ("y = exp(x)", "line 1: x is used before"),
    ("x = input('x', float8)", "line 1: expected a type"),
    ("x = input('x', float32[3])\nx = exp(x)", "line 2: x is assigned twice"),
    ("x = input('x', float32[3])\ny = reshape(x, shape=(4,))", "line 2.*3 elements"),
    ("x = input('x', float32[3])\ny = reshape(x, form=(3,))", "line 2.*form"),
    ("x = __import__('os')", "unknown op '__import__'"),
    ("import os", "expected an assignment"),
    ("return\nx = input('x', float32)", "expected an assignment"),
    ("c = constant(float32[2], [1.0])", "data of shape"),
    ("c = constant(float32[2], 'AAAA')", "3 bytes"),
    ("c = constant(float32[2], '?')", "base64"),
    ("c = constant(float32[2], [[1], [2, 3]])", "line 1"),
    ("w = parameter('w', float32[2], init=magic())", "expected an initialiser"),
    ("w = parameter('w', float32[2], init=normal(spread=1))", "line 1.*spread"),
    ("w = parameter('w', float32[2])", "expected parameter"),
    ("x = input('x', float32)\nupdate(x, x)", "not a parameter"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[m for _, m in WRONG])
def test_errors_name_the_line(text: str, message: str) -> None:
    with pytest.raises(GraphnetError, match=message):
        parse(text)


# ------------------------------------------------------------------------------------------- verify


def broken(node: Node, **slots: object) -> Node:
    """A copy of a node, not interned, with other slots: what a faulty pass could make."""
    copy = object.__new__(Node)
    for slot in ("op", "inputs", "type", "sites"):
        object.__setattr__(copy, slot, slots.get(slot, getattr(node, slot)))
    return copy


def test_verify_finds_wrong_types() -> None:
    x = input("x", (3,))
    y = x + x
    verify(Graph((x,), (y,)))
    with pytest.raises(VerifyError, match="should be float32"):
        verify(Graph((x,), (broken(y, type=Type("float32", (4,))),)))
    with pytest.raises(VerifyError, match="does not accept its inputs"):
        z = input("z", (4,))
        verify(Graph((x, z), (broken(y, inputs=(x, z)),)))


def test_verify_finds_misplaced_leaves_and_updates() -> None:
    x, p = input("x", (3,)), parameter("p", (3,))
    with pytest.raises(VerifyError, match="not among the inputs"):
        verify(Graph((), (x,)))
    with pytest.raises(VerifyError, match="is no input"):
        verify(Graph((p,), ()))
    with pytest.raises(VerifyError, match="no parameter"):
        verify(Graph((x,), (), ((x, x),)))
    with pytest.raises(VerifyError, match="its new value"):
        verify(Graph((x,), (), ((p, sum(x)),)))
    with pytest.raises(VerifyError, match="updated twice"):
        verify(Graph((x,), (), ((p, x), (p, x))))


def test_verify_finds_cycles() -> None:
    x = input("x", (3,))
    a = broken(x + x)
    b = broken(a, inputs=(a, x))
    object.__setattr__(a, "inputs", (b, x))
    with pytest.raises(VerifyError, match="cycle"):
        verify(Graph((x,), (b,)))


def test_make_graph_names_the_parameter() -> None:
    p = parameter("weights", (3,))
    with pytest.raises(ShapeError, match="weights"):
        make_graph([], [], {p: constant(1.0)})
