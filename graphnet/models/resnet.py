"""ResNet-18: basic blocks with batch normalisation, and projections where the shape changes (option B).

K. He, X. Zhang, S. Ren, J. Sun: Deep residual learning for image recognition. CVPR 2016, arXiv:1512.03385.
"""

from __future__ import annotations

import graphnet as gn
from graphnet.node import Node

from .layers import Declaration

STAGES = ((1, 1), (2, 2), (4, 2), (8, 2))  # channels, as multiples of the width; stride of the first of two blocks


def resnet18(x: Node, classes: int = 1000, width: int = 64) -> tuple[Node, dict[str, Node]]:
    """Logits (N, classes) of images x (N, C, H, W) of any size, and the parameters by name, for inference:
    normalised by running statistics. width: the channels of the first stage."""
    d = Declaration(training=False)
    return _logits(d, x, classes, width), d.p


def resnet18_training(
    x: Node, classes: int = 1000, width: int = 64
) -> tuple[Node, dict[str, Node], dict[Node, Node]]:
    """The same for training, normalised by the statistics of the batch; and the running statistics' new values."""
    d = Declaration(training=True)
    return _logits(d, x, classes, width), d.p, d.statistics


def _logits(d: Declaration, x: Node, classes: int, width: int) -> Node:
    h = gn.relu(d.convolution("stem", x, width, 7, 2))
    h = gn.max_pool2d(h, 3, stride=2, padding=1)
    for stage, (multiple, stride) in enumerate(STAGES, 1):
        h = _block(d, f"stage{stage}.1", h, width * multiple, stride)
        h = _block(d, f"stage{stage}.2", h, width * multiple, 1)
    return d.linear("dense", gn.global_avg_pool2d(h), classes)


def _block(d: Declaration, name: str, x: Node, channels: int, stride: int) -> Node:
    """Two convolutions, and x added to what they make, through a 1x1 convolution where the shapes differ."""
    h = gn.relu(d.convolution(f"{name}.first", x, channels, 3, stride))
    h = d.convolution(f"{name}.second", h, channels, 3)
    if h.shape != x.shape:
        x = d.convolution(f"{name}.shortcut", x, channels, 1, stride)
    return gn.relu(h + x)
