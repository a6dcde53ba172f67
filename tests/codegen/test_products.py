"""Matrix products in blocks: any cut gives the same sums, packed or not, turned over or not."""

import ctypes
from dataclasses import replace

import numpy as np
import pytest

from codegen.compute import Computation, Reduce, Reduction, axis
from codegen.cpu import compile_kernels
from codegen.emit import emit_functions
from codegen.expr import Buffer, Expr, Var, select
from codegen.interpret import interpret
from codegen.kernels.blocking import choose, chunk, register_tile
from codegen.kernels.contract_packed import Blocking, matrix_product, schedule
from codegen.kernels.cpu import schedule as any_schedule
from codegen.kernels.product import products
from codegen.kernels.transpose import transposed_tile
from codegen.loops import Kernel, Prefetch, Store, loop, statements, store
from codegen.machine import EXTENSIONS, machine
from codegen.text import parse, print_kernel
from codegen.verify import verify

i, j = Var("i"), Var("j")


def matmul(m, k, n, left="rows", right="rows", dtype="f32", batch=0, long=False, many=False):
    """c = relu(a @ b + bias), a and b stored by rows or by columns; `long`: an update of p in place instead;
    `many`: one b for every a of the batch."""
    outer = (axis("s", batch),) if batch else ()
    s = tuple(a.var for a in outer)
    lead = (batch,) if batch else ()
    a = Buffer("a", dtype, lead + ((m, k) if left == "rows" else (k, m)))
    b = Buffer("b", dtype, (lead if many else ()) + ((k, n) if right == "rows" else (n, k)))
    bias, c = Buffer("bias", dtype, (n,)), Buffer("c", dtype, (*lead, m, n))
    kk, total, v = axis("k", k), Var("total", dtype), Var("v", dtype)
    x = a[(*s, i, kk.var) if left == "rows" else (*s, kk.var, i)]
    y = b[(*(s if many else ()), *((kk.var, j) if right == "rows" else (j, kk.var)))]
    value: Expr = total + bias[j]
    if long:  # more operations than an epilogue repeats for every register
        for _ in range(8):
            value = value * 0.5 + c[(*s, i, j)]
    lets = ((v, value),)
    result = v if long else select(v < 0.0, 0.0, v)
    reduction = Reduction(total, Reduce("sum", (kk,), x * y))
    stores = (Store(c, (*s, i, j), result),)
    return Computation("product", (*outer, axis("i", m), axis("j", n)), (reduction,), lets, stores, (a, b, bias, c))


def product_of(c):
    return next(m for m in (matrix_product(c, p) for p in products(c)) if m)


def arrays_of(c, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(b.shape).astype("f" if b.dtype == "f32" else "d") for b in c.params]


def run(kernel, arrays, m, threads=1):
    """The kernel's result, the shares of its threads run in turn."""
    arrays = [*arrays[:-1], arrays[-1].copy()]
    code = compile_kernels([kernel], m=m)
    kinds = [ctypes.c_void_p] * len(arrays) + [ctypes.c_int64] * 2
    f = ctypes.CFUNCTYPE(None, *kinds)(code.address(kernel.name))
    for t in range(threads):
        f(*(a.ctypes.data for a in arrays), t, threads)
    return arrays[-1]


def expected(arrays, left, right, long=False):
    a, b, bias, c = (x.astype("d") for x in arrays)
    v = (a if left == "rows" else a.swapaxes(-1, -2)) @ (b if right == "rows" else b.T) + bias
    if not long:
        return np.maximum(v, 0)
    for _ in range(8):
        v = v * 0.5 + c
    return v


BLOCKINGS = [
    Blocking(rows=4, vectors=2, depth=16, row_blocks=1, column_blocks=1, packed=True),
    Blocking(rows=4, vectors=2, depth=16, row_blocks=3, column_blocks=2, packed=False),
    Blocking(rows=3, vectors=1, depth=20, row_blocks=2, column_blocks=3, packed=True),
    Blocking(rows=64, vectors=1, depth=1000, row_blocks=1, column_blocks=2, packed=False),
    Blocking(rows=16, vectors=1, depth=16, row_blocks=1, column_blocks=2, packed=False, ahead=3, copied=True),
    Blocking(rows=4, vectors=2, depth=20, row_blocks=1, column_blocks=1, packed=False, ahead=2, copied=True),
    Blocking(rows=2, vectors=1, depth=8, row_blocks=1, column_blocks=1, packed=False, ahead=0, shared=True),
    Blocking(4, vectors=1, depth=8, row_blocks=1, column_blocks=1, packed=False, ahead=2, copied=True, shared=True),
]


@pytest.mark.parametrize("right", ["rows", "columns"])
@pytest.mark.parametrize("left", ["rows", "columns"])
@pytest.mark.parametrize("shape", [(13, 45, 70), (8, 32, 64), (5, 7, 3)])
@pytest.mark.parametrize("blocking", BLOCKINGS, ids=str)
def test_blocks_of_any_size_give_the_same_product(blocking, shape, left, right):
    c = matmul(*shape, left, right)
    m = product_of(c)
    tiles = -(-shape[0] // blocking.rows), -(-shape[2] // (machine().lanes(4) * blocking.vectors))
    blocking = replace(
        blocking,
        row_blocks=min(blocking.row_blocks, tiles[0]),
        column_blocks=min(blocking.column_blocks, tiles[1]),
        packed=blocking.packed or m.turned,
    )
    kernel, how = schedule(m, blocking, machine())
    verify(kernel, "cpu")
    assert parse(print_kernel(kernel)) == kernel
    arrays = arrays_of(c)
    one, three = run(kernel, arrays, machine(), 1), run(kernel, arrays, machine(), 3)
    np.testing.assert_allclose(one, expected(arrays, left, right), rtol=0, atol=1e-4, err_msg=how)
    np.testing.assert_array_equal(one, three)  # the same bits


@pytest.mark.parametrize("right", ["rows", "columns"])
@pytest.mark.parametrize("extension", ["simd128", "avx2", ""])
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_vectors_of_any_width(dtype, extension, right):
    try:
        m = machine(extension)
    except Exception:
        pytest.skip(f"no {extension} here")
    c = matmul(7, 21, 19, right=right, dtype=dtype)
    kernel, _ = schedule(product_of(c), Blocking(3, 2, 8, 2, 1, True), m)
    arrays = arrays_of(c)
    got = run(kernel, arrays, m)
    np.testing.assert_allclose(got, expected(arrays, "rows", right), rtol=0, atol=1e-5 if dtype == "f32" else 1e-13)


@pytest.mark.parametrize("packed", [False, True])
def test_chunks_make_a_long_sum_more_exact(packed):
    c = matmul(16, 40_000, 32)
    arrays = arrays_of(c)
    want = expected(arrays, "rows", "rows")
    kernel, _ = schedule(product_of(c), Blocking(8, 2, 32, 1, 1, packed), machine())
    assert np.abs(run(kernel, arrays, machine()) - want).max() <= 1e-6 * np.abs(want).max()


def test_the_interpreter_agrees_bit_by_bit():
    c = matmul(5, 11, 9, right="columns")
    kernel, _ = schedule(product_of(c), Blocking(2, 1, 4, 2, 2, True), machine("simd128"))
    arrays = arrays_of(c)
    got = run(kernel, arrays, machine("simd128"))
    interpret(kernel, arrays)
    np.testing.assert_array_equal(got, arrays[-1])


@pytest.mark.parametrize("right", ["rows", "columns"])
def test_a_batch_of_products_and_an_update_in_place(right):
    c = matmul(10, 40, 33, right=right, batch=3, long=True)
    kernel, _ = schedule(product_of(c), Blocking(4, 2, 16, 2, 1, True), machine())
    arrays = arrays_of(c)
    got = run(kernel, arrays, machine(), 2)
    np.testing.assert_allclose(got, expected(arrays, "rows", right, long=True), rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    "case, how",
    [
        ((256, 256, 256, "rows", "rows"), "register tile"),  # in L2 as it is
        ((1024, 1024, 1024, "rows", "rows"), "rows packed"),
        ((16, 4096, 4096, "rows", "rows"), "shares of the columns, 8 terms at a time"),  # from memory
        ((9216, 16, 4096, "columns", "rows"), "14x32 register tile"),  # a short sum: the output is all there is
        ((64, 64, 64, "columns", "columns"), "columns packed"),
        ((4, 500, 300, "rows", "columns"), "lane dot products"),
        ((4, 500, 300, "columns", "columns"), "columns packed"),  # the left operand's sum does not lie in rows
    ],
    ids=str,
)
def test_the_form_of_a_product_follows_from_its_shape(case, how):
    m = machine()
    if m.extension != "avx512":
        pytest.skip("the sizes are those of 512-bit vectors")
    kernel, said = any_schedule(matmul(*case), m)
    assert said.endswith(how)
    verify(kernel, "cpu")


def test_a_wide_operand_that_comes_from_memory_is_read_once_in_long_rows():
    m = replace(machine(), cache_bytes=16 << 20)
    near, far, more = (choose(product_of(matmul(r, 2048, n)), m) for r, n in ((12, 256), (12, 2048), (40, 2048)))
    assert near.column_blocks > more.column_blocks and near.ahead == 1 < far.ahead
    assert far.copied and more.copied and not near.copied
    assert far.shared and (far.rows, far.vectors) == (12, 1) and not near.shared and not more.shared


@pytest.mark.parametrize("rows", [1, 2, 5, 12])
@pytest.mark.parametrize("terms, columns", [(400, 1000), (4001, 70)])
def test_few_rows_by_what_comes_from_memory_give_each_thread_a_share_of_the_columns(rows, terms, columns):
    m = replace(machine(), cache_bytes=1 << 10)
    c = matmul(rows, terms, columns)
    assert choose(product_of(c), m).shared
    kernel, _ = any_schedule(c, m)
    arrays = arrays_of(c)
    one, three = run(kernel, arrays, machine(), 1), run(kernel, arrays, machine(), 3)
    np.testing.assert_allclose(one, expected(arrays, "rows", "rows"), rtol=0, atol=1e-3)
    np.testing.assert_array_equal(one, three)


def test_many_wide_operands_are_walked_by_a_narrow_one_that_stays_near():
    m = replace(machine(), vector_bytes=64, registers=32)
    few, many = (choose(product_of(matmul(rows, 384, 32, batch=64, many=True)), m) for rows in (144, 1440))
    assert few == Blocking(12, 2, 384, 1, 1, packed=False) and many is None


def test_only_what_is_read_from_memory_is_fetched_ahead():
    kernel, _ = schedule(product_of(matmul(64, 512, 512)), Blocking(8, 2, 32, 1, 4, False), machine("simd128"))
    fetched = {s.buffer.name for s in statements(kernel.body) if isinstance(s, Prefetch)}
    assert fetched == {"b"}


@pytest.mark.parametrize("rows", [1, 2, 7, 16, 100, 1000])
@pytest.mark.parametrize("columns", [1, 17, 100, 512])
@pytest.mark.parametrize("name", EXTENSIONS)
def test_register_tiles_fit(rows, columns, name):
    _, width, registers = EXTENSIONS[name]
    r, v = register_tile(rows, columns, 8, width // 4, registers)
    assert r * v + v + 1 <= registers and r <= rows and (v - 1) * (width // 4) < columns


@pytest.mark.parametrize("terms", [1, 16, 300, 320, 321, 784, 1000, 9216])
def test_chunks_of_a_sum_are_almost_equal(terms):
    depth = chunk(terms, 256)
    assert depth <= 320 and depth * (-(-terms // depth) - 1) < terms
    assert terms <= 320 or (depth % 16 == 0 and terms - depth * (-(-terms // depth) - 1) >= depth // 2)


@pytest.mark.parametrize("m, k, n", [(1, 5000, 300), (300, 700, 500), (17, 3000, 200), (4096, 4096, 4096)])
@pytest.mark.parametrize("right", ["rows", "columns"])
def test_chosen_blocks_are_no_more_than_there_are_tiles(m, k, n, right):
    product = product_of(matmul(m, k, n, right=right))
    b = choose(product, machine())
    if b is not None:
        width = machine().lanes(4)
        assert b.row_blocks <= -(-m // b.rows) and b.column_blocks <= -(-n // (b.vectors * width))


@pytest.mark.parametrize("dtype", ["f32", "f64"])
@pytest.mark.parametrize("extension", ["simd128", ""])
def test_a_tile_is_turned_over_in_registers(extension, dtype):
    m = machine(extension)
    w = m.lanes(4 if dtype == "f32" else 8)
    x, y = Buffer("x", dtype, (w, w)), Buffer("y", dtype, (w, w))
    body = transposed_tile(dtype, w, lambda r, v: x[r, v], lambda r, v, value: (store(y, (r, v), value),))
    kernel = Kernel("turn", (x, y), (loop("parallel", "t", 0, 1, *body),))
    verify(kernel, "cpu")
    ir = emit_functions((kernel,))
    assert "gather" not in ir and ir.count("shufflevector") == w * (w.bit_length() - 1)
    source = np.arange(w * w, dtype="f" if dtype == "f32" else "d").reshape(w, w)
    np.testing.assert_array_equal(run(kernel, [source, np.zeros_like(source)], m), source.T)
