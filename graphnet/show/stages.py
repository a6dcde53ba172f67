"""`draw`: the stages of compilation as drawings.

    graph        the declaration, as the user wrote it
    gradient     with the backward graph derived from it, and the updates
    optimised    after the rewrites and the choice of layouts
    kernels      what was fused into which kernel, and what each costs
"""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Mapping

from ..errors import GraphnetError
from ..explain import explain
from ..function import Function, compile
from ..node import Graph, Input, Node, make_graph, toposort
from ..specialization import Specialization
from ..types import Dim
from .dot import source
from .drawing import Drawing
from .graphs import GraphView
from .kernels import KernelView
from .layers import declares_gradients

TITLES = {
    "graph": "The graph as declared",
    "gradient": "Forward, backward and updates",
    "optimised": "The optimised graph",
    "kernels": "Kernels",
}
STAGES = tuple(TITLES)
ALL_SIDES = ("forward", "backward", "update")

Drawable = Function | Graph | Node | Iterable[Node]


def draw(
    what: Drawable,
    stage: str = "graph",
    sizes: Mapping[str, int] | None = None,
    title: str | None = None,
    *,
    expand_updates: bool = False,
    measured: Mapping[int, float] | None = None,
) -> Drawing:
    """A drawing of a function, a graph, or the nodes of one, at a stage of its compilation.

    sizes: of the named dimensions, for "optimised" and "kernels"; by default those that the function was last
    compiled for. expand_updates: every node of the optimiser, instead of one box a weight. measured: seconds of
    each kernel by its number; by default those of the last call, where they are known.

    Raises GraphnetError for an unknown stage and for sizes that are missing."""
    if stage not in STAGES:
        raise GraphnetError(f"draw: there is no stage {stage!r}; the stages are {', '.join(STAGES)}")
    graph = what.graph if isinstance(what, Function) else _graph(what)
    told = TITLES[stage] if title is None else title
    beyond = declares_gradients(graph)
    if stage in ("graph", "gradient"):
        view = GraphView(graph, told, beyond, expand_updates=expand_updates)
        return Drawing(source(view.draw(("forward",) if stage == "graph" else ALL_SIDES)), told)
    function = what if isinstance(what, Function) else compile(graph.outputs, graph.inputs, dict(graph.updates))
    known = _sizes(function, sizes)
    told += "".join(f", {name} = {size}" for name, size in known.items()) if title is None else ""
    if stage == "optimised":
        module = function.module(known, stop_after="layout")
        view = GraphView(module.graph, told, beyond, module=module, expand_updates=expand_updates)
        return Drawing(source(view.draw(ALL_SIDES)), told)
    spec = function.specialise(known)
    kernels = KernelView(spec.module, told, beyond, explain(spec).kernels, measured)
    return Drawing(source(kernels.draw()), told)


def _graph(what: Graph | Node | Iterable[Node]) -> Graph:
    if isinstance(what, Graph):
        return what
    nodes = (what,) if isinstance(what, Node) else tuple(what)
    for n in nodes:
        if not isinstance(n, Node):
            raise GraphnetError(f"draw: {n!r} is no function, graph or node")
    return make_graph(nodes, [n for n in toposort(nodes) if isinstance(n.op, Input)])


def _sizes(function: Function, sizes: Mapping[str, int] | None) -> dict[str, int]:
    """The sizes that were given, else those of the last specialization."""
    names = sorted({name for n in function.graph.nodes() for e in n.shape if isinstance(e, Dim) for name in e.names})
    last: Specialization | None = function.specializations[-1] if function.specializations else None
    found = dict(last.sizes) if sizes is None and last is not None else dict(sizes or {})
    missing = [name for name in names if name not in found]
    if missing:
        raise GraphnetError(f"draw: sizes of {', '.join(missing)} are needed, as in sizes={{{missing[0]!r}: 64}}")
    return {name: found[name] for name in names}


def repr_svg(what: Function | Graph) -> str | None:
    """What notebooks show of a function or graph; None where `dot` is not installed."""
    return _shown(what)._repr_svg_()


def repr_html(what: Function | Graph) -> str | None:
    return _shown(what)._repr_html_()


_drawn: weakref.WeakKeyDictionary[Graph, Drawing] = weakref.WeakKeyDictionary()  # notebooks ask for both forms


def _shown(what: Function | Graph) -> Drawing:
    graph = what.graph if isinstance(what, Function) else what
    if graph not in _drawn:
        _drawn[graph] = draw(graph, "gradient" if graph.updates else "graph")
    return _drawn[graph]
