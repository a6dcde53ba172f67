"""VGG-16: configuration D, thirteen convolutions of 3x3 and three dense layers, without batch normalisation.

K. Simonyan, A. Zisserman: Very deep convolutional networks for large-scale image recognition. ICLR 2015.
"""

from __future__ import annotations

import graphnet as gn
from graphnet.node import Node

from .alexnet import dense

# The kernels of each convolution; after each row, images are halved.
CONFIGURATION = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


def vgg16(
    x: Node, classes: int = 1000, width: int = 4096, key: Node | None = None
) -> tuple[Node, dict[str, Node]]:
    """Logits (N, classes) of images x (N, C, H, W) of 32x32 or more, and the parameters by name. width: of the
    dense layers. Without a key there is no dropout: see `alexnet.dense`."""
    p: dict[str, Node] = {}
    h, k = x, 0
    for row in CONFIGURATION:
        for kernels in row:
            k += 1
            w = p[f"w{k}"] = gn.parameter(f"w{k}", (kernels, h.shape[1], 3, 3), gn.init.he_normal(), x.dtype)
            b = p[f"b{k}"] = gn.parameter(f"b{k}", (kernels,), gn.init.zeros(), x.dtype)
            h = gn.relu(gn.conv2d(h, w, padding=1) + b[:, None, None])
        h = gn.max_pool2d(h, 2)
    return dense(h, p, k + 1, (width, width, classes), key), p
