"""Products of complex numbers, parts apart: any sizes and vectors give the sums, whoever computes them."""

import ctypes

import numpy as np
import pytest

from codegen.compute import Computation, Reduce, Reduction, axis
from codegen.cpu import compile_kernels
from codegen.expr import Buffer, Var, select
from codegen.interpret import interpret
from codegen.kernels.cpu import schedule
from codegen.loops import Prefetch, Store, statements, store
from codegen.machine import machine
from codegen.text import parse, print_kernel
from codegen.verify import verify

b, f, i, j = (Var(n) for n in "bfij")


def conjugate_product(frequencies, rows, terms, columns, by_terms=False, dtype="f32"):
    """relu(part b of the sum of x conj(y)) + 1; x (F,2,rows,terms), or with terms first, and y (F,2,terms,columns)."""
    x = Buffer("x", dtype, (frequencies, 2, terms, rows) if by_terms else (frequencies, 2, rows, terms))
    y = Buffer("y", dtype, (frequencies, 2, terms, columns))
    s = Buffer("s", dtype, (frequencies, 2, rows, columns))
    a, k, total = axis("a", 2), axis("k", terms), Var("total", dtype)
    narrow = x[(f, a.var, k.var, i) if by_terms else (f, a.var, i, k.var)]
    part = y[f, (a.var + b) % 2, k.var, j]
    reduction = Reduction(total, Reduce("sum", (k, a), narrow * select(a.var < b, -part, part)))
    axes = (axis("f", frequencies), axis("b", 2), axis("i", rows), axis("j", columns))
    result = select(total < 0.0, 0.0, total) + 1.0
    return Computation("products", axes, (reduction,), (), (store(s, (f, b, i, j), result),), (x, y, s))


def expected(x, y, by_terms):
    p, q = (z[:, 0].astype("d") + 1j * z[:, 1] for z in (x, y))
    z = (p.swapaxes(1, 2) if by_terms else p) @ q.conj()
    return np.maximum(np.stack([z.real, z.imag], 1), 0) + 1


def arrays_of(c):
    rng = np.random.default_rng(0)
    return [rng.standard_normal(p.shape).astype("f" if p.dtype == "f32" else "d") for p in c.params]


def run(kernel, arrays, m, threads=1):
    arrays = [*arrays[:-1], np.full_like(arrays[-1], np.nan)]
    code = compile_kernels([kernel], m=m)
    call = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arrays), *[ctypes.c_int64] * 2)(code.address(kernel.name))
    for t in range(threads):
        call(*(a.ctypes.data for a in arrays), t, threads)
    return arrays[-1]


@pytest.mark.parametrize("by_terms", [False, True])
@pytest.mark.parametrize("extension", ["simd128", "avx2", ""])
@pytest.mark.parametrize(
    "sizes", [(3, 12, 7, 32), (2, 2, 2, 2), (1, 17, 150, 40), (40, 5, 1, 3), (2, 301, 70, 64), (1, 64, 9, 19)], ids=str
)
def test_sums(sizes, extension, by_terms):
    try:
        m = machine(extension)
    except Exception:
        pytest.skip(f"no {extension} here")
    for dtype, tolerance in (("f32", 2e-5), ("f64", 1e-12)):
        c = conjugate_product(*sizes, by_terms, dtype)
        kernel, how = schedule(c, m)
        assert "complex numbers" in how
        verify(kernel, "cpu")
        assert parse(print_kernel(kernel)) == kernel
        arrays = arrays_of(c)
        one, three = run(kernel, arrays, m), run(kernel, arrays, m, 3)
        np.testing.assert_allclose(one, expected(*arrays[:2], by_terms), rtol=0, atol=tolerance * max(sizes[2], 16))
        np.testing.assert_array_equal(one, three)  # the same bits


def test_the_interpreter_agrees_bit_by_bit():
    c = conjugate_product(2, 5, 9, 11)
    kernel, _ = schedule(c, machine("simd128"))
    arrays = arrays_of(c)
    got = run(kernel, arrays, machine("simd128"))
    interpret(kernel, arrays)
    np.testing.assert_array_equal(got, arrays[-1])


def test_matrices_from_memory_are_fetched_and_large_results_stored_past_the_caches():
    kernel, _ = schedule(conjugate_product(256, 96, 64, 64), machine())
    assert any(isinstance(s, Prefetch) for s in statements(kernel.body))
    kernel, _ = schedule(conjugate_product(4096, 96, 16, 64), machine())
    stores = [s for s in statements(kernel.body) if isinstance(s, Store) and s.buffer.space == "global"]
    assert stores and all(s.streams for s in stores)
