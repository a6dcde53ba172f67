"""Attention and rotary positions against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn
from graphnet.errors import ShapeError

from .layers import against_torch

torch = pytest.importorskip("torch")
F = torch.nn.functional
RNG = np.random.default_rng(2)


def draw(*shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return dict(zip("qkv", (RNG.normal(size=s) for s in shapes), strict=True))


SHAPES = ((2, 3, 4, 5), (2, 3, 6, 5), (2, 3, 6, 2))
SEEN = RNG.uniform(size=(2, 1, 4, 6)) > 0.4
SEEN[0, 0, 1] = False  # sees nothing
ADDED = np.where(SEEN, RNG.normal(size=(2, 1, 4, 6)), -np.inf)


@pytest.mark.parametrize("options", [{}, {"is_causal": True}, {"scale": 0.3}])
def test_attention(options: dict[str, object]) -> None:
    against_torch(
        lambda q, k, v: gn.scaled_dot_product_attention(q, k, v, **options),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options),
        draw(*SHAPES),
        second=options == {},
    )


@pytest.mark.parametrize("mask", [SEEN, ADDED], ids=["bool", "float"])
def test_masks(mask: np.ndarray) -> None:
    against_torch(
        lambda q, k, v: gn.scaled_dot_product_attention(
            q, k, v, gn.constant(mask if mask.dtype == bool else mask.astype(q.dtype))
        ),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, torch.tensor(mask)),
        draw(*SHAPES),
        second=False,
    )


def test_shared_heads() -> None:
    against_torch(
        lambda q, k, v: gn.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
        draw((2, 6, 4, 5), (2, 2, 4, 5), (2, 2, 4, 3)),
        second=False,
    )


def test_rotary_embedding() -> None:
    x, angle = RNG.normal(size=(2, 3, 5, 8)), RNG.normal(size=(5, 4))
    turn = np.exp(1j * angle)
    nodes = [gn.input(n, a.shape, "float64") for n, a in (("x", x), ("cos", turn.real), ("sin", turn.imag))]
    feeds = dict(zip(nodes, (x, turn.real, turn.imag), strict=True))
    (halves,) = gn.evaluate(gn.rotary_embedding(*nodes), feeds)
    want = (x[..., :4] + 1j * x[..., 4:]) * turn
    np.testing.assert_allclose(halves, np.concatenate([want.real, want.imag], -1), rtol=1e-12)
    (pairs,) = gn.evaluate(gn.rotary_embedding(*nodes, interleaved=True), feeds)
    want = (x[..., ::2] + 1j * x[..., 1::2]) * turn
    np.testing.assert_allclose(pairs, np.stack([want.real, want.imag], -1).reshape(x.shape), rtol=1e-12)


def test_symbolic_lengths_and_refusals() -> None:
    q, k = gn.input("q", ("N", 2, "L", 4)), gn.input("k", ("N", 2, "S", 4))
    assert str(gn.scaled_dot_product_attention(q, k, k, is_causal=True).type) == "float32[N, 2, L, 4]"
    with pytest.raises(ShapeError, match="cannot share"):
        gn.scaled_dot_product_attention(q, gn.input("j", ("N", 3, "S", 4)), k, enable_gqa=True)
    with pytest.raises(ShapeError, match="do not broadcast"):
        gn.scaled_dot_product_attention(q, k, k, gn.input("m", (3, 3), "bool"))
