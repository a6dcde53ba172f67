"""Deformable convolution against sampling and summing in PyTorch, float64."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn

from .targets import run

torch = pytest.importorskip("torch")
F = torch.nn.functional


def by_sampling(x, w, offset, mask, stride, pad, groups):
    """A tap at a time: grid_sample, which is linear between pixels and 0 outside of them."""
    n, c, height, width = x.shape
    k, _, r, s = w.shape
    p, q = offset.shape[2:]
    parts = offset.shape[1] // (2 * r * s)
    moved, masks = offset.reshape(n, parts, r, s, 2, p, q), mask.reshape(n, parts, r, s, 1, p, q)
    taps = []
    for i in range(r):
        for j in range(s):
            read = []
            for o in range(parts):
                h = moved[:, o, i, j, 0] + (torch.arange(p) * stride + i - pad)[:, None]
                v = moved[:, o, i, j, 1] + (torch.arange(q) * stride + j - pad)[None, :]
                grid = torch.stack((2 * v / (width - 1) - 1, 2 * h / (height - 1) - 1), -1)
                part = x[:, o * c // parts : (o + 1) * c // parts]
                read.append(F.grid_sample(part, grid, align_corners=True) * masks[:, o, i, j])
            taps.append(torch.cat(read, 1))
    columns = torch.stack(taps, 2).reshape(n, c * r * s, p, q)
    return F.conv2d(columns, w.reshape(k, -1, 1, 1), groups=groups)


@pytest.mark.parametrize("target", ["reference", "cpu"])
def test_value_and_gradients(target: str) -> None:
    rng = np.random.default_rng(0)
    shapes = {"x": (2, 4, 6, 7), "w": (6, 2, 3, 2), "offset": (2, 24, 3, 4), "mask": (2, 12, 3, 4)}
    arrays = {k: rng.normal(size=s) for k, s in shapes.items()}
    leaves = [gn.input(k, s, "float64") for k, s in shapes.items()]
    x, w, offset, mask = leaves
    y = gn.deform_conv2d(x, w, offset, mask, stride=2, padding=1, groups=2)
    loss = gn.sum(y * y)
    got = run([y, *gn.gradient(loss, leaves)], dict(zip(leaves, arrays.values(), strict=True)), target)
    tensors = [torch.tensor(a, requires_grad=True) for a in arrays.values()]
    z = by_sampling(*tensors, stride=2, pad=1, groups=2)
    (z * z).sum().backward()
    for ours, theirs in zip(got, (z.detach(), *(t.grad for t in tensors)), strict=True):
        np.testing.assert_allclose(ours, theirs.numpy(), rtol=1e-9, atol=1e-9)


def test_errors_name_the_shape_of_the_offset() -> None:
    x, w = gn.input("x", (1, 3, 5, 5)), gn.input("w", (2, 3, 3, 3))
    with pytest.raises(gn.ShapeError, match=r"the offset of .* is \(1, O \* 18, 3, 3\) where O divides 3, not .*9, 3"):
        gn.deform_conv2d(x, w, gn.input("o", (1, 9, 3, 3)))
