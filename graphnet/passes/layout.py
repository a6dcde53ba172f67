"""In which order each value's axes lie in memory, and where that must change.

On CPUs a batch that fills vectors lies innermost (CHWN, and (features, N) for matrices): then channels
of 1, 6 or 16 waste no lanes, pooling and elementwise kernels are plain vector code, and weight tiles are
broadcast. What the user passes in and gets back is row-major, so `relayout` nodes mark the conversions.

    1. explicit_padding   weight gradients of padded convolutions read a padded copy, which the forward
                          convolution then reads too; likewise convolutions whose vectors run along rows:
                          every element of a tile needs the same bounds
    2. choose             batch innermost, where a value has exactly one batch axis and the size fits
    3. convert            a relayout where an operand's memory order does not suit its consumer
"""

from __future__ import annotations

from dataclasses import replace

from ..module import Decision, Module
from ..node import Node, apply, make_graph, rebuild
from ..ops.broadcast import Reshape
from ..ops.conv import Conv2d, Conv2dWeightGrad
from ..ops.matmul import MatMul
from ..ops.move import Pad, Slice, Transpose
from ..ops.relayout import Relayout
from ..ops.transform import Transform
from ..site import derived
from ..types import concrete

NO_PADDING = ((0, 0), (0, 0))
SHORT_SUM = 1024  # sums shorter than this are better computed across lanes than along them


def layout(m: Module) -> Module:
    """Layouts for every value; on GPUs all are row-major."""
    if m.settings.target != "cpu":
        return m
    m = explicit_padding(m)
    chosen = choose(m)
    return convert(m, chosen)


def explicit_padding(m: Module) -> Module:
    """conv2d_weight_grad(x, dy; padding) -> the same of pad(x), and conv2d(x, w; padding) with it. Likewise
    conv2d where its vectors run along a row of the image, which bounds would mask."""
    padded = {
        (n.inputs[0], n.op.padding)
        for n in m.graph.nodes()
        if isinstance(n.op, (Conv2d, Conv2dWeightGrad)) and n.op.padding != NO_PADDING
        if isinstance(n.op, Conv2dWeightGrad) or concrete(n.shape)[0] % m.settings.lanes
    }
    if not padded:
        return m
    batch = dict(m.batch_axes)
    decisions: list[Decision] = []

    def visit(n: Node, inputs: tuple[Node, ...]) -> Node:
        op = n.op
        if isinstance(op, (Conv2d, Conv2dWeightGrad)) and (n.inputs[0], op.padding) in padded:
            (top, bottom), (left, right) = op.padding
            with derived(n.sites):
                pad = apply(Pad((0, 0, top, left), (0, 0, bottom, right), (0, 0, 0, 0)), inputs[0])
                new = apply(replace(op, padding=NO_PADDING), pad, inputs[1])
            if n.inputs[0] in m.batch_axes:
                batch[pad] = 0
            decisions.append(
                Decision("layout", new, "padded copy", "every element of a tile needs the same bounds")
            )
        else:
            with derived(n.sites):
                new = n if inputs == n.inputs else apply(op, *inputs)
        if n in m.batch_axes:
            batch[new] = m.batch_axes[n]
        return new

    graph = rebuild(m.graph, visit)
    return replace(m, graph=graph, batch_axes=batch).decided(*decisions)


def batch_innermost(n: Node, axis: int) -> tuple[int, ...]:
    """The order of axes with `axis` last."""
    return (*(a for a in range(n.rank) if a != axis), axis)


def choose(m: Module) -> dict[Node, tuple[int, ...]]:
    """The order of axes of every value that is not row-major."""
    lanes = m.settings.lanes
    chosen: dict[Node, tuple[int, ...]] = {}
    for n in m.graph.nodes():
        axis = m.batch_axes.get(n)
        if axis is None or n.rank < 2 or n.op.kind == "leaf" or axis == n.rank - 1:
            continue
        size = concrete(n.shape)[axis]
        if 2 * size >= lanes:  # at least half of the lanes do work
            chosen[n] = batch_innermost(n, axis)
    # A view of row-major memory is row-major: nothing moves until a kernel needs it.
    for n in m.graph.nodes():
        if n in chosen and isinstance(n.op, Reshape) and n.inputs[0] not in chosen:
            del chosen[n]
    return chosen


def unit_axis(n: Node, layouts: dict[Node, tuple[int, ...]]) -> int | None:
    """The axis of `n` along which its elements are neighbours in memory, seen through views."""
    if isinstance(n.op, Transpose):
        inner = unit_axis(n.inputs[0], layouts)
        return None if inner is None else n.op.perm.index(inner)
    if isinstance(n.op, Slice):
        return unit_axis(n.inputs[0], layouts)
    if n in layouts:
        return layouts[n][-1]
    return n.rank - 1 if n.rank else None


def convert(m: Module, layouts: dict[Node, tuple[int, ...]]) -> Module:
    """Inserts relayouts before consumers and at the graph's outputs."""
    new_layouts: dict[Node, tuple[int, ...]] = {}
    decisions: list[Decision] = []
    batch: dict[Node, int] = {}

    def relayout(n: Node, order: tuple[int, ...], why: str) -> Node:
        with derived(n.sites):
            copy = apply(Relayout(order), n)
        if order != tuple(range(n.rank)):
            new_layouts[copy] = order
        decisions.append(Decision("layout", copy, f"order {order}", why))
        return copy

    def visit(n: Node, inputs: tuple[Node, ...]) -> Node:
        args = list(inputs)
        if n.op.kind in ("contract", "window", "transform") and n in layouts:
            # activations in, activations out: both with the batch innermost
            for k, (old, arg) in enumerate(zip(n.inputs, inputs, strict=True)):
                axis = m.batch_axes.get(old)
                if axis is not None and old.rank >= 2 and unit_axis(arg, new_layouts) != axis:
                    args[k] = relayout(arg, batch_innermost(arg, axis), f"{n.op.name} wants the batch innermost")
        elif isinstance(n.op, MatMul) and concrete(inputs[0].shape)[-1] < SHORT_SUM:
            b = inputs[1]
            if unit_axis(b, new_layouts) != b.rank - 1:
                args[1] = relayout(b, tuple(range(b.rank)), "matmul reads rows of its right operand")
        elif isinstance(n.op, (Conv2dWeightGrad, Transform)):
            for k, arg in enumerate(inputs):
                if n.inputs[k] in m.batch_axes and _wants_batch(m, n) and unit_axis(arg, new_layouts) != 0:
                    args[k] = relayout(arg, (1, 2, 3, 0), f"{n.op.name} has the batch in lanes")
        with derived(n.sites):
            new = n if tuple(args) == n.inputs else apply(n.op, *args)
        if n in layouts:
            new_layouts[new] = layouts[n]
        if n in m.batch_axes:
            batch[new] = m.batch_axes[n]
        return new

    graph = rebuild(m.graph, visit)
    outputs = tuple(
        relayout(n, tuple(range(n.rank)), "results are row-major") if n in new_layouts else n for n in graph.outputs
    )
    graph = make_graph(outputs, graph.inputs, graph.updates)
    return replace(m, graph=graph, layouts=new_layouts, batch_axes=batch).decided(*decisions)


def _wants_batch(m: Module, n: Node) -> bool:
    """Whether the images that `n` reads fill at least half of a vector."""
    return 2 * concrete(n.inputs[0].shape)[0] >= m.settings.lanes

