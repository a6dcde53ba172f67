"""Values without elements, and what is folded of nothing but them, as constants: no kernel has to deal with them.

    a node of 0 elements                             ->  an empty constant
    a node all of whose inputs are empty, or constant ->  the constant that its NumPy meaning gives, such as a sum's 0
"""

from __future__ import annotations

import numpy as np

from ..evaluate import reference
from ..module import Module
from ..node import Constant, Node, apply, constant, rebuild
from ..site import derived
from ..types import concrete, elements


def empty(m: Module) -> Module:
    """The module without computed values of no elements."""
    if all(elements(n.type) for n in m.graph.nodes()):
        return m

    def visit(n: Node, inputs: tuple[Node, ...]) -> Node:
        if n.op.kind == "leaf":
            return n
        with derived(n.sites):
            if not elements(n.type):
                return constant(np.zeros(concrete(n.shape), n.dtype))
            nothing = [i for i in inputs if not elements(i.type)]
            if nothing and all(i in nothing or isinstance(i.op, Constant) for i in inputs):
                arrays = [i.op.array if isinstance(i.op, Constant) else _nothing(i) for i in inputs]
                return constant(reference(n.op, n.type, arrays))
        return n if inputs == n.inputs else apply(n.op, *inputs)

    return m.with_graph(rebuild(m.graph, visit))


def _nothing(n: Node) -> np.ndarray:
    return np.zeros(concrete(n.shape), n.dtype)
