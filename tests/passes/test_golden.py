"""What the symbolic passes make of small graphs: one sentence, the graph, the graph expected."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from graphnet.module import Module
from graphnet.passes.expand import expand
from graphnet.passes.simplify import simplify
from graphnet.passes.stabilise import stabilise
from graphnet.text import parse, to_text

Pass = Callable[[Module], Module]

CASES: list[tuple[Pass, str, str, str]] = [
    (
        simplify,
        "Neutral elements go, signs meet, and what nobody needs is dropped.",
        """
x = input("x", float32[N, 3])
y = input("y", float32[N, 3])
v0 = mul(x, constant(float32, 1.0))
v1 = neg(v0)
v2 = neg(y)
v3 = sub(v2, v1)
v4 = exp(v3)
return v3
""",
        """
x = input("x", float32[N, 3])
y = input("y", float32[N, 3])
v0 = sub(x, y)
return v0
""",
    ),
    (
        simplify,
        "x + 0 stays, because of -0.0; zeros that broadcast x stay too; integers have no such zero.",
        """
x = input("x", float32[3])
n = input("n", int32[3])
v0 = constant(float32[2, 1], [[0.0], [0.0]])
v1 = add(x, constant(float32, 0.0))
v2 = sub(x, v0)
v3 = add(n, constant(int32, 0))
return v1, v2, v3
""",
        """
x = input("x", float32[3])
n = input("n", int32[3])
v0 = add(x, constant(float32, 0.0))
v1 = constant(float32[2, 1], [[0.0], [0.0]])
v2 = sub(x, v1)
return v0, v2, n
""",
    ),
    (
        simplify,
        "Transposes and reshapes meet and cancel.",
        """
x = input("x", float32[2, 3, 4])
v0 = transpose(x, perm=(1, 2, 0))
v1 = transpose(v0, perm=(2, 0, 1))
v2 = reshape(v1, shape=(6, 4))
v3 = reshape(v2, shape=(24,))
return v1, v3
""",
        """
x = input("x", float32[2, 3, 4])
v0 = reshape(x, shape=(24,))
return x, v0
""",
    ),
    (
        simplify,
        "Constants fold where they do not grow, and sizes stay while they are symbolic.",
        """
x = input("x", float32[N, 2])
v0 = size(dim=N, dtype="float32")
v1 = size(dim=2, dtype="float32")
v2 = constant(float32[2], [1.0, 2.0])
v3 = mul(v2, v1)
v4 = broadcast_to(v3, shape=(50, 2))
v5 = sum(v4, axes=(0,), keepdims=False)
v6 = mul(x, v3)
v7 = div(v6, v0)
return v5, v7
""",
        """
x = input("x", float32[N, 2])
v0 = constant(float32[2], [2.0, 4.0])
v1 = broadcast_to(v0, shape=(50, 2))
v2 = sum(v1, axes=(0,), keepdims=False)
v3 = mul(x, v0)
v4 = size(dim=N, dtype="float32")
v5 = div(v3, v4)
return v2, v5
""",
    ),
    (
        simplify,
        "A scalar that a gradient spread over a mean meets its operand as the scalar it is.",
        """
x = input("x", float32[N, 3])
v0 = size(dim=N, dtype="float32")
v1 = reciprocal(v0)
v2 = reshape(v1, shape=(1,))
v3 = broadcast_to(v2, shape=(N,))
v4 = reshape(v3, shape=(N, 1))
v5 = broadcast_to(v4, shape=(N, 3))
v6 = mul(v5, x)
return v6
""",
        """
x = input("x", float32[N, 3])
v0 = size(dim=N, dtype="float32")
v1 = reciprocal(v0)
v2 = mul(v1, x)
return v2
""",
    ),
    (
        stabilise,
        "log of softmax, written out, becomes log_softmax.",
        """
x = input("x", float32[N, 3])
v0 = exp(x)
v1 = sum(v0, axes=(1,), keepdims=True)
v2 = div(v0, v1)
v3 = log(v2)
return v3
""",
        """
x = input("x", float32[N, 3])
v0 = log_softmax(x, axis=1)
return v0
""",
    ),
    (
        stabilise,
        "The gradient of binary cross-entropy after a sigmoid becomes a multiple of p - y.",
        """
z = input("z", float32[N])
y = input("y", float32[N])
g = input("g", float32)
p = sigmoid(z)
v0 = mul(g, y)
v1 = div(v0, p)
v2 = sub(constant(float32, 1.0), y)
v3 = mul(g, v2)
v4 = sub(constant(float32, 1.0), p)
v5 = div(v3, v4)
v6 = neg(v5)
v7 = add(v6, v1)
v8 = mul(p, v4)
v9 = mul(v7, v8)
v10 = neg(v9)
return v10
""",
        """
z = input("z", float32[N])
y = input("y", float32[N])
g = input("g", float32)
v0 = sigmoid(z)
v1 = sub(y, v0)
v2 = mul(g, v1)
v3 = neg(v2)
return v3
""",
    ),
    (
        expand,
        "A composite op becomes its graph, down to ops with a body.",
        """
x = input("x", float32[N, 3])
v0 = log_softmax(x, axis=1)
return v0
""",
        """
x = input("x", float32[N, 3])
v0 = max(x, axes=(1,), keepdims=True)
v1 = stop_gradient(v0)
v2 = sub(x, v1)
v3 = exp(v2)
v4 = sum(v3, axes=(1,), keepdims=True)
v5 = log(v4)
v6 = sub(v2, v5)
return v6
""",
    ),
]


@pytest.mark.parametrize(("run", "sentence", "before", "after"), CASES, ids=[sentence for _, sentence, _, _ in CASES])
def test_golden(run: Pass, sentence: str, before: str, after: str) -> None:
    result = run(Module(parse(before))).graph
    # Sites depend on who made a node first in this process.
    assert re.sub("  # .*", "", to_text(result)) == after.lstrip()
    assert run(Module(result)).graph is result, "a second run changes nothing"
