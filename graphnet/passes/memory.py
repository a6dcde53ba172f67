"""Where every stored value lives: one static arena, by lifetime, and updates in place where that is safe.

The peak is known before anything is allocated (`Plan.arena_bytes`); kernels run in the order (`order.early`, or the
graph's) in which fewer bytes live at once. What is prepared once for all calls has places of its own, in front of the
arena; what only its preparation needs lies in the arena, as everything else does.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from codegen.dtypes import DTYPES, FROM_NUMPY
from codegen.program import Slot

from ..errors import GraphnetError
from ..module import Decision, Group, Module
from ..node import Constant, Node
from ..ops.broadcast import Reshape
from ..types import concrete
from .arena import Life, live, place
from .fuse import is_alias
from .order import early
from .rematerialise import BYTE, FLOP, WORTH, Problem, Run, Work, cost, lives, needed, shrink, versions

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
    again: tuple[Mapping[Node, int], ...] = ()  # for each group, and the copies: slots of what was computed again

    def slots_in(self, group: int) -> Mapping[Node, int]:
        """The slot of every value, as group number `group` finds or makes it."""
        return ChainMap(dict(self.again[group]), self.slot) if self.again and self.again[group] else self.slot


def physical_shape(n: Node, layouts: dict[Node, tuple[int, ...]]) -> tuple[int, ...]:
    """The extents of `n` in the order in which its axes lie in memory, gaps included."""
    shape = n.op.room(concrete(n.shape))
    order = layouts.get(n)
    return shape if order is None else tuple(shape[a] for a in order)


def nbytes(n: Node) -> int:
    """Of memory, gaps included."""
    return DTYPES[FROM_NUMPY[n.dtype]].bytes * prod(n.op.room(concrete(n.shape)))


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
        self.readers: dict[Node, list[int]] = {}  # groups, in order
        for k, read in enumerate(reads):
            for n in read:
                self.readers.setdefault(n, []).append(k)
        self.last_use = {n: ks[-1] for n, ks in self.readers.items()}
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
        problem, nodes = self.problem()
        runs = problem.as_it_is()
        most = self.m.settings.max_bytes
        if most is not None:
            fixed = prepared + sum(self.slots[k].bytes for k in range(len(graph.inputs) + len(graph.parameters)))
            fixed += sum(self.slots[k].bytes for k in outputs)
            runs = self.fit(problem, most, fixed)
            decisions += self.repeat(problem, runs, nodes)
        arena, again = self.allocate(problem, runs, nodes, prepared)
        plan = Plan(
            tuple(self.slots), self.slot, tuple(outputs), self.reads, tuple(self.copies), arena, prepared, again
        )
        return replace(self.m, plan=plan).decided(*decisions)

    def problem(self) -> tuple[Problem, list[Node]]:
        """The groups as works, and the stored nodes that are their values."""
        nodes = [n for g in self.m.groups for n in g.stored]
        number = {n: k for k, n in enumerate(nodes)}
        overwritten = {
            p: self.made_in[new]
            for p, new in self.m.graph.updates
            if new in self.made_in and self.slot.get(new) == self.slot[p]
        }
        works = []
        for k, (g, reads) in enumerate(zip(self.m.groups, self.reads, strict=True)):
            moved = sum(nbytes(n) for n in (*reads, *g.stored))
            works.append(
                Work(
                    tuple(number[n] for n in reads if n in number),
                    tuple(number[n] for n in g.stored if n not in self.slot),
                    max(g.flops * FLOP, moved * BYTE),
                    tuple(overwritten[n] for n in reads if overwritten.get(n, k) != k),
                    not g.prepared and not any(n in self.slot for n in g.stored),
                    bool(g.stages or g.anchors),
                )
            )
        last = frozenset(number[n] for n, _ in self.copies if n in number and n not in self.slot)
        return Problem(tuple(works), tuple(0 if n in self.slot else _rounded(n) for n in nodes), last), nodes

    def fit(self, p: Problem, most: int, fixed: int) -> tuple[Run, ...]:
        """Runs that need no more than `most` bytes, `fixed` among them.

        Raises GraphnetError with the least that was found."""

        def fits(runs: Sequence[Run]) -> bool:
            lived = lives(p, runs)
            return fixed + live(lived) <= most and fixed + place(lived)[1] <= most

        tried = [p.as_it_is()]
        if fits(tried[0]):
            return tried[0]
        for worth in WORTH:
            for runs in shrink(p, worth):
                tried.append(runs)
                if fits(runs):
                    return needed(p, runs, fits)
        least = fixed + place(lives(p, tried[0]))[1]
        for runs in sorted(tried, key=lambda r: live(lives(p, r))):
            if fixed + live(lives(p, runs)) >= least:
                break
            least = min(least, fixed + place(lives(p, runs))[1])
        raise GraphnetError(
            f"max_bytes={most:,} is too little: the least that was found for these sizes is {least:,} bytes, of which "
            f"parameters, inputs, outputs and what is prepared are {fixed:,}"
        )

    def repeat(self, p: Problem, runs: Sequence[Run], nodes: Sequence[Node]) -> list[Decision]:
        """Takes the groups in the order of the runs, which name some of them again; what was decided."""
        groups, reads, decisions = [], [], []
        for k, run in enumerate(runs):
            g = self.m.groups[run.work]
            if run.again:
                made = tuple(nodes[v] for v in run.makes)
                user = self.m.groups[next(r.work for r in runs[k:] if not r.again)] if k + 1 < len(runs) else g
                seconds, freed = p.works[run.work].cost, sum(nbytes(n) for n in made)
                why = f"{freed:,} bytes are not kept; {g.flops / 1e6:.3g} MFLOP, about {seconds * 1e6:.0f} us"
                decisions.append(Decision("memory", made[0], f"computed again before {user.nodes[0].op.name}", why))
                g = replace(g, stored=made, reasons=(f"computed again: {why}", *g.reasons))
            groups.append(g)
            reads.append(self.reads[run.work])
        if decisions:
            count = f"{len(decisions)} kernels run again, about {cost(p, runs) * 1e6:.0f} us"
            decisions.append(Decision("memory", self.m.graph.results[0], count, "to fit into max_bytes"))
        self.m, self.reads = replace(self.m, groups=tuple(groups)), tuple(reads)
        return decisions

    def refuse_in_place(self, p: Node, new: Node) -> str:
        """Why the new value cannot overwrite the parameter as it is computed; "" if it can."""
        if new not in self.stored or new in self.slot:
            return "its new value is not computed for it alone"
        if new in self.m.layouts:
            return "its new value lies in another order"
        made = self.made_in[new]
        if any(k > made for k in self.readers.get(p, ())):
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
                    self.slot[n] = self.place(n, size)
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
                before[made - start] |= {k - start for k in self.readers.get(p, ()) if start <= k < made}
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

    def allocate(
        self, p: Problem, runs: Sequence[Run], nodes: Sequence[Node], base: int
    ) -> tuple[int, tuple[dict[Node, int], ...]]:
        """Places what has no slot yet in the arena, which starts at `base`; its size in bytes. And for each run, and
        the copies after them, the slots of what was computed again."""
        made = [v for v in versions(p, runs) if p.nbytes[v.value]]
        offsets, size = place([Life(p.nbytes[v.value], v.first, v.last) for v in made])
        again: tuple[dict[Node, int], ...] = tuple({} for _ in range(len(runs) + 1))
        for v, offset in zip(made, offsets, strict=True):
            n = nodes[v.value]
            number = self.place(n, base + offset)
            if n not in self.slot:
                self.slot[n] = number
            else:
                for k in (v.first, *v.uses):
                    again[k][n] = number
        return size, again

    def place(self, n: Node, offset: int) -> int:
        """A slot for `n` in the arena."""
        shape = physical_shape(n, self.m.layouts)
        self.slots.append(Slot(n.op.name, FROM_NUMPY[n.dtype], shape, nbytes(n), "arena", offset))
        return len(self.slots) - 1
