"""The networks that the command line knows by name. Their lines count as the user's: see `site`."""

from __future__ import annotations

from collections.abc import Callable

from .alexnet import alexnet
from .alexnet2012 import alexnet2012
from .deep_resnet import resnet164, resnet164_training
from .lenet import lenet
from .mlp import mlp
from .mobilenet import mobilenet, mobilenet_training
from .model import Model, classifier
from .recurrent import recurrent
from .resnet import resnet18, resnet18_training
from .transformer import transformer
from .unet import unet
from .vgg import vgg16

IMAGE = (1, 28, 28)  # of MNIST, and of the enlarged digits
CIFAR = (3, 32, 32)  # of CIFAR-10, likewise
PHOTOGRAPH = (3, 224, 224)  # of ImageNet, of which there is no data set here

MODELS: dict[str, Callable[[], Model]] = {
    "lenet": lambda: classifier("lenet", lenet, IMAGE),
    "mlp": lambda: classifier("mlp", mlp, IMAGE),
    "alexnet": lambda: classifier("alexnet", alexnet, PHOTOGRAPH),
    "alexnet2012": lambda: classifier("alexnet2012", alexnet2012, PHOTOGRAPH),
    "vgg16": lambda: classifier("vgg16", vgg16, PHOTOGRAPH),
    "resnet164": lambda: classifier("resnet164", resnet164, CIFAR, resnet164_training),
    "resnet18": lambda: classifier("resnet18", resnet18, PHOTOGRAPH, resnet18_training),
    "mobilenet": lambda: classifier("mobilenet", mobilenet, PHOTOGRAPH, mobilenet_training),
}
DIGITS = ("lenet", "mlp")  # those that learn IMAGEs

__all__ = [
    "CIFAR",
    "DIGITS",
    "IMAGE",
    "MODELS",
    "PHOTOGRAPH",
    "Model",
    "alexnet",
    "alexnet2012",
    "classifier",
    "lenet",
    "mlp",
    "mobilenet",
    "mobilenet_training",
    "recurrent",
    "resnet18",
    "resnet18_training",
    "resnet164",
    "resnet164_training",
    "transformer",
    "unet",
    "vgg16",
]
