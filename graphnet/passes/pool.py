"""Which pooling is computed on the tiles of the convolution before it, so that the array between them is never stored.

Winograd's inverse transform makes a tile of m x m elements at a time, in registers. Where the windows of a pooling lie
within tiles (`graphnet.pooled`), and nothing else reads the convolution's result, its kernel pools before it stores:

    for each tile:  y = inverse(s), bias, activation;  z = pool(y), and what is fused with it;  store z

Gradients of max pooling and of activations read the array that was pooled: in training it stays stored.
"""

from __future__ import annotations

from dataclasses import replace

from ..module import Decision, Group, Module
from ..node import Node
from ..ops.pool import Pooling
from ..pooled import refused


def pool(m: Module) -> Module:
    """Groups of pooling merged into the groups of transforms before them."""
    if m.settings.target != "cpu":
        return m
    made = {n: k for k, g in enumerate(m.groups) for n in g.stored}
    users: dict[Node, list[Node]] = {}
    for n in m.graph.nodes():
        for i in n.inputs:
            users.setdefault(i, []).append(n)
    merged: dict[int, Group] = {}
    gone: set[int] = set()
    decisions = []
    for k, g in enumerate(m.groups):
        n = g.nodes[0]
        if not isinstance(n.op, Pooling) or n.inputs[0] not in made:
            continue
        x = n.inputs[0]
        before = m.groups[made[x]]
        if before.nodes[0].op.kind != "transform":
            continue
        why = _refused(m, before, g, users[x] == [n])
        if why:
            decisions.append(Decision("pool", n, f"not with {before.nodes[0].op.name}", why))
            continue
        merged[k] = replace(
            before,
            nodes=(*before.nodes, *g.nodes),
            stored=g.stored,
            reasons=(*before.reasons, f"{n.op.name} after {x.op.name}: windows within tiles", *g.reasons),
        )
        gone.add(made[x])
        decisions.append(Decision("pool", n, f"with {before.nodes[0].op.name}", "its windows lie within tiles"))
    groups = tuple(merged.get(k, g) for k, g in enumerate(m.groups) if k not in gone)
    return replace(m, groups=groups).decided(*decisions)


def _refused(m: Module, before: Group, after: Group, alone: bool) -> str:
    """Why the groups of a transform and of pooling are not one; "" if they can be. `alone`: nothing else reads what is
    pooled."""
    n = after.nodes[0]
    x = n.inputs[0]
    if not alone or x in m.graph.results or before.stored != (x,):
        return f"{x.op.name} is read elsewhere"
    if after.anchors != (n,) or before.prepared != after.prepared or m.layouts.get(x) != m.layouts.get(n):
        return "another order of memory, or another fold beside it"
    return refused(n, before.nodes[0])
