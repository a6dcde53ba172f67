"""ResNet-18: basic blocks with batch normalisation, and projections where the shape changes (option B).

K. He, X. Zhang, S. Ren, J. Sun: Deep residual learning for image recognition. CVPR 2016, arXiv:1512.03385.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import graphnet as gn
from graphnet.node import Node

STAGES = ((1, 1), (2, 2), (4, 2), (8, 2))  # channels, as multiples of the width; stride of the first of two blocks


def resnet18(x: Node, classes: int = 1000, width: int = 64) -> tuple[Node, dict[str, Node]]:
    """Logits (N, classes) of images x (N, C, H, W) of any size, and the parameters by name, for inference:
    normalised by running statistics. width: the channels of the first stage."""
    d = _Declaration(training=False)
    return d.logits(x, classes, width), d.p


def resnet18_training(
    x: Node, classes: int = 1000, width: int = 64
) -> tuple[Node, dict[str, Node], dict[Node, Node]]:
    """The same for training, normalised by the statistics of the batch; and the running statistics' new values."""
    d = _Declaration(training=True)
    return d.logits(x, classes, width), d.p, d.statistics


@dataclass(slots=True)
class _Declaration:
    """The network as it grows. Running statistics are parameters of the graph, but not of the optimiser."""

    training: bool
    p: dict[str, Node] = field(default_factory=dict)
    statistics: dict[Node, Node] = field(default_factory=dict)

    def logits(self, x: Node, classes: int, width: int) -> Node:
        h = gn.relu(self.convolution("stem", x, width, 7, 2))
        h = gn.max_pool2d(h, 3, stride=2, padding=1)
        for stage, (multiple, stride) in enumerate(STAGES, 1):
            h = self.block(f"stage{stage}.1", h, width * multiple, stride)
            h = self.block(f"stage{stage}.2", h, width * multiple, 1)
        h = gn.global_avg_pool2d(h)
        w = self.parameter("dense.w", (h.shape[1], classes), gn.init.he_normal(), x.dtype)
        return h @ w + self.parameter("dense.b", (classes,), gn.init.zeros(), x.dtype)

    def block(self, name: str, x: Node, channels: int, stride: int) -> Node:
        """Two convolutions, and x added to what they make, through a 1x1 convolution where the shapes differ."""
        h = gn.relu(self.convolution(f"{name}.first", x, channels, 3, stride))
        h = self.convolution(f"{name}.second", h, channels, 3, 1)
        if h.shape != x.shape:
            x = self.convolution(f"{name}.shortcut", x, channels, 1, stride)
        return gn.relu(h + x)

    def convolution(self, name: str, x: Node, channels: int, size: int, stride: int) -> Node:
        """A convolution without bias, normalised."""
        w = self.parameter(f"{name}.w", (channels, x.shape[1], size, size), gn.init.he_normal(), x.dtype)
        h = gn.conv2d(x, w, stride, padding=size // 2)
        scale = self.parameter(f"{name}.scale", (channels,), gn.init.ones(), x.dtype)
        shift = self.parameter(f"{name}.shift", (channels,), gn.init.zeros(), x.dtype)
        mean = gn.parameter(f"{name}.mean", (channels,), gn.init.zeros(), x.dtype)
        variance = gn.parameter(f"{name}.variance", (channels,), gn.init.ones(), x.dtype)
        if not self.training:
            return gn.batch_norm_inference(h, scale, shift, mean, variance)
        self.statistics |= gn.batch_norm_updates(h, mean, variance)
        return gn.batch_norm(h, scale, shift)

    def parameter(self, name: str, shape: tuple[object, ...], init: object, dtype: str) -> Node:
        self.p[name] = gn.parameter(name, shape, init, dtype)
        return self.p[name]
