"""Matrix products of graphs, whatever lies how: transposed, broadcast, with the batch innermost, with what follows."""

import re

import numpy as np
import pytest

import graphnet as gn


def compiled(outputs, inputs, arrays, threads, **kwargs):
    return gn.compile(outputs, inputs=inputs, threads=threads, **kwargs)(*arrays)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("right", ["rows", "columns"])
@pytest.mark.parametrize("left", ["rows", "columns"])
@pytest.mark.parametrize(
    "m, k, n", [(1, 40, 70), (3, 600, 500), (20, 600, 500), (140, 600, 500), (33, 70, 1), (9, 9, 9)]
)
def test_all_transpositions(m, k, n, left, right, dtype):
    rng = np.random.default_rng(0)
    a = rng.standard_normal((m, k) if left == "rows" else (k, m)).astype(dtype)
    b = rng.standard_normal((k, n) if right == "rows" else (n, k)).astype(dtype)
    x, y = gn.input("x", a.shape, dtype), gn.input("y", b.shape, dtype)
    product = (x if left == "rows" else gn.transpose(x, (1, 0))) @ (y if right == "rows" else gn.transpose(y, (1, 0)))
    one, two, five = (compiled(gn.relu(product), [x, y], [a, b], t) for t in (1, 2, 5))
    want = (a if left == "rows" else a.T).astype("d") @ (b if right == "rows" else b.T)
    np.testing.assert_allclose(one, np.maximum(want, 0), rtol=0, atol=2e-4 if dtype == "float32" else 1e-11)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, five)


@pytest.mark.parametrize("right", ["rows", "columns"])
@pytest.mark.parametrize("shapes", [((3, 20, 70), (3, 70, 40)), ((20, 70), (3, 70, 40)), ((2, 3, 20, 70), (3, 70, 40))])
def test_batches_broadcast(shapes, right):
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(s).astype("f") for s in shapes)
    stored = b if right == "rows" else np.ascontiguousarray(b.swapaxes(-1, -2))
    x, y = gn.input("x", a.shape), gn.input("y", stored.shape)
    product = x @ (y if right == "rows" else gn.transpose(y, (0, 2, 1)))
    got = compiled(product, [x, y], [a, stored], 2)
    np.testing.assert_allclose(got, a.astype("d") @ b, rtol=0, atol=1e-4)


@pytest.mark.parametrize("batch", [1, 16, 24])
def test_a_dense_layer_and_its_gradients_with_momentum(batch):
    """Forward, dy @ w^T and x^T @ dy in the update's kernel, large enough for blocks."""
    rng = np.random.default_rng(0)
    x, dy = gn.input("x", ("N", 700)), gn.input("dy", ("N", 450))
    w = gn.parameter("w", (700, 450))
    loss = gn.sum((x @ w) * dy)
    dx, dw = gn.gradient(loss, [x, w])
    f = gn.compile([gn.relu(x @ w), dx], inputs=[x, dy], updates=gn.optim.momentum(w, dw, 0.1), threads=2)
    a, b = rng.standard_normal((batch, 700)).astype("f"), rng.standard_normal((batch, 450)).astype("f")
    f.specialise({"N": batch})
    before = f.state["w"].astype("d")
    y, got = f(a, b)
    np.testing.assert_allclose(y, np.maximum(a @ before, 0), rtol=0, atol=1e-4)
    np.testing.assert_allclose(got, b @ before.T, rtol=0, atol=1e-4)
    np.testing.assert_allclose(f.state["w"], before - 0.1 * (a.astype("d").T @ b), rtol=0, atol=1e-4)


@pytest.mark.parametrize("k", [30, 2000])
def test_a_transposed_operand_is_not_copied(k):
    x, w = gn.input("x", (16, k)), gn.input("w", (40, k))
    assert len(gn.compile(x @ gn.transpose(w, (1, 0)), inputs=[x, w]).specialise({}).program.steps) == 1


def test_accumulators_of_ragged_columns_stay_in_registers():
    """LLVM keeps a buffer in memory that is accessed under a mask."""
    x, w = gn.input("x", (64, 256)), gn.input("w", (256, 10))
    f = gn.compile(x @ w, inputs=[x, w])
    f.specialise({})
    lines = f.source("llvm").splitlines()
    registers = {line.split()[0] for line in lines if " = alloca " in line}
    of = "getelementptr inbounds float, ptr"
    registers |= {line.split()[0] for line in lines for r in registers if f"{of} {r}," in line}
    masked = set(re.findall(r"call .*@llvm\.masked.*ptr align 4 (%\w+)", f.source("llvm")))
    assert registers and masked and not registers & masked
