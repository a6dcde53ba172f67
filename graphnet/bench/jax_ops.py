"""JAX's best ways to do single ops, each under one jit: images in both layouts."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .cases import Case, Conv, Gemm
from .harness import Configuration, Configurations, Step

KERNELS = {"NCHW": "OIHW", "NHWC": "HWIO"}
TO_LAST = (0, 2, 3, 1)  # NCHW -> NHWC; as a kernel, OIHW -> HWIO is (2, 3, 1, 0)
TO_FIRST = (0, 3, 1, 2)


def _conv(case: Conv, layout: str) -> Callable[..., Any]:
    """From the case's arrays, in that layout."""

    def forward(x: Any, w: Any) -> Any:
        numbers, pads = (layout, KERNELS[layout], layout), tuple((p, p) for p in case.padding)
        return lax.conv_general_dilated(x, w, (1, 1), pads, dimension_numbers=numbers)

    def shape(rank_4: tuple[int, ...], axes: tuple[int, ...]) -> Any:
        order = axes if layout == "NHWC" else (0, 1, 2, 3)
        return jax.ShapeDtypeStruct(tuple(rank_4[a] for a in order), jnp.float32)

    if case.part == "forward":
        return forward
    if case.part == "input-gradient":
        x = shape((case.n, case.c, *case.size), TO_LAST)
        return lambda w, dy: jax.linear_transpose(lambda x: forward(x, w), x)(dy)[0]
    w = shape((case.k, case.c, *case.window), (2, 3, 1, 0))
    return lambda x, dy: jax.linear_transpose(lambda w: forward(x, w), w)(dy)[0]


def _batch_norm(x: Any, scale: Any, shift: Any, axes: tuple[int, ...]) -> Any:
    mean = x.mean(axes, keepdims=True)
    variance = jnp.maximum((x * x).mean(axes, keepdims=True) - mean * mean, 0)
    shape = mean.shape
    return (x - mean) * (lax.rsqrt(variance + 1e-5) * scale.reshape(shape)) + shift.reshape(shape)


def _pass(op: str, layout: str) -> Callable[..., Any]:
    rows = layout.index("H")
    others = tuple(a for a in range(4) if a != layout.index("C"))

    def pool(x: Any, first: Any, combine: Any, window: int, padding: int = 0) -> Any:
        def along(inside: Any, outside: Any) -> tuple[Any, ...]:
            return tuple(inside if rows <= a < rows + 2 else outside for a in range(4))

        pads = along((padding, padding), (0, 0))
        return lax.reduce_window(x, first, combine, along(window, 1), along(2, 1), pads)

    def train(x: Any, dy: Any, scale: Any, shift: Any) -> Any:
        y, backward = jax.vjp(partial(_batch_norm, axes=others), x, scale, shift)
        return y, *backward(dy)

    passes: dict[str, Callable[..., Any]] = {
        "negate": jnp.negative,
        "chain": lambda x, y, z: jax.nn.relu(x * y + z),
        "swish": lambda x, y: x * jax.nn.sigmoid(x) + y,
        "softmax": jax.nn.softmax,
        "max-pool": lambda x: pool(x, -jnp.inf, lax.max, 2),
        "max-pool-3": lambda x: pool(x, -jnp.inf, lax.max, 3, 1),
        "avg-pool": lambda x: pool(x, 0.0, lax.add, 2) / 4,
        "batch-norm": partial(_batch_norm, axes=others),
        "batch-norm-train": train,
    }
    return passes[op]


def _step(case: Case, layout: str) -> Step:
    def arranged(name: str, a: np.ndarray) -> np.ndarray:
        if a.ndim < 4 or layout == "NCHW":
            return a
        return a.transpose((2, 3, 1, 0) if name == "w" else TO_LAST)

    if isinstance(case, Conv):
        f = _conv(case, layout)
    elif isinstance(case, Gemm):
        f = partial(_product, transposed=case.transposed)
    else:
        f = _pass(case.op, layout)
    run = jax.jit(f)
    arrays = [jnp.array(arranged(name, a)) for name, a in case.arrays().items()]
    return lambda: jax.block_until_ready(run(*arrays))


def _product(a: Any, b: Any, transposed: str) -> Any:
    return (a.T if transposed == "a" else a) @ (b.T if transposed == "b" else b)


def _channels_first(case: Case, results: Any) -> Any:
    """Results in NHWC, and kernels in HWIO, as ours are."""
    order = (3, 2, 0, 1) if isinstance(case, Conv) and case.part == "weight-gradient" else TO_FIRST
    single = not isinstance(results, tuple)
    found = [np.asarray(r).transpose(order) if r.ndim == 4 else r for r in ((results,) if single else results)]
    return found[0] if single else tuple(found)


def make(case: Case, threads: int) -> Configurations:
    """The number of threads was fixed by `harness.pin`, before JAX was imported."""
    found = {"jax": Configuration(partial(_step, case, "NCHW"))}
    if any(a.ndim == 4 for a in case.arrays().values()):
        found["jax NHWC"] = Configuration(partial(_step, case, "NHWC"), partial(_channels_first, case))
    return found
