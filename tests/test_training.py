"""Training: PyTorch's losses, the same bits at any number of threads, the emulator's losses, and the loop itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphnet as gn
from codegen.runtime.cuda import GpuUnavailable, probe
from graphnet.data import Dataset, batches, digits
from graphnet.models import IMAGE, MODELS, Model, classifier
from graphnet.training import OPTIMIZERS, SCHEDULES, Trainer

Network = tuple[gn.Node, dict[str, gn.Node]]


@pytest.fixture(scope="module")
def data() -> Dataset:
    """1408 digits: whole batches of 4, 8, 16, 32 and 64, so that a test compiles for one size."""
    pytest.importorskip("sklearn", reason="the digits come with scikit-learn: pip install 'graphnet[demo]'")
    whole = digits()
    return replace(whole, train_images=whole.train_images[:1408], train_labels=whole.train_labels[:1408])


def softmax_regression(x: gn.Node) -> Network:
    p = {"w": gn.parameter("w", (784, 10), init=gn.init.zeros()), "b": gn.parameter("b", (10,))}
    return gn.flatten(x) @ p["w"] + p["b"], p


def small() -> Model:
    """A model that compiles in an instant."""
    return classifier("small", softmax_regression, IMAGE)


def losses(model: str, data: Dataset, steps: int, batch: int, **settings: Any) -> np.ndarray:
    trainer = Trainer(MODELS[model](), **settings)
    found = trainer.fit(data, 10, batch, steps=steps).losses
    assert len(found) == steps
    return np.array(found)


# ------------------------------------------------------------------------------- the same as others


@pytest.mark.parametrize(("model", "optimizer"), [("lenet", "adam"), ("lenet", "momentum"), ("mlp", "sgd")])
def test_losses_are_those_of_pytorch(model: str, optimizer: str, data: Dataset) -> None:
    torch = pytest.importorskip("torch")
    from graphnet.bench import harness, torch_peer

    # With some seeds a channel is all but dead, and Adam makes whole steps of which of two equal values is the
    # maximum: then any two ways to round drift apart. With these first weights none is (they agree to 1e-6).
    trainer = Trainer(MODELS[model](), optimizer, seed=0)
    weights = {name: trainer.state.array(p).copy() for name, p in trainer.model.params.items()}
    own = trainer.fit(data, 5, 64, steps=50).losses

    work = harness.Workload(model, "train", 1, weights, data.train_images[:1], data.train_labels[:1])
    params = torch_peer.parameters(work)
    rate = OPTIMIZERS[optimizer].learning_rate
    if optimizer == "adam":
        update = torch.optim.Adam(params.values(), lr=rate)
    else:
        update = torch.optim.SGD(params.values(), lr=rate, momentum=0.9 if optimizer == "momentum" else 0)
    theirs: list[float] = []
    for epoch in range(5):
        for images, labels in batches(data.train_images, data.train_labels, 64, seed=0, epoch=epoch):
            logits = torch_peer.logits(model, torch.from_numpy(images), params)
            loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(labels).long())
            update.zero_grad()
            loss.backward()
            update.step()
            theirs.append(loss.item())
    np.testing.assert_allclose(own, theirs[:50], rtol=1e-4)
    assert own[-1] < 0.8 * own[0]


def test_losses_are_the_same_bits_at_any_number_of_threads_and_again(data: Dataset) -> None:
    runs = [losses("lenet", data, 100, 16, threads=threads) for threads in (1, 2, 4, 2)]
    for other in runs[1:]:
        assert runs[0].tobytes() == other.tobytes()
    assert runs[0][-10:].mean() < 0.5 * runs[0][0]


def test_the_emulator_gives_the_losses_of_the_cpu(data: Dataset) -> None:
    on_cpu = losses("lenet", data, 5, 16)
    emulated = losses("lenet", data, 5, 16, target="emulator")
    np.testing.assert_allclose(emulated, on_cpu, rtol=1e-5)


def test_bounds_and_race_checks_find_nothing_in_lenets_step(data: Dataset) -> None:
    checked = losses("lenet", data, 2, 4, target="emulator", checks=("bounds", "races"))
    np.testing.assert_allclose(checked, losses("lenet", data, 2, 4), rtol=1e-5)


def no_gpu() -> str:
    """Why there is none; empty where there is one."""
    try:
        probe()
    except GpuUnavailable as e:
        return e.reason
    return ""


@pytest.mark.gpu
@pytest.mark.skipif(bool(no_gpu()), reason=f"no GPU: {no_gpu()}")
def test_a_gpu_gives_the_losses_of_the_cpu(data: Dataset) -> None:
    on_gpu = losses("lenet", data, 5, 16, target="cuda")
    np.testing.assert_allclose(on_gpu, losses("lenet", data, 5, 16), rtol=1e-5)


# ---------------------------------------------------------------------------------- the loop itself


def test_fit_takes_the_batches_of_data_and_evaluates_after_each_epoch(data: Dataset) -> None:
    trainer = Trainer(small(), "sgd", 0.5, seed=7)
    history = trainer.fit(data, 2, 64)
    assert [e.number for e in history.epochs] == [1, 2]
    assert len(history.losses) == 44 and history.epochs[1].loss == pytest.approx(np.mean(history.losses[22:]))
    assert history.accuracy == history.epochs[-1].accuracy > 0.8
    assert history.seconds_step is not None and history.seconds_first_step > 0 and len(history.seconds_steps) == 43

    step = gn.compile(trainer.model.loss, [trainer.model.x, trainer.model.y])
    images, labels = next(batches(data.train_images, data.train_labels, 64, seed=7))
    assert history.losses[0] == step(images, labels)  # zero weights: nothing else to know


def test_accuracy_counts_the_predictions_that_are_right(data: Dataset) -> None:
    trainer = Trainer(small(), "sgd", 0.5)
    trainer.fit(data, 1, 64)
    many = np.concatenate([data.test_images] * 4)[:1203]  # more than one chunk, the last one smaller
    labels = np.concatenate([data.test_labels] * 4)[:1203]
    logits = many.reshape(len(many), -1) @ trainer.state["w"] + trainer.state["b"]
    assert (trainer.predict(many) == logits.argmax(axis=1)).all()
    assert trainer.evaluate(many, labels) == pytest.approx((logits.argmax(axis=1) == labels).mean())
    assert trainer.predict(many[:0]).shape == (0,)


def test_a_second_fit_goes_on_where_the_first_one_ended(data: Dataset) -> None:
    at_once, in_two = Trainer(small()), Trainer(small())
    expected = at_once.fit(data, 3, 64).losses
    assert in_two.fit(data, 1, 64).losses + in_two.fit(data, 2, 64).losses == expected


def test_steps_end_the_training(data: Dataset) -> None:
    seen: list[int] = []
    history = Trainer(small()).fit(data, 5, 64, steps=30, on_step=lambda step, loss: seen.append(step))
    assert seen == list(range(1, 31)) and len(history.epochs) == 2


def test_the_schedule_changes_the_rate_and_compiles_nothing_new(data: Dataset) -> None:
    assert [SCHEDULES["step"](e, 10) for e in range(10)] == [1.0] * 7 + [0.1] * 3
    assert [SCHEDULES["step"](e, 2) for e in range(2)] == [1.0, 1.0]
    trainer = Trainer(small(), "sgd", 0.5)
    rates: list[float] = []
    trainer.fit(data, 3, 64, schedule="step", on_epoch=lambda e: rates.append(float(trainer.state["learning_rate"])))
    assert rates == pytest.approx([0.5, 0.5, 0.05])
    assert len(trainer.step.specializations) == 1
    with pytest.raises(gn.GraphnetError, match="unknown schedule 'cosine'; there are step, constant"):
        trainer.fit(data, 1, 64, schedule="cosine")


def test_a_rate_that_is_too_large_is_said_to_be(data: Dataset) -> None:
    with pytest.raises(gn.GraphnetError, match=r"the loss is (nan|inf) after \d+ good steps; a smaller learning rate"):
        Trainer(MODELS["mlp"](), "sgd", 1e6).fit(data, 1, 64)


def test_an_unknown_optimizer_names_those_there_are() -> None:
    with pytest.raises(gn.GraphnetError, match="unknown optimizer 'lion'; there are adam, sgd, momentum"):
        Trainer(small(), "lion")


# -------------------------------------------------------------------------------------------- saving


def test_training_goes_on_from_a_file_as_if_it_had_never_stopped(data: Dataset, tmp_path: Path) -> None:
    first = Trainer(small())
    first.fit(data, 1, 64)
    first.save(tmp_path / "weights.npz")
    assert [p.name for p in tmp_path.iterdir()] == ["weights.npz"]
    second = Trainer(small())
    second.load(tmp_path / "weights.npz")
    second._epochs = 1
    assert first.fit(data, 1, 64).losses == second.fit(data, 1, 64).losses


def test_files_of_other_models_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.npz"
    trainer = Trainer(small())
    trainer.save(path)
    with pytest.raises(gn.DataError, match=r"weights\.npz: not the values of small with this optimizer: "):
        Trainer(small(), "sgd").load(path)
    with pytest.raises(gn.DataError, match=r"weights\.npz: w is float32\[784, 10\], expected float32\[784, 11\]"):
        Trainer(classifier("wider", _wider, IMAGE)).load(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(gn.DataError, match=r"weights\.npz: cannot be read"):
        trainer.load(path)
    with pytest.raises(gn.DataError, match=r"absent\.npz: cannot be read: No such file"):
        trainer.load(tmp_path / "absent.npz")


def _wider(x: gn.Node) -> Network:
    p = {"w": gn.parameter("w", (784, 11), init=gn.init.zeros()), "b": gn.parameter("b", (11,))}
    return gn.flatten(x) @ p["w"] + p["b"], p
