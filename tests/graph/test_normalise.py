"""Layer, instance, group, RMS, Lp and local response normalisation, against PyTorch where it is installed."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn
from graphnet.errors import GraphnetError, ShapeError

from .layers import against_torch

torch = pytest.importorskip("torch")
F = torch.nn.functional
RNG = np.random.default_rng(3)


def draw(*shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    """x far from 0, where variances cancel."""
    return {f"x{k}": RNG.normal(5.0 if k == 0 else 0.5, 1.0, s) for k, s in enumerate(shapes)}


@pytest.mark.parametrize("axis", [-1, 1])
def test_layer_norm(axis: int) -> None:
    shape = (4, 3, 5)[axis:]
    against_torch(
        lambda x, a, b: gn.layer_norm(x, a, b, 1e-3, axis),
        lambda x, a, b: F.layer_norm(x, shape, a, b, 1e-3),
        draw((4, 3, 5), shape, shape),
    )


def test_rms_norm() -> None:
    against_torch(
        lambda x, a: gn.rms_norm(x, a, 1e-3, 1),
        lambda x, a: F.rms_norm(x, (3, 5), a, 1e-3),
        draw((4, 3, 5), (3, 5)),
    )


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 4, 3, 2), (2, 4, 2, 3, 2)])
def test_instance_and_group_norm_of_any_rank(shape: tuple[int, ...]) -> None:
    against_torch(
        gn.instance_norm, lambda x, a, b: F.instance_norm(x, None, None, a, b), draw(shape, (4,), (4,))
    )
    against_torch(
        lambda x, a, b: gn.group_norm(x, 2, a, b), lambda x, a, b: F.group_norm(x, 2, a, b), draw(shape, (4,), (4,))
    )


@pytest.mark.parametrize("shape", [(3, 2, 5), (2, 3, 2, 2, 2)])
def test_batch_norm_of_any_rank(shape: tuple[int, ...]) -> None:
    against_torch(
        gn.batch_norm,
        lambda x, a, b: F.batch_norm(x, None, None, a, b, True),
        draw(shape, shape[1:2], shape[1:2]),
    )


@pytest.mark.parametrize(("size", "beta"), [(1, 0.75), (3, 0.5), (4, 0.75), (5, 0.6)])
def test_local_response_norm(size: int, beta: float) -> None:
    against_torch(
        lambda x: gn.local_response_norm(x, size, 0.1, beta, 2.0),
        lambda x: F.local_response_norm(x, size, 0.1, beta, 2.0),
        {"x": RNG.normal(size=(2, 7, 3, 2))},
    )


def test_even_windows_reach_to_the_other_side_in_onnx() -> None:
    x = RNG.normal(size=(1, 5, 2))
    n = gn.input("x", x.shape, "float64")
    (got,) = gn.evaluate(gn.local_response_norm(n, 4, 0.4, 0.5, 1.0, ends="onnx"), {n: x})
    for c in range(5):
        s = np.square(x[:, max(0, c - 1) : c + 3]).sum(1)
        np.testing.assert_allclose(got[:, c], x[:, c] / np.sqrt(1 + 0.1 * s), rtol=1e-13)


@pytest.mark.parametrize("p", [1, 2, 3, 2.5, float("inf")])
def test_lp_normalize(p: float) -> None:
    against_torch(
        lambda x: gn.lp_normalize(x, p, 1), lambda x: F.normalize(x, p, 1), {"x": RNG.normal(size=(3, 4, 2))}
    )


@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_normalize_of_nothing_is_nothing(p: float) -> None:
    x = gn.input("x", (2, 3), "float64")
    y = gn.lp_normalize(x, p)
    value, slope = gn.evaluate([y, gn.gradient(gn.sum(y), x)], {x: np.zeros((2, 3))})
    assert not value.any() and np.isfinite(slope).all()


def test_mean_variance_normalization() -> None:
    def theirs(x):
        centred = x - x.mean((0, 2), keepdim=True)
        return centred / ((centred**2).mean((0, 2), keepdim=True).sqrt() + 1e-2)

    against_torch(lambda x: gn.mean_variance_normalization(x, (0, 2), 1e-2), theirs, draw((3, 2, 4)))
    x = gn.input("x", (3,), "float64")
    y = gn.mean_variance_normalization(x, 0, 1.0)
    np.testing.assert_allclose(gn.evaluate(gn.gradient(y[0], x), {x: np.ones(3)})[0], [2 / 3, -1 / 3, -1 / 3])


def test_large_means_do_not_cancel() -> None:
    x = (RNG.normal(size=(2, 64)) + 4096.0).astype(np.float32)
    n = gn.input("x", x.shape)
    got = gn.compile(gn.layer_norm(n), [n])(x)
    np.testing.assert_allclose(got, F.layer_norm(torch.tensor(x.astype("d")), (64,)), atol=1e-3)  # the mean, rounded


def test_symbolic_batches_and_refusals() -> None:
    x = gn.input("x", ("N", 4, 5))
    for y in (gn.layer_norm(x), gn.rms_norm(x), gn.instance_norm(x), gn.group_norm(x, 2), gn.lp_normalize(x)):
        assert y.type == x.type
    with pytest.raises(ShapeError, match="4 channels cannot be divided into 3 groups"):
        gn.group_norm(x, 3)
    with pytest.raises(ShapeError, match="scale must be"):
        gn.layer_norm(x, gn.input("s", (4,)))
    with pytest.raises(ShapeError, match="after the channels"):
        gn.instance_norm(gn.input("y", (2, 3)))
    with pytest.raises(GraphnetError, match="epsilon"):
        gn.layer_norm(x, epsilon=0)
