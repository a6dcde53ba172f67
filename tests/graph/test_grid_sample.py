"""grid_sample against PyTorch: all modes, and both gradients."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graphnet as gn
from graphnet.ops.grid_sample import PADDINGS, SAMPLING

torch = pytest.importorskip("torch")

# Of cubic samples PyTorch reflects and clamps pixels only, ONNX coordinates too.
CASES = [c for c in itertools.product(SAMPLING, PADDINGS, (False, True)) if c[0] != "cubic" or c[1] == "zeros"]


@pytest.mark.parametrize(("mode", "padding", "align_corners"), CASES)
def test_values_and_gradients(mode, padding, align_corners):
    rng = np.random.default_rng(0)
    x, grid = rng.normal(size=(2, 3, 4, 5)), rng.uniform(-1.6, 1.6, size=(2, 3, 2, 2))
    names = {"linear": "bilinear", "cubic": "bicubic"}
    a, b = torch.tensor(x, requires_grad=True), torch.tensor(grid, requires_grad=True)
    settings = {"padding_mode": padding, "align_corners": align_corners}
    y = torch.nn.functional.grid_sample(a, b, names.get(mode, mode), **settings)
    dx, dgrid = torch.autograd.grad((y**2).sum(), (a, b))

    u, v = gn.input("x", x.shape, "float64"), gn.input("grid", grid.shape, "float64")
    out = gn.grid_sample(u, v, mode, padding, align_corners)
    moving = [u] if mode == "nearest" else [u, v]  # the nearest pixel has no derivative
    found = gn.evaluate([out, *gn.gradient(gn.sum(out * out), moving)], {u: x, v: grid})
    wanted = [t.detach().numpy() for t in (y, dx, dgrid)][: 1 + len(moving)]
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9)


def test_compiled():
    x, grid = gn.input("x", (1, 2, 3, 4)), gn.input("grid", (1, 2, 2, 2))
    values = [np.random.default_rng(1).random(n.shape, np.float32) for n in (x, grid)]
    y = gn.grid_sample(x, grid)
    np.testing.assert_allclose(
        gn.compile(y, [x, grid], threads=1)(*values), gn.evaluate(y, dict(zip((x, grid), values, strict=True)))[0], 1e-5
    )


def test_wrong_arguments():
    x = gn.input("x", (1, 2, 3, 4))
    with pytest.raises(gn.GraphnetError, match="mode is one of"):
        gn.grid_sample(x, gn.input("grid", (1, 2, 2, 2)), "area")
    with pytest.raises(gn.ShapeError, match="a grid"):
        gn.grid_sample(x, gn.input("grid", (1, 2, 2, 3)))
