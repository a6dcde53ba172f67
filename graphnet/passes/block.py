"""Which kernels run together, a block of tiles at a time, so that what lies between them never leaves the cache.

Winograd's convolution and that by FFT are three kernels: transform, product over channels, inverse. Between them
stand arrays several times as large as the images. Where the transformed kernel stays in the cache, one kernel does
all three for a few tiles, then for the next:

    for each block of tiles t:
        v[t] = transform(x)         in scratch memory, or in an array if others read it
        s[t] = v[t] @ u
        y = inverse(s[t]), and what is fused with it

A weight gradient sums up products of tiles, transformed on both sides, and parts of its sum are what stays cached:

    for each part of the tiles:
        for each block of its tiles t:
            v[t] = transform(x); d[t] = transform(dy)       in scratch memory
            s[part] += v[t]^T @ d[t]                        in the cache

Following Zlateski, Jia, Li and Durand (arXiv 1809.07851, section 4), who do so for all three steps.

It has its own transform of x. Where weight gradients that are not computed so (`winograd_conv.summed_in_parts`), and no
others, read transformed images, which is much later, these are made again for them: x, less than half as large, is
there anyway, and v[t] need not leave the cache the first time.
"""

from __future__ import annotations

from dataclasses import replace

from ..convolution import RESIDENT
from ..module import Decision, Group, Module
from ..node import Node
from ..ops.matmul import MatMul
from ..ops.move import Transpose
from ..ops.tile_products import TileProducts
from ..types import concrete
from .memory import group_reads

TILES = 1  # the axis of tiles, in (frequencies, tiles, channels)
SCRATCH = 600 << 10  # bytes of v[t] and s[t]: they share a core's L2 with the transformed kernel on its way through
ROWS = 14  # tiles in a register tile of the product
BLOCKS = 16  # at least so many, that they can be divided among threads


def block(m: Module) -> Module:
    """Groups merged into groups of stages."""
    if m.settings.target != "cpu":
        return m
    m = _summing(m)
    stored = {n for g in m.groups for n in g.stored}
    users: dict[Node, list[int]] = {}
    for k, g in enumerate(m.groups):
        for i in group_reads(g, m, stored):
            users.setdefault(i, []).append(k)
    made = {n: k for k, g in enumerate(m.groups) for n in g.stored}
    merged: dict[int, Group] = {}
    gone: set[int] = set()
    late: dict[int, list[Group]] = {}  # what is computed again, by the first group that reads it
    decisions = []
    for k, g in enumerate(m.groups):
        found = _stages(m, k, users, made)
        if found is None:
            continue
        first, second = found
        tiles = concrete(g.nodes[0].inputs[0].shape)[TILES]
        size = block_size(m.groups[second].nodes[0])
        earlier = (m.groups[first], m.groups[second])
        nodes = tuple(n for e in (*earlier, g) for n in e.nodes)
        others = {n: set(users[n]) - {first, second, k} for e in earlier for n in e.stored}
        again = _for_weight_gradients(g.nodes[0].inputs[0].inputs[0], m, others)
        kept = tuple(n for n, read in others.items() if (read and n not in again) or n in m.graph.results)
        reasons = (f"{size} of {tiles} tiles at a time", *g.reasons)
        merged[k] = replace(
            g,
            nodes=nodes,
            anchors=earlier[1].anchors,
            stored=(*kept, *g.stored),
            reasons=reasons,
            stages=(*(e.nodes for e in earlier), g.nodes),
            block=size,
            scratch=tuple(n for e in earlier for n in e.stored if n not in kept),
        )
        gone |= {first, second}
        decisions.append(
            Decision("block", g.nodes[0], f"{size} tiles at a time", "the transformed kernel stays cached")
        )
        if again:
            late.setdefault(min(others[again[0]]), []).append(m.groups[first])
            decisions.append(Decision("block", again[0], "computed twice", "weight gradients read it much later"))
    groups = [each for k, g in enumerate(m.groups) if k not in gone for each in (*late.get(k, ()), merged.get(k, g))]
    return replace(m, groups=tuple(groups)).decided(*decisions)


def _summing(m: Module) -> Module:
    """Sums of products of tiles with the transforms of both operands, which are computed in scratch memory even where
    other kernels read one of them: it is made again, from images half as large."""
    made = {n: k for k, g in enumerate(m.groups) for n in g.stored}
    groups = dict(enumerate(m.groups))
    operands: set[int] = set()
    decisions = []
    for k, g in enumerate(m.groups):
        n = g.nodes[0]
        if not isinstance(n.op, TileProducts):
            continue
        if any(i.op.kind != "transform" or m.groups[made[i]].nodes != (i,) for i in n.inputs):
            continue
        operands |= {made[i] for i in n.inputs}
        size, tiles = n.op.block, concrete(n.inputs[0].shape)[TILES]
        groups[k] = replace(
            g,
            nodes=(*n.inputs, n),
            reasons=(f"{size} of {tiles} tiles at a time",),
            stages=(*((i,) for i in n.inputs), (n,)),
            block=size,
            scratch=n.inputs,
        )
        decisions.append(Decision("block", n, f"{size} tiles at a time", "the partial sums stay cached"))
    stored = {n for g in m.groups for n in g.stored}
    read = {n for g in groups.values() for n in group_reads(g, m, stored)} | set(m.graph.results)
    kept = tuple(g for k, g in groups.items() if k not in operands or read & set(g.stored))
    return replace(m, groups=kept).decided(*decisions)


def _stages(m: Module, k: int, users: dict[Node, list[int]], made: dict[Node, int]) -> tuple[int, int] | None:
    """The groups of the transform and the product of which group k is the inverse, if they can run with it."""
    inverse = m.groups[k].nodes[0]
    if inverse.op.kind != "transform" or not inverse.inputs or not isinstance(inverse.inputs[0].op, MatMul):
        return None
    product = inverse.inputs[0]
    v, u = product.inputs
    if v.op.kind != "transform" or v.rank != 3 or u.rank != 3:
        return None
    first, second = made[v], made[product]
    g, p = m.groups[first], m.groups[second]
    if len(g.nodes) > 1 or len(p.nodes) > 1 or m.groups[k].prepared or g.prepared or users[product] != [k]:
        return None
    if any(first < other < k and other != second for other in users[v]):
        return None
    frequencies, _, channels = concrete(v.shape)
    if 4 * frequencies * channels * concrete(product.shape)[2] > RESIDENT:
        return None
    return first, second


def _for_weight_gradients(v: Node, m: Module, others: dict[Node, set[int]]) -> tuple[Node, ...]:
    """The transformed images `v`, if kernels of weight gradients are all that reads them elsewhere; else none."""
    products = [m.groups[k].nodes[0] for k in others.get(v, ())]
    alone = all(isinstance(p.op, MatMul) and isinstance(p.inputs[0].op, Transpose) for p in products)
    return (v,) if products and alone and v not in m.graph.results else ()


def block_size(product: Node) -> int:
    """Tiles in a block of (F,T,C) @ (F,C,K), whose numbers depend on nothing but the shapes."""
    frequencies, tiles, k = concrete(product.shape)
    c = concrete(product.inputs[0].shape)[2]
    most = max(ROWS, min(SCRATCH // (4 * frequencies * (c + k)), tiles // BLOCKS))
    return min(tiles, most // ROWS * ROWS)
