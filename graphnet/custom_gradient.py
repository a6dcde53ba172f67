"""Gradients that users give themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import numpy as np

from .body import close, inline, placeholder
from .errors import GradientError, GraphnetError, ShapeError
from .node import Graph, Node, apply, input, make_graph
from .op import Op, Sample
from .site import current_sites, located, where
from .types import Type


@dataclass(frozen=True)
class CustomGradient(Op):
    """y of inputs (y, x_0, x_1, ..., captured ...). The outputs of `backward`, whose inputs are y's cotangent, the x
    and the captured values, are the cotangents of those x whose numbers are in `of`; to all else nothing passes."""

    name = "custom_gradient"
    kind = "composite"
    backward: Graph
    of: tuple[int, ...]

    def infer(self, *given: Type) -> Type:
        wanted = tuple(n.type for n in self.backward.inputs)
        if given != wanted:
            raise ShapeError(f"inputs {', '.join(map(str, given))} for a gradient of {', '.join(map(str, wanted))}")
        if [n.type for n in self.backward.outputs] != [given[1 + k] for k in self.of]:
            raise ShapeError("the gradient's outputs have not the types of what they are derivatives by")
        return given[0]

    def evaluate(self, *inputs: np.ndarray) -> np.ndarray:
        return inputs[0]

    def graph(self, *inputs: Node) -> Node:
        return inputs[0]

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        found = dict(zip(self.of, inline(self.backward, (cotangent, *node.inputs[1:])), strict=True))
        return (None, *(found.get(k) for k in range(len(node.inputs) - 1)))

    @classmethod
    def samples(cls) -> Sequence[Sample]:
        g, x = input("arg0", (2, 3)), input("arg1", (2, 3))
        op = cls(make_graph([g * x], [g, x]), (0,))
        return (Sample(op, ((2, 3), (2, 3)), ("float32",) * 2, differentiable=False),)


def custom_gradient(f: Callable[..., tuple[Node, Callable[[Node], Any]]]) -> Callable[..., Node]:
    """Decorates a function of nodes that returns its value y and a function from y's cotangent to the cotangents of
    its arguments, one for each (a node alone if there is one), None where there is no derivative:

        @gn.custom_gradient
        def clipped(x):
            return x, lambda g: (gn.clip(g, -1.0, 1.0),)

    Value and gradient are ordinary graph, and can be differentiated again: the second derivative is that of the
    gradient given here. Nothing passes to nodes that the function reads without being given them."""

    @wraps(f)
    @located
    def call(*xs: Node) -> Node:
        name = getattr(f, "__name__", "the function")
        for x in xs:
            if not isinstance(x, Node):
                raise GraphnetError(f"custom_gradient: {name} takes graph nodes, not {type(x).__name__}")
        made = f(*xs)
        if not (isinstance(made, tuple) and len(made) == 2 and isinstance(made[0], Node) and callable(made[1])):
            raise GraphnetError(f"custom_gradient: {name} must return a node and a function, not {made!r}")
        y, rule = made
        g = placeholder(y.type)
        found = rule(g)
        partials = tuple(found) if isinstance(found, (tuple, list)) else (found,)
        if len(partials) != len(xs):
            raise GradientError(f"custom_gradient: {name} has {len(xs)} arguments, its gradient gave {len(partials)}")
        for k, (x, dx) in enumerate(zip(xs, partials, strict=True)):
            if dx is not None and (not isinstance(dx, Node) or dx.type != x.type):
                at = where(current_sites())
                raise GradientError(f"custom_gradient: argument {k} of {name} is {x.type}, its gradient {dx!r}{at}")
        backward, captured = close([dx for dx in partials if dx is not None], (g, *xs))
        of = tuple(k for k, dx in enumerate(partials) if dx is not None)
        return apply(CustomGradient(backward, of), y, *xs, *captured)

    return call
