"""The networks: as large as published, and of PyTorch's values and gradients. Small images and layers, few classes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest

import graphnet as gn
from graphnet.bench import harness
from graphnet.models import (
    MODELS,
    Model,
    alexnet,
    classifier,
    resnet18,
    resnet18_training,
    resnet164,
    resnet164_training,
    vgg16,
)
from graphnet.training import inference, training_step

PUBLISHED = {"alexnet": 61_100_840, "vgg16": 138_357_544, "resnet18": 11_689_512}
COMPARED = [*PUBLISHED, "resnet164"]
CLASSES = 5


@dataclass(frozen=True)
class Small:
    """The same layers on images of the least size at which all of them have something to do, or not much more."""

    image: tuple[int, int, int]
    batch: int


SMALL = {"alexnet": Small((3, 67, 63), 2), "vgg16": Small((3, 32, 32), 2), "resnet18": Small((3, 45, 64), 4),
         "resnet164": Small((3, 11, 12), 4)}  # fmt: skip


def small(name: str, dtype: str = "float32") -> Model:
    image, training = SMALL[name].image, None
    if name == "resnet18":
        network = partial(resnet18, classes=CLASSES, width=8)
        training = partial(resnet18_training, classes=CLASSES, width=8)
    elif name == "resnet164":
        network = partial(resnet164, classes=CLASSES, blocks=2)
        training = partial(resnet164_training, classes=CLASSES, blocks=2)
    else:
        network = partial({"alexnet": alexnet, "vgg16": vgg16}[name], classes=CLASSES, width=24)
    return classifier(name, network, image, training, dtype)


def batch(name: str, dtype: str = "float32", seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng, s = np.random.default_rng(seed), SMALL[name]
    return rng.normal(size=(s.batch, *s.image)).astype(dtype), rng.integers(0, CLASSES, s.batch).astype(np.int32)


@pytest.mark.parametrize("name", PUBLISHED)
def test_they_have_as_many_parameters_as_published(name: str) -> None:
    model = MODELS[name]()
    assert model.x.shape[1:] == (3, 224, 224) and model.logits.shape[1:] == (1000,)
    assert sum(math.prod(p.shape) for p in model.params.values()) == PUBLISHED[name]
    assert all(name == p.name for name, p in model.params.items())
    assert not set(model.params.values()) & set(model.statistics)


@pytest.mark.parametrize("name", COMPARED)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-9), ("float32", 1e-4)])
def test_loss_and_gradients_are_those_of_pytorch(name: str, dtype: str, tolerance: float) -> None:
    """Of the training graph; running statistics too. Differences are relative to the greatest value of an array."""
    torch = pytest.importorskip("torch")
    torch_peer = pytest.importorskip("graphnet.bench.torch_peer")

    model, (images, labels) = small(name, dtype), batch(name, dtype)
    params = list(model.params.values())
    grads = gn.gradient(model.loss, params)
    f = gn.compile([model.loss, *grads], [model.x, model.y], model.statistics, threads=2)
    rng = np.random.default_rng(1)
    for p in (*params, *model.statistics):  # no zeros and ones: biases, scales and shifts shall matter
        f.state[p] = f.state[p] + np.asarray(rng.uniform(0, 0.2, p.shape) if p.rank == 1 else 0.0, p.dtype)
    values = {p.name: f.state.array(p).copy() for p in params}
    statistics = {p.name: f.state.array(p).copy() for p in model.statistics}
    loss, *found = f(images, labels)

    work = harness.Workload(name, "train", 2, values, images, labels, statistics=statistics)
    theirs = torch_peer.parameters(work)
    logits = torch_peer.logits(name, torch.from_numpy(images), theirs, training=True)
    their_loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels).long())
    their_loss.backward()

    def close(got: np.ndarray, want: np.ndarray, what: str) -> None:
        assert got.dtype == want.dtype
        np.testing.assert_allclose(got, want, rtol=0, atol=tolerance * np.abs(want).max(), err_msg=what)

    close(np.asarray(loss), their_loss.detach().numpy(), "loss")
    for p, g in zip(params, found, strict=True):
        want = theirs[p.name].grad.numpy()
        assert np.abs(want).max() > 0, p.name
        close(g, want.T if p.rank == 2 else want, p.name)
    for p in model.statistics:
        close(f.state.array(p), theirs[p.name].numpy(), p.name)


def test_resnet164_has_1_7_million_parameters() -> None:
    model = MODELS["resnet164"]()
    assert sum(math.prod(p.shape) for p in model.params.values()) == 1_703_258  # the paper: 1.7 M
    weights = [p for p in model.params.values() if p.rank > 1 and "shortcut" not in p.name]
    assert len(weights) == 164


@pytest.mark.parametrize("name", COMPARED)
def test_logits_are_those_of_pytorch(name: str) -> None:
    """Of the inference graph."""
    torch = pytest.importorskip("torch")
    torch_peer = pytest.importorskip("graphnet.bench.torch_peer")

    model, (images, labels) = small(name), batch(name)
    f = inference(model, threads=2)
    for p in model.statistics:
        f.state[p] = f.state[p] + np.random.default_rng(2).uniform(0, 0.5, p.shape).astype(p.dtype)
    weights, statistics = ({p.name: f.state.array(p) for p in ps} for ps in (model.params.values(), model.statistics))
    work = harness.Workload(name, "infer", 2, weights, images, labels, statistics=statistics)
    want = torch_peer.logits(name, torch.from_numpy(images), torch_peer.parameters(work)).numpy()
    np.testing.assert_allclose(f(images), want, atol=1e-4 * np.abs(want).max())


def test_a_step_of_training_moves_the_running_statistics_that_inference_reads() -> None:
    model, (images, labels) = small("resnet18"), batch("resnet18")
    assert len(model.statistics) == 40 and len(small("vgg16").statistics) == 0
    step = training_step(model, "momentum", 0.01, threads=2)
    f = gn.compile([model.logits], [model.x], state=step.state, threads=2)
    before, losses = f(images), [float(step(images, labels)) for _ in range(8)]
    assert losses[-1] < 0.5 * losses[0]
    variance = next(p for p in model.statistics if p.name == "stem.variance")
    assert np.all(step.state.array(variance) != 1.0)
    assert not np.allclose(before, f(images))


def test_dropout_is_there_where_a_key_is_given() -> None:
    x = gn.input("x", (2, 3, 63, 63))
    key = gn.input("key", (), "int64")
    with_key, p = alexnet(x, 10, 16, key)
    without, same = alexnet(x, 10, 16)
    assert p == same and with_key is not without
    uniform = [n for n in gn.make_graph([with_key], [x, key]).nodes() if n.op.name == "uniform"]
    assert {n.shape for n in uniform} == {(2, 256), (2, 16)}
    assert len({n.inputs for n in uniform}) == 2
