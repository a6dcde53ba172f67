"""Losses against PyTorch: values and two derivatives, all reductions; and at the ends of the range."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graphnet as gn
from graphnet.errors import GraphnetError

from .layers import against_torch

torch = pytest.importorskip("torch")
F = torch.nn.functional
RNG = np.random.default_rng(11)
REDUCTIONS = ("none", "mean", "sum")


def classified(shape: tuple[int, ...], ignored: int | None = None) -> dict[str, np.ndarray]:
    """Logits, labels and weights of classes; every third label ignored."""
    axis = min(len(shape) - 1, 1)
    labels = RNG.integers(0, shape[axis], shape[:axis] + shape[axis + 1 :])
    if ignored is not None:
        labels.reshape(-1)[::3] = ignored
    return {"x": 2 * RNG.normal(size=shape), "y": labels, "w": RNG.uniform(0.5, 2, shape[axis])}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize(("shape", "ignored"), [((5, 4), None), ((5, 4), -100), ((2, 3, 2, 4), 1), ((4,), None)])
def test_cross_entropy(shape: tuple[int, ...], ignored: int | None, reduction: str) -> None:
    given = classified(shape, ignored)
    index = -100 if ignored is None else ignored
    against_torch(
        lambda x, y, w: gn.cross_entropy(x, y, w, ignored, reduction, 0.3),
        lambda x, y, w: F.cross_entropy(x, y, w, ignore_index=index, reduction=reduction, label_smoothing=0.3),
        given,
        ("x",),
        second=reduction == "mean",
    )
    del given["w"]
    against_torch(
        lambda x, y: gn.cross_entropy(x, y, None, ignored, reduction),
        lambda x, y: F.cross_entropy(x, y, ignore_index=index, reduction=reduction),
        given,
        ("x",),
        second=False,
    )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(5, 4), (2, 3, 4)])
def test_cross_entropy_of_probabilities(shape: tuple[int, ...], reduction: str) -> None:
    given = classified(shape) | {"y": RNG.dirichlet(np.ones(shape[1]), shape[:1] + shape[2:]).swapaxes(1, -1)}
    given["y"] = np.ascontiguousarray(given["y"])
    against_torch(
        lambda x, y, w: gn.cross_entropy(x, y, w, reduction=reduction, label_smoothing=0.1),
        lambda x, y, w: F.cross_entropy(x, y, w, reduction=reduction, label_smoothing=0.1),
        given,
        ("x", "y"),
        second=False,
    )


@pytest.mark.parametrize(("shape", "ignored"), [((5, 4), None), ((2, 3, 2, 4), 1), ((3, 4, 2), -1)])
def test_nll_loss(shape: tuple[int, ...], ignored: int | None) -> None:
    index = -100 if ignored is None else ignored
    for reduction in REDUCTIONS:
        against_torch(
            lambda x, y, w, r=reduction: gn.nll_loss(x, y, w, ignored, r),
            lambda x, y, w, r=reduction: F.nll_loss(x, y, w, ignore_index=index, reduction=r),
            classified(shape, ignored),
            ("x",),
            second=False,
        )


def test_labels_that_are_no_classes_are_never_ignored() -> None:
    x, y = gn.input("x", (3, 4), "float64"), gn.input("y", (3,), "int64")
    loss = gn.cross_entropy(x, y, ignore_index=-100, reduction="none")
    value, slope = gn.evaluate([loss, gn.gradient(gn.sum(loss), x)], {x: RNG.normal(size=(3, 4)), y: [0, -100, 4]})
    assert np.isfinite(value[0]) and value[1] == 0 and np.isnan(value[2])
    assert np.isfinite(slope[:2]).all() and not slope[1].any() and np.isnan(slope[2]).all()


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_binary_cross_entropy(reduction: str) -> None:
    shape = (3, 4)
    given = {"p": RNG.uniform(0.1, 0.9, shape), "y": RNG.uniform(0, 1, shape), "w": RNG.uniform(0.5, 2, 4)}
    against_torch(
        lambda p, y, w: gn.binary_cross_entropy(p, y, w, reduction),
        lambda p, y, w: F.binary_cross_entropy(p, y, w.expand(shape), reduction=reduction),
        given,
        ("p", "y"),
        second=False,
    )
    given = {"z": 3 * RNG.normal(size=shape), **given, "v": RNG.uniform(0.5, 2, 4)}
    del given["p"]
    against_torch(
        lambda z, y, w, v: gn.bce_with_logits(z, y, w, v, reduction),
        lambda z, y, w, v: F.binary_cross_entropy_with_logits(z, y, w, reduction=reduction, pos_weight=v),
        given,
        ("z", "y"),
    )


PAIRS = {
    "mse": (gn.mse, F.mse_loss),
    "l1": (gn.l1_loss, F.l1_loss),
    "huber": (lambda x, y, reduction: gn.huber_loss(x, y, 0.7, reduction),
              lambda x, y, reduction: F.huber_loss(x, y, reduction=reduction, delta=0.7)),
    "smooth l1": (lambda x, y, reduction: gn.smooth_l1_loss(x, y, 0.6, reduction),
                  lambda x, y, reduction: F.smooth_l1_loss(x, y, reduction=reduction, beta=0.6)),
}  # fmt: skip


@pytest.mark.parametrize(("name", "reduction"), list(itertools.product(PAIRS, REDUCTIONS)))
def test_distances(name: str, reduction: str) -> None:
    ours, theirs = PAIRS[name]
    x = RNG.integers(-8, 9, (3, 4)) / 4.0  # differences of 0 among them
    against_torch(
        lambda x, y: ours(x, y, reduction=reduction),
        lambda x, y: theirs(x, y, reduction=reduction),
        {"x": x, "y": RNG.integers(-8, 9, (3, 4)) / 4.0},
        second=name in ("mse", "huber"),
    )


@pytest.mark.parametrize("reduction", [*REDUCTIONS, "batchmean"])
def test_kl_div(reduction: str) -> None:
    p, q = (RNG.dirichlet(np.ones(4), 3) for _ in range(2))
    for log in (False, True):
        against_torch(
            lambda x, y, log=log: gn.kl_div(x, y, reduction, log),
            lambda x, y, log=log: F.kl_div(x, y, reduction=reduction, log_target=log),
            {"x": np.log(p), "y": np.log(q) if log else q},
        )
    q[0, 0] = 0.0
    against_torch(
        lambda x, y: gn.kl_div(x, y, reduction),
        lambda x, y: F.kl_div(x, y, reduction=reduction),
        {"x": np.log(p), "y": q},
        ("x",),
    )


def test_hinge_and_cosine() -> None:
    x, sign = RNG.normal(size=(3, 4)), np.sign(RNG.normal(size=(3, 4)))
    against_torch(
        lambda x, y: gn.hinge_loss(x, y, 0.8), lambda x, y: (0.8 - x * y).clamp(min=0).mean(), {"x": x, "y": sign}
    )
    sign[0, 0] = 0.5
    against_torch(
        lambda x, y: gn.hinge_embedding_loss(x, y, 0.8),
        lambda x, y: F.hinge_embedding_loss(x, y, 0.8),
        {"x": x, "y": sign},
        ("x",),
    )
    against_torch(
        lambda a, b: gn.cosine_similarity(a, b, -1), lambda a, b: F.cosine_similarity(a, b, -1),
        {"a": x, "b": RNG.normal(size=(2, 1, 4))},
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_everything_is_finite_at_ten_thousand(dtype: str) -> None:
    """Values and gradients, compiled: softmax, log_softmax, logsumexp, BCE and cross-entropy of logits."""
    ends = np.array([[1e4, -1e4, 0], [-1e4, -1e4, -1e4], [1e4, 1e4, 3], [0, 88.5, -104]], dtype)
    x, y = gn.input("x", ends.shape, dtype), gn.input("y", ends.shape, dtype)
    values = [
        gn.softmax(x), gn.log_softmax(x), gn.logsumexp(x), gn.bce_with_logits(x, y, reduction="none"),
        gn.bce_with_logits(x, y, pos_weight=2.5, reduction="none"), gn.cross_entropy(x, np.array([1, 0, 2, 2])),
        gn.cross_entropy(x, np.array([1, 0, 2, 2]), ignore_index=0, label_smoothing=0.1),
        gn.cross_entropy(x, y), gn.softplus(x),
    ]  # fmt: skip
    outputs = values + [gn.gradient(gn.sum(v * v), x) for v in values]
    outputs += [gn.gradient(gn.sum(g * g), x) for g in outputs[len(values) :]]
    found = gn.compile(outputs, [x, y], threads=1)(ends, np.eye(4, 3, dtype=dtype))
    for k, v in enumerate(found):
        assert np.isfinite(v).all(), k


def test_refusals() -> None:
    x, y = gn.input("x", (3, 4)), gn.input("y", (3,), "int32")
    for wrong in (
        lambda: gn.cross_entropy(x, y, reduction="average"),
        lambda: gn.cross_entropy(x, y, gn.input("w", (3,))),
        lambda: gn.cross_entropy(x, y, label_smoothing=2.0),
        lambda: gn.nll_loss(x, gn.input("z", (4,), "int32")),
        lambda: gn.huber_loss(x, x, 0.0),
        lambda: gn.l1_loss(x, gn.input("t", (3, 1))),
        lambda: gn.kl_div(x, y),
    ):
        with pytest.raises(GraphnetError):
            wrong()
