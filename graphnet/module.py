"""What the passes hand to each other: a graph, and what has been decided about it so far."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from .node import Graph, Node


@dataclass(frozen=True, slots=True)
class Candidate:
    """One of the ways that a choice was between: its modelled cost in operations, or why it was refused; and its time
    on this machine, where that was measured."""

    name: str
    cost: float | None
    refused: str | None
    seconds: float | None = None

    def __str__(self) -> str:
        if self.cost is None:
            return f"{self.name}: {self.refused}"
        measured = "" if self.seconds is None else f" ({self.seconds * 1e3:.3g} ms)"
        return f"{self.name} {self.cost / 1e9:.3g} Gop{measured}"


@dataclass(frozen=True, slots=True)
class Decision:
    """One choice a pass made, for `explain()`: about which node, what, why, and between what."""

    pass_name: str
    node: Node
    choice: str
    reason: str
    candidates: tuple[Candidate, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """What compilation aims at. `target` is "cpu" (vector lanes matter) or "gpu" (they do not)."""

    target: str = "cpu"
    lanes: int = 16  # float32 lanes of the widest vector register
    sizes: tuple[tuple[str, int], ...] = ()  # named dimensions
    precision: str = "default"  # "highest": convolutions by direct sums only
    max_bytes: int | None = None  # of everything that `Function.memory` counts
    tuner: Callable[[Sequence[Any]], Mapping[Node, Mapping[str, float]]] | None = None  # see `graphnet.tune`


@dataclass(frozen=True, slots=True)
class Group:
    """One kernel: nodes computed at the same index, inputs first, and those of them that are stored.

    `anchors` are the nodes that reduce; `reasons` say why nodes joined, for `explain()`. A group that is `prepared`
    does not run at every call: see `passes.prepare`."""

    nodes: tuple[Node, ...]
    anchors: tuple[Node, ...]
    stored: tuple[Node, ...]
    reasons: tuple[str, ...] = ()
    prepared: bool = False
    stages: tuple[tuple[Node, ...], ...] = ()  # the nodes in stages that run a block of tiles or rows at a time
    block: int = 0  # tiles or rows in a block
    scratch: tuple[Node, ...] = ()  # what one stage hands to later ones, a block at a time

    @property
    def flops(self) -> int:
        """Arithmetic operations, as the ops count them."""
        return sum(n.op.flops(n.type, *(i.type for i in n.inputs)) for n in self.nodes)


@dataclass(frozen=True, slots=True)
class Module:
    """The state of compilation. Fields beyond `graph` are filled by the pass of the same name."""

    graph: Graph
    settings: Settings = Settings()
    batch_axes: dict[Node, int] = field(default_factory=dict)  # which axis runs over the batch
    layouts: dict[Node, tuple[int, ...]] = field(default_factory=dict)  # order of axes in memory; absent: row-major
    groups: tuple[Group, ...] = ()
    plan: Any = None  # memory.Plan
    decisions: tuple[Decision, ...] = ()

    def with_graph(self, graph: Graph) -> Module:
        return replace(self, graph=graph)

    def decided(self, *decisions: Decision) -> Module:
        return replace(self, decisions=self.decisions + decisions)
