"""In which order each value's axes lie in memory, and where that must change.

Vectors run along the innermost axis, so it should fill them. On CPUs that is

    channels    NHWC, where most of the arithmetic is convolutions of many channels: pixels are rows of matrix
                products whatever the batch, and strides, windows and edges are plain scalar arithmetic
    batch       CHWN, and (features, N) for matrices, where channels are few (1, 6 or 16 would waste lanes) and the
                batch fills vectors

and row-major otherwise. What the user passes in and gets back is row-major, so `relayout` nodes mark the conversions.

    1. as_convolutions    channels: input gradients become convolutions of the padded cotangent, one for each phase of
                          a stride
    2. explicit_padding   convolutions whose tiles run along rows read a padded copy: every element of a tile needs
                          the same bounds. Weight gradients share it
    3. choose             the order of every value
    4. convert            a relayout where an operand's memory order does not suit its consumer
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from math import prod

from codegen.dtypes import DTYPES, FROM_NUMPY

from ..module import Decision, Module
from ..node import Node, apply, make_graph, rebuild
from ..ops.broadcast import Reshape
from ..ops.conv import Convolution, Forward, InputGradient, WeightGradient
from ..ops.conv2d import Conv2d, Conv2dWeightGrad
from ..ops.fourier_forward import FourierInput, FourierWeight
from ..ops.matmul import MatMul
from ..ops.move import Flip, Pad, Slice, Transpose
from ..ops.relayout import Relayout
from ..ops.transform import TileTransform
from ..site import derived
from ..types import concrete
from .memory_order import FEWEST_CHANNELS, memory_order

GAINS = ("contract", "transform")  # kinds of ops; of all others relayouts would be most of the work
CONFLICT = 1024  # bytes: rows at multiples of this meet in so few sets of the cache that a panel of them does not fit


def channels_last(rank: int) -> tuple[int, ...]:
    """NHWC, or with a depth NDHWC."""
    return (0, *range(2, rank), 1)


def kernel_order(op: Convolution) -> tuple[int, ...]:
    """The order of a kernel (K,C,R,S) for those that read it: vectors along what the result has innermost."""
    taps = range(2, 2 + op.spatial)
    return (*taps, 0, 1) if isinstance(op, InputGradient) else (*taps, 1, 0)


def gradient_order(rank: int) -> tuple[int, ...]:
    """The order of the gradient of a kernel (K,C,R,S): vectors along K, and otherwise as the parameter lies: one is
    the other turned over as a matrix, (C R S, K) and (K, C R S), where an update reads both."""
    return (*range(1, rank), 0)


def layout(m: Module) -> Module:
    """Layouts for every value; on GPUs all are row-major, and where no products gain by another order."""
    if m.settings.target != "cpu" or not any(n.op.kind in GAINS for n in m.graph.nodes()):
        return m
    order = memory_order(m)
    if order == "channels":
        m = as_convolutions(m)
    m = explicit_padding(m, order)
    return convert(m, choose(m, order), order)


# ------------------------------------------------------------------------- convolutions of another form


Rule = Callable[[Node, tuple[Node, ...], dict[Node, int]], tuple[Node, str, str] | None]


def _rewritten(m: Module, rule: Rule) -> Module:
    """The module with nodes replaced where `rule(node, inputs, batch axes)` gives another, and what to record."""
    batch = dict(m.batch_axes)
    decisions: list[Decision] = []

    def visit(n: Node, inputs: tuple[Node, ...]) -> Node:
        with derived(n.sites):
            made = rule(n, inputs, batch)
            new = made[0] if made else n if inputs == n.inputs else apply(n.op, *inputs)
        if made:
            decisions.append(Decision("layout", new, *made[1:]))
        if n in m.batch_axes:
            batch[new] = m.batch_axes[n]
        return new

    graph = rebuild(m.graph, visit)
    return replace(m, graph=graph, batch_axes=batch).decided(*decisions)


def as_convolutions(m: Module) -> Module:
    """conv2d_input_grad(w, dy) -> the sum over phases (a, b) of the stride of

        spread(conv2d(pad(dy), turned(w[:, :, a::stride, b::stride])))

    dx[h] = sum of dy[p] w[r] over p * stride + r - low = h. With h + low = i * stride + a only the taps
    r = j * stride + a meet, at p = i - j: a convolution for every phase a, whose results interleave."""

    def rule(n: Node, inputs: tuple[Node, ...], batch: dict[Node, int]) -> tuple[Node, str, str] | None:
        op = n.op
        if not isinstance(op, InputGradient) or any(d != 1 for d in op.dilation):
            return None
        w, dy = inputs
        total: Node | None = None
        for phase in product(*(range(min(s, k)) for s, k in zip(op.stride, concrete(w.shape)[2:], strict=True))):
            part = _phase(op, w, dy, phase)
            if part is not None:
                total = part if total is None else total + part
        if total is None:
            return None
        return total, "convolution of the cotangent", "its tiles then run along rows of pixels"

    return _rewritten(m, rule)


def _phase(op: InputGradient, w: Node, dy: Node, phase: tuple[int, ...]) -> Node | None:
    """The pixels of dx that one phase of the stride reaches, zeros elsewhere; None if there are none."""
    k, c, *window = concrete(w.shape)
    kernel = apply(Slice((0, 0, *phase), (k, c, *window), (1, 1, *op.stride)), w)
    low, high, first, last = [], [], [], []
    taps, out, size = concrete(kernel.shape)[2:], concrete(dy.shape)[2:], concrete(op.size)
    for d, stride in enumerate(op.stride):
        before = op.padding[d][0] - phase[d]
        start = -(-before // stride)  # i of the first pixel h >= 0, may be negative
        h = start * stride - before
        count = -(-(size[d] - h) // stride) if h < size[d] else 0
        if count <= 0:
            return None
        # out[i] = sum_j dy[i - j] w[j]: the taps reach from i - taps + 1 to i
        low.append(taps[d] - 1 - start)
        high.append(start + count - out[d])
        first.append(h)
        last.append(size[d] - h - ((count - 1) * stride + 1))
    x = dy
    cut = [max(-e, 0) for e in (*low, *high)]
    if any(cut):
        begin, end = cut[: op.spatial], cut[op.spatial :]
        stops = tuple(e - t for e, t in zip(concrete(x.shape)[2:], end, strict=True))
        ones = (1,) * (2 + op.spatial)
        x = apply(Slice((0, 0, *begin), (*concrete(x.shape)[:2], *stops), ones), x)
    pads = tuple((max(a, 0), max(b, 0)) for a, b in zip(low, high, strict=True))
    forward = op.relative(0)
    steps = (1,) * op.spatial
    y = apply(replace(forward, stride=steps, padding=pads, algorithm="auto"), x, _turned(kernel, op.groups))
    gaps = tuple(s - 1 for s in op.stride)
    if any(first) or any(gaps) or any(last):
        y = apply(Pad((0, 0, *first), (0, 0, *last), (0, 0, *gaps)), y)
    return y


def _turned(w: Node, groups: int) -> Node:
    """(K,C/G,R,S) -> (C,K/G,R,S), taps in reverse: inputs and outputs of each group change places."""
    k, c, *taps = concrete(w.shape)
    if groups == 1:
        w = apply(Transpose((1, 0, *range(2, w.rank))), w)
    elif k != groups or c != 1:
        w = apply(Reshape((groups, k // groups, c, *taps)), w)
        w = apply(Transpose((0, 2, 1, *range(3, w.rank))), w)
        w = apply(Reshape((groups * c, k // groups, *taps)), w)
    return apply(Flip(tuple(range(2, w.rank))), w)


def explicit_padding(m: Module, order: str) -> Module:
    """conv2d_weight_grad(x, dy; padding) -> the same of pad(x), and conv2d(x, w; padding) with it. Likewise
    conv2d where its tiles run along a row of the image, which bounds would mask."""
    def reads_copy(n: Node) -> bool:
        if not isinstance(n.op, Forward):
            return True
        if order == "channels":  # depthwise, tiles are cut where padding begins
            return n.op.groups == 1 or concrete(n.inputs[1].shape)[1] > 1
        return concrete(n.shape)[0] % m.settings.lanes != 0

    padded = {
        (n.inputs[0], n.op.padding)
        for n in m.graph.nodes()
        if isinstance(n.op, (Forward, WeightGradient)) and any(map(any, n.op.padding)) and reads_copy(n)
    }

    def rule(n: Node, inputs: tuple[Node, ...], batch: dict[Node, int]) -> tuple[Node, str, str] | None:
        op = n.op
        if not isinstance(op, (Forward, WeightGradient)) or (n.inputs[0], op.padding) not in padded:
            return None
        low, high = zip(*op.padding, strict=True)
        pad = apply(Pad((0, 0, *low), (0, 0, *high), (0,) * n.rank), inputs[0])
        if n.inputs[0] in m.batch_axes:
            batch[pad] = 0
        new = apply(replace(op, padding=((0, 0),) * op.spatial), pad, inputs[1])
        return new, "padded copy", "every element of a tile needs the same bounds"

    return _rewritten(m, rule) if padded else m


# ------------------------------------------------------------------------------------------- the orders


def innermost(n: Node, axis: int) -> tuple[int, ...]:
    """The order of axes with `axis` last."""
    return (*(a for a in range(n.rank) if a != axis), axis)


def choose(m: Module, order: str) -> dict[Node, tuple[int, ...]]:
    """The order of axes of every value that is not row-major."""
    chosen = _channels(m) if order == "channels" else _batch(m)
    # A view of row-major memory is row-major: nothing moves until a kernel needs it.
    for n in m.graph.nodes():
        if n in chosen and isinstance(n.op, Reshape) and n.inputs[0] not in chosen:
            del chosen[n]
    return chosen


def _batch(m: Module) -> dict[Node, tuple[int, ...]]:
    chosen: dict[Node, tuple[int, ...]] = {}
    for n in m.graph.nodes():
        axis = m.batch_axes.get(n)
        if axis is None or n.rank < 2 or n.op.kind == "leaf" or axis == n.rank - 1:
            continue
        if 2 * concrete(n.shape)[axis] >= m.settings.lanes:  # at least half of the lanes do work
            chosen[n] = innermost(n, axis)
    return chosen


def _channels(m: Module) -> dict[Node, tuple[int, ...]]:
    chosen: dict[Node, tuple[int, ...]] = {}
    for n in activations(m):
        _, c, *pixels = concrete(n.shape)
        if n.op.kind != "leaf" and c >= FEWEST_CHANNELS and prod(pixels) > 1:
            chosen[n] = channels_last(n.rank)
    for n in m.graph.nodes():
        if isinstance(n.op, WeightGradient) or n.op.index_names == Conv2dWeightGrad.index_names:  # Winograd's too
            chosen[n] = gradient_order(n.rank)
    return chosen


def activations(m: Module) -> set[Node]:
    """The images (N,C,H,W): what convolutions read and make, and what becomes of that at the same rank."""
    users: dict[Node, list[Node]] = {}
    stack: list[Node] = []
    for n in m.graph.nodes():
        for i in n.inputs:
            users.setdefault(i, []).append(n)
        stack += _images(n)
    found: set[Node] = set()
    while stack:
        n = stack.pop()
        if n in found or n.rank not in (4, 5):
            continue
        found.add(n)
        near = [u for u in users.get(n, ()) if u.op.kind in ("elementwise", "window", "move")]
        if n.op.kind in ("elementwise", "window", "move"):
            near += n.inputs
        stack += [x for x in near if x.rank == n.rank and x.op.kind != "leaf"]
    return found


def _images(n: Node) -> tuple[Node, ...]:
    match n.op:
        case Forward():
            return n, n.inputs[0]
        case InputGradient():
            return n, n.inputs[1]
        case WeightGradient():
            return n.inputs
        case TileTransform():
            return n.inputs
        case FourierInput():
            return n.inputs[:1]
    return (n,) if n.op.kind == "transform" and n.op.index_names == Conv2d.index_names else ()


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


def convert(m: Module, layouts: dict[Node, tuple[int, ...]], order: str) -> Module:
    """Inserts relayouts before consumers and at the graph's outputs."""
    new_layouts: dict[Node, tuple[int, ...]] = {}
    decisions: list[Decision] = []
    batch: dict[Node, int] = {}

    def relayout(n: Node, to: tuple[int, ...], why: str) -> Node:
        row = concrete(n.shape)[to[-1]] * DTYPES[FROM_NUMPY[n.dtype]].bytes
        # Of a kernel, a tile reads a few columns of every row.
        gap = m.settings.lanes if to[0] > 1 and row % CONFLICT == 0 else 0
        with derived(n.sites):
            copy = apply(Relayout(to, gap), n)
        if to != tuple(range(n.rank)):
            new_layouts[copy] = to
        decisions.append(Decision("layout", copy, f"order {to}", why))
        return copy

    def wanted(n: Node, k: int, arg: Node) -> tuple[tuple[int, ...], str] | None:
        """The order in which `n` wants its operand number k, and why; None where any will do."""
        op = n.op
        if isinstance(op, MatMul) and k == 1 and n not in layouts and unit_axis(arg, new_layouts) != arg.rank - 2:
            return tuple(range(arg.rank)), "matmul reads rows or columns of its right operand"
        if isinstance(op, FourierWeight) and k == 0 and concrete(arg.shape)[0] >= FEWEST_CHANNELS:
            return (1, 2, 3, 0), f"{op.name} has outputs in lanes"
        if isinstance(op, Reshape) and arg in new_layouts and n not in layouts:
            return tuple(range(arg.rank)), "a view of row-major memory moves nothing"
        if order == "channels":
            if isinstance(op, (Forward, InputGradient)) and k == (0 if isinstance(op, InputGradient) else 1):
                return (kernel_order(op), f"{op.name} has channels in lanes") if n in layouts else None
            if isinstance(op, Forward) and n not in layouts:
                return tuple(range(arg.rank)), f"{op.name} has few outputs: pixels in lanes"
            if isinstance(op, (Convolution, TileTransform, FourierInput)) and concrete(arg.shape)[1] >= FEWEST_CHANNELS:
                return channels_last(arg.rank), f"{op.name} has channels in lanes"
            return None
        axis = m.batch_axes.get(n.inputs[k])
        if n.op.kind in ("contract", "window") and n in layouts and axis is not None and arg.rank >= 2:
            # activations in, activations out: both with the batch innermost
            return innermost(arg, axis), f"{op.name} wants the batch innermost"
        if (
            isinstance(op, WeightGradient)
            and axis is not None
            and 2 * concrete(n.inputs[0].shape)[0] >= m.settings.lanes
        ):
            return innermost(arg, 0), f"{op.name} has the batch in lanes"
        return None

    def visit(n: Node, inputs: tuple[Node, ...]) -> Node:
        args = list(inputs)
        for k, arg in enumerate(inputs):
            want = wanted(n, k, arg)
            if want is not None and arg.rank >= 1 and unit_axis(arg, new_layouts) != want[0][-1]:
                args[k] = relayout(arg, *want)
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
