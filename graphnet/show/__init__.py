"""Drawings of graphs and kernels, through graphviz.

    gn.draw(step, "gradient").save("backward.svg")

From a graph to its picture: `layers` says what belongs together, `graphs` and `kernels` make boxes and arrows,
`rows` places them, `dot` writes them down, and a `Drawing` is rendered, shown or saved.
"""

from __future__ import annotations

from ..function import Function
from ..node import Graph
from .drawing import Drawing
from .stages import STAGES, draw, repr_html, repr_svg

# Notebooks show functions and graphs; both are declared below `show`, and cannot import it.
for shown in (Function, Graph):
    setattr(shown, "_repr_svg_", repr_svg)  # noqa: B010  (an assignment would be an error to the type checker)
    setattr(shown, "_repr_html_", repr_html)  # noqa: B010

__all__ = ["STAGES", "Drawing", "draw", "repr_svg"]
