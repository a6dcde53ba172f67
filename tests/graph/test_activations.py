"""Activations and elementwise functions against PyTorch: values, gradients at kinks, second derivatives, far ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

import graphnet as gn
from graphnet.errors import GraphnetError

from .layers import against_torch

torch = pytest.importorskip("torch")
F = torch.nn.functional

KINKS = np.array([-3.0, -1.0, -0.5, -0.0, 0.0, 0.5, 1.0, 3.0, 6.0])
SMOOTH = np.array([-7.3, -2.9, -1.2, -0.7, -0.04, 0.03, 0.6, 1.3, 2.8, 5.7, 9.1])
FAR = np.array([-1e4, -90.0, -25.0, 25.0, 90.0, 1e4])

ACTIVATIONS: dict[str, tuple[Callable[..., gn.Node], Callable[..., object]]] = {
    "relu": (gn.relu, F.relu),
    "leaky_relu": (lambda x: gn.leaky_relu(x, 0.1), lambda x: F.leaky_relu(x, 0.1)),
    "relu6": (gn.relu6, F.relu6),
    "hardtanh": (lambda x: gn.hardtanh(x, -0.5, 3.0), lambda x: F.hardtanh(x, -0.5, 3.0)),
    # F.hardsigmoid itself, less the float32 sixth of its derivative.
    "hard_sigmoid": (gn.hard_sigmoid, lambda x: F.hardtanh(x / 6 + 0.5, 0.0, 1.0)),
    "hard_swish": (gn.hard_swish, F.hardswish),
    "elu": (lambda x: gn.elu(x, 1.5), lambda x: F.elu(x, 1.5)),
    "selu": (gn.selu, F.selu),
    "celu": (lambda x: gn.celu(x, 0.5), lambda x: F.celu(x, 0.5)),
    "gelu": (gn.gelu, F.gelu),
    "gelu tanh": (lambda x: gn.gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh")),
    "silu": (gn.silu, F.silu),
    "mish": (gn.mish, F.mish),
    "softplus": (lambda x: gn.softplus(x, 2.0, 20.0), lambda x: F.softplus(x, 2.0, 20.0)),
    "softsign": (gn.softsign, F.softsign),
    "sigmoid": (gn.sigmoid, torch.sigmoid),
    "log_sigmoid": (gn.log_sigmoid, F.logsigmoid),
    "tanh_shrink": (gn.tanh_shrink, F.tanhshrink),
    "hard_shrink": (lambda x: gn.hard_shrink(x, 0.5), lambda x: F.hardshrink(x, 0.5)),
    "soft_shrink": (lambda x: gn.soft_shrink(x, 0.5), lambda x: F.softshrink(x, 0.5)),
    "thresholded_relu": (lambda x: gn.thresholded_relu(x, 0.5), lambda x: F.threshold(x, 0.5, 0.0)),
    "clip": (lambda x: gn.clip(x, -1.0, 3.0), lambda x: x.clamp(-1.0, 3.0)),
    "clip below": (lambda x: gn.clip(x, low=-1.0), lambda x: x.clamp(min=-1.0)),
    "clip above": (lambda x: gn.clip(x, high=1.0), lambda x: x.clamp(max=1.0)),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_values_and_both_derivatives(name: str) -> None:
    ours, theirs = ACTIVATIONS[name]
    against_torch(ours, theirs, {"x": SMOOTH})
    # At kinks second derivatives are a matter of taste: PyTorch differentiates its masks now so, now so.
    against_torch(ours, theirs, {"x": KINKS}, second=False)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_far_ends_are_finite(name: str, dtype: str) -> None:
    ours, theirs = ACTIVATIONS[name]
    x = gn.input("x", FAR.shape, dtype)
    y = ours(x)
    first = gn.gradient(gn.sum(y), x)
    outputs = [y, first]
    second = gn.vjp([gn.sum(first)], [x], [gn.constant(1.0, dtype)])[0]
    results = gn.compile(outputs + ([] if second is None else [second]), [x])(FAR.astype(dtype))
    assert all(np.isfinite(r).all() for r in results)
    t = torch.tensor(FAR, requires_grad=True)
    want = theirs(t)
    want.sum().backward()
    for got, exact in zip(results, (want.detach().numpy(), t.grad.numpy()), strict=False):
        np.testing.assert_allclose(got, exact, rtol=1e-6, atol=10 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_nan_stays_nan(name: str) -> None:
    ours, theirs = ACTIVATIONS[name]
    x = gn.input("x", (1,))
    got = gn.compile(ours(x), [x])(np.array([np.nan], "f"))
    assert np.isnan(got).all() == np.isnan(theirs(torch.tensor([np.nan])).numpy()).all()


def test_prelu_and_bounds_that_are_nodes() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 3, 4))
    against_torch(
        lambda x, a: gn.prelu(x, gn.reshape(a, (3, 1))), F.prelu, {"x": x, "a": rng.uniform(0.1, 0.4, 3)}
    )
    bounds = {"low": rng.normal(size=(3, 1)) - 0.5, "high": rng.normal(size=(4,)) + 0.5}
    against_torch(gn.clip, torch.clamp, {"x": x, **bounds}, second=False)


FUNCTIONS = {
    "sin": (), "cos": (), "tan": (), "asin": (-0.9, 0.9), "acos": (-0.9, 0.9), "atan": (), "sinh": (), "cosh": (),
    "asinh": (), "acosh": (1.1, 4), "atanh": (-0.9, 0.9), "exp2": (), "expm1": (), "log2": (0.1, 4), "log10": (0.1, 4),
    "log1p": (-0.9, 4), "erf": (), "erfc": (), "rsqrt": (0.1, 4), "floor": (), "ceil": (), "trunc": (), "round": (),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name: str) -> None:
    x = np.random.default_rng(1).uniform(*(FUNCTIONS[name] or (-3, 3)), 20)
    smooth = () if name in ("floor", "ceil", "trunc", "round") else ("x",)
    against_torch(getattr(gn, name), getattr(torch, name), {"x": x}, smooth=smooth)


@pytest.mark.parametrize("name", ["atan2", "copysign", "pow"])
def test_functions_of_two(name: str) -> None:
    rng = np.random.default_rng(2)
    x, y = rng.uniform(0.2, 3, (3, 4)), rng.uniform(-3, 3, (4,))
    smooth = ("x",) if name == "copysign" else None
    against_torch(getattr(gn, name), getattr(torch, name), {"x": x, "y": y}, smooth, second=name != "copysign")


def test_powers_of_zero_have_pytorchs_derivatives() -> None:
    x, y = np.array([0.0, 0.0, 0.0, 2.0]), np.array([0.0, 2.0, 1.0, 0.0])
    against_torch(gn.pow, torch.pow, {"x": x, "y": y}, second=False)


def test_power_of_any_two() -> None:
    x, k = gn.input("x", (3,)), gn.input("k", (3,), "int32")
    a, b = np.array([0.5, 2.0, 3.0], "f"), np.array([3, -2, 5], "i4")
    cases = [
        (x**k, a**b), (2.0**x, 2.0**a), (gn.power(k, x), b**a), (x**np.array([1.0, 2.0, -3.0]), a ** [1, 2, -3]),
        (x**-0.5, a**-0.5), (x**7, a**7), (gn.pow(k, 3), b**3), (gn.pow(x, 0.3), a**0.3), (k**k, [27, 0, 3125]),
    ]  # fmt: skip
    with np.errstate(all="ignore"):
        results = gn.compile([y for y, _ in cases], [x, k])(a, b)
        for got, (_, want) in zip(results, cases, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-6)


def test_attributes_are_checked() -> None:
    x = gn.input("x", (3,))
    for make, message in (
        (lambda: gn.elu(x, float("nan")), "elu: alpha must be a finite number"),
        (lambda: gn.celu(x, 0.0), "alpha must not be 0"),
        (lambda: gn.hardtanh(x, 2.0, 1.0), "low must not be above high"),
        (lambda: gn.gelu(x, "erf"), '"none" or "tanh"'),
        (lambda: gn.shrink(x, -1.0), "must not be negative"),
        (lambda: gn.softplus(x, 0.0), "beta must be positive"),
        (lambda: gn.elu(gn.input("k", (3,), "int32")), "elu takes"),
    ):
        with pytest.raises(GraphnetError, match=message):
            make()
