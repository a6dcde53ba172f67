"""Long sums of products in chunks: any shape, the same bits for any number of threads, the errors of short sums."""

import ctypes
import re

import numpy as np
import pytest

from codegen.compute import Computation, Reduce, Reduction, axis
from codegen.cpu import compile_kernels
from codegen.expr import Buffer, Var, select
from codegen.interpret import interpret
from codegen.kernels import contract_chunked
from codegen.kernels.contract_chunked import schedule
from codegen.kernels.cpu import schedule as any_schedule
from codegen.kernels.product import products
from codegen.loops import Prefetch, Store, statements
from codegen.machine import machine
from codegen.text import parse, print_kernel
from codegen.verify import verify

i, j = Var("i"), Var("j")


def product(rows, terms, columns, dtype="f32", batch=0, long=False):
    """c[i, j] = relu(sum_k a[k, i] b[k, j] + bias[j]): a weight gradient of a dense layer. `long`: an epilogue of many
    operations that reads c."""
    outer = (axis("s", batch),) if batch else ()
    s, lead = tuple(a.var for a in outer), (batch,) if batch else ()
    a, b = Buffer("a", dtype, (*lead, terms, rows)), Buffer("b", dtype, (*lead, terms, columns))
    bias, c = Buffer("bias", dtype, (columns,)), Buffer("c", dtype, (*lead, rows, columns))
    k, total, v = axis("k", terms), Var("total", dtype), Var("v", dtype)
    value = total + bias[j]
    for _ in range(8 if long else 0):
        value = value * 0.5 + c[(*s, i, j)]
    reduction = Reduction(total, Reduce("sum", (k,), a[(*s, k.var, i)] * b[(*s, k.var, j)]))
    stores = (Store(c, (*s, i, j), v if long else select(v < 0.0, 0.0, v)),)
    axes = (*outer, axis("i", rows), axis("j", columns))
    return Computation("product", axes, (reduction,), ((v, value),), stores, (a, b, bias, c))


def product_in_numpy(arrays, long=False):
    a, b, bias, c = (x.astype("d") for x in arrays)
    v = a.swapaxes(-1, -2) @ b + bias
    for _ in range(8 if long else 0):
        v = v * 0.5 + c
    return v if long else np.maximum(v, 0)


def weight_gradient(n, size, window, c, k, dtype="f32"):
    """dw[r, s, c, k] = sum_npq x[n, p + r, q + s, c] dy[n, p, q, k], channels innermost."""
    (h, w), (rr, ss) = size, window
    p, q = h - rr + 1, w - ss + 1
    x, dy = Buffer("x", dtype, (n, h, w, c)), Buffer("dy", dtype, (n, p, q, k))
    dw = Buffer("dw", dtype, (rr, ss, c, k))
    r, s, ci, kk = (axis(name, e) for name, e in zip("rsck", (rr, ss, c, k), strict=True))
    sums = tuple(axis(name, e) for name, e in zip("npq", (n, p, q), strict=True))
    ni, pi, qi = (a.var for a in sums)
    total = Var("total", dtype)
    value = x[ni, pi + r.var, qi + s.var, ci.var] * dy[ni, pi, qi, kk.var]
    reduction = Reduction(total, Reduce("sum", sums, value))
    stores = (Store(dw, (r.var, s.var, ci.var, kk.var), total),)
    return Computation("weights", (r, s, ci, kk), (reduction,), (), stores, (x, dy, dw))


def weight_gradient_in_numpy(arrays):
    x, dy, dw = (v.astype("d") for v in arrays)
    (rr, ss), (p, q) = dw.shape[:2], dy.shape[1:3]
    parts = [[np.einsum("npqc,npqk->ck", x[:, r : r + p, s : s + q], dy) for s in range(ss)] for r in range(rr)]
    return np.array(parts)


def arrays_of(c, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(b.shape).astype("f" if b.dtype == "f32" else "d") for b in c.params]


def scheduled(c, m, monkeypatch=None):
    """The schedule; whether it pays is not asked with `monkeypatch`, so that shapes can be small."""
    if monkeypatch:
        monkeypatch.setattr(contract_chunked, "_pays", lambda p, r: True)
    found = [schedule(c, p, m) for p in products(c) if c.axes[-1] in p.columns]
    kernel, how = next(f for f in found if f)
    verify(kernel, "cpu")
    assert parse(print_kernel(kernel)) == kernel
    return kernel, how


def run(kernel, arrays, m, threads=1):
    """The kernel's result, the shares of its threads run in turn."""
    arrays = [*arrays[:-1], arrays[-1].copy()]
    code = compile_kernels([kernel], m=m)
    f = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arrays), *[ctypes.c_int64] * 2)(code.address(kernel.name))
    for t in range(threads):
        f(*(a.ctypes.data for a in arrays), t, threads)
    return arrays[-1]


def check(c, in_numpy, m, monkeypatch=None, tolerance=2e-6):
    kernel, how = scheduled(c, m, monkeypatch)
    arrays = arrays_of(c)
    got, want = run(kernel, arrays, m), in_numpy(arrays)
    np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max(), err_msg=how)
    for threads in (2, 5):
        np.testing.assert_array_equal(run(kernel, arrays, m, threads), got)
    return how


@pytest.mark.parametrize("rows", [1, 7, 37, 64])
@pytest.mark.parametrize("columns", [2, 16, 45, 100])
@pytest.mark.parametrize("terms", [1, 5, 1009])
def test_products_ragged_along_every_axis(rows, terms, columns, monkeypatch):
    check(product(rows, terms, columns), product_in_numpy, machine(), monkeypatch)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_sums_that_end_at_a_chunk_just_before_and_just_after(more, monkeypatch):
    _, how = scheduled(product(40, 4096, 48), machine(), monkeypatch)
    size = int(re.search(r"(\d+) terms a chunk", how)[1])
    assert size < 4096
    for chunks in (1, 2, 3):
        check(product(40, chunks * size + more, 48), product_in_numpy, machine(), monkeypatch)


@pytest.mark.parametrize("window", [(1, 1), (3, 2)])
@pytest.mark.parametrize(("c", "k"), [(3, 16), (19, 33), (32, 5)])
def test_weight_gradients_of_convolutions(c, k, window, monkeypatch):
    """Rows of one axis or two, taps beside them, a sum along three axes."""
    check(weight_gradient(3, (11, 13), window, c, k), weight_gradient_in_numpy, machine(), monkeypatch)


@pytest.mark.parametrize("extension", ["simd128", "avx2", ""])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_vectors_of_any_width(dtype, extension, monkeypatch):
    try:
        m = machine(extension)
    except Exception:
        pytest.skip(f"no {extension} here")
    tolerance = 2e-6 if dtype == "f32" else 1e-14
    check(product(21, 1501, 19, dtype), product_in_numpy, m, monkeypatch, tolerance)
    check(weight_gradient(2, (9, 7), (3, 3), 5, 7, dtype), weight_gradient_in_numpy, m, monkeypatch, tolerance)


def test_a_batch_of_products_and_a_long_epilogue(monkeypatch):
    c = product(10, 700, 33, batch=3, long=True)
    check(c, lambda arrays: product_in_numpy(arrays, long=True), machine(), monkeypatch)


def test_the_interpreter_agrees_bit_by_bit(monkeypatch):
    c = weight_gradient(2, (5, 6), (2, 2), 3, 5)
    kernel, _ = scheduled(c, machine("simd128"), monkeypatch)
    arrays = arrays_of(c)
    got = run(kernel, arrays, machine("simd128"))
    interpret(kernel, arrays)
    np.testing.assert_array_equal(got, arrays[-1])


def test_a_long_sum_is_as_exact_as_its_chunks_are_short(monkeypatch):
    """Of 60,000 terms one after the other, errors would come near 5e-6 of the largest result."""
    assert "terms a chunk" in check(product(16, 60_000, 16), product_in_numpy, machine(), monkeypatch, 1e-6)


def test_it_is_chosen_where_both_operands_come_from_far_away():
    c = weight_gradient(8, (30, 30), (3, 3), 64, 64)
    kernel, how = any_schedule(c, machine())
    assert "terms a chunk" in how
    assert any(isinstance(s, Prefetch) for s in statements(kernel.body))
    assert "terms a chunk" not in any_schedule(weight_gradient(1, (8, 8), (3, 3), 16, 16), machine())[1]
