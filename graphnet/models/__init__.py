"""The networks that the command line knows by name. Their lines count as the user's: see `site`."""

from __future__ import annotations

from collections.abc import Callable

from .alexnet import alexnet
from .lenet import lenet
from .mlp import mlp
from .model import Model, classifier
from .resnet import resnet18, resnet18_training
from .vgg import vgg16

IMAGE = (1, 28, 28)  # of MNIST, and of the enlarged digits
PHOTOGRAPH = (3, 224, 224)  # of ImageNet, of which there is no data set here

MODELS: dict[str, Callable[[], Model]] = {
    "lenet": lambda: classifier("lenet", lenet, IMAGE),
    "mlp": lambda: classifier("mlp", mlp, IMAGE),
    "alexnet": lambda: classifier("alexnet", alexnet, PHOTOGRAPH),
    "vgg16": lambda: classifier("vgg16", vgg16, PHOTOGRAPH),
    "resnet18": lambda: classifier("resnet18", resnet18, PHOTOGRAPH, resnet18_training),
}
DIGITS = ("lenet", "mlp")  # those that learn IMAGEs

__all__ = [
    "DIGITS",
    "IMAGE",
    "MODELS",
    "PHOTOGRAPH",
    "Model",
    "alexnet",
    "classifier",
    "lenet",
    "mlp",
    "resnet18",
    "resnet18_training",
    "vgg16",
]
