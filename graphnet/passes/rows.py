"""Which kernels run together, a few rows at a time, so that what lies between them never leaves the cache.

Softmax of each row is four kernels: the greatest, exp, their sum, the quotient. As one kernel of stages it reads a
row from memory once and writes it once:

    for each block of rows b:
        m[b] = max(x[b])            in scratch memory, or in an array if others read it
        e[b] = exp(x[b] - m[b])
        s[b] = sum(e[b])
        y[b] = e[b] / s[b]

Likewise log-softmax, layer normalisation, cross-entropy and their gradients: groups over the same rows (the first
axis, outermost in memory), each of which reads the others' values in its own row only.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..module import Decision, Group, Module
from ..node import Node
from ..ops.broadcast import BroadcastTo, Reshape, Sum
from ..ops.reduce import Max, Min
from ..types import concrete
from .fuse import LARGEST
from .memory import group_reads, nbytes

NEAR = 32 << 10  # bytes of a block's rows, in scratch and in arrays, that stay in a core's first cache
ROW = 1 << 20  # bytes of one row of all that: no more than its second cache holds
REMEMBERED = 8  # chains that a group is known to wait for: if that was too few, `_order` finds it out
BLOCKS = 32  # at least so many, that they can be divided among threads


@dataclass(slots=True)
class _Chain:
    number: int
    extent: int
    members: list[int]
    made: set[Node]  # what its groups store
    nodes: int


def rows(m: Module) -> Module:
    """Groups merged into groups of stages, in an order in which every value is ready before it is read."""
    if m.settings.target != "cpu":
        return m
    stored = {n for g in m.groups for n in g.stored}
    reads = [group_reads(g, m, stored) for g in m.groups]
    made = {n: k for k, g in enumerate(m.groups) for n in g.stored}
    needs = [{made[n] for n in r if n in made} for r in reads]
    updated = {new for _, new in m.graph.updates}
    chains: list[_Chain] = []
    chain_of: dict[int, _Chain] = {}
    behind: list[list[int]] = []  # for each group, the latest chains whose members it waits for without being one
    for k, g in enumerate(m.groups):
        extent = _rows(g, m, updated)
        waits = {number for j in needs[k] for number in behind[j]}
        sources = {chain_of[j].number: chain_of[j] for j in needs[k] if j in chain_of}
        for c in sources.values():
            fits = extent == c.extent and c.number not in waits and k not in chain_of
            fits = fits and c.nodes + len(g.nodes) <= LARGEST
            if (
                fits
                and all(_in_row(n, c.made, stored) for n in g.nodes)
                and _row_bytes(m, [*c.members, k], reads) <= ROW
            ):
                c.members.append(k)
                c.made |= set(g.stored)
                c.nodes += len(g.nodes)
                chain_of[k] = c
            else:
                waits.add(c.number)
        behind.append(sorted(waits)[-REMEMBERED:])
        if extent is not None and k not in chain_of:
            chain_of[k] = _Chain(len(chains), extent, [k], set(g.stored), len(g.nodes))
            chains.append(chain_of[k])
    found = [c for c in chains if len(c.members) > 1]
    order, dissolved = _order([c.members for c in found], needs)
    found = [c for c in found if c.members[0] not in dissolved]
    if not found:
        return m
    readers: dict[Node, set[int]] = {}
    for k, r in enumerate(reads):
        for n in r:
            readers.setdefault(n, set()).add(k)
    results = set(m.graph.results)
    merged = {c.members[0]: _merge(m, c, reads, readers, results) for c in found}
    decisions = [
        Decision("rows", g.nodes[0], f"{g.block} rows at a time", "the rows between its stages stay cached")
        for g in merged.values()
    ]
    return replace(m, groups=tuple(merged.get(k, m.groups[k]) for k in order)).decided(*decisions)


def _order(chains: list[list[int]], needs: list[set[int]]) -> tuple[list[int], set[int]]:
    """The groups in an order in which each comes after what it needs, as near to that of their numbers as can be; a
    chain as a whole, under the number of its first member. A chain that would stand both before and after another
    group is dissolved; the first members of those."""
    chain = {k: members for members in chains for k in members}
    order: list[int] = []
    dissolved: set[int] = set()
    state: dict[int, bool] = {}  # of a chain or group by its first number: whether it has its place
    for start in range(len(needs)):
        stack = [chain.get(start, [start])]
        while stack:
            whole = stack[-1]
            if state.get(whole[0]):
                stack.pop()
                continue
            state[whole[0]] = False
            waits = [chain.get(j, [j]) for j in sorted(set().union(*(needs[i] for i in whole)) - set(whole))]
            missing = [w for w in waits if not state.get(w[0])]
            if not missing:
                state[whole[0]] = True
                order.append(whole[0])
            if any(state.get(w[0]) is False for w in missing):  # it waits, further down the stack, for this very one
                broken = next(c for c in reversed(stack) if len(c) > 1 and state.get(c[0]) is False)
                dissolved.add(broken[0])
                for k in broken:
                    del chain[k]
                for c in stack:  # none of these has its place: once more, without that chain
                    state.pop(c[0], None)
                stack = [chain.get(start, [start])]
            else:
                stack += missing[::-1]
    return order, dissolved


def _rows(g: Group, m: Module, updated: set[Node]) -> int | None:
    """The rows over which a group could run as a stage; None if it could not."""
    n = g.nodes[0]
    if g.prepared or g.stages or n.rank < 1 or any(x in m.layouts or x in updated for x in g.nodes):
        return None
    if n.op.kind not in ("elementwise", "reduce") or any(x.shape[0] != n.shape[0] for x in g.nodes if x.rank):
        return None
    if any(x.rank == 0 or not (x.op.kind == "elementwise" or isinstance(x.op, (Sum, Max, Min))) for x in g.nodes):
        return None
    count = concrete(n.shape)[0]
    return count if count > 1 else None


def _in_row(n: Node, made: set[Node], stored: set[Node]) -> bool:
    """Whether computing row r of `n`, which has rows, reads only row r of the values in `made`."""
    stack = [n]
    while stack:
        x = stack.pop()
        for i in x.inputs:
            reaches = _reaches(i, made, stored)
            if not reaches:
                continue
            same = bool(i.rank) and i.shape[0] == n.shape[0]
            if isinstance(x.op, (Sum, Max, Min)):
                same = same and 0 not in x.op.axes
            elif x.op.kind == "elementwise" or isinstance(x.op, BroadcastTo):
                same = same and i.rank == x.rank
            else:
                same = same and isinstance(x.op, Reshape) and x.shape[0] == i.shape[0]
            if not same:
                return False
            if i not in made:
                stack.append(i)
    return True


def _reaches(n: Node, made: set[Node], stored: set[Node]) -> bool:
    """Whether a value in `made` is read where `n` is: itself, or through virtual nodes."""
    seen: set[Node] = set()
    stack = [n]
    while stack:
        x = stack.pop()
        if x in made:
            return True
        if x not in seen and x not in stored:
            seen.add(x)
            stack.extend(x.inputs)
    return False


def _row_bytes(m: Module, members: list[int], reads: list[tuple[Node, ...]]) -> int:
    """Bytes of one row of everything the groups read and store."""
    touched = {n for k in members for n in (*m.groups[k].stored, *reads[k])}
    count = concrete(m.groups[members[0]].nodes[0].shape)[0]
    return sum(nbytes(n) // count for n in touched if n.rank and n.shape[0] == count)


def _merge(
    m: Module, c: _Chain, reads: list[tuple[Node, ...]], readers: dict[Node, set[int]], results: set[Node]
) -> Group:
    groups = [m.groups[k] for k in c.members]
    count = concrete(groups[0].nodes[0].shape)[0]
    members = set(c.members)
    stored = [n for g in groups for n in g.stored]
    kept = tuple(n for n in stored if n in results or not readers.get(n, set()) <= members)
    most = max(1, min(NEAR // _row_bytes(m, c.members, reads), count // BLOCKS))
    size = next(b for b in range(most, 0, -1) if count % b == 0)
    return Group(
        tuple(n for g in groups for n in g.nodes),
        tuple(n for g in groups for n in g.anchors),
        kept,
        (f"{size} of {count} rows at a time", *(r for g in groups for r in g.reasons)),
        stages=tuple(g.nodes for g in groups),
        block=size,
        scratch=tuple(n for n in stored if n not in kept),
    )
