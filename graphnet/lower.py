"""Groups -> index notation: the last step that knows ops.

Each node of a group is its op's `body` at the group's index. Stored nodes of other groups and leaves are
loads; virtual nodes are expanded at whatever index they are read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import log2

from codegen.compute import BASE, Axis, Chain, Computation, Reduce, Reduction, Stage, axis
from codegen.dtypes import FROM_NUMPY, is_float, wide
from codegen.expr import Binary, Buffer, Const, Expr, Load, Var, cast, const, lift
from codegen.loops import If, Let, Store
from codegen.program import Program, Step
from codegen.traverse import transform

from .module import Group, Module
from .node import Constant, Node
from .op import Operand, Target
from .ops.broadcast import before_reshape
from .ops.tile_products import TileProducts
from .passes.memory import Plan, physical_shape, storage
from .passes.rematerialise import BYTE, FLOP
from .pooled import folded, windows
from .types import concrete

# Names of the output's axes where the op has none of its own. They avoid those that ops give to sums (k, r0).
NAMES = ("i", "j", "l", "m", "u", "v", "w", "z", *(f"i{n}" for n in range(64)))


class _Argument(Operand):
    """An input of an op's body: reads through to wherever the value is. What is stored as float16 or bfloat16 is read
    as float32; `typed` rounds what the body makes of it."""

    def __init__(self, lowering: _Lowering, node: Node) -> None:
        self.lowering = lowering
        self.node = node
        self.dtype = wide(FROM_NUMPY[node.dtype])
        self.shape = concrete(node.shape)

    def __call__(self, *index: Expr) -> Expr:
        return cast(self.lowering.value(self.node, tuple(lift(i, "i64") for i in index)), self.dtype)


class _Output(_Argument, Target):
    """The output of an op that works in place: loads of its memory, and stores to it."""

    def __call__(self, *index: Expr) -> Expr:
        return cast(Load(self.lowering.buffer(self.node), self._place(index)), self.dtype)

    def store(self, index: Sequence[Expr], value: Expr) -> Store:
        return Store(self.lowering.buffer(self.node), self._place(index), typed(value, self.node))

    def _place(self, index: Sequence[Expr]) -> tuple[Expr, ...]:
        return self.lowering.place(self.node, tuple(lift(i, "i64") for i in index))


class _Divided:
    """The axes of a kernel, where some of an op's are two: quotient and remainder by a block."""

    def __init__(self, blocks: dict[int, int], names: tuple[str, ...], shape: tuple[int, ...]) -> None:
        self.axes: list[tuple[Axis, ...]] = []
        self.known: dict[Expr, Expr] = {}  # a division, and the variable that it gives
        index: list[Expr] = []
        for a, (name, extent) in enumerate(zip(names, shape, strict=True)):
            block = blocks.get(a, 1)
            if block in (1, extent):
                self.axes.append((axis(name, extent),))
                index.append(Var(name))
                continue
            outer, inner = axis(f"{name}_group", extent // block), axis(name, block)
            self.axes.append((outer, inner))
            whole = outer.var * block + inner.var
            index.append(whole)
            self.known |= {whole // block: outer.var, whole % block: inner.var}
        self.index = tuple(index)

    def plain(self, body: Expr | Reduce) -> Expr | Reduce:
        """Without those divisions."""
        if not self.known:
            return body
        if isinstance(body, Expr):
            return transform(body, self.variable)

        def on(e: Expr) -> Expr:
            return transform(e, self.variable)

        axes = tuple(replace(x, lo=on(x.lo), hi=on(x.hi)) for x in body.axes)
        return Reduce(body.op, axes, on(body.value), None if body.where is None else on(body.where))

    def variable(self, e: Expr) -> Expr | None:
        return self.known.get(e) if isinstance(e, Binary) and e.op in ("floordiv", "mod") else None


@dataclass(frozen=True, slots=True)
class _Scratch:
    """What a stage hands to later ones, a block of `axis` at a time, its axes in this order."""

    buffer: Buffer
    axis: int
    order: tuple[int, ...]

    @staticmethod
    def of(n: Node, name: str, g: Group) -> _Scratch:
        """Of tiles (F,T,C) or of rows. A block's tiles lie one after the other, or, where they are summed over, those
        of a frequency."""
        tiles = n.op.kind in ("transform", "contract")
        order = (1, 0, 2) if tiles and not isinstance(g.stages[-1][0].op, TileProducts) else tuple(range(n.rank))
        shape = tuple(g.block if a == tiles else concrete(n.shape)[a] for a in order)
        return _Scratch(Buffer(name, FROM_NUMPY[n.dtype], shape, "local"), int(tiles), order)


class _Lowering:
    """One group."""

    def __init__(
        self,
        m: Module,
        stored: set[Node],
        group: Group,
        name: str,
        slot: Mapping[Node, int],
        scratch: dict[Node, _Scratch] | None = None,
    ) -> None:
        self.m, self.stored, self.group, self.name = m, stored, group, name
        self.plan: Plan = m.plan
        self.slot = slot
        self.inside = {n: Var(f"v{k}", FROM_NUMPY[n.dtype]) for k, n in enumerate(group.nodes)}
        self.buffers: dict[tuple[int, tuple[int, ...]], Buffer] = {}  # by slot and shape
        self.slots: set[int] = set()
        self.shared: dict[tuple[Node, tuple[Expr, ...]], Expr] = {}
        self.index: tuple[Expr, ...] = ()
        self.scratch = scratch or {}
        self.written: dict[int, tuple[int, ...]] = {}  # by other stages of this kernel: slots, in the shapes they have

    def buffer(self, n: Node) -> Buffer:
        """The memory of `n`, or of what it is a view of, in the shape of `n`. What stages of one kernel hand to each
        other has one shape: parameters of a kernel never overlap where one is written."""
        if n in self.scratch:
            return self.scratch[n].buffer
        slot = self.slot[storage(n, self.m, self.stored)]
        shape = self.written.get(slot, physical_shape(n, self.m.layouts))
        if (slot, shape) not in self.buffers:
            view = f"_as_{len(self.buffers)}" if slot in self.slots else ""
            self.slots.add(slot)
            name = f"{_identifier(self.plan.slots[slot].name)}_{slot}{view}"
            self.buffers[slot, shape] = Buffer(name, FROM_NUMPY[n.dtype], shape)
        return self.buffers[slot, shape]

    def place(self, n: Node, index: tuple[Expr, ...]) -> tuple[Expr, ...]:
        """A logical index in the order of memory."""
        if n in self.scratch:
            here = self.scratch[n]
            return tuple(index[a] - BASE if a == here.axis else index[a] for a in here.order)
        order = self.m.layouts.get(n)
        index = index if order is None else tuple(index[a] for a in order)
        shape = physical_shape(n, self.m.layouts)
        whole = self.written.get(self.slot[storage(n, self.m, self.stored)], shape)
        return index if whole == shape else before_reshape(index, shape, whole)

    def value(self, n: Node, index: tuple[Expr, ...]) -> Expr:
        """The element of `n` at a logical index."""
        if n in self.inside:
            if all(e == 1 or a == b for e, a, b in zip(n.shape, index, self.index, strict=True)):
                return self.inside[n]
            raise AssertionError(f"{n!r} is read at another index inside its own group")
        immediate = _immediate(n)
        if immediate is not None:
            return immediate
        key = (n, index)
        if key not in self.shared:
            if n in self.scratch or storage(n, self.m, self.stored) in self.slot:
                self.shared[key] = Load(self.buffer(n), self.place(n, index))
            else:
                body = self.body(n, index)
                assert isinstance(body, Expr), f"{n!r} folds, but is not stored"
                self.shared[key] = typed(body, n)
        return self.shared[key]

    def body(self, n: Node, index: tuple[Expr, ...]) -> Expr | Reduce:
        return n.op.body(index, *(_Argument(self, i) for i in n.inputs))

    def run(self) -> tuple[Computation, tuple[int, ...], frozenset[int], frozenset[int]]:
        first = self.group.nodes[0]
        shape = concrete(first.shape)
        names = tuple(first.op.index_names) if len(first.op.index_names) == len(shape) else NAMES[: len(shape)]
        divided = _Divided(first.op.blocks(first.type, *(i.type for i in first.inputs)), names, shape)
        self.index = divided.index
        order = self.scratch[first].order if first in self.scratch else None
        order = order or self.m.layouts.get(first, tuple(range(len(shape))))
        axes = tuple(x for a in order for x in divided.axes[a]) or (axis("i", 1),)
        if first.op.kind == "transform":
            return self.tile(first)
        if first.op.kind == "serial":
            found = first.op.serial(_Output(self, first), *(_Argument(self, i) for i in first.inputs))
            return self.finish(found.axes or (axis("i", 1),), (), (), (), found.stages)
        reductions: list[Reduction] = []
        lets: list[tuple[Var, Expr]] = []
        for n in self.group.nodes:
            var = self.inside[n]
            body = divided.plain(self.body(n, self.index))
            if isinstance(body, Reduce):
                result = Var(f"fold{len(reductions)}", body.dtype)
                reductions.append(Reduction(result, body))
                lets.append((var, cast(result, var.dtype)))
            else:
                lets.append((var, typed(body, n)))
        return self.finish(axes, tuple(reductions), tuple(lets), self.stores())

    def stores(self) -> tuple[Store, ...]:
        """The stored nodes' values at the current index."""
        return tuple(Store(self.buffer(n), self.place(n, self.index), self.inside[n]) for n in self.group.stored)

    def tile(self, first: Node) -> tuple[Computation, tuple[int, ...], frozenset[int], frozenset[int]]:
        """A transform's tile of points, each followed by the group's other nodes at its index; up to pooling, if there
        is one, which follows in every window of the tile, and after which the rest does."""
        tile = first.op.tile(*(_Argument(self, i) for i in first.inputs))
        nodes = self.group.nodes
        count = next((k for k, n in enumerate(nodes) if n.op.kind == "window"), len(nodes))
        results: list[tuple[tuple[Let, ...], tuple[Store, ...], Expr | None]] = []
        at_points: list[tuple[Let, ...]] = []
        for number, point in enumerate(tile.points):
            at_points.append(self.lets(number, point.index, nodes[:count], point.value))
            if count == len(nodes):
                results.append((at_points[-1], self.stores(), point.valid))
        for number, w in enumerate(windows(tile.points, nodes[count].op) if count < len(nodes) else ()):
            (x,) = nodes[count].inputs
            argument = _Argument(self, x)
            values = [cast(at_points[p][nodes.index(x)].var, argument.dtype) for p in w.points]
            after = self.lets(number, w.index, nodes[count:], folded(nodes[count].op, w.index, argument, values))
            results.append(((*(let for p in w.points for let in at_points[p]), *after), self.stores(), w.valid))
        if tile.stages or tile.inner:
            blocks = [(*h, *s) if valid is None else (If(valid, (*h, *s)),) for h, s, valid in results]
            last = Stage.of(tile.inner or axis("once", 1), tile.lets, blocks)
            return self.finish(tile.axes, (), (), (), (*tile.stages, last))
        lets = [(x.var, x.value) for h, _, valid in results if valid is None for x in h]
        stores = [t for h, s, valid in results for t in (s if valid is None else (If(valid, (*h, *s)),))]
        return self.finish(tile.axes, (), (*tile.lets, *lets), tuple(stores))

    def lets(self, number: int, index: tuple[Expr, ...], nodes: Sequence[Node], value: Expr) -> tuple[Let, ...]:
        """The values of nodes at one of several indices; `value` is that of the first of them."""
        self.index = index
        for n in nodes:
            var = self.inside[n]
            self.inside[n] = Var(f"{var.name.split('_')[0]}_{number}", var.dtype)
        here = []
        for n in nodes:
            e = value if n is nodes[0] else self.body(n, index)
            assert isinstance(e, Expr), f"{n!r} folds, after a transform"
            here.append(Let(self.inside[n], typed(e, n)))
        return tuple(here)

    def finish(
        self,
        axes: tuple[Axis, ...],
        reductions: tuple[Reduction, ...],
        lets: tuple[tuple[Var, Expr], ...],
        stores: tuple[Store | If, ...],
        stages: tuple[Stage, ...] = (),
    ) -> tuple[Computation, tuple[int, ...], frozenset[int], frozenset[int]]:
        """The computation, the slots of its buffers, and which of those it reads and writes."""
        slots = tuple(slot for slot, _ in self.buffers)
        written = frozenset(self.slot[n] for n in self.group.stored if n not in self.scratch)
        computation = Computation(self.name, axes, reductions, lets, stores, tuple(self.buffers.values()), stages)
        return computation, slots, frozenset(slots) - (written - self._also_read(written)), written

    def _also_read(self, written: frozenset[int]) -> frozenset[int]:
        """Slots that the kernel both reads and writes: parameters updated in place."""
        roots = {storage(n, self.m, self.stored) for n, _ in self.shared}
        return frozenset(self.slot[n] for n in roots if n in self.slot) & written


def typed(body: Expr, n: Node) -> Expr:
    """What an op computes, as its node's dtype: the rounding of float16 and bfloat16. No other dtype changes."""
    dtype = FROM_NUMPY[n.dtype]
    return cast(body, dtype) if body.dtype == wide(dtype) else body


def _immediate(n: Node) -> Const | None:
    """The value of a constant whose elements are all equal."""
    if not isinstance(n.op, Constant) or n.op.array.size == 0:
        return None
    values = n.op.array.reshape(-1)
    if values.size > 1 and not (values == values[0]).all():
        return None
    dtype = FROM_NUMPY[n.dtype]
    e = const(float(values[0]) if is_float(dtype) else values[0].item(), dtype)
    return e if isinstance(e, Const) else None


def _identifier(name: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in name) or "x"


def kernel_name(number: int, group: Group) -> str:
    """Such as `k3_conv2d_add_relu`."""
    ops = [n.op.name for n in group.nodes]
    if len(ops) > 4:
        ops = [*ops[:3], f"and_{len(ops) - 3}_more"]
    return "_".join([f"k{number}", *ops])


# What decides whether threads pay, with FLOP and BYTE: seconds, the same on every machine. Of two threads that spin, a
# wait takes 1 us where they are near, 4 where their cores share no cache. To begin together pays from where one thread
# takes 10 us, which at FLOP are 30.
BARRIER, START = 1.5e-6, 16e-6


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a call of a program, by the model: its seconds on one thread, and how often threads would wait."""

    seconds: float
    waits: int

    def division(self, threads: int) -> tuple[int, str]:
        """How many of `threads` to use, all or one, and why ("" where there is no choice): a call of the program
        divides its work, and pays for a barrier wherever data crosses. Results have the same bits for any number."""
        if threads == 1:
            return 1, ""
        saved, paid = self.seconds * (1 - 1 / threads), START + self.waits * BARRIER * log2(threads)
        used = threads if saved > paid else 1
        what = f"dividing about {self.seconds * 1e6:.0f} us of work saves {saved * 1e6:.0f}, {self.waits} waits cost "
        return used, f"threads: {used} of {threads}: {what}{paid * 1e6:.0f}"


@dataclass(frozen=True, slots=True)
class Lowered:
    """A program, and for each of its steps the group it came from (None: a copy)."""

    program: Program
    groups: tuple[Group | None, ...]

    @property
    def cost(self) -> Cost:
        p, seconds = self.program, 0.0
        for step, group in zip(p.steps[p.first :], self.groups[p.first :], strict=True):
            moved = sum(p.slots[s].bytes for s in step.reads) + sum(p.slots[s].bytes for s in step.writes)
            seconds += max((group.flops if group else 0) * FLOP, moved * BYTE)
        return Cost(seconds, sum(p.barriers()[p.first :]))


def lower(m: Module) -> Lowered:
    """The module's groups as a program, in the order of execution."""
    plan: Plan = m.plan
    stored = {n for g in m.groups for n in g.stored}
    steps: list[Step] = []
    groups: list[Group | None] = []
    for k, g in enumerate(m.groups):
        if g.stages:
            steps.append(_chain(m, stored, g, kernel_name(k, g), plan.slots_in(k)))
        else:
            steps.append(Step(*_Lowering(m, stored, g, kernel_name(k, g), plan.slots_in(k)).run()))
        groups.append(g)
    for n, target in plan.copies:
        steps.append(_copy(len(steps), n, target, m, stored))
        groups.append(None)
    first = sum(g.prepared for g in m.groups)
    return Lowered(
        Program("program", plan.slots, tuple(steps), plan.prepared_bytes + plan.arena_bytes, first), tuple(groups)
    )


def _chain(m: Module, stored: set[Node], g: Group, name: str, slot: Mapping[Node, int]) -> Step:
    """A group of stages. What none but the next stage reads lies in scratch memory."""
    scratch = {n: _Scratch.of(n, f"{n.op.name}_block{k}", g) for k, n in enumerate(g.scratch)}
    lowered = []
    written = {slot[n]: physical_shape(n, m.layouts) for n in g.stored if n not in scratch}
    buffers: dict[tuple[int, tuple[int, ...]], Buffer] = {}
    slots: set[int] = set()
    for nodes in g.stages:
        stage = Group(nodes, (), tuple(n for n in nodes if n in g.stored or n in scratch))
        lowering = _Lowering(m, stored | set(scratch), stage, name, slot, scratch)
        lowering.written = written
        lowering.buffers, lowering.slots = buffers, slots  # the same memory by the same name in every stage
        lowered.append(lowering.run())
    computations = tuple(c for c, *_ in lowered)
    tiled = any(nodes[0].op.kind == "transform" for nodes in g.stages)
    last = g.stages[-1][0].op
    axes = [
        NAMES[1] if tiled and nodes[0].op.kind != "transform" else c.axes[0].name
        for c, nodes in zip(computations, g.stages, strict=True)
    ]
    parts = 0
    if isinstance(last, TileProducts):
        axes[-1], parts = computations[-1].reductions[0].reduce.axes[0].name, last.parts
    extent = concrete(g.stages[1][0].shape)[tiled]
    local, params = tuple(s.buffer for s in scratch.values()), tuple(buffers.values())
    chain = Chain(name, computations, tuple(axes), extent, g.block, local, params, parts)
    reads = frozenset().union(*(r for _, _, r, _ in lowered))
    writes = frozenset().union(*(w for _, _, _, w in lowered))
    return Step(chain, tuple(slot for slot, _ in buffers), reads, writes)


def _copy(number: int, n: Node, target: int, m: Module, stored: set[Node]) -> Step:
    """The value of `n`, row-major, into slot `target`."""
    axes: tuple[Axis, ...] = tuple(axis(NAMES[k], e) for k, e in enumerate(concrete(n.shape))) or (axis("i", 1),)
    index = tuple(Var(a.name) for a in axes) if n.rank else ()
    empty = Group((), (), ())
    lowering = _Lowering(m, stored, empty, f"k{number}_copy", m.plan.slots_in(len(m.groups)))
    value = lowering.value(n, index)
    to = Buffer(f"to_{target}", FROM_NUMPY[n.dtype], concrete(n.shape))
    params = (*lowering.buffers.values(), to)
    computation = Computation(lowering.name, axes, (), (), (Store(to, index, value),), params)
    sources = tuple(slot for slot, _ in lowering.buffers)
    return Step(computation, (*sources, target), frozenset(sources), frozenset((target,)))
