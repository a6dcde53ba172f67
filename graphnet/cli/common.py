"""What the commands share: the parser, options, declared functions, and output for machines."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from ..function import Function
from ..models import DIGITS, MODELS, Model
from ..training import OPTIMIZERS, inference, training_step
from ..types import concrete

MODES = ("train", "infer")
BATCH, BATCH_OF_PHOTOGRAPHS = 64, 4  # where none is given; the second for images of 224x224
LARGE = f"for {', '.join(m for m in MODELS if m not in DIGITS)}"


class UsageError(Exception):
    """A command line that could not be understood."""


class Parser(argparse.ArgumentParser):
    """Keeps line breaks in help; errors are exceptions."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


# --------------------------------------------------------------------------------- kinds of options


def count(text: str) -> int:
    """An integer from 1."""
    value = _integer(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, not {text}")
    return value


def seed(text: str) -> int:
    """An integer from 0, of at most 63 bits: what NumPy's generators take."""
    value = _integer(text)
    if not 0 <= value < 2**63:
        raise argparse.ArgumentTypeError(f"must be from 0 to 2**63 - 1, not {text}")
    return value


def rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number, not {text!r}") from None
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"must be a finite number above 0, not {text}")
    return value


def _integer(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be an integer, not {text!r}") from None


def words(text: str) -> tuple[str, ...]:
    """A list with commas."""
    return tuple(w.strip() for w in text.split(",") if w.strip())


# ------------------------------------------------------------------------------------------ options


def add_model(p: argparse.ArgumentParser) -> None:
    p.add_argument("model", choices=MODELS, help=f"the network: {', '.join(MODELS)}")


def add_mode(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--mode", choices=MODES, default="train", help="the whole training step, or inference only (default: train)"
    )


def add_batch(p: argparse.ArgumentParser) -> None:
    default = f"{BATCH}; {BATCH_OF_PHOTOGRAPHS} {LARGE}"
    p.add_argument("--batch", type=count, metavar="N", help=f"images in a batch (default: {default})")


def add_threads(p: argparse.ArgumentParser) -> None:
    p.add_argument("--threads", type=count, metavar="N", help="CPU threads (default: all this process may use)")


def add_optimizer(p: argparse.ArgumentParser) -> None:
    p.add_argument(
        "--optimizer", choices=OPTIMIZERS, help=f"how weights are updated (default: adam; momentum {LARGE})"
    )


def add_json(p: argparse.ArgumentParser) -> None:
    p.add_argument("--json", action="store_true", help="print one JSON object and nothing else, for programs")


# ------------------------------------------------------------------------------- functions and data


def model_of(a: argparse.Namespace) -> Model:
    """The network that was asked for. Options whose defaults depend on it are filled in."""
    large = a.model not in DIGITS
    if a.batch is None:
        a.batch = BATCH_OF_PHOTOGRAPHS if large else BATCH
    if a.optimizer is None:
        a.optimizer = "momentum" if large else "adam"
    return MODELS[a.model]()


def declared(model: Model, mode: str, optimizer: str = "adam", **settings: Any) -> Function:
    """The function of a mode, not yet compiled for any size."""
    return training_step(model, optimizer, **settings) if mode == "train" else inference(model, **settings)


def arbitrary_batch(model: Model, batch: int) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels for timing, where any will do; the same in every run."""
    rng = np.random.default_rng(0)
    image, (classes,) = concrete(model.x.shape[1:]), concrete(model.logits.shape[1:])
    return rng.random((batch, *image), dtype=np.float32), rng.integers(0, classes, batch).astype(np.int32)


def arguments(function: Function, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """A training step takes both, inference the images."""
    return (images, labels)[: len(function.graph.inputs)]


def call(function: Function, images: np.ndarray, labels: np.ndarray) -> Any:
    return function(*arguments(function, images, labels))


# ------------------------------------------------------------------------------------------- output


def print_json(value: dict[str, Any]) -> None:
    print(json.dumps(value, allow_nan=False))


def written(paths: list[Path]) -> str:
    """Which files were written, for people."""
    return "\n".join(f"wrote {p} ({p.stat().st_size / 1024:,.1f} KB)" for p in paths)
