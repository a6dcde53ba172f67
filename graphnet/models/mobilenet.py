"""MobileNet: depthwise convolutions, each followed by a pointwise one.

A. Howard and others: MobileNets: efficient convolutional neural networks for mobile vision applications.
arXiv:1704.04861, 2017, table 1.
"""

from __future__ import annotations

import graphnet as gn
from graphnet.node import Node

from .layers import Declaration

# Of each block: channels after it, as multiples of the width, and the stride of its depthwise convolution.
BLOCKS = ((2, 1), (4, 2), (4, 1), (8, 2), (8, 1), (16, 2), *((16, 1),) * 5, (32, 2), (32, 1))


def mobilenet(
    x: Node, classes: int = 1000, width: int = 32, blocks: int = len(BLOCKS)
) -> tuple[Node, dict[str, Node]]:
    """Logits (N, classes) of images x (N, C, H, W) of any size, and the parameters by name, for inference:
    normalised by running statistics. width: the channels of the stem; blocks: how many of the thirteen."""
    d = Declaration(training=False)
    return _logits(d, x, classes, width, blocks), d.p


def mobilenet_training(
    x: Node, classes: int = 1000, width: int = 32, blocks: int = len(BLOCKS)
) -> tuple[Node, dict[str, Node], dict[Node, Node]]:
    """The same for training, normalised by the statistics of the batch; and the running statistics' new values."""
    d = Declaration(training=True)
    return _logits(d, x, classes, width, blocks), d.p, d.statistics


def _logits(d: Declaration, x: Node, classes: int, width: int, blocks: int) -> Node:
    h = gn.relu(d.convolution("stem", x, width, 3, 2))
    for k, (multiple, stride) in enumerate(BLOCKS[:blocks], 1):
        h = gn.relu(d.convolution(f"block{k}.depthwise", h, h.shape[1], 3, stride, groups=h.shape[1]))
        h = gn.relu(d.convolution(f"block{k}.pointwise", h, width * multiple, 1))
    return d.linear("dense", gn.global_avg_pool2d(h), classes)
