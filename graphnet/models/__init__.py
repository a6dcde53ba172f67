"""The networks that the command line knows by name. Their lines count as the user's: see `site`."""

from __future__ import annotations

from collections.abc import Callable

from .lenet import lenet
from .mlp import mlp
from .model import Model, classifier

IMAGE = (1, 28, 28)  # of MNIST, and of the enlarged digits

MODELS: dict[str, Callable[[], Model]] = {
    "lenet": lambda: classifier("lenet", lenet, IMAGE),
    "mlp": lambda: classifier("mlp", mlp, IMAGE),
}

__all__ = ["MODELS", "Model", "classifier", "lenet", "mlp"]
