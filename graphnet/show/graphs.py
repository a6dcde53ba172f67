"""The stages "graph", "gradient" and "optimised": one box an op, as few arrows as tell the whole story.

    constants             part of their users' labels: "> 0"
    inputs, parameters    a small box beside each user
    views and casts       part of an arrow, unless a line of the user's is nothing else
    updates               one box a weight, unless asked to be expanded
"""

from __future__ import annotations

from math import prod

from ..module import Module
from ..node import Constant, Graph, Node
from ..passes.memory import physical_shape
from .dot import GAP, TIMES, shape_text, small, text
from .layers import MOVES, Layer, Layers, Sides, headline, sides, update_groups
from .picture import Arrow, Box, Picture

SYMBOLS = {
    "add": "+",
    "sub": "\N{MINUS SIGN}",
    "mul": TIMES,
    "div": "÷",
    "lt": "<",
    "le": "≤",
    "gt": ">",
    "ge": "≥",
    "eq": "=",
    "ne": "≠",
    "maximum": "max",
    "minimum": "min",
}


class GraphView:
    """One graph on its way to a picture."""

    def __init__(
        self,
        graph: Graph,
        title: str,
        gradients_in_outputs: bool,
        *,
        module: Module | None = None,
        expand_updates: bool = False,
    ) -> None:
        self.graph = graph
        self.layouts = module.layouts if module is not None else None
        self.expand_updates = expand_updates
        self.order = graph.nodes()
        self.number = {n: k for k, n in enumerate(self.order)}
        self.sides: Sides = sides(graph, gradients_in_outputs)
        self.layer_of: dict[Node, Layer | None] = dict(Layers(graph, self.sides).of)
        self.which: tuple[str, ...] = ()
        self.picture = Picture(title)
        self.results = set(graph.outputs)
        self.constant: dict[Node, str | None] = {}  # values known from the declaration, in few characters
        for n in self.order:
            self.constant[n] = self._constant(n)
        self.merged = self._merged()
        self.users: dict[Node, list[Node]] = {}
        for n in self.order:
            if n not in self.merged:
                for i in dict.fromkeys(self.origin(i)[0] for i in n.inputs):
                    self.users.setdefault(i, []).append(n)
        self.aside: dict[Node, Box] = {}
        self.entered: set[Node] = set()  # inputs that are drawn at the top
        self.passes_on = {self.origin(i)[0] for n in self.sides.backward | self.sides.forward for i in n.inputs}

    # ------------------------------------------------------------------------------------- parts

    def shape(self, n: Node) -> str:
        """In the order of memory once that is decided."""
        if self.layouts is not None and all(isinstance(e, int) for e in n.shape):
            return shape_text(physical_shape(n, self.layouts))
        return shape_text(n.shape)

    def side(self, n: Node) -> str:
        return "forward" if n in self.sides.forward else "backward" if n in self.sides.backward else "update"

    def _constant(self, n: Node) -> str | None:
        if isinstance(n.op, Constant):
            return _number(n.op)
        if n.op.name == "size":
            return n.name
        if n in self.results or not n.inputs:
            return None
        if n.op.name in MOVES:
            return self.constant[n.inputs[0]]
        if n.shape == () and n.op.kind == "elementwise":
            parts = [self.constant[i] for i in n.inputs]
            if all(p is not None for p in parts):
                found = _expression(n.op.name, [p or "" for p in parts])
                return found if len(found) <= 24 else None
        return None

    def _merged(self) -> set[Node]:
        """Views and casts that are drawn as arrows: those of layers that have other nodes, and no results."""
        full: set[tuple[str, Layer | None]] = set()
        for n in self.order:
            if n.op.kind != "leaf" and n.op.name not in MOVES:
                full.add((self.side(n), self.layer_of.get(n)))
        return {
            n
            for n in self.order
            if n.op.name in MOVES
            and n not in self.results
            and (self._fixed(n) or (self.side(n), self.layer_of.get(n)) in full)
        }

    def _fixed(self, n: Node) -> bool:
        """Whether `n` is a view of a parameter or a constant."""
        leaf = self._leaf(n)
        return leaf is not None and leaf.op.name != "input"

    def _leaf(self, n: Node) -> Node | None:
        """The input, parameter or constant that `n` is a view of."""
        while n.op.name in MOVES:
            n = n.inputs[0]
        return n if n.op.kind == "leaf" else None

    def origin(self, n: Node) -> tuple[Node, tuple[Node, ...]]:
        """The drawn node behind merged views, and those views."""
        through = []
        while n in self.merged:
            through.append(n)
            n = n.inputs[0]
        return n, tuple(reversed(through))

    # ------------------------------------------------------------------------------------ drawing

    def draw(self, which: tuple[str, ...]) -> Picture:
        """The picture of some sides."""
        self.which = which
        if "update" in which:
            self._updates()
        for n in self.order:
            drawn = n.op.kind != "leaf" and n not in self.merged and self.constant[n] is None
            if drawn and self.side(n) in which and (self.expand_updates or n not in self.sides.update):
                self._node(n)
        self._outputs()
        self._notes()
        self.picture.label_once()
        return self.picture

    def name(self, n: Node) -> str:
        return f"n{self.number[n]}"

    def column(self, n: Node) -> str:
        """Updates follow gradients, on the same side."""
        return "forward" if n in self.sides.forward else "backward"

    def _node(self, n: Node) -> None:
        """The box of a node, the leaves that it reads, and arrows from the other values that it reads."""
        label, detail = _label(n, [self.constant[i] for i in n.inputs])
        turned = "".join(c + ("ᵀ" if self._is_transposed(i) else "") for c, i in zip("AB", n.inputs, strict=False))
        if n.op.name == "matmul" and "ᵀ" in turned:
            detail = turned
        little = n.op.kind == "move"
        html = small(label, "#444444") if little else text(label)
        html += GAP + small(detail) if detail else ""
        side, layer = self.column(n), self.layer_of.get(n)
        beside: list[Box] = []
        operands = [(i, *self.origin(i)) for i in dict.fromkeys(n.inputs) if self.constant[i] is None]
        chained = any(start.op.kind != "leaf" for _, start, _ in operands)
        for i, start, through in operands:
            tip = "\n".join(repr(t) for t in (start, *through))
            if start in self.aside:
                beside.append(self.aside[start])
            elif start.op.kind != "leaf":
                self._value(start, i, n, tip)
            elif start.op.name == "input" and not chained and side == "forward" and start not in self.entered:
                self.entered.add(start)
                name = f"{self.name(start)}_{self.number[n]}"
                self.picture.boxes.append(Box(name, self._leaf_label(start), "leaf", side, None, tip, free=True))
                label = self.shape(i) if i.shape != start.shape else ""
                self.picture.arrows.append(Arrow(name, self.name(n), "flow", label, tip))
            else:
                html_leaf = f'<font point-size="9">{self._leaf_label(start)}</font>'
                beside.append(Box(f"{self.name(start)}_{self.number[n]}", html_leaf, "leaf", side, layer, tip))
        box = Box(self.name(n), html, n.op.kind, side, layer, repr(n), little, n in self.results, tuple(beside))
        if self._stands_aside(n):
            self.aside[n] = box
        else:
            self.picture.boxes.append(box)

    def _is_transposed(self, n: Node) -> bool:
        return n.op.name == "transpose" and n in self.merged

    def _leaf_label(self, leaf: Node) -> str:
        dtype = "" if leaf.dtype == "float32" else f" {leaf.dtype}"
        return text(leaf.name or leaf.op.name) + GAP + small(self.shape(leaf) + dtype)

    def _value(self, start: Node, seen: Node, user: Node, tip: str) -> None:
        """The arrow of a computed value, with its shape where that is news."""
        side = self.side(start)
        if side not in self.which or (side == "update" and not self.expand_updates):
            return
        ends = (self.column(start), self.column(user))
        how = {("forward", "backward"): "saved", ("backward", "forward"): "back"}.get(ends, "flow")
        trunk = self._is_trunk(user)
        label = ""
        if how == "flow":
            crosses = self.layer_of.get(start) is not self.layer_of.get(user)
            mask = ends[0] == "backward" and not self._carries(start)
            if crosses or (trunk and not mask and not self._keeps_shape(start)) or seen.shape != start.shape:
                label = self.shape(seen)
        self.picture.arrows.append(Arrow(self.name(start), self.name(user), how, label, tip, 400 if trunk else 10))

    def _keeps_shape(self, n: Node) -> bool:
        """Whether `n` has the shape of a computed operand, as elementwise ops do."""
        values = [i for i in n.inputs if self.constant[i] is None and self._leaf(i) is None]
        return n.op.kind == "elementwise" and any(i.shape == n.shape for i in values)

    def _is_trunk(self, n: Node) -> bool:
        """Whether the flow goes on from here: a weight's gradient is an end."""
        return n not in self.sides.backward or n in self.passes_on

    def _carries(self, n: Node) -> bool:
        """Whether a node of the backward side takes part in the flow, and is no mask made of saved values alone."""
        return any(self.origin(i)[0] in self.sides.backward and self.constant[i] is None for i in n.inputs)

    def _stands_aside(self, n: Node) -> bool:
        """Whether `n` is a mask beside its only user, where that takes part in the flow."""
        users = self.users.get(n, [])
        if n not in self.sides.backward or self._carries(n) or len(users) != 1 or users[0] not in self.sides.backward:
            return False
        return any(self._carries(self.origin(i)[0]) for i in users[0].inputs)

    def _updates(self) -> None:
        """One box for all that updates a weight, with an arrow from its gradient or from the new value."""
        network = self.sides.forward | self.sides.backward
        read = {i for n in self.order if n in network for i in n.inputs}
        new = dict(self.graph.updates)
        values = set(new.values())
        kept: dict[str, None] = {}
        for k, g in enumerate(update_groups(self.graph, self.sides)):
            weights, others = headline(g, read)
            sources = [i for n in g.nodes for i in n.inputs if i not in self.sides.update]
            sources = sources if g.nodes else [new[p] for p in g.parameters]
            starts = dict.fromkeys(self.origin(i)[0] for i in sources)
            gradients = [n for n in starts if n.op.kind != "leaf" and self.constant[n] is None]
            layers = {self.layer_of.get(n) for n in gradients}
            layer = layers.pop() if len(layers) == 1 else None
            if self.expand_updates:
                self.layer_of.update(dict.fromkeys(g.nodes, layer))
                gradients = [n for n in g.nodes if n in values and n not in self.merged]
            elif g.shared and not gradients:
                self.picture.notes += ("every update uses " + ", ".join(p.name for p in g.parameters),)
                continue
            start = weights[0].name + "."
            kept.update((p.name.replace(start, "w.", 1) if p.name.startswith(start) else p.name, None) for p in others)
            names = ", ".join(p.name for p in (g.parameters if g.shared else weights))
            label = text(("used by all updates: " if g.shared else "update ") + names)
            tip = f"{len(g.nodes)} nodes\n" + "\n".join(repr(p) for p in g.parameters)
            self.picture.boxes.append(Box(f"update{k}", label, "update", "backward", layer, tip))
            for n in gradients:
                how = "saved" if self.column(n) == "forward" else "flow"
                self.picture.arrows.append(Arrow(self.name(n), f"update{k}", how, "", repr(n), 10))
        if kept:
            self.picture.notes += ("the update of w also keeps " + ", ".join([*kept][:4]) + ", …" * (len(kept) > 4),)

    def _notes(self) -> None:
        """What the reader cannot guess."""
        if any(a.how == "saved" for a in self.picture.arrows):
            self.picture.notes = ("dashed: saved for the backward pass", *self.picture.notes)
        if self.layouts:
            self.picture.notes = ("shapes in the order of memory", *self.picture.notes)

    def _outputs(self) -> None:
        for k, n in enumerate(self.graph.outputs):
            if self.side(n) in self.which and n.op.kind != "leaf":
                name = f"output{k}"
                label = f'<font point-size="9">output</font>{GAP}{small(self.shape(n))}'
                self.picture.boxes.append(Box(name, label, "leaf", self.column(n), None, repr(n), True, free=True))
                self.picture.arrows.append(Arrow(self.name(n), name, "flow"))


# ---------------------------------------------------------------------------------------- labels


def _number(op: Constant) -> str | None:
    values = op.array.reshape(-1)
    if values.size == 0 or (values.size > 1 and not (values == values[0]).all()):
        return None
    return f"{values[0]:g}" if values.dtype != bool else str(bool(values[0]))


def _expression(op: str, parts: list[str]) -> str:
    if op in SYMBOLS and len(parts) == 2:
        return f"{_operand(parts[0])} {SYMBOLS[op]} {_operand(parts[1])}"
    return f"{op}({', '.join(parts)})"


def _operand(x: str) -> str:
    return f"({x})" if any(c in x for c in " */") or "+" in x[1:].replace("e+", "") else x


def _label(n: Node, constants: list[str | None]) -> tuple[str, str]:
    """What a box says: the op with its constant operands, and its few telling attributes."""
    op = n.op.name
    if any(c is not None for c in constants):
        shown = ["·" if c is None else c for c in constants]
        if op in SYMBOLS and len(shown) == 2:
            left, right = map(_operand, shown)
            return (f"{SYMBOLS[op]} {right}" if left == "·" else f"{left} {SYMBOLS[op]}"), ""
        return f"{op}({', '.join(shown)})", ""
    return op, _attributes(n)


def _attributes(n: Node) -> str:
    said = []
    given = n.op.attributes()
    for key, default in (("window", ()), ("axes", ()), ("stride", (1, 1)), ("dilation", (1, 1)), ("order", ())):
        value = given.get(key, default)
        if value == default or not isinstance(value, tuple) or (key == "stride" and value == given.get("window")):
            continue
        if key == "window":
            said.append(TIMES.join(map(str, value)))
        elif key == "axes" and n.inputs and len(value) == n.inputs[0].rank:
            said.append("all axes")
        else:
            said.append(f"{key} {','.join(map(str, value))}")
    padding = given.get("padding")
    if padding and any(prod(side) for side in padding):
        said.append("pad " + ",".join(str(a) if a == b else f"{a}:{b}" for a, b in padding))
    return " ".join(said)
