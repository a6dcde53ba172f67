"""What several networks declare alike: parameters by name, and convolutions with batch normalisation.

Running statistics are parameters of the graph, but not of the optimiser."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import graphnet as gn
from graphnet.node import Node


@dataclass(slots=True)
class Declaration:
    """A network as it grows, for training (normalised by the batch) or for inference (by running statistics)."""

    training: bool
    p: dict[str, Node] = field(default_factory=dict)
    statistics: dict[Node, Node] = field(default_factory=dict)

    def convolution(self, name: str, x: Node, channels: Any, size: int, stride: int = 1, groups: Any = 1) -> Node:
        """A convolution that keeps the size, or divides it by the stride, without bias; normalised."""
        return self.normalised(name, self.weighted(name, x, channels, size, stride, groups))

    def weighted(self, name: str, x: Node, channels: Any, size: int, stride: int = 1, groups: Any = 1) -> Node:
        """The same, not normalised."""
        shape = (channels, x.shape[1] // groups, size, size)
        w = self.parameter(f"{name}.w", shape, gn.init.he_normal(), x.dtype)
        return gn.conv2d(x, w, stride, padding=size // 2, groups=groups)

    def normalised(self, name: str, h: Node) -> Node:
        """Batch normalisation of h (N, C, H, W), with scale and shift."""
        channels = h.shape[1:2]
        scale = self.parameter(f"{name}.scale", channels, gn.init.ones(), h.dtype)
        shift = self.parameter(f"{name}.shift", channels, gn.init.zeros(), h.dtype)
        mean = gn.parameter(f"{name}.mean", channels, gn.init.zeros(), h.dtype)
        variance = gn.parameter(f"{name}.variance", channels, gn.init.ones(), h.dtype)
        if not self.training:
            return gn.batch_norm_inference(h, scale, shift, mean, variance)
        self.statistics |= gn.batch_norm_updates(h, mean, variance)
        return gn.batch_norm(h, scale, shift)

    def linear(self, name: str, x: Node, width: Any) -> Node:
        """x (..., C) @ w (C, width) + b."""
        w = self.parameter(f"{name}.w", (x.shape[-1], width), gn.init.he_normal(), x.dtype)
        return x @ w + self.parameter(f"{name}.b", (width,), gn.init.zeros(), x.dtype)

    def parameter(self, name: str, shape: tuple[Any, ...], init: Any, dtype: str) -> Node:
        self.p[name] = gn.parameter(name, shape, init, dtype)
        return self.p[name]
