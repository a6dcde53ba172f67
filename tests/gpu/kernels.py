"""Computations that the tests of this folder share, with NumPy's answer, and ways to run a GPU kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from codegen.checks import instrument
from codegen.compute import Computation, Reduce, Reduction, axis
from codegen.cpu import compile_kernels
from codegen.dtypes import numpy_dtype
from codegen.emulator import to_cpu
from codegen.expr import Buffer, Expr, Var, binary, cast, eq, maximum, minimum, unary
from codegen.kernels import gpu_contract
from codegen.kernels.contraction import analyse
from codegen.kernels.gpu_contract import Tile, tiled
from codegen.kernels.gpu_reduce import block_a_point, thread_a_point
from codegen.loops import Kernel, store

Array = np.ndarray[Any, np.dtype[Any]]
n, c, h, w, k, p, q, r, s, i, j = (Var(x) for x in "nchwkpqrsij")


@dataclass(frozen=True)
class Case:
    """A computation, arrays for its parameters, and what the last of them holds afterwards."""

    computation: Computation
    arrays: tuple[Array, ...]
    expected: Array
    tolerance: float = 0.0

    def fresh(self) -> list[Array]:
        return [a.copy() for a in self.arrays]

    def check(self, arrays: Sequence[Array]) -> None:
        np.testing.assert_allclose(arrays[-1], self.expected, rtol=self.tolerance, atol=self.tolerance)


def random(*shape: int, dtype: str = "f32", seed: int = 0) -> Array:
    rng = np.random.default_rng([seed, *shape])
    kind = numpy_dtype(dtype)
    return rng.normal(size=shape).astype(kind) if kind.kind == "f" else rng.integers(0, 7, shape).astype(kind)


def buffer(name: str, a: Array) -> Buffer:
    short = {"float32": "f32", "float64": "f64", "int32": "i32", "int64": "i64", "bool": "bool"}[a.dtype.name]
    return Buffer(name, short, a.shape)


# -------------------------------------------------------------------------------------- computations


def affine_map(rows: int = 7, columns: int = 45, dtype: str = "f32") -> Case:
    """y = max(2 x + bias, 0), and exp of it: a map with a let, two dimensions and a ragged end."""
    x, b = random(rows, columns, dtype=dtype), random(columns, dtype=dtype)
    y = np.zeros_like(x)
    bx, bb, by = buffer("x", x), buffer("b", b), buffer("y", y)
    v = Var("v", dtype)
    value = maximum(bx[i, j] * 2.0 + bb[j], 0.0)
    computation = Computation(
        "affine_map",
        (axis("i", rows), axis("j", columns)),
        (),
        ((v, value),),
        (store(by, (i, j), unary("exp", v) - 1.0),),
        (bx, bb, by),
    )
    return Case(computation, (x, b, y), np.expm1(np.maximum(2 * x + b, 0)), 3e-6)


REDUCERS: dict[str, Callable[..., Array]] = {
    "sum": np.sum,
    "prod": np.prod,
    "max": np.max,
    "min": np.min,
    "argmax": np.argmax,
}


def row_reduce(op: str, rows: int = 5, columns: int = 83, dtype: str = "f32", nan: bool = False) -> Case:
    """y[i] = op over j of x[i, j]."""
    x = random(rows, columns, dtype=dtype, seed=len(op))
    if op == "argmax":
        x = np.round(x * 2) / 2 if dtype[0] == "f" else x  # ties
        x = x.astype(numpy_dtype(dtype))
    if nan:
        x[1, 3] = x[1, 20] = np.nan
        x[2, 0] = np.nan
    y = np.zeros(rows, np.int64 if op == "argmax" else x.dtype)
    bx, by = buffer("x", x), buffer("y", y)
    reduce = Reduce(op, (axis("j", columns),), bx[i, j])
    result = Var("result", reduce.dtype)
    computation = Computation(
        f"row_{op}",
        (axis("i", rows),),
        (Reduction(result, reduce),),
        (),
        (store(by, (i,), result),),
        (bx, by),
    )
    return Case(computation, (x, y), REDUCERS[op](x, axis=1), 2e-5 if dtype == "f32" else 1e-12)


def moments(rows: int = 3, columns: int = 70) -> Case:
    """Two reductions, the second of which uses the first: the deviation from the row's maximum."""
    x = random(rows, columns, dtype="f64")
    y = np.zeros(rows)
    bx, by = buffer("x", x), buffer("y", y)
    top, total = Var("top", "f64"), Var("total", "f64")
    over = (axis("j", columns),)
    computation = Computation(
        "moments",
        (axis("i", rows),),
        (
            Reduction(top, Reduce("max", over, bx[i, j])),
            Reduction(total, Reduce("sum", over, unary("exp", bx[i, j] - top))),
        ),
        ((Var("v", "f64"), unary("log", total)),),
        (store(by, (i,), Var("v", "f64") + top),),
        (bx, by),
    )
    return Case(computation, (x, y), np.log(np.exp(x).sum(1)), 1e-12)


def triangle(size: int = 19) -> Case:
    """Bounds that depend on the point and on an outer reduction axis, and a `where`."""
    x = random(size, size, dtype="f64")
    y = np.zeros(size)
    bx, by = buffer("x", x), buffer("y", y)
    over = (axis("r", size, i, size), axis("s", size, r, minimum(r + 3, size)))
    total = Var("total", "f64")
    reduce = Reduce("sum", over, bx[r, s], ne_zero(s))
    computation = Computation(
        "triangle", (axis("i", size),), (Reduction(total, reduce),), (), (store(by, (i,), total),), (bx, by)
    )
    expected = np.array(
        [
            sum(x[a, b] for a in range(o, size) for b in range(a, min(a + 3, size)) if (b + 1) % 2 == 0)
            for o in range(size)
        ]
    )
    return Case(computation, (x, y), expected, 1e-12)


def ne_zero(e: Expr) -> Expr:
    return eq((e + 1) % 2, 0)


def matmul(m: int = 37, depth: int = 21, columns: int = 19, dtype: str = "f32", transposed: bool = False) -> Case:
    """y = max(a b + bias, 0), b transposed or not."""
    a, b = random(m, depth, dtype=dtype), random(depth, columns, dtype=dtype, seed=1)
    bias = random(columns, dtype=dtype)
    expected = np.maximum(a.astype("f8") @ b.astype("f8") + bias, 0)
    stored = np.ascontiguousarray(b.T) if transposed else b
    y = np.zeros((m, columns), a.dtype)
    ba, bb, bz, by = buffer("a", a), buffer("b", stored), buffer("bias", bias), buffer("y", y)
    total, v = Var("total", dtype), Var("v", dtype)
    right = bb[j, k] if transposed else bb[k, j]
    computation = Computation(
        "matmul",
        (axis("i", m), axis("j", columns)),
        (Reduction(total, Reduce("sum", (axis("k", depth),), ba[i, k] * right)),),
        ((v, maximum(total + bz[j], 0)),),
        (store(by, (i, j), v),),
        (ba, bb, bz, by),
    )
    return Case(computation, (a, stored, bias, y), expected, 1e-5 if dtype == "f32" else 1e-12)


def batched_matmul(batch: int = 3, m: int = 18, depth: int = 9, columns: int = 17) -> Case:
    a, b = random(batch, m, depth), random(batch, depth, columns)
    y = np.zeros((batch, m, columns), np.float32)
    ba, bb, by = buffer("a", a), buffer("b", b), buffer("y", y)
    total = Var("total", "f32")
    computation = Computation(
        "batched",
        (axis("n", batch), axis("i", m), axis("j", columns)),
        (Reduction(total, Reduce("sum", (axis("k", depth),), ba[n, i, k] * bb[n, k, j])),),
        (),
        (store(by, (n, i, j), total),),
        (ba, bb, by),
    )
    return Case(computation, (a, b, y), a @ b, 1e-5)


@dataclass(frozen=True)
class Shape:
    """Of a convolution."""

    n: int = 2
    c: int = 3
    h: int = 7
    w: int = 6
    k: int = 5
    r: int = 3
    pad: int = 1
    stride: int = 1

    @property
    def p(self) -> int:
        return (self.h + 2 * self.pad - self.r) // self.stride + 1

    @property
    def q(self) -> int:
        return (self.w + 2 * self.pad - self.r) // self.stride + 1


def _patches(x: Array, d: Shape) -> Array:
    """(N, C, P, Q, R, S) windows of the padded input."""
    padded = np.pad(x.astype("f8"), ((0, 0), (0, 0), (d.pad, d.pad), (d.pad, d.pad)))
    return np.lib.stride_tricks.sliding_window_view(padded, (d.r, d.r), axis=(2, 3))[:, :, :: d.stride, :: d.stride]


def conv(d: Shape = Shape(), dtype: str = "f32") -> Case:
    """Forward: padding is in the bounds of r and s."""
    x, f = random(d.n, d.c, d.h, d.w, dtype=dtype), random(d.k, d.c, d.r, d.r, dtype=dtype)
    y = np.zeros((d.n, d.k, d.p, d.q), x.dtype)
    bx, bf, by = buffer("x", x), buffer("f", f), buffer("y", y)
    top, left = p * d.stride - d.pad, q * d.stride - d.pad
    over = (
        axis("c", d.c),
        axis("r", d.r, maximum(-top, 0), minimum(-top + d.h, d.r)),
        axis("s", d.r, maximum(-left, 0), minimum(-left + d.w, d.r)),
    )
    total = Var("total", dtype)
    computation = Computation(
        "conv",
        (axis("n", d.n), axis("k", d.k), axis("p", d.p), axis("q", d.q)),
        (Reduction(total, Reduce("sum", over, bx[n, c, top + r, left + s] * bf[k, c, r, s])),),
        (),
        (store(by, (n, k, p, q), total),),
        (bx, bf, by),
    )
    return Case(computation, (x, f, y), np.einsum("ncpqrs,kcrs->nkpq", _patches(x, d), f.astype("f8")), 1e-5)


def conv_weight_gradient(d: Shape = Shape()) -> Case:
    """Few results, long sums: (N, P, Q) are reduced, with bounds that depend on the filter's tap."""
    x, dy = random(d.n, d.c, d.h, d.w), random(d.n, d.k, d.p, d.q)
    df = np.zeros((d.k, d.c, d.r, d.r), np.float32)
    bx, by, bf = buffer("x", x), buffer("dy", dy), buffer("df", df)
    st, pad = d.stride, d.pad
    over = (
        axis("n", d.n),
        axis("p", d.p, maximum((pad - r + st - 1) // st, 0), minimum((d.h + pad - r + st - 1) // st, d.p)),
        axis("q", d.q, maximum((pad - s + st - 1) // st, 0), minimum((d.w + pad - s + st - 1) // st, d.q)),
    )
    total = Var("total", "f32")
    value = bx[n, c, p * st + r - pad, q * st + s - pad] * by[n, k, p, q]
    computation = Computation(
        "conv_weight_gradient",
        (axis("k", d.k), axis("c", d.c), axis("r", d.r), axis("s", d.r)),
        (Reduction(total, Reduce("sum", over, value)),),
        (),
        (store(bf, (k, c, r, s), total),),
        (bx, by, bf),
    )
    return Case(computation, (x, dy, df), np.einsum("ncpqrs,nkpq->kcrs", _patches(x, d), dy.astype("f8")), 1e-5)


def conv_input_gradient(d: Shape = Shape()) -> Case:
    """Taps that fall between strides are excluded by `where`, others by bounds."""
    f, dy = random(d.k, d.c, d.r, d.r), random(d.n, d.k, d.p, d.q)
    dx = np.zeros((d.n, d.c, d.h, d.w), np.float32)
    bf, by, bx = buffer("f", f), buffer("dy", dy), buffer("dx", dx)
    st, pad = d.stride, d.pad
    over = (
        axis("k", d.k),
        axis("r", d.r, maximum(h + pad - (d.p - 1) * st, 0), minimum(h + pad + 1, d.r)),
        axis("s", d.r, maximum(w + pad - (d.q - 1) * st, 0), minimum(w + pad + 1, d.r)),
    )
    value = by[n, k, (h + pad - r) // st, (w + pad - s) // st] * bf[k, c, r, s]
    where = None if st == 1 else binary("and", eq((h + pad - r) % st, 0), eq((w + pad - s) % st, 0))
    total = Var("total", "f32")
    computation = Computation(
        "conv_input_gradient",
        (axis("n", d.n), axis("c", d.c), axis("h", d.h), axis("w", d.w)),
        (Reduction(total, Reduce("sum", over, value, where)),),
        (),
        (store(bx, (n, c, h, w), total),),
        (bf, by, bx),
    )
    padded = np.zeros((d.n, d.c, d.h + 2 * pad, d.w + 2 * pad))
    for a in range(d.r):
        for b in range(d.r):
            patch = np.einsum("nkpq,kc->ncpq", dy.astype("f8"), f[:, :, a, b].astype("f8"))
            padded[:, :, a : a + st * d.p : st, b : b + st * d.q : st] += patch
    return Case(computation, (f, dy, dx), padded[:, :, pad : pad + d.h, pad : pad + d.w], 1e-5)


def one_hot_sum(rows: int = 40, classes: int = 20, width: int = 18) -> Case:
    """sum over i of (label[i] == k) * x[i, j]: a product whose guard loads, and is N's alone."""
    x, label = random(rows, width), random(rows, dtype="i32")
    y = np.zeros((classes, width), np.float32)
    bx, bl, by = buffer("x", x), buffer("label", label), buffer("y", y)
    chosen = cast(eq(cast(bl[i], "i64"), k), "f32")
    total = Var("total", "f32")
    computation = Computation(
        "one_hot_sum",
        (axis("k", classes), axis("j", width)),
        (Reduction(total, Reduce("sum", (axis("i", rows),), chosen * bx[i, j])),),
        (),
        (store(by, (k, j), total),),
        (bx, bl, by),
    )
    return Case(computation, (x, label, y), np.eye(classes)[label].T @ x, 1e-5)


PRODUCTS: dict[str, Case] = {
    "matmul": matmul(),
    "matmul_exact_tiles": matmul(32, 32, 32),
    "matmul_transposed": matmul(transposed=True),
    "matmul_f64": matmul(dtype="f64"),
    "matmul_i32": matmul(dtype="i32"),
    "batched": batched_matmul(),
    "conv": conv(),
    "conv_f64": conv(dtype="f64"),
    "conv_strided": conv(Shape(h=9, w=8, stride=2, r=3)),
    "conv_valid": conv(Shape(pad=0, r=5)),
    "conv_wide_padding": conv(Shape(pad=2, h=3, w=3)),
    "weight_gradient": conv_weight_gradient(),
    "weight_gradient_strided": conv_weight_gradient(Shape(h=9, w=8, stride=2)),
    "input_gradient": conv_input_gradient(),
    "input_gradient_strided": conv_input_gradient(Shape(h=9, w=8, stride=2)),
    "one_hot_sum": one_hot_sum(),
}

REDUCTIONS: dict[str, Case] = {
    **{op: row_reduce(op) for op in REDUCERS},
    "max_i32": row_reduce("max", dtype="i32"),
    "argmax_i32": row_reduce("argmax", dtype="i32"),
    "argmax_f64": row_reduce("argmax", 4, 300, dtype="f64"),
    "max_nan": row_reduce("max", nan=True),
    "argmax_nan": row_reduce("argmax", nan=True),
    "sum_short": row_reduce("sum", 300, 3),
    "sum_long": row_reduce("sum", 2, 1000, dtype="f64"),
    "moments": moments(),
    "triangle": triangle(),
}

MAPS: dict[str, Case] = {"map": affine_map(), "map_f64": affine_map(dtype="f64"), "map_full": affine_map(16, 16)}

CASES: dict[str, Case] = {**MAPS, **REDUCTIONS, **PRODUCTS}


def schedules(case: Case) -> dict[str, Kernel]:
    """The case under every schedule that takes it."""
    computation = case.computation
    found = {"thread_a_point": thread_a_point(computation)}
    if computation.reductions:
        found["block_a_point"] = block_a_point(computation)
    product = analyse(computation)
    if product is not None:
        for tile in (Tile(16, 16, 16), Tile(32, 16, 16), Tile(16, 64, 16), gpu_contract.TILES[0]):
            found[f"tiled_{tile.m}x{tile.n}"] = tiled(computation, product, tile)
    return found


# ------------------------------------------------------------------------------------------- running


def run_native(kernel: Kernel, arrays: Sequence[Array]) -> None:
    """Runs a CPU kernel in place, on one thread."""
    code = compile_kernels([kernel])
    pointers = [ctypes.c_void_p] * len(kernel.params)
    function = ctypes.CFUNCTYPE(None, *pointers, ctypes.c_int64, ctypes.c_int64)(code.address(kernel.name))
    for b, a in zip(kernel.params, arrays, strict=True):
        assert a.shape == b.shape and a.dtype == numpy_dtype(b.dtype) and a.flags.c_contiguous
    function(*[a.ctypes.data for a in arrays], 0, 1)


def emulate(kernel: Kernel, arrays: Sequence[Array]) -> None:
    run_native(to_cpu(kernel), arrays)


def emulate_checked(kernel: Kernel, arrays: Sequence[Array]) -> str:
    """Runs the kernel in place with all checks; the first finding, or nothing."""
    checked = instrument(kernel)
    extra = checked.extra_arrays()
    run_native(to_cpu(checked.kernel, parallel=False), [*arrays, *extra])
    return checked.describe(extra[0])
