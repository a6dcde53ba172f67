"""AlexNet in its variant with one tower: 64-192-384-256-256 kernels, and no local response normalisation.

A. Krizhevsky: One weird trick for parallelizing convolutional neural networks. arXiv:1404.5997, 2014.
The original (A. Krizhevsky, I. Sutskever, G. Hinton: ImageNet classification with deep convolutional neural
networks, NIPS 2012) is split over two GPUs.
"""

from __future__ import annotations

import graphnet as gn
from graphnet.node import Node


def alexnet(
    x: Node, classes: int = 1000, width: int = 4096, key: Node | None = None
) -> tuple[Node, dict[str, Node]]:
    """Logits (N, classes) of images x (N, C, H, W) of 63x63 or more, and the parameters by name. width: of the
    dense layers. Without a key there is no dropout: see `dense`. Shapes below are those for 224x224."""
    p: dict[str, Node] = {}
    inputs = x.shape[1]
    for k, (kernels, size) in enumerate(((64, 11), (192, 5), (384, 3), (256, 3), (256, 3)), 1):
        p[f"w{k}"] = gn.parameter(f"w{k}", (kernels, inputs, size, size), gn.init.he_normal(), x.dtype)
        p[f"b{k}"] = gn.parameter(f"b{k}", (kernels,), gn.init.zeros(), x.dtype)
        inputs = kernels
    h = gn.relu(gn.conv2d(x, p["w1"], stride=4, padding=2) + p["b1"][:, None, None])  # (N, 64, 55, 55)
    h = gn.max_pool2d(h, 3, stride=2)  # (N, 64, 27, 27)
    h = gn.relu(gn.conv2d(h, p["w2"], padding=2) + p["b2"][:, None, None])
    h = gn.max_pool2d(h, 3, stride=2)  # (N, 192, 13, 13)
    h = gn.relu(gn.conv2d(h, p["w3"], padding=1) + p["b3"][:, None, None])
    h = gn.relu(gn.conv2d(h, p["w4"], padding=1) + p["b4"][:, None, None])
    h = gn.relu(gn.conv2d(h, p["w5"], padding=1) + p["b5"][:, None, None])
    h = gn.max_pool2d(h, 3, stride=2)  # (N, 256, 6, 6)
    return dense(h, p, 6, (width, width, classes), key), p


def dense(h: Node, p: dict[str, Node], first: int, widths: tuple[int, int, int], key: Node | None) -> Node:
    """The three dense layers that AlexNet and VGG end with. Their parameters are added to p, numbered from `first`.

    With a key, half of what each of the first two sees is dropped, as in the papers; it must be another key at every
    step. What the command line trains and measures has no dropout. Their weights are most of what a network must draw
    before its first step, so they are uniform, which is quicker."""
    h = gn.flatten(h)
    for k, width in enumerate(widths, first):
        w = p[f"w{k}"] = gn.parameter(f"w{k}", (h.shape[1], width), gn.init.he_uniform(), h.dtype)
        b = p[f"b{k}"] = gn.parameter(f"b{k}", (width,), gn.init.zeros(), h.dtype)
        last = k == first + len(widths) - 1
        if key is not None and not last:
            h = gn.dropout(h, 0.5, gn.fold_in(key, k))
        h = h @ w + b
        h = h if last else gn.relu(h)
    return h
