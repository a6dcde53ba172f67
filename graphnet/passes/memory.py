"""Where every stored value lives: one static arena, by lifetime, and updates in place where that is safe.

The peak is known before anything is allocated (`Plan.arena_bytes`); kernels run in the order (`order.early`, or the
graph's) in which fewer bytes live at once. What is prepared once for all calls has places of its own, in front of the
arena; what only its preparation needs lies in the arena, as everything else does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from codegen.dtypes import DTYPES, FROM_NUMPY
from codegen.program import Slot

from ..module import Decision, Group, Module
from ..node import Constant, Node
from ..ops.broadcast import Reshape
from ..ops.relayout import Relayout
from ..types import concrete, elements
from .arena import Life, live, place
from .fuse import is_alias
from .order import early

ALIGNMENT = 64
WAITS = (0, 1, 2, 4)  # kernels that a weight's gradient may let pass: see `order.early`


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
        self.copies: list[tuple[Node, int]] = []
        self.arrange(m.groups, tuple(group_reads(g, m, self.stored) for g in m.groups))

    def arrange(self, groups: Sequence[Group], reads: Sequence[tuple[Node, ...]]) -> None:
        """Takes the groups in this order; reads: of each."""
        self.m = replace(self.m, groups=tuple(groups))
        self.reads = tuple(reads)
        self.made_in = {n: k for k, g in enumerate(groups) for n in g.stored}
        self.last_use: dict[Node, int] = {}
        for k, read in enumerate(reads):
            for n in read:
                self.last_use[n] = k
        for n, _ in self.copies:
            self.last_use[n] = len(groups)

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
        outputs = []
        for k, n in enumerate(graph.outputs):
            number = self.external(f"output{k}", n)
            outputs.append(number)
            if n in self.stored and n not in self.slot:
                self.slot[n] = number
            else:
                self.copies.append((n, number))
        decisions = []
        for p, new in graph.updates:
            why = self.refuse_in_place(p, new)
            if why:
                if new is not p:
                    self.copies.append((new, self.slot[p]))
                    decisions.append(Decision("memory", p, "updated by a copy", why))
            else:
                self.slot[new] = self.slot[p]
        self.reorder()
        prepared = self.keep()
        arena = self.allocate(prepared)
        plan = Plan(tuple(self.slots), self.slot, tuple(outputs), self.reads, tuple(self.copies), arena, prepared)
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

    def reorder(self) -> None:
        """Runs the groups in another order, if fewer bytes then live at once."""
        groups, reads = self.m.groups, self.reads
        start = sum(g.prepared for g in groups)  # those stay in front
        each = range(start, len(groups))
        before = [{self.made_in[n] - start for n in reads[k] if self.made_in.get(n, -1) >= start} for k in each]
        for p, new in self.m.graph.updates:
            if new in self.made_in and self.slot.get(new) == self.slot[p]:  # in place: whoever reads p comes first
                made = self.made_in[new]
                before[made - start] |= {k - start for k in each if k < made and p in reads[k]}
        results = {k - start for k in each if all(n in self.slot for n in groups[k].stored)}
        best, needed = (groups, reads), live(list(self.lives().values()))
        for wait in WAITS:
            order = [*range(start), *(start + k for k in early(before, results, wait))]
            self.arrange([groups[k] for k in order], [reads[k] for k in order])
            now = live(list(self.lives().values()))
            if now < needed:
                best, needed = (self.m.groups, self.reads), now
        self.arrange(*best)

    def lives(self) -> dict[Node, Life]:
        """From when to when each value lives that has no slot yet, and how many bytes it needs."""
        return {
            n: Life(_rounded(n), k, max(self.last_use.get(n, k), k))
            for k, g in enumerate(self.m.groups)
            for n in g.stored
            if n not in self.slot
        }

    def allocate(self, base: int) -> int:
        """Places what has no slot yet in the arena, which starts at `base`; its size in bytes."""
        lives = self.lives()
        offsets, size = place(list(lives.values()))
        for n, offset in zip(lives, offsets, strict=True):
            self.place(n, base + offset)
        return size

    def place(self, n: Node, offset: int) -> None:
        shape = physical_shape(n, self.m.layouts)
        self.slots.append(Slot(n.op.name, FROM_NUMPY[n.dtype], shape, nbytes(n), "arena", offset))
        self.slot[n] = len(self.slots) - 1
