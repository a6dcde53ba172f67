"""Loops written out, once their lengths are known: the first pass, so that all others see plain graphs.

Every step becomes nodes of its own. Nodes are interned, so the gradient's loop finds what the forward loop computed
at the same step and computes nothing twice; equal kernels are compiled once. What would make each step's kernels
differ is the number of its row in a long sequence. So rows are cut out of long sequences, and put together, by copies
in a tree, whose kernels at one level are equal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..body import inline, with_sizes
from ..gradient import zeros
from ..module import Decision, Module
from ..node import Graph, Node, apply, make_graph, rebuild
from ..ops.broadcast import reshape
from ..ops.move import concatenate, slice
from ..ops.relayout import Relayout
from ..scan import Scan, element
from ..site import derived
from ..types import Dim, concrete

FAN = 8  # rows that a kernel cuts out or puts together


def unroll(m: Module) -> Module:
    """The graph without scans; sizes that are lengths are filled in."""
    while lengths := [n.op.length for n in m.graph.nodes() if isinstance(n.op, Scan)]:
        names = {name for e in lengths if isinstance(e, Dim) for name in e.names}
        sizes = {name: e for name, e in m.settings.sizes if name in names}
        m = _Unroller().run(m.with_graph(_with_sizes(m.graph, sizes)))
    return m


def _with_sizes(graph: Graph, sizes: Mapping[str, int]) -> Graph:
    return rebuild(graph, lambda n, inputs: apply(with_sizes(n.op, sizes), *inputs)) if sizes else graph


class _Unroller:
    def __init__(self) -> None:
        self.rows: dict[Node, list[Node]] = {}  # of stacks and sequences: their elements
        self.loops: dict[object, tuple[list[Node], list[Node]]] = {}  # last carries, and stacks
        self.decisions: list[Decision] = []

    def run(self, m: Module) -> Module:
        new: dict[Node, Node] = {}
        for n in m.graph.nodes():
            inputs = tuple(new[i] for i in n.inputs)
            with derived(n.sites):
                if isinstance(n.op, Scan):
                    new[n] = self.result(n, n.op, inputs)
                else:
                    new[n] = n if inputs == n.inputs else apply(n.op, *inputs)
        g = m.graph
        graph = make_graph((new[n] for n in g.outputs), g.inputs, [(p, new[v]) for p, v in g.updates])
        return m.with_graph(graph).decided(*self.decisions)

    def result(self, n: Node, op: Scan, inputs: tuple[Node, ...]) -> Node:
        key = replace(op, result=0), inputs
        if key not in self.loops:
            self.loops[key] = self.unrolled(op, inputs)
            steps, nodes = op.length, len(op.step.nodes())
            self.decisions.append(Decision("unroll", n, f"{steps} steps", f"a body of {nodes} nodes, written out"))
        last, stacks = self.loops[key]
        return last[op.result] if op.result < op.carries else stacks[op.result - op.carries]

    def unrolled(self, op: Scan, inputs: tuple[Node, ...]) -> tuple[list[Node], list[Node]]:
        first, each = op.carries, op.carries + op.sequences
        (length,) = concrete((op.length,))
        if not length:  # no step: nothing to stack
            shapes = [n.type.with_shape((0, *n.shape)) for n in (*op.step.outputs[first:], *op.step.inputs[:first])]
            return list(inputs[:first]), [zeros(t) for t in shapes]
        carry, fixed = list(inputs[:first]), inputs[each:]
        sequences = [self.elements(x, length) for x in inputs[first:each]]
        steps: dict[int, list[Node]] = {}
        for t in op.order(length):
            found = inline(op.step, (*carry, *(s[t] for s in sequences), *fixed))
            steps[t] = [*found[first:], *carry]
            carry = found[:first]
        stacks = []
        for k in range(len(steps[0])):
            rows = [steps[t][k] for t in range(length)]
            stack = stacked([reshape(r, (1, *r.shape)) for r in rows])
            self.rows[stack] = rows
            stacks.append(stack)
        return carry, stacks

    def elements(self, x: Node, length: int) -> list[Node]:
        """x[0], x[1], ..."""
        if x not in self.rows:
            self.rows[x] = [element(x, t) for t in range(length)] if length <= FAN else cut(x, length)
        return self.rows[x]


def cut(x: Node, length: int) -> list[Node]:
    """The rows of x, each in memory of its own."""
    if length == 1:
        return [reshape(x, x.shape[1:])]
    part = FAN ** _levels(length)
    rest: tuple[int, ...] = (0,) * (x.rank - 1)
    rows: list[Node] = []
    for start in range(0, length, part):
        stop = min(start + part, length)
        rows += cut(stored(slice(x, (start, *rest), (stop, *x.shape[1:]))), stop - start)
    return rows


def stacked(parts: Sequence[Node]) -> Node:
    """The parts one after another, put together FAN at a time."""
    while len(parts) > FAN:
        parts = [stored(concatenate(parts[k : k + FAN])) for k in range(0, len(parts), FAN)]
    return concatenate(parts)


def _levels(length: int) -> int:
    """The greatest power of FAN below `length`, which is above 1."""
    power = 0
    while FAN ** (power + 1) < length:
        power += 1
    return power


def stored(x: Node) -> Node:
    """A copy of x, in memory."""
    return apply(Relayout(tuple(range(x.rank))), x)
