"""The CPU target below the graph: machine code against the interpreter, threads, other machines."""

import ctypes
from dataclasses import replace

import numpy as np
import pytest

from codegen.compute import Computation, Reduce, Reduction, axis
from codegen.cpu import compile_kernels, cross_assembly
from codegen.emit import emit_functions
from codegen.errors import CodegenError
from codegen.expr import Buffer, Var, const, maximum, select
from codegen.interpret import interpret
from codegen.kernels.contract_outer import choose_tile
from codegen.kernels.cpu import schedule
from codegen.loops import Alloc, Kernel, Store
from codegen.machine import EXTENSIONS, Machine, machine
from codegen.runtime.arrays import aligned_empty
from codegen.runtime.threads import Pool
from codegen.text import parse, print_kernel
from codegen.verify import verify

i, j, total = Var("i"), Var("j"), Var("total", "f32")


def matmul(m, n, k, columns_first=False):
    """c = relu(a @ b), b stored by columns if asked."""
    a, c = Buffer("a", "f32", (m, k)), Buffer("c", "f32", (m, n))
    b = Buffer("b", "f32", (n, k) if columns_first else (k, n))
    kk = axis("kk", k)
    value = a[i, kk.var] * (b[j, kk.var] if columns_first else b[kk.var, j])
    reduction = Reduction(total, Reduce("sum", (kk,), value))
    store = Store(c, (i, j), select(total < 0.0, 0.0, total))
    return Computation("product", (axis("i", m), axis("j", n)), (reduction,), (), (store,), (a, b, c))


def native(kernel, arrays, m, threads=1):
    code = compile_kernels([kernel], m=m)
    kinds = [ctypes.c_void_p] * len(arrays) + [ctypes.c_int64] * 2
    f = ctypes.CFUNCTYPE(None, *kinds)(code.address(kernel.name))
    for t in range(threads):  # threads only divide the work: running their shares in turn is the same
        f(*(a.ctypes.data for a in arrays), t, threads)


@pytest.mark.parametrize("extension", ["", "simd128"])
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("columns_first", [False, True], ids=["rows", "columns"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (5, 33, 7), (13, 16, 40), (30, 20, 18), (7, 3, 129)])
def test_products_of_all_shapes(shape, columns_first, threads, extension):
    c = matmul(*shape, columns_first)
    kernel, how = schedule(c, machine(extension))
    verify(kernel, "cpu")
    assert parse(print_kernel(kernel)) == kernel
    rng = np.random.default_rng(0)
    a, b = (rng.standard_normal(x.shape).astype("f") for x in c.params[:2])
    got, slow = np.full(c.params[2].shape, np.nan, "f"), np.full(c.params[2].shape, np.nan, "f")
    native(kernel, [a, b, got], machine(extension), threads)
    want = np.maximum(a.astype("d") @ (b.T if columns_first else b), 0)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5, err_msg=how)
    if np.prod(shape) < 3000:
        interpret(kernel, [a, b, slow])
        np.testing.assert_array_equal(got, slow)  # the same bits


@pytest.mark.parametrize("rows", [1, 2, 6, 10, 16, 100])
@pytest.mark.parametrize("sides", [1, 3, 14])
@pytest.mark.parametrize("columns", [1, 10, 16, 64, 100])
@pytest.mark.parametrize("name", EXTENSIONS)
def test_tiles_fit_in_registers(rows, sides, columns, name):
    _, width, registers = EXTENSIONS[name]
    tile = choose_tile(rows, sides, columns, width // 4, registers)
    assert tile.fits(registers) and tile.rows <= rows and tile.sides <= sides


def test_the_plain_fallback_serves_aarch64():
    """The same kernel for 128-bit vectors compiles for an Arm CPU, with its fused multiply-add."""
    arm = Machine("simd128", "generic", "", 16, 32)
    kernel, _ = schedule(matmul(12, 64, 40), arm)
    assembly = cross_assembly(emit_functions((kernel,)), "aarch64-unknown-linux-gnu")
    assert "fmla\tv" in assembly
    with pytest.raises(CodegenError, match="no target 'z80'"):
        cross_assembly(emit_functions((kernel,)), "z80")


def test_an_extension_that_the_host_lacks_is_refused_by_name():
    with pytest.raises(CodegenError, match=r"'mmx'.*simd128"):
        machine("mmx")


def test_a_pool_runs_a_job_on_every_thread_and_ends():
    seen = []
    job = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(lambda a, t, n: seen.append((t, n)))
    address = ctypes.cast(job, ctypes.c_void_p).value
    p = Pool(3)
    for _ in range(50):
        p.run(address, 0)
    p.stop()
    assert sorted(seen) == sorted([(0, 3), (1, 3), (2, 3)] * 50)
    assert not any(w.is_alive() for w in p.workers)


@pytest.mark.parametrize("skip", [0, 1])
def test_stores_past_the_caches_store_the_same(skip: int) -> None:
    """Where the array is aligned (skip 0) and where it is not; with a tail that is masked."""
    m = machine()
    tiny = replace(m, cache_bytes=64)  # everything is much more than this
    x, y = Buffer("x", "f32", (1000,)), Buffer("y", "f32", (1000,))
    c = Computation("twice", (axis("i", 1000),), (), (), (Store(y, (i,), x[i] * 2.0),), (x, y))
    kernel, _ = schedule(c, tiny)
    assert "stream(" in print_kernel(kernel) and "stream(" not in print_kernel(schedule(c, m)[0])
    given, out = np.arange(1000, dtype="f"), aligned_empty(4100).view("f")[skip : skip + 1000]
    native(kernel, [given, out], m)
    np.testing.assert_array_equal(out, 2 * given)


@pytest.mark.parametrize("skip", [0, 1, 4, 8])
@pytest.mark.parametrize("columns", [40, 44, 47, 36, 64, 14])
@pytest.mark.parametrize("padding", [0, 1])
def test_rows_that_end_within_a_line_are_stored_past_the_caches(padding: int, columns: int, skip: int) -> None:
    """Pooling of rows whose results are halves and quarters of lines, and of others, wherever the array begins."""
    m = machine()
    x, y = Buffer("x", "f32", (40, 2, 2 * columns)), Buffer("y", "f32", (40, columns))
    p, o, r = axis("p", 40), axis("o", columns), axis("r", 2)
    s = axis("s", 2 + padding, maximum(const(0, "i64") - (o.var * 2 - padding), 0))
    window = Reduce("max", (r, s), x[p.var, r.var, o.var * 2 + s.var - padding])
    stores = (Store(y, (p.var, o.var), total),)
    c = Computation("pool", (p, o), (Reduction(total, window),), (), stores, (x, y))
    kernel, _ = schedule(c, replace(m, cache_bytes=64))
    text = print_kernel(kernel)
    assert parse(text) == kernel
    if columns % 4 == 0:
        assert f", {4 * min(16, columns & -columns)})" in text
        assert ("row_y = local(f32, " in text) == bool(padding)
    given = np.random.default_rng(columns).standard_normal(x.shape, dtype=np.float32)
    out = aligned_empty(4 * (40 * columns + 8)).view("f")[skip : skip + 40 * columns].reshape(40, columns)
    native(kernel, [given, out], m)
    pairs = given.reshape(40, 2, columns, 2).max((1, 3))
    if padding:
        pairs[:, 1:] = np.maximum(pairs[:, 1:], given[:, :, 1:-1:2].max(1))
    np.testing.assert_array_equal(out, pairs)


def test_registers_are_not_stored_past_caches() -> None:
    r = Buffer("r", "f32", (4,), "register")
    with pytest.raises(CodegenError, match="register memory has no caches to pass"):
        verify(Kernel("k", (), (Alloc(r), Store(r, (const(0, "i64"),), const(1.0, "f32"), 64))), "cpu")
