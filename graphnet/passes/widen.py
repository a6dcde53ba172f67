"""Folds and products of float16 and bfloat16, in float32: rounded once, at the end.

    op(x, ...)  ->  cast(op(cast(x, float32), ...), float16)       for ops that fold, or sum products

`lower` reads every operand of these dtypes as float32 and rounds every result, so this changes no value: it lets the
passes after it choose algorithms, and cut long sums in parts, without roundings in between.
"""

from __future__ import annotations

from ..module import Module
from ..node import Node, apply, rebuild
from ..ops.elementwise import cast
from ..site import derived
from ..types import STORAGE

KINDS = ("reduce", "contract", "window", "transform", "composite")  # of composite ops, those that `split` expands


def widen(m: Module) -> Module:
    """The module with every such op on float32."""
    if not any(n.dtype in STORAGE for n in m.graph.nodes()):
        return m

    def visit(n: Node, inputs: tuple[Node, ...]) -> Node:
        if n.op.kind not in KINDS or not any(i.dtype in STORAGE for i in inputs):
            return n if inputs == n.inputs else apply(n.op, *inputs)
        with derived(n.sites):
            found = apply(n.op, *(cast(i, "float32") if i.dtype in STORAGE else i for i in inputs))
            return cast(found, n.dtype) if n.dtype in STORAGE else found

    return m.with_graph(rebuild(m.graph, visit))
