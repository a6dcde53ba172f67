"""What every network of the zoo is, once declared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import graphnet as gn
from graphnet.node import Node


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A classifier: inputs x (N, ...) and y (N,) of class numbers, parameters by name, logits, mean loss.

    The logits are those of inference, the loss that of training. They differ where a network normalises by the batch
    in training and by running statistics in inference: `statistics` has these, and what a training step makes them."""

    name: str
    x: Node
    y: Node
    params: dict[str, Node]
    logits: Node
    loss: Node
    statistics: dict[Node, Node] = field(default_factory=dict)


Network = Callable[[Node], tuple[Node, dict[str, Node]]]  # x -> logits, params
TrainingNetwork = Callable[[Node], tuple[Node, dict[str, Node], dict[Node, Node]]]  # x -> logits, params, statistics


def classifier(
    name: str,
    network: Network,
    image: tuple[int, ...],
    training: TrainingNetwork | None = None,
    dtype: str = "float32",
) -> Model:
    """The network on images of that shape, in batches of any size N, under cross-entropy. `training` is the same
    network as it is trained, where that differs."""
    x = gn.input("x", ("N", *image), dtype)
    y = gn.input("y", ("N",), dtype="int32")
    logits, params = network(x)
    trained, _, statistics = training(x) if training is not None else (logits, params, {})
    return Model(name, x, y, params, logits, gn.cross_entropy(trained, y), statistics)
