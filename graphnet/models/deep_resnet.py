"""ResNet-164, for small images: bottlenecks that are normalised before they are weighted, with identities between them.

K. He, X. Zhang, S. Ren, J. Sun: Identity mappings in deep residual networks. ECCV 2016, arXiv:1603.05027.
"""

from __future__ import annotations

import graphnet as gn
from graphnet.node import Node

from .layers import Declaration

STAGES = ((16, 1), (32, 2), (64, 2))  # a quarter of the channels; stride of the first block


def resnet164(x: Node, classes: int = 10, blocks: int = 18) -> tuple[Node, dict[str, Node]]:
    """Logits (N, classes) of small images x (N, C, H, W), such as CIFAR's of 32x32, for inference. blocks: of each
    stage; the network has 9 * blocks + 2 layers."""
    d = Declaration(training=False)
    return _logits(d, x, classes, blocks), d.p


def resnet164_training(
    x: Node, classes: int = 10, blocks: int = 18
) -> tuple[Node, dict[str, Node], dict[Node, Node]]:
    """The same for training; and the running statistics' new values."""
    d = Declaration(training=True)
    return _logits(d, x, classes, blocks), d.p, d.statistics


def _logits(d: Declaration, x: Node, classes: int, blocks: int) -> Node:
    h = d.weighted("stem", x, 16, 3)
    for stage, (width, stride) in enumerate(STAGES, 1):
        for block in range(1, blocks + 1):
            h = _block(d, f"stage{stage}.{block}", h, width, stride if block == 1 else 1)
    return d.linear("dense", gn.global_avg_pool2d(gn.relu(d.normalised("last", h))), classes)


def _block(d: Declaration, name: str, x: Node, width: int, stride: int) -> Node:
    """x, and three convolutions of what it is after normalisation and ReLU, from `width` to four times as many."""
    first = gn.relu(d.normalised(f"{name}.first", x))
    h = gn.relu(d.convolution(f"{name}.reduce", first, width, 1, stride))
    h = gn.relu(d.convolution(f"{name}.spatial", h, width, 3))
    h = d.weighted(f"{name}.expand", h, 4 * width, 1)
    if h.shape != x.shape:
        x = d.weighted(f"{name}.shortcut", first, 4 * width, 1, stride)
    return h + x
