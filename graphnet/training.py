"""Training and evaluation of classifiers, as the command line does it.

    trainer = Trainer(MODELS["lenet"](), optimizer="adam", seed=0)
    history = trainer.fit(digits(), epochs=20, batch=64)
    trainer.predict(images)                              # class numbers
    trainer.save("lenet.npz")

The lines of `training_step` and `inference` count as the user's: see `site`.
"""

from __future__ import annotations

import math
import time
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from . import optim
from .data import Dataset, batches
from .errors import DataError, GraphnetError
from .files import replacing
from .function import Function, compile
from .gradient import gradient
from .models import Model
from .node import Node, parameter
from .ops.reduce import argmax
from .state import State

CHUNK = 1000  # images classified at once


@dataclass(frozen=True, slots=True)
class Optimizer:
    """Updates for (params, gradients, learning rate), and the rate that suits LeNet."""

    updates: Callable[[Any, Any, float | Node], optim.Updates]
    learning_rate: float


OPTIMIZERS: dict[str, Optimizer] = {
    "adam": Optimizer(optim.adam, 1e-3),
    "sgd": Optimizer(optim.sgd, 0.1),
    "momentum": Optimizer(optim.momentum, 0.02),
    "nesterov": Optimizer(optim.nesterov, 0.02),
    "adagrad": Optimizer(optim.adagrad, 0.01),
    "rmsprop": Optimizer(optim.rmsprop, 1e-3),
    "adamw": Optimizer(optim.adamw, 1e-3),
}


def _constant(epoch: int, epochs: int) -> float:
    return 1.0


def _step(epoch: int, epochs: int) -> float:
    return 0.1 if epoch >= epochs - epochs // 3 else 1.0


# (epoch, epochs) -> factor of the learning rate; epochs count from 0. At a constant rate, Adam's accuracy on a small
# training set goes up and down by a percent from one epoch to the next; a tenth of it at the end settles that.
SCHEDULES: dict[str, Callable[[int, int], float]] = {"step": _step, "constant": _constant}


def training_step(
    model: Model, optimizer: str = "adam", learning_rate: float | Node | None = None, **settings: Any
) -> Function:
    """(x, y) -> the mean loss; each call is one step of the optimiser. The learning rate is a number or a scalar
    node; None is the optimiser's own (`OPTIMIZERS`). Settings are those of `compile`."""
    method = _optimizer(optimizer)
    params = list(model.params.values())
    grads = gradient(model.loss, params)
    updates = method.updates(params, grads, method.learning_rate if learning_rate is None else learning_rate)
    return compile([model.loss], inputs=[model.x, model.y], updates=updates | model.statistics, **settings)


def _optimizer(name: str) -> Optimizer:
    if name not in OPTIMIZERS:
        raise GraphnetError(f"unknown optimizer {name!r}; there are {', '.join(OPTIMIZERS)}")
    return OPTIMIZERS[name]


def inference(model: Model, **settings: Any) -> Function:
    """x -> the logits."""
    return compile(model.logits, inputs=[model.x], **settings)


# -------------------------------------------------------------------------------------- training


@dataclass(frozen=True, slots=True)
class Epoch:
    """One pass over the training set, or the part of it before `steps` ran out."""

    number: int  # from 1
    loss: float  # mean over its steps
    accuracy: float  # on the test set, afterwards
    seconds: float  # without the evaluation


@dataclass(slots=True)
class History:
    """What a call of `fit` saw."""

    losses: list[float] = field(default_factory=list)  # of every step
    epochs: list[Epoch] = field(default_factory=list)
    accuracy: float = math.nan  # on the test set, at the end
    seconds: float = 0.0  # evaluation included
    seconds_first_step: float = 0.0  # with the gradient, the passes and the compilation
    seconds_steps: list[float] = field(default_factory=list)  # of the steps that had nothing to compile

    @property
    def seconds_step(self) -> float | None:
        """The median."""
        return float(np.median(self.seconds_steps)) if self.seconds_steps else None


class Trainer:
    """A model's training step and its evaluation, over the same parameters."""

    def __init__(
        self,
        model: Model,
        optimizer: str = "adam",
        learning_rate: float | None = None,
        *,
        target: str = "cpu",
        threads: int | None = None,
        seed: int = 0,
        checks: Sequence[str] = (),
    ) -> None:
        """learning_rate: None is the optimiser's own (`OPTIMIZERS`). seed: of the first weights and of the order
        of samples. The rest: see `compile`."""
        start = time.perf_counter()
        self.model = model
        self.seed = seed
        self.learning_rate = _optimizer(optimizer).learning_rate if learning_rate is None else learning_rate
        # State, so that a schedule changes a number and not the program.
        self._rate = parameter("learning_rate", (), init=self.learning_rate)
        self.step = training_step(
            model, optimizer, self._rate, target=target, threads=threads, seed=seed, checks=checks
        )
        # What is slow because it watches every access has watched the step; nobody waits for it on 10,000 images.
        fast = "cpu" if checks or target == "interpret" else target
        classes = argmax(model.logits, axis=1)
        self._predict = compile(classes, [model.x], target=fast, threads=threads, state=self.step.state)
        self._declared = time.perf_counter() - start
        self._epochs = 0

    @property
    def state(self) -> State:
        return self.step.state

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Class numbers, (count,)."""
        parts = [self._predict(images[i : i + CHUNK]) for i in range(0, len(images), CHUNK)]
        return np.concatenate(parts) if parts else np.empty(0, np.int64)

    def evaluate(self, images: np.ndarray, labels: np.ndarray) -> float:
        """The fraction classified correctly."""
        if not len(labels):
            raise DataError("no images to evaluate")
        return float(np.mean(self.predict(images) == labels))

    def fit(
        self,
        data: Dataset,
        epochs: int,
        batch: int,
        *,
        steps: int | None = None,
        schedule: str = "constant",
        on_step: Callable[[int, float], None] = lambda step, loss: None,
        on_epoch: Callable[[Epoch], None] = lambda epoch: None,
    ) -> History:
        """Trains for so many epochs, or until `steps` are done; batches are those of `data.batches`, the learning
        rate follows one of SCHEDULES. A further call goes on with the epochs after these.

        Raises GraphnetError where the loss is no longer a finite number."""
        if schedule not in SCHEDULES:
            raise GraphnetError(f"unknown schedule {schedule!r}; there are {', '.join(SCHEDULES)}")
        start = time.perf_counter()
        history = History()
        for epoch in range(epochs):
            begun, first, number = time.perf_counter(), len(history.losses), self._epochs
            rate = self.learning_rate * SCHEDULES[schedule](epoch, epochs)
            self.state[self._rate] = np.asarray(rate, self._rate.dtype)
            for images, labels in batches(data.train_images, data.train_labels, batch, self.seed, number):
                self._one(images, labels, history)
                on_step(len(history.losses), history.losses[-1])
                if len(history.losses) == steps:
                    break
            elapsed = time.perf_counter() - begun
            self._epochs += 1
            history.accuracy = self.evaluate(data.test_images, data.test_labels)
            history.epochs.append(
                Epoch(number + 1, float(np.mean(history.losses[first:])), history.accuracy, elapsed)
            )
            on_epoch(history.epochs[-1])
            if len(history.losses) == steps:
                break
        if not history.epochs:
            history.accuracy = self.evaluate(data.test_images, data.test_labels)
        history.seconds = time.perf_counter() - start
        return history

    def _one(self, images: np.ndarray, labels: np.ndarray, history: History) -> None:
        known, start = len(self.step.specializations), time.perf_counter()
        loss = float(self.step(images, labels))
        elapsed = time.perf_counter() - start
        if not history.losses:
            history.seconds_first_step = elapsed + self._declared
        if len(self.step.specializations) == known:
            history.seconds_steps.append(elapsed)
        if not math.isfinite(loss):
            raise GraphnetError(
                f"the loss is {loss} after {len(history.losses)} good steps; a smaller learning rate may help"
            )
        history.losses.append(loss)

    # ------------------------------------------------------------------------------------ saving

    def values(self) -> dict[str, np.ndarray]:
        """The parameters and what the optimiser keeps, by name."""
        for p in self.step.graph.parameters:
            self.state.array(p)  # makes those that no call has needed yet
        return dict(self.state.items())

    def save(self, path: str | Path) -> None:
        """Writes `values` as an .npz file, whole or not at all."""
        with replacing(path) as temporary:
            write_arrays(temporary, self.values())

    def load(self, path: str | Path) -> None:
        """Takes back what `save` wrote. Raises DataError for a file that does not hold the same values."""
        try:
            with np.load(path) as file:
                found = {name: file[name] for name in file.files}
        except (OSError, ValueError, zipfile.BadZipFile) as e:
            raise DataError(f"{path}: cannot be read: {getattr(e, 'strerror', None) or e}") from None
        own = self.values()
        if set(found) != set(own):
            differing = ", ".join(sorted(set(found) ^ set(own))[:4])
            raise DataError(f"{path}: not the values of {self.model.name} with this optimizer: {differing}")
        for name, value in found.items():
            if (value.shape, value.dtype) != (own[name].shape, own[name].dtype):
                raise DataError(
                    f"{path}: {name} is {value.dtype}{list(value.shape)}, expected {own[name].dtype}"
                    f"{list(own[name].shape)}"
                )
        for name, value in found.items():
            self.state[name] = value


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """An .npz file at exactly this path: NumPy itself would append a suffix."""
    with path.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
