"""What belongs together in a drawing: forward, backward and update sides, layers, and updates of a parameter.

A layer is a line of the user's: the nodes written there, and their gradients. A line that runs more than once, in
a loop or in a function of the user's, makes a layer each time: once for each contraction with a parameter.
"""

from __future__ import annotations

import linecache
import os
from dataclasses import dataclass, field

from ..node import Graph, Node, toposort

MOVES = frozenset(("reshape", "transpose", "broadcast_to", "cast"))  # drawn as words on an edge
LONGEST_LINE = 64  # characters of the user's source in a cluster's label


@dataclass(eq=False, slots=True)
class Layer:
    """A line of the user's and its repetition: 0 the first time, 1 the second."""

    file: str
    line: int
    turn: int = 0
    turns: int = 1

    @property
    def place(self) -> str:
        """Such as `lenet.py:28`, or `mlp.py:9 (2 of 3)` for a line that makes several layers."""
        which = f" ({self.turn + 1} of {self.turns})" if self.turns > 1 else ""
        return f"{os.path.basename(self.file)}:{self.line}{which}"

    @property
    def source(self) -> str:
        """The text of the line; "" where the file cannot be read."""
        text = linecache.getline(self.file, self.line).split("  #")[0].strip()
        return text if len(text) <= LONGEST_LINE else text[: LONGEST_LINE - 1].rstrip() + "…"


@dataclass(eq=False, slots=True)
class UpdateGroup:
    """Parameters that are updated together: a weight, and what the optimiser keeps for it."""

    parameters: list[Node] = field(default_factory=list)  # in the order of the graph's updates
    nodes: list[Node] = field(default_factory=list)
    shared: bool = False  # used by the updates of several weights: step counts, norms of all gradients


@dataclass(frozen=True, slots=True)
class Sides:
    """The nodes of a graph that are no leaves, by what they are for."""

    forward: frozenset[Node]
    backward: frozenset[Node]
    update: frozenset[Node]


def is_gradient(n: Node) -> bool:
    return bool(n.sites) and n.sites[0].role == "gradient"


def declares_gradients(graph: Graph) -> bool:
    """Whether gradients are among what the user asked for as outputs, or go into it."""
    return any(is_gradient(n) for n in toposort(graph.outputs) if n.op.kind != "leaf")


def sides(graph: Graph, gradients_in_outputs: bool) -> Sides:
    """Forward is what the outputs and the gradients need, update what only updates need.

    gradients_in_outputs: of the graph as declared. Passes may share a node of the loss with its gradient and keep
    the gradient's site: only where the outputs need gradients does the role tell forward from backward."""
    needed = {n for n in toposort(graph.outputs) if n.op.kind != "leaf"}
    everything = [n for n in graph.nodes() if n.op.kind != "leaf"]
    backward = {n for n in everything if is_gradient(n) and (gradients_in_outputs or n not in needed)}
    forward = (needed | {n for n in toposort(backward) if n.op.kind != "leaf"}) - backward
    return Sides(frozenset(forward), frozenset(backward), frozenset(everything) - forward - backward)


# ---------------------------------------------------------------------------------------- layers


def has_parameter(n: Node) -> bool:
    """Whether an operand is a parameter or a view of one."""
    return any(i.op.name == "parameter" for i in behind(n))


def behind(n: Node) -> list[Node]:
    """The operands, seen through views."""
    found = []
    for i in n.inputs:
        while i.op.kind == "move" and len(i.inputs) == 1:
            i = i.inputs[0]
        found.append(i)
    return found


class Layers:
    """The layer of every node that has a site. Linear in the size of the graph."""

    def __init__(self, graph: Graph, s: Sides) -> None:
        self.of: dict[Node, Layer] = {}
        self._turns: dict[tuple[str, int], list[Layer]] = {}
        self._order = [n for n in graph.nodes() if n.op.kind != "leaf"]
        self._sides = s
        self._anchor: dict[Node, Node] = {}  # the latest contraction with a parameter that a node needs
        self._outer: dict[Node, Node | None] = {}  # the one before it
        self._position = {n: k for k, n in enumerate(self._order)}
        self._forward()
        self._backward(weight_gradients(graph, s))

    def _line(self, n: Node) -> tuple[str, int] | None:
        return (n.sites[0].file, n.sites[0].line) if n.sites else None

    def _layer(self, line: tuple[str, int], turn: int) -> Layer:
        known = self._turns.setdefault(line, [])
        while len(known) <= turn:
            known.append(Layer(*line, turn=len(known)))
            for layer in known:
                layer.turns = len(known)
        return known[turn]

    def _forward(self) -> None:
        forward = [n for n in self._order if n in self._sides.forward and n.sites]
        for n in forward:
            latest = [self._anchor[i] for i in n.inputs if i in self._anchor]
            outer = max(latest, key=self._position.__getitem__, default=None)
            if n.op.kind == "contract" and has_parameter(n):
                self._anchor[n] = n
                self._outer[n] = outer
                self._anchored(n)
            elif outer is not None:
                self._anchor[n] = outer
        users = {i: n for n in reversed(forward) for i in n.inputs}
        anchored = {self._line(a) for a in self._outer}
        known: dict[tuple[tuple[str, int], Layer], Layer] = {}
        late = []
        for n in forward:
            line = self._line(n)
            if n in self.of or line is None:
                continue
            near = [self.of[i] for i in n.inputs if i in self.of and self._line(i) == line and not self._past(i, n)]
            user = users.get(n, n)
            if near:
                self.of[n] = max(near, key=lambda layer: layer.turn)
            elif user in self.of and self._line(user) == line:
                self.of[n] = self.of[user]
            elif n in self._anchor:
                key = (line, self.of[self._anchor[n]])
                if key not in known:
                    known[key] = self._layer(line, 0 if line in anchored else len(self._turns.get(line, ())))
                self.of[n] = known[key]
            else:
                late.append((n, line))  # made of leaves alone: it goes with its user
        for n, line in reversed(late):
            user = users.get(n, n)
            self.of[n] = self.of[user] if user in self.of and self._line(user) == line else self._layer(line, 0)

    def _anchored(self, n: Node) -> None:
        """A contraction starts the next turn of its line if it needs one of the same line."""
        line = self._line(n)
        assert line is not None
        turn = 0
        if line in self._turns:
            before = self._outer[n]
            while before is not None and self._line(before) != line:
                before = self._outer[before]
            turn = 0 if before is None else self.of[before].turn + 1
        self.of[n] = self._layer(line, turn)

    def _past(self, i: Node, n: Node) -> bool:
        """Whether a contraction lies between `i` and its user `n`, as when a line adds what its last turn gave."""
        anchor, end = self._anchor.get(n), self._anchor.get(i)
        if anchor is end or end is None:
            return anchor is not end and anchor is not None and self._line(anchor) != self._line(n)
        while anchor is not None and self._position[anchor] > self._position[end]:
            anchor = self._outer[anchor]
        return anchor is end

    def _backward(self, weight_of: dict[Node, Node]) -> None:
        """A gradient belongs to the turn whose parameters or values it needs, or those who need what it needs.

        Gradients flow from later turns to earlier ones: what needs those of two belongs to the earlier."""
        backward = [n for n in self._order if n in self._sides.backward and n.sites and n not in self.of]
        by_parameter = {i: layer for n, layer in self.of.items() for i in behind(n) if i.op.name == "parameter"}
        siblings: dict[tuple[Node, tuple[str, int] | None], Layer] = {}
        for n in backward:
            line = self._line(n)
            for i in (weight_of.get(n), *behind(n)):
                layer = by_parameter.get(i) if i is not None else None
                if n not in self.of and layer is not None and (layer.file, layer.line) == line:
                    self.of[n] = layer
            if n in self.of:
                siblings |= {(i, line): self.of[n] for i in behind(n) if i in self._sides.backward}
        for n in backward:
            line = self._line(n)
            if n in self.of or line is None:
                continue
            mine = [i for i in n.inputs if i in self.of and self._line(i) == line]
            gradients = [self.of[i].turn for i in mine if i in self._sides.backward]
            known = [siblings[i, line].turn for i in behind(n) if (i, line) in siblings]
            turns = [min(gradients)] if gradients else known or [self.of[i].turn for i in mine]
            self.of[n] = self._layer(line, max(turns, default=0))


# --------------------------------------------------------------------------------------- updates


def update_groups(graph: Graph, s: Sides) -> list[UpdateGroup]:
    """The updates, one group a weight. What the updates of several weights use makes a group of its own.

    From the results back to the gradients, a node belongs to the group of all its users, if that is one."""
    users: dict[Node, list[Node]] = {}
    order = [n for n in graph.nodes() if n in s.update]
    for n in order:
        for i in dict.fromkeys(n.inputs):
            users.setdefault(i, []).append(n)
    updated: dict[Node, list[Node]] = {}  # new value -> parameters
    for p, new in graph.updates:
        updated.setdefault(new, []).append(p)
    shared = UpdateGroup(shared=True)
    found: list[UpdateGroup] = []
    group: dict[Node, UpdateGroup] = {}
    for n in reversed(order):
        around = list(dict.fromkeys(group[u] for u in users.get(n, ())))
        if not around:
            around = [UpdateGroup()]
            found.append(around[0])
        group[n] = around[0] if len(around) == 1 else shared
        group[n].nodes.append(n)
        group[n].parameters.extend(updated.get(n, ()))
    rank = {p: k for k, (p, _) in enumerate(graph.updates)}
    for g in (*found, shared):
        g.nodes.reverse()
        g.parameters.sort(key=rank.__getitem__)
    # A new value that is no node of the update side: a gradient itself, or another parameter.
    for p, new in graph.updates:
        if new not in group:
            found.append(UpdateGroup([p], []))
    found.sort(key=lambda g: min((rank[p] for p in g.parameters), default=len(rank)))
    return found + ([shared] if shared.nodes else [])


def weight_gradients(graph: Graph, s: Sides) -> dict[Node, Node]:
    """The parameter that each gradient is of, as far as updates tell; views of gradients included."""
    read = {i for n in s.forward for i in n.inputs}
    found = {}
    for g in update_groups(graph, s):
        weights = [p for p in g.parameters if p in read]
        if len(weights) == 1 and not g.shared:
            for n in g.nodes:
                for i in n.inputs:
                    while i in s.backward:
                        found[i] = weights[0]
                        if i.op.kind != "move":
                            break
                        i = i.inputs[0]
    return found


def headline(g: UpdateGroup, read: set[Node]) -> tuple[list[Node], list[Node]]:
    """A group's parameters that the network reads, and those that only the optimiser keeps."""
    weights = [p for p in g.parameters if p in read]
    return (weights, [p for p in g.parameters if p not in read]) if weights else (g.parameters, [])
