"""Where every stored value lives: one static arena, by lifetime, and updates in place where that is safe.

Values are placed in the order of execution into the smallest gap that is free for their whole life, so
the peak is known before anything is allocated (`Plan.arena_bytes`). What is prepared once for all calls has places
of its own, in front of the arena; what only its preparation needs lies in the arena, as everything else does.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass, field, replace

from codegen.dtypes import DTYPES, FROM_NUMPY
from codegen.program import Slot

from ..module import Decision, Group, Module
from ..node import Constant, Node
from ..ops.broadcast import Reshape
from ..ops.relayout import Relayout
from ..types import concrete, elements
from .fuse import is_alias

ALIGNMENT = 64


@dataclass(frozen=True, slots=True)
class Plan:
    """Memory of a module. `slot` numbers the slots of stored nodes and leaves; `copies` are (from, to)
    slots copied at the end, for results that could not be computed in place."""

    slots: tuple[Slot, ...]
    slot: dict[Node, int]
    outputs: tuple[int, ...]
    reads: tuple[tuple[Node, ...], ...]  # stored nodes and leaves that each group reads
    copies: tuple[tuple[Node, int], ...]
    arena_bytes: int
    prepared_bytes: int = 0  # in front of the arena


@dataclass(slots=True)
class _Arena:
    """Free gaps by offset; grows at the end."""

    gaps: list[tuple[int, int]] = field(default_factory=list)  # (offset, bytes), sorted
    size: int = 0

    def take(self, nbytes: int) -> int:
        fitting = [g for g in self.gaps if g[1] >= nbytes]
        if fitting:
            offset, length = min(fitting, key=lambda g: (g[1], g[0]))
            self.gaps.remove((offset, length))
            if length > nbytes:
                insort(self.gaps, (offset + nbytes, length - nbytes))
            return offset
        at_end = bool(self.gaps) and sum(self.gaps[-1]) == self.size
        offset = self.gaps.pop()[0] if at_end else self.size  # extend the last gap, or the arena
        self.size = offset + nbytes
        return offset

    def give(self, offset: int, nbytes: int) -> None:
        insort(self.gaps, (offset, nbytes))
        merged: list[tuple[int, int]] = []
        for o, n in self.gaps:
            if merged and sum(merged[-1]) == o:
                merged[-1] = (merged[-1][0], merged[-1][1] + n)
            else:
                merged.append((o, n))
        self.gaps = merged


def physical_shape(n: Node, layouts: dict[Node, tuple[int, ...]]) -> tuple[int, ...]:
    """The extents of `n` in the order in which its axes lie in memory, gaps included."""
    shape = concrete(n.shape)
    order = layouts.get(n)
    shape = shape if order is None else tuple(shape[a] for a in order)
    gap = n.op.gap if isinstance(n.op, Relayout) and order is not None else 0
    return (*shape[:-1], shape[-1] + gap) if shape else shape


def nbytes(n: Node) -> int:
    """Of memory, gaps included."""
    gap = (
        n.op.gap * (elements(n.type) // max(concrete(n.shape)[n.op.order[-1]], 1)) if isinstance(n.op, Relayout) else 0
    )
    return DTYPES[FROM_NUMPY[n.dtype]].bytes * (elements(n.type) + gap)


def _rounded(n: Node) -> int:
    """Bytes of `n` up to the next place where a value may start."""
    return -(-max(nbytes(n), 1) // ALIGNMENT) * ALIGNMENT


def storage(n: Node, m: Module, stored: set[Node]) -> Node:
    """The node in whose memory `n` lies: itself, or what it is a view of."""
    while n not in stored and isinstance(n.op, Reshape) and is_alias(n, m.layouts):
        n = n.inputs[0]
    return n


def group_reads(g: Group, m: Module, stored: set[Node]) -> tuple[Node, ...]:
    """The leaves and stored nodes of other groups that a group reads, through virtual nodes."""
    inside = set(g.nodes)
    found: dict[Node, None] = {}
    seen: set[Node] = set()
    stack = [i for n in g.nodes for i in n.inputs]
    while stack:
        n = stack.pop()
        if n in seen or n in inside:
            continue
        seen.add(n)
        if n in stored or n.op.kind == "leaf":
            found[n] = None
        else:
            stack.extend(n.inputs)
    return tuple(found)


def memory(m: Module) -> Module:
    """A slot for every input, parameter, constant, result and stored value."""
    return _Planner(m).run()


def _pointwise(n: Node, p: Node) -> bool:
    """Whether `n` reads its inputs of p's shape only at its own index."""
    return n.op.kind == "elementwise" and n.shape == p.shape


class _Planner:
    def __init__(self, m: Module) -> None:
        self.m = m
        self.slots: list[Slot] = []
        self.slot: dict[Node, int] = {}
        self.stored = {n for g in m.groups for n in g.stored}
        self.reads = tuple(group_reads(g, m, self.stored) for g in m.groups)
        self.made_in = {n: k for k, g in enumerate(m.groups) for n in g.stored}
        self.last_use: dict[Node, int] = {}
        for k, read in enumerate(self.reads):
            for n in read:
                self.last_use[n] = k

    def external(self, name: str, n: Node) -> int:
        self.slots.append(Slot(name, FROM_NUMPY[n.dtype], physical_shape(n, self.m.layouts), nbytes(n)))
        return len(self.slots) - 1

    def run(self) -> Module:
        graph = self.m.graph
        for n in dict.fromkeys((*graph.inputs, *graph.parameters)):
            self.slot[n] = self.external(n.name, n)
        for n in graph.nodes():
            if isinstance(n.op, Constant):
                self.slot[n] = self.external("constant", n)
        copies: list[tuple[Node, int]] = []
        outputs = []
        for k, n in enumerate(graph.outputs):
            number = self.external(f"output{k}", n)
            outputs.append(number)
            if n in self.stored and n not in self.slot:
                self.slot[n] = number
            else:
                copies.append((n, number))
        decisions = []
        for p, new in graph.updates:
            why = self.refuse_in_place(p, new)
            if why:
                if new is not p:
                    copies.append((new, self.slot[p]))
                    decisions.append(Decision("memory", p, "updated by a copy", why))
            else:
                self.slot[new] = self.slot[p]
        end = len(self.m.groups)
        for n, _ in copies:
            self.last_use[n] = end
        prepared = self.keep()
        arena = self.allocate(prepared)
        plan = Plan(tuple(self.slots), self.slot, tuple(outputs), self.reads, tuple(copies), arena, prepared)
        return replace(self.m, plan=plan).decided(*decisions)

    def refuse_in_place(self, p: Node, new: Node) -> str:
        """Why the new value cannot overwrite the parameter as it is computed; "" if it can."""
        if new not in self.stored or new in self.slot:
            return "its new value is not computed for it alone"
        if new in self.m.layouts:
            return "its new value lies in another order"
        made = self.made_in[new]
        for k in range(made + 1, len(self.m.groups)):
            if p in self.reads[k]:
                return "a later kernel reads the old value"
        g = self.m.groups[made]
        inside = set(g.nodes)
        for n in g.nodes:
            for i in n.inputs:
                if i not in inside and self.reads_elsewhere(i, p, n):
                    return "its kernel reads the old value at other places"
        return ""

    def reads_elsewhere(self, n: Node, p: Node, user: Node) -> bool:
        """Whether `user`, a node of the kernel that updates p, reads p through its input `n` other than at
        its own index: through anything but elementwise ops of p's shape."""
        stack = [(n, _pointwise(user, p))]
        while stack:
            x, same = stack.pop()
            if x is p and not same:
                return True
            if x not in self.stored and x.op.kind != "leaf":  # a virtual node
                stack.extend((i, same and _pointwise(x, p)) for i in x.inputs)
        return False

    def keep(self) -> int:
        """Places what is prepared and read at every call; its bytes."""
        read = {n for g, reads in zip(self.m.groups, self.reads, strict=True) if not g.prepared for n in reads}
        size = 0
        for g in self.m.groups:
            for n in g.stored:
                if g.prepared and n in read:
                    self.place(n, size)
                    size += _rounded(n)
        return size

    def allocate(self, base: int) -> int:
        """Places what has no slot yet in the arena, which starts at `base`; its size in bytes."""
        arena = _Arena()
        dying: dict[int, list[tuple[int, int]]] = {}
        for k, g in enumerate(self.m.groups):
            for n in g.stored:
                if n in self.slot:
                    continue
                size = _rounded(n)
                offset = arena.take(size)
                self.place(n, base + offset)
                dying.setdefault(max(self.last_use.get(n, k), k), []).append((offset, size))
            for offset, size in dying.pop(k, ()):
                arena.give(offset, size)
        return arena.size

    def place(self, n: Node, offset: int) -> None:
        shape = physical_shape(n, self.m.layouts)
        self.slots.append(Slot(n.op.name, FROM_NUMPY[n.dtype], shape, nbytes(n), "arena", offset))
        self.slot[n] = len(self.slots) - 1
