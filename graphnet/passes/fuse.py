"""Which nodes are computed together in one kernel.

A group is one kernel: nodes computed at the same index of one iteration space. Nodes outside all groups are
*virtual*: they are computed wherever they are needed, at the index at which they are needed.

In the graph's order, each node goes to the first of these that fits:

    movement (views, pads, broadcasts), and        virtual
      conversions of what is folded to a wider dtype
    elementwise                                    joins the latest group it reads at its own index, if all else it
                                                   reads is ready before that group
    elementwise of inputs and parameters only, or  virtual, if cheap or used once: what reads it reads as few bytes as
      of one stored value and smaller ones           if it were stored, and nobody writes them
    a reduction of what one other group alone makes    dissolves that group, if it is elementwise: its
                                                   values are computed inside the sum
    a reduction over the same axes as another's    joins it, if it reads the same values and all else is ready
    everything else                                starts a group

Groups run in the order in which they start. A group's external inputs come from earlier groups, so
no cycle can arise, and the pass is linear in the size of the graph.

What depends on parameters alone (`prepare`) has groups of its own, which come first and run only when a parameter was
written: there even a cheap value is stored rather than computed wherever it is needed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace

from codegen.dtypes import DTYPES, FROM_NUMPY
from codegen.expr import MATH, MATH2

from ..module import Decision, Group, Module
from ..node import Node
from ..ops.broadcast import BroadcastTo, Reshape
from ..ops.elementwise import Cast
from ..ops.gather import Take
from ..ops.move import Slice, Transpose
from ..ops.relayout import Relayout
from ..types import elements
from .prepare import preparable

GATED = ("sigmoid", "log_sigmoid", "softplus", "softsign", "tanh_shrink", "elu", "selu", "celu", "gelu", "silu", "mish")
COSTLY = frozenset((*MATH, *MATH2, *GATED, "sqrt", "rsqrt", "div", "power", "reciprocal"))
DEEPEST = 24  # virtual nodes behind each other: each is a level of nesting in one expression
LARGEST = 256  # nodes of a kernel: the time that its compilation takes grows faster than their number
MUCH_SMALLER = 4  # times: a value read again and again from a cache
VIEWS = (Transpose, Slice)  # movement that only changes strides


@dataclass(slots=True)
class _Growing:
    order: int
    shape: tuple[object, ...]
    layout: tuple[int, ...] | None
    prepared: bool
    nodes: list[Node] = field(default_factory=list)
    anchors: list[Node] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)
    dissolved: bool = False


def reduces(n: Node) -> bool:
    """Whether the op's body folds: such a node can only anchor a group."""
    gathers = n.op.name.endswith(("scatter", "gather"))
    return n.op.kind in ("reduce", "contract") or (n.op.kind == "window" and not gathers)


def fuse(m: Module) -> Module:
    """Groups for every node of the graph that must be computed and stored, in the order of execution."""
    return _Fuser(m).run()


class _Fuser:
    def __init__(self, m: Module) -> None:
        self.m = m
        self.order = scalars_first(m.graph.nodes())
        self.results = set(m.graph.results)
        self.prepared = preparable(m.graph)
        self.users: dict[Node, list[Node]] = {}
        for n in self.order:
            for i in dict.fromkeys(n.inputs):
                self.users.setdefault(i, []).append(n)
        self.group: dict[Node, _Growing] = {}
        self.groups: list[_Growing] = []
        self.ready: dict[Node, int] = {}  # the order of the latest group that a node's value needs
        self.depth: dict[Node, int] = {}  # of virtual nodes
        self.stored_for_products = self.operands()
        self.siblings: dict[tuple[object, ...], list[_Growing]] = {}
        self.sources: dict[Node, frozenset[Node]] = {}  # of virtual nodes: see `large_sources`
        self.decisions: list[Decision] = []

    def operands(self) -> set[Node]:
        """Nodes that must be in memory because a product or window reads them again and again, or because they are
        indices: what computes an index inside of another's grows without bound."""
        found: set[Node] = set()
        for n in self.order:
            if n.op.kind in ("contract", "window", "transform", "serial") or isinstance(n.op, Take):
                for i in n.inputs[1:] if isinstance(n.op, Take) else n.inputs:
                    while isinstance(i.op, VIEWS) or self.is_view(i) or _filled(i, n):
                        i = i.inputs[0]
                    if i.op.kind != "leaf":
                        found.add(i)
        return found

    def is_view(self, n: Node) -> bool:
        return isinstance(n.op, Reshape) and is_alias(n, self.m.layouts)

    def run(self) -> Module:
        for n in self.order:
            if n.op.kind != "leaf":
                self.place(n)
        return replace(self.m, groups=self.finish()).decided(*self.decisions)

    # ------------------------------------------------------------------------------------- placing

    def place(self, n: Node) -> None:
        stays = isinstance(n.op, Relayout) or n in self.results or n in self.stored_for_products
        if (n.op.kind == "move" or self.widens(n)) and not stays and self.depth_of(n) < DEEPEST:
            self.make_virtual(n)
        elif reduces(n):
            self.place_reduction(n)
        elif n.op.kind in ("elementwise", "random") and self.join(n):
            return
        elif n.op.kind == "elementwise" and self.floats(n):
            self.make_virtual(n)
        else:
            self.start(n)

    def widens(self, n: Node) -> bool:
        """Whether `n` is a value as a dtype that is no smaller, which only folds read."""
        wider = isinstance(n.op, Cast) and _nbytes(n) >= _nbytes(n.inputs[0])
        return wider and all(u.op.kind == "reduce" for u in self.users.get(n, ()))

    def depth_of(self, n: Node) -> int:
        """How many virtual nodes lie behind each other if `n` becomes one."""
        return 1 + max((self.depth.get(i, 0) for i in n.inputs), default=0)

    def make_virtual(self, n: Node) -> None:
        self.depth[n] = self.depth_of(n)
        self.sources[n] = self.large_sources(n)
        self.ready[n] = self.latest(n)

    def latest(self, n: Node) -> int:
        """The order of the latest group that the inputs of `n` need, of those that run along with `n`."""
        return max((self.ready.get(i, -1) for i in n.inputs if self.along(i, n)), default=-1)

    def along(self, i: Node, n: Node) -> bool:
        """Whether the input `i` is computed by the groups among which `n` is: not if it was prepared for them."""
        return (i in self.prepared) == (n in self.prepared)

    def floats(self, n: Node) -> bool:
        """Whether computing `n` where it is needed is better than storing it: it needs no kernel's result, or
        reads only one value of its size, which whoever needs it reads in its place."""
        if n in self.results or n in self.stored_for_products or n.op.kind == "random" or self.depth_of(n) >= DEEPEST:
            return False
        if self.latest(n) >= 0:
            sources = self.large_sources(n)
            if len(sources) > 1 or any(_nbytes(s) > _nbytes(n) for s in sources):
                return False
        if n in self.prepared and elements(n.type) > 1:
            return elements(n.type) > sum(elements(i.type) for i in n.inputs)
        return len(self.users.get(n, ())) == 1 or n.op.name not in COSTLY

    def large_sources(self, n: Node) -> frozenset[Node]:
        """The values in memory that computing `n` everywhere reads, without those that are much smaller."""
        found: set[Node] = set()
        for i in n.inputs:
            found |= self.sources.get(i, frozenset((i,)))
        return frozenset(s for s in found if MUCH_SMALLER * elements(s.type) > elements(n.type))

    def join(self, n: Node) -> bool:
        """Puts an elementwise node into the latest group that it reads at its own index."""
        candidates = [self.group[i] for i in n.inputs if i in self.group and i.shape == n.shape]
        candidates = [g for g in candidates if g.nodes[0].op.kind != "serial"]  # its elements are ready at its end
        candidates = [g for g in candidates if g.layout == self.m.layouts.get(n) and g.prepared == (n in self.prepared)]
        if not candidates:
            return False
        g = max(candidates, key=lambda c: c.order)
        if len(g.nodes) >= LARGEST:
            return False
        for i in n.inputs:
            if self.group.get(i) is g and i.shape == n.shape:
                continue
            if self.along(i, n) and self.ready.get(i, -1) >= g.order:
                what = f"{i.op.name} is not ready before {g.nodes[0].op.name}"
                self.decisions.append(Decision("fuse", n, f"not fused with {g.nodes[-1].op.name}", what))
                return False
        self.add(g, n, f"{n.op.name} after {g.nodes[-1].op.name}: the same index")
        return True

    def place_reduction(self, n: Node) -> None:
        if n.op.kind == "reduce":
            for i in n.inputs:
                self.dissolve(i, n)
        layouts = self.m.layouts
        places = tuple((i.shape, layouts.get(i)) for i in n.inputs)
        signature = (*places, n.shape, layouts.get(n), n in self.prepared, *_fold(n))
        reads = self.large_sources(n)
        for g in self.siblings.get(signature, ()):
            if self.latest(n) < g.order and any(reads & self.large_sources(a) for a in g.anchors):
                self.add(g, n, f"{n.op.name} with {g.nodes[0].op.name}: the same values and axes")
                g.anchors.append(n)
                return
        g = self.start(n)
        g.anchors.append(n)
        if n.op.kind != "contract":
            self.siblings.setdefault(signature, []).append(g)

    def dissolve(self, i: Node, user: Node) -> None:
        """The elementwise group that makes only `i`, only for `user`, is computed inside `user` instead."""
        path = [i]
        while (path[-1].op.kind == "move" or self.widens(path[-1])) and path[-1] not in self.group and path[-1].inputs:
            if len(self.users[path[-1]]) != 1 or (path[-1].shape != i.shape and not self.is_view(path[-1])):
                return
            path.append(path[-1].inputs[0])
        base = path[-1]
        g = self.group.get(base)
        if g is None or g.anchors or base.op.kind == "move" or len(self.users[base]) != 1 or base in self.results:
            return
        if g.prepared != (user in self.prepared):
            return
        if any(x.op.kind in ("window", "transform", "serial") for x in g.nodes):
            return
        inside = set(g.nodes)
        for x in g.nodes:
            if x is not base and (x in self.results or any(u not in inside for u in self.users[x])):
                return
        g.dissolved = True
        for x in g.nodes:
            del self.group[x]
        for x in g.nodes:
            self.make_virtual(x)
        for x in reversed(path[:-1]):
            self.make_virtual(x)
        self.decisions.append(Decision("fuse", user, f"with its producer {base.op.name}", "its only user is this sum"))

    def start(self, n: Node) -> _Growing:
        g = _Growing(len(self.groups), n.shape, self.m.layouts.get(n), n in self.prepared)
        self.groups.append(g)
        g.nodes.append(n)
        self.group[n] = g
        self.ready[n] = g.order
        return g

    def add(self, g: _Growing, n: Node, why: str) -> None:
        g.nodes.append(n)
        g.reasons.append(why)
        self.group[n] = g
        self.ready[n] = g.order

    # ------------------------------------------------------------------------------------ finishing

    def finish(self) -> tuple[Group, ...]:
        """What each group must store: results, and what is read outside of it or not at its own index."""
        needed = set(self.results)
        for n in self.order:
            if n.op.kind == "leaf":
                continue
            for i in n.inputs:
                if i in self.group and (self.group.get(n) is not self.group[i] or i.shape != n.shape):
                    needed.add(i)
        out = []
        for g in sorted(self.groups, key=lambda g: not g.prepared):
            if not g.dissolved:
                stored = tuple(n for n in g.nodes if n in needed)
                out.append(Group(tuple(g.nodes), tuple(g.anchors), stored, tuple(g.reasons), g.prepared))
        return tuple(out)


def _filled(i: Node, n: Node) -> bool:
    """Whether an input of an op that works in place is one number everywhere: written where it is needed."""
    return n.op.kind == "serial" and isinstance(i.op, BroadcastTo) and elements(i.inputs[0].type) == 1


def _nbytes(n: Node) -> int:
    return DTYPES[FROM_NUMPY[n.dtype]].bytes * elements(n.type)


def _fold(n: Node) -> tuple[object, ...]:
    """What two reductions must share to run in one loop."""
    windows = {"window", "stride", "padding", "dilation", "ceil_mode"}
    names = {f.name for f in fields(n.op)} & {"axes", "keepdims", *windows}
    return tuple((name, getattr(n.op, name)) for name in sorted(names))


def is_alias(n: Node, layouts: dict[Node, tuple[int, ...]]) -> bool:
    """Whether a reshape's result lies in memory exactly as its input does."""
    (x,) = n.inputs
    a, b = layouts.get(x), layouts.get(n)
    if a is None and b is None:
        return True
    if a is None or b is None or x.rank < 1 or n.rank < 1:
        return False
    # both keep one axis innermost: the same axis, if what precedes it has the same size
    plain = a[:-1] == tuple(i for i in range(x.rank) if i != a[-1]) and b[:-1] == tuple(
        i for i in range(n.rank) if i != b[-1]
    )
    return plain and x.shape[a[-1]] == n.shape[b[-1]] and a[-1] == 0 and b[-1] == 0


def scalars_first(order: list[Node]) -> list[Node]:
    """The graph's order, with what depends on leaves alone and is a single number moved to the front:
    step counts and learning rates are then ready for any kernel."""
    early: set[Node] = set()
    for n in order:
        if all(e == 1 for e in n.shape) and all(i in early or i.op.kind == "leaf" for i in n.inputs):
            early.add(n)
    return [n for n in order if n in early] + [n for n in order if n not in early]
