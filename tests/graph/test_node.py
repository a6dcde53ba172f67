"""Nodes: sharing, operators, indexing, and errors that name the user's line."""

from __future__ import annotations

import gc
import inspect

import numpy as np
import pytest

import graphnet as gn
from graphnet import init
from graphnet.errors import DTypeError, GraphnetError, ShapeError
from graphnet.evaluate import evaluate
from graphnet.node import Node, apply, constant, input, make_graph, parameter
from graphnet.ops.activation import Relu
from graphnet.ops.avg_pool import avg_pool2d
from graphnet.ops.broadcast import reshape
from graphnet.ops.compare import where as choose
from graphnet.ops.conv2d import conv2d
from graphnet.ops.elementwise import cast
from graphnet.ops.index import flatten, squeeze
from graphnet.ops.loss import cross_entropy
from graphnet.ops.matmul import matmul
from graphnet.ops.max_pool import max_pool2d
from graphnet.ops.move import concatenate, transpose
from graphnet.ops.pad import pad
from graphnet.ops.positions import arange
from graphnet.ops.power import power
from graphnet.ops.random import dropout, key
from graphnet.ops.reduce import max, mean, sum
from graphnet.site import Site, derived


def line() -> int:
    """The caller's line number."""
    frame = inspect.currentframe()
    assert frame and frame.f_back
    return frame.f_back.f_lineno


def test_interning() -> None:
    x = input("x", ("N", 3))
    assert x + 1 is x + 1
    assert x * 2.0 is not x + 2.0
    assert input("x", ("N", 3)) is x
    assert input("x", ("N", 4)) is not x


def test_nodes_are_freed() -> None:
    x = input("x", (3,))
    before = len(gc.get_objects())
    for k in range(1000):
        x + float(k)
    gc.collect()
    assert len(gc.get_objects()) - before < 100


def test_a_node_written_again_points_at_the_newest_line() -> None:
    x = input("again", (3,))
    first = x + 1.0
    old = first.sites[0]
    second = x + 1.0
    assert second is first and first.sites == (Site(old.file, old.line + 2), old)
    with derived(x.sites):
        assert x + 1.0 is first
    assert first.sites == (Site(old.file, old.line + 2), old)


def test_repr_and_sites() -> None:
    x = input("seen", ("N", 3))  # a name of its own: a shared node remembers other lines
    y = x + 1.0
    assert repr(x) == f"<seen : float32[N, 3]>  # test_node.py:{y.sites[0].line - 1}"
    assert repr(y).startswith("<add(seen, 1) : float32[N, 3]>  # test_node.py:")


def test_frozen() -> None:
    x = input("x", (3,))
    with pytest.raises(AttributeError, match="frozen"):
        x.op = None  # type: ignore[misc]
    with pytest.raises(GraphnetError, match="truth value"):
        bool(x < 1)
    with pytest.raises(GraphnetError, match="iterated"):
        list(x)


def test_operators_follow_numpy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.uniform(0.5, 2, (3, 4)).astype("f"), rng.uniform(0.5, 2, (4,)).astype("f")
    x, y = input("x", a.shape), input("y", b.shape)
    c = rng.uniform(0.5, 2, (4, 2)).astype("f")
    cases = [
        (x + y, a + b), (2 - x, 2 - a), (x * b, a * b), (b * x, b * a), (1 / x, 1 / a), (x / 2, a / 2), (x**3, a**3),
        (x**0.5, a**0.5), (x**-1, a**-1), (x**2.5, a**2.5), (2**x, 2**a), (-x, -a), (abs(x - 1), abs(a - 1)),
        (x @ c, a @ c), (np.ones((2, 3), "f") @ x, np.ones((2, 3), "f") @ a), (x < y, a < b), (x <= 1, a <= 1),
        (x > y, a > b), (x >= 1, a >= 1), ((x > 1) & (y > 1), (a > 1) & (b > 1)), (~(x > 1), ~(a > 1)),
        (np.float32(2) * x, a * 2), (x + True, a + 1), (x**y, a**b), (x @ y, a @ b),
    ]  # fmt: skip
    for node, want in cases:
        (got,) = evaluate(node, {"x": a, "y": b})
        assert got.shape == want.shape and got.dtype == node.dtype
        np.testing.assert_allclose(got, want, rtol=2e-6)


def test_lifting() -> None:
    n = input("n", (3,), "int32")
    assert (n + 1).dtype == "int32"
    assert (n + 1.5).dtype == "float32"
    assert (input("d", (3,), "float64") * 0.1).dtype == "float64"
    with pytest.raises(DTypeError, match="does not fit uint8"):
        input("u", (3,), "uint8") + 300
    with pytest.raises(GraphnetError, match="cannot use str"):
        n + "one"  # type: ignore[operator]


KEYS = [
    np.s_[0], np.s_[-1], np.s_[1:], np.s_[:-1], np.s_[::2], np.s_[1:4:2, 1], np.s_[..., 0], np.s_[:, None],
    np.s_[None, ..., None], np.s_[::-1], np.s_[3:0:-2, ..., ::-1], np.s_[2:2], np.s_[:100], np.s_[4:1],
    np.s_[0, 1, 2], np.s_[..., 1:, :],
]  # fmt: skip


@pytest.mark.parametrize("k", KEYS, ids=str)
def test_indexing_follows_numpy(k: object) -> None:
    a = np.arange(60, dtype="f").reshape(5, 3, 4)
    node = input("x", a.shape)[k]
    (got,) = evaluate(node, {"x": a})
    np.testing.assert_array_equal(got, a[k])  # type: ignore[index]


def test_indexing_of_symbolic_axes() -> None:
    x = input("x", ("N", 3))
    a = np.arange(15, dtype="f").reshape(5, 3)
    for k in (np.s_[-1], np.s_[1:], np.s_[:-1], np.s_[::2], np.s_[1::3, 0], np.s_[::-1]):
        np.testing.assert_array_equal(evaluate(x[k], {"x": a})[0], a[k])
    with pytest.raises(ShapeError, match="negative step"):
        x[4:1:-1]


def test_bad_indices() -> None:
    x = input("x", (5, 3))
    with pytest.raises(ShapeError, match="index 5 is out of range"):
        x[5]
    with pytest.raises(ShapeError, match="3 indices"):
        x[0, 0, 0]
    with pytest.raises(GraphnetError, match="cannot index"):
        x["first"]
    with pytest.raises(ShapeError, match="bounds of a slice"):
        x[0.5:]


def test_shapes_of_symbolic_graphs() -> None:
    x = input("x", ("N", 1, 28, 28))
    h = max_pool2d(conv2d(x, parameter("w", (6, 1, 5, 5)), padding="same"), 2)
    assert str(h.type) == "float32[N, 6, 14, 14]"
    assert str(flatten(h).type) == "float32[N, 1176]"
    assert str(reshape(x, (-1, 28)).type) == "float32[28*N, 28]"
    assert str(concatenate([x, x]).type) == "float32[2*N, 1, 28, 28]"
    image = input("i", (2, 3, "H", "W"))
    y = conv2d(image, parameter("v", (4, 3, 3, 3)), stride=2)
    assert y.shape == (2, 4, (image.shape[2] - 3) // 2 + 1, (image.shape[3] - 3) // 2 + 1)
    assert conv2d(image, parameter("v", (4, 3, 3, 3)), padding="same").shape == (2, 4, *image.shape[2:])
    with pytest.raises(ShapeError, match="symbolic size"):
        conv2d(image, parameter("v", (4, 3, 3, 3)), stride=2, padding="same")


@pytest.mark.parametrize("k", range(1, 12))
@pytest.mark.parametrize("s", range(1, 6))
def test_same_and_valid_extents(k: int, s: int) -> None:
    w = input("w", (1, 1, k, 1))
    for n in range(1, 41):
        x = input("x", (1, 1, n, 1))
        assert conv2d(x, w, stride=(s, 1), padding="same").shape[2] == -(-n // s)
        if n >= k:
            assert conv2d(x, w, stride=(s, 1)).shape[2] == -(-(n - k + 1) // s)


x2, x4 = input("x", (2, 3)), input("x", (2, 3, 5, 5))
w4 = input("w", (4, 3, 6, 6))
ints = input("n", (2,), "int32")
WRONG = [
    (lambda: x2 + input("y", (4,)), ShapeError, r"add\(x: float32\[2, 3\], y: float32\[4\]\): .* do not broadcast"),
    (lambda: x2 + ints[:, None], DTypeError, "float32 and int32.*gn.cast"),
    (lambda: x2 @ x2, ShapeError, "3 columns but .* 2 rows"),
    (lambda: ints / 2 / ints, DTypeError, "gn.cast"),
    (lambda: apply(Relu(), ints > 0), DTypeError, "relu takes"),
    (lambda: reshape(x2, (4, -1)), ShapeError, "cannot be divided"),
    (lambda: reshape(x2, (4, 2)), ShapeError, "6 elements"),
    (lambda: reshape(x2, (-1, -1)), ShapeError, "only one extent"),
    (lambda: transpose(x2, (0, 0)), ShapeError, "not a permutation"),
    (lambda: concatenate([x2, input("y", (2, 4))]), ShapeError, "differ off axis 0"),
    (lambda: sum(x2, axis=2), ShapeError, "out of range"),
    (lambda: mean(ints), DTypeError, "not a float"),
    (lambda: max(input("e", (0, 3)), axis=0), ShapeError, "no elements"),
    (lambda: squeeze(x2, 0), ShapeError, "not 1"),
    (lambda: pad(x2, [(1, 1)]), ShapeError, "1 paddings for the 2 axes"),
    (lambda: pad(x2, -2), ShapeError, "crops more"),
    (lambda: conv2d(x4, w4), ShapeError, "6x6 window does not fit the 5x5 input: the output would be 0x0"),
    (lambda: conv2d(x4, input("w", (4, 2, 3, 3))), ShapeError, "3 channels, the kernel .* takes 2"),
    (lambda: conv2d(x4, x2), ShapeError, r"kernel \(K,C,R,S\)"),
    (lambda: conv2d(x4, w4, stride=0), ShapeError, "stride must be at least 1"),
    (lambda: conv2d(x4, w4, stride=-1), ShapeError, "stride must be at least 1"),
    (lambda: conv2d(x4, w4, stride=1.5), ShapeError, "stride must be an integer"),
    (lambda: conv2d(x4, w4, padding="full"), ShapeError, '"valid", "same"'),
    (lambda: conv2d(x4, w4, padding=-1), ShapeError, "padding must be at least 0"),
    (lambda: conv2d(x4, w4, strides=2), TypeError, "strides"),
    (lambda: max_pool2d(x4, 6), ShapeError, "does not fit"),
    (lambda: max_pool2d(x4, 2, padding=2), ShapeError, "must be less than the window"),
    (lambda: avg_pool2d(x4, 0), ShapeError, "window must be at least 1"),
    (lambda: max_pool2d(x2, 2), ShapeError, "N,C,H,W"),
    (lambda: matmul(x2, constant(1.0)), ShapeError, "scalar"),
    (lambda: cross_entropy(x2, input("y", (3,), "int32")), ShapeError, "batches differ: 2 rows of logits, 3 labels"),
    (lambda: cross_entropy(x2, input("y", (2,))), DTypeError, "class numbers"),
    (lambda: dropout(x2, 1.0, key(0)), GraphnetError, r"rate must be in \[0, 1\)"),
    (lambda: dropout(x2, float("nan"), key(0)), GraphnetError, r"rate must be in \[0, 1\)"),
    (lambda: dropout(x2, 0.5, constant(1)), DTypeError, "needs a key"),
    (lambda: gn.leaky_relu(x2, float("nan")), GraphnetError, "finite"),
    (lambda: power(x2, float("nan")), GraphnetError, "finite"),
    (lambda: choose(x2, x2, x2), DTypeError, "must be bool"),
    (lambda: cast(x2, "float8"), DTypeError, "float8"),
    (lambda: arange(-1), ShapeError, "extent"),
    (lambda: parameter("p", ("N", 3)), ShapeError, "parameter 'p'.*N"),
    (lambda: parameter("p", (2,), init=np.zeros(3)), ShapeError, "parameter 'p'.*initial value"),
    (lambda: parameter("p", (2,), init="zeros"), GraphnetError, "gn.init"),
    (lambda: init.he_normal(gain=float("nan")), GraphnetError, "finite"),
    (lambda: init.normal(-1.0), GraphnetError, ">= 0"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "kind", "message"), WRONG, ids=[m for _, _, m in WRONG])
def test_errors(make: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as e:
        make()  # type: ignore[operator]
    assert kind is TypeError or "test_node.py:" in str(e.value).rpartition(" (at ")[2]


def test_errors_name_the_users_line() -> None:
    with pytest.raises(ShapeError) as e:
        x2 + input("y", (4,))
    assert f"test_node.py:{line() - 1}" in str(e.value)


def test_graphs() -> None:
    x, p = input("x", (3,)), parameter("p", (3,))
    g = make_graph([sum(x * p)], [x], {p: p - x})
    assert make_graph([sum(x * p)], [x], {p: p - x}) is g
    assert g.parameters == (p,)
    with pytest.raises(GraphnetError, match="input 'x' is needed"):
        make_graph([x + p], [])
    with pytest.raises(GraphnetError, match="not a parameter"):
        make_graph([], [x], {x: x})
    with pytest.raises(ShapeError, match="its new value"):
        make_graph([], [x], {p: sum(p)})


def test_shapes_fed() -> None:
    x, y = input("x", ("N", 3)), input("y", ("N",))
    with pytest.raises(ShapeError, match="N is not 5"):
        evaluate(sum(x, 1) + y, {x: np.zeros((4, 3)), y: np.zeros(5)})
    with pytest.raises(ShapeError, match="wrong rank"):
        evaluate(x, {x: np.zeros(3)})
    with pytest.raises(GraphnetError, match="no value given for input 'x'"):
        evaluate(x)


def _deep(x: Node, depth: int) -> Node:
    for k in range(depth):
        x = x * 1.0 + float(k)
    return x


def test_deep_graphs_need_no_recursion() -> None:
    x = input("x", ())
    assert evaluate(_deep(x, 5000), {x: 0.0})[0] == np.float32(sum_to_float(5000))


def sum_to_float(n: int) -> np.float32:
    total = np.float32(0)
    for k in range(n):
        total = total + np.float32(k)
    return total
