"""The stage "kernels": one box a kernel, in the order of execution, with what it costs; arrows are values in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..explain import KernelReport
from ..module import Group, Module
from ..node import Node
from ..passes.memory import Plan, nbytes, physical_shape
from .dot import GAP, bytes_text, quantity, seconds_text, shape_text, small, text
from .layers import Layer, Layers, sides
from .picture import Arrow, Box, Picture

MOST_USERS = 4  # a small value that more kernels read than this is said in words
SMALL = 256  # bytes


class KernelView:
    """The groups of a module on their way to a picture.

    measured: seconds by the kernel's number, instead of those of the reports."""

    def __init__(
        self,
        module: Module,
        title: str,
        gradients_in_outputs: bool,
        reports: Sequence[KernelReport],
        measured: Mapping[int, float] | None = None,
    ) -> None:
        self.module = module
        self.plan: Plan = module.plan
        self.reports = reports
        found = {r.number: r.measured for r in reports if r.measured is not None} if measured is None else measured
        predicted = {r.number: r.predicted for r in reports if r.predicted is not None}
        self.times: tuple[tuple[str, Mapping[int, float]], ...] = (("measured", found), ("at best", predicted))
        self.sides = sides(module.graph, gradients_in_outputs)
        self.layer_of = Layers(module.graph, self.sides).of
        self.updated = {new: p for p, new in module.graph.updates}
        self.weights = {i for n in self.sides.forward for i in n.inputs}  # parameters that the network itself reads
        self.made_in = {n: k for k, g in enumerate(module.groups) for n in g.stored}
        self.picture = Picture(title, roomy=True)

    def draw(self) -> Picture:
        for k, g in enumerate(self.module.groups):
            self._kernel(k, g)
        self._arrows()
        self._copies()
        self._outputs()
        each = [r for r in self.reports if not r.prepared]
        flops, moved = sum(r.flops for r in each), sum(r.bytes for r in each)
        seconds = [(what, sum(t.get(r.number, 0.0) for r in each)) for what, t in self.times if t]
        self.picture.notes = (
            f"{len(each)} kernels: {quantity(flops, 'FLOP')}, {bytes_text(moved)} read and written"
            + "".join(f", {seconds_text(s)} {what}" for what, s in seconds),
            f"{bytes_text(self.plan.arena_bytes)} for values between kernels",
            *self.picture.notes,
        )
        self.picture.label_once()
        return self.picture

    # -------------------------------------------------------------------------------------- boxes

    def main(self, g: Group) -> Node:
        """The node that says what the kernel is for, and where it belongs."""
        network = [n for n in (*g.anchors, *g.nodes) if n not in self.sides.update]
        return network[0] if network else g.nodes[0]

    def side(self, k: int) -> str:
        return "forward" if self.main(self.module.groups[k]) in self.sides.forward else "backward"

    def layer(self, k: int) -> Layer | None:
        g = self.module.groups[k]
        found = self.layer_of.get(self.main(g))
        return found or next((self.layer_of[n] for n in g.nodes if n in self.layer_of), None)

    def _kernel(self, k: int, g: Group) -> None:
        ops = [n.op.name for n in g.nodes if n not in self.sides.update]
        updates = [self.updated[n] for n in g.stored if n in self.updated]
        optimiser = sum(n in self.sides.update for n in g.nodes)
        what = text(" · ".join(ops))
        if updates:
            weights = [p for p in updates if p in self.weights] or updates
            what += (" + " if ops else "") + text(f"update {', '.join(p.name for p in weights)}")
            what += GAP + small(f"{optimiser} ops")
        lines = [f"<b>{k}{GAP}</b>{what}"]
        lines.append(small(self.reports[k].how, "#222222"))
        lines.append(self._cost(k))
        if g.prepared:
            lines.append(small("prepared: not at every call"))
        reads = [n.name for n in self.plan.reads[k] if n.op.name in ("parameter", "input") and n not in updates]
        if reads:
            lines.append(small("reads " + ", ".join(reads)))
        main = self.main(g)
        kind = "update" if not ops else g.anchors[0].op.kind if g.anchors else main.op.kind
        tip = "\n".join([*(repr(n) for n in g.nodes), *g.reasons])
        box = Box(f"k{k}", "<br/>".join(lines), kind, self.side(k), self.layer(k), tip)
        self.picture.boxes.append(box)

    def _cost(self, k: int) -> str:
        r = self.reports[k]
        amounts = [quantity(r.flops, "FLOP")] if r.flops else []
        times = [f"{seconds_text(t[k])} {what}" for what, t in self.times if k in t]
        lines = (" · ".join([*amounts, bytes_text(r.bytes)]), " · ".join(times))
        return "<br/>".join(small(line) for line in lines if line)

    # ------------------------------------------------------------------------------------- arrows

    def _arrows(self) -> None:
        readers: dict[tuple[Node, int], list[int]] = {}  # of a value, by the kernel that made it last
        newest: dict[Node, int] = {}
        for k, (g, read) in enumerate(zip(self.module.groups, self.plan.reads, strict=True)):
            for n in read:
                if n in newest:
                    readers.setdefault((n, newest[n]), []).append(k)
            newest |= dict.fromkeys(g.stored, k)
        said = []
        arrows: dict[tuple[int, int], list[Node]] = {}
        for (n, maker), users in readers.items():
            if len(users) > MOST_USERS and nbytes(n) <= SMALL:
                said.append(f"kernel {maker}")
                continue
            for k in users:
                arrows.setdefault((maker, k), []).append(n)
        goes_on = {j for j, k in arrows if self.side(k) == "backward"}
        for (j, k), values in arrows.items():
            ends = (self.side(j), self.side(k))
            how = {("forward", "backward"): "saved", ("backward", "forward"): "back"}.get(ends, "flow")
            label = ", ".join(self.value(n) for n in values) if how == "flow" else ""
            tip = "\n".join(f"{self.value(n)}: {n!r}" for n in values)
            straight = self.side(k) == "forward" or k in goes_on
            self.picture.arrows.append(Arrow(f"k{j}", f"k{k}", how, label, tip, 100 if straight else 10))
        if said:
            self.picture.notes += (f"every update reads the results of {', '.join(dict.fromkeys(said))}",)

    def value(self, n: Node) -> str:
        """Its shape in memory, its dtype where that is not float32, and its bytes."""
        dtype = "" if n.dtype == "float32" else f" {n.dtype}"
        return f"{shape_text(physical_shape(n, self.module.layouts))}{dtype} {bytes_text(nbytes(n))}"

    def _copies(self) -> None:
        """Results that could not be computed where they must be."""
        for c, (n, slot) in enumerate(self.plan.copies):
            number = len(self.module.groups) + c
            label = f"<b>{number}{GAP}</b>copy to {text(self.plan.slots[slot].name)}<br/>{self._cost(number)}"
            side = "forward" if n in self.sides.forward else "backward"
            self.picture.boxes.append(Box(f"k{number}", label, "move", side, self.layer_of.get(n), repr(n)))
            if n in self.made_in:
                self.picture.arrows.append(Arrow(f"k{self.made_in[n]}", f"k{number}", "flow", self.value(n)))

    def _outputs(self) -> None:
        for k, n in enumerate(self.module.graph.outputs):
            if n in self.made_in:
                side = self.side(self.made_in[n])
                label = f'<font point-size="9">output</font>{GAP}{small(self.value(n))}'
                self.picture.boxes.append(Box(f"output{k}", label, "leaf", side, None, repr(n), True, free=True))
                self.picture.arrows.append(Arrow(f"k{self.made_in[n]}", f"output{k}", "flow"))
