"""U-Net: a class for every pixel, by a way down and a way up with bridges between them.

O. Ronneberger, P. Fischer, T. Brox: U-Net: convolutional networks for biomedical image segmentation. MICCAI 2015,
arXiv:1505.04597. The paper's convolutions are "valid", and the bridges cropped; here they keep the size.
"""

from __future__ import annotations

import graphnet as gn
from graphnet.node import Node

from .layers import Declaration


def unet(x: Node, classes: int = 2, width: int = 64, depth: int = 4) -> tuple[Node, dict[str, Node]]:
    """Logits (N, classes, H, W) of images x (N, C, H, W), H and W multiples of 2^depth, and the parameters by name.
    width: the channels of the first convolutions; they double at each of `depth` halvings."""
    d = Declaration(training=True)
    bridges = []
    h = x
    for level in range(depth):
        h = _pair(d, f"down{level}", h, width << level)
        bridges.append(h)
        h = gn.max_pool2d(h, 2)
    h = _pair(d, "bottom", h, width << depth)
    for level in reversed(range(depth)):
        channels = width << level
        w = d.parameter(f"up{level}.w", (h.shape[1], channels, 2, 2), gn.init.he_normal(), x.dtype)
        b = d.parameter(f"up{level}.b", (channels,), gn.init.zeros(), x.dtype)
        h = gn.conv_transpose2d(h, w, stride=2) + b[:, None, None]  # (N, 2C, H, W) -> (N, C, 2H, 2W)
        h = _pair(d, f"up{level}", gn.concatenate([bridges[level], h], axis=1), channels)
    return _convolution(d, "classes", h, classes, 1), d.p


def _pair(d: Declaration, name: str, h: Node, channels: int) -> Node:
    for k in (1, 2):
        h = gn.relu(_convolution(d, f"{name}.{k}", h, channels, 3))
    return h


def _convolution(d: Declaration, name: str, h: Node, channels: int, size: int) -> Node:
    w = d.parameter(f"{name}.w", (channels, h.shape[1], size, size), gn.init.he_normal(), h.dtype)
    b = d.parameter(f"{name}.b", (channels,), gn.init.zeros(), h.dtype)
    return gn.conv2d(h, w, padding=size // 2) + b[:, None, None]
