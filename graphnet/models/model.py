"""What every network of the zoo is, once declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import graphnet as gn
from graphnet.node import Node


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A classifier: inputs x (N, ...) and y (N,) of class numbers, parameters by name, logits, mean loss."""

    name: str
    x: Node
    y: Node
    params: dict[str, Node]
    logits: Node
    loss: Node


Network = Callable[[Node], tuple[Node, dict[str, Node]]]  # x -> logits, params


def classifier(name: str, network: Network, image: tuple[int, ...]) -> Model:
    """The network on images of that shape, in batches of any size N, under cross-entropy."""
    x = gn.input("x", ("N", *image))
    y = gn.input("y", ("N",), dtype="int32")
    logits, params = network(x)
    return Model(name, x, y, params, logits, gn.cross_entropy(logits, y))
