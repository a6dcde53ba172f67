"""The networks that the command line knows by name. Their lines count as the user's: see `site`."""

from __future__ import annotations

from collections.abc import Callable

from . import lenet as _lenet
from . import mlp as _mlp
from .lenet import lenet
from .mlp import mlp
from .model import Model, classifier

MODELS: dict[str, Callable[[], Model]] = {
    "lenet": lambda: classifier("lenet", lenet, _lenet.IMAGE),
    "mlp": lambda: classifier("mlp", mlp, _mlp.IMAGE),
}

__all__ = ["MODELS", "Model", "classifier", "lenet", "mlp"]
