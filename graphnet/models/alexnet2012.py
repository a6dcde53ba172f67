"""AlexNet as first published: two towers as groups of channels, local response normalisation, overlapping pools.

A. Krizhevsky, I. Sutskever, G. Hinton: ImageNet classification with deep convolutional neural networks. NIPS 2012.
The towers ran on two GPUs; the second, fourth and fifth convolutions see only the channels of their own.
"""

from __future__ import annotations

import graphnet as gn
from graphnet.node import Node

from .alexnet import dense

# Kernels, size, stride, padding, groups, and whether normalisation and a pool of 3x3 in steps of 2 follow.
CONVOLUTIONS = (
    (96, 11, 4, 2, 1, True, True),
    (256, 5, 1, 2, 2, True, True),
    (384, 3, 1, 1, 1, False, False),
    (384, 3, 1, 1, 2, False, False),
    (256, 3, 1, 1, 2, False, True),
)
WINDOW = 5  # channels


def alexnet2012(
    x: Node, classes: int = 1000, width: int = 4096, key: Node | None = None
) -> tuple[Node, dict[str, Node]]:
    """Logits (N, classes) of images x (N, C, H, W) of 63x63 or more, and the parameters by name. width: of the
    dense layers. Without a key there is no dropout: see `alexnet.dense`."""
    p: dict[str, Node] = {}
    h = x
    for k, (kernels, size, stride, padding, groups, normalised, pooled) in enumerate(CONVOLUTIONS, 1):
        shape = (kernels, h.shape[1] // groups, size, size)
        w = p[f"w{k}"] = gn.parameter(f"w{k}", shape, gn.init.he_normal(), x.dtype)
        b = p[f"b{k}"] = gn.parameter(f"b{k}", (kernels,), gn.init.zeros(), x.dtype)
        h = gn.relu(gn.conv2d(h, w, stride=stride, padding=padding, groups=groups) + b[:, None, None])
        if normalised:  # section 3.3; the paper's alpha multiplies the sum, ours the mean
            h = gn.local_response_norm(h, WINDOW, alpha=1e-4 * WINDOW, beta=0.75, k=2.0)
        if pooled:
            h = gn.max_pool2d(h, 3, stride=2)
    return dense(h, p, 6, (width, width, classes), key), p
