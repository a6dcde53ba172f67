"""Gives nodes their operators. `==` and `!=` stay identity, since nodes are keys: see `gn.eq`."""

from __future__ import annotations

from typing import Any

from ..node import Node, apply
from . import arithmetic as a
from . import compare as c
from .elementwise import pair
from .index import index
from .matmul import matmul
from .power import power


def install() -> None:
    """Sets the operators on Node; arithmetic lifts numbers and arrays on either side."""
    arithmetic = {"add": a.add, "sub": a.sub, "mul": a.mul, "truediv": a.div, "pow": power}
    logic = {"and": c.logical_and, "or": c.logical_or}
    for name, function in (arithmetic | logic).items():
        setattr(Node, f"__{name}__", lambda x, y, f=function: f(x, y))
        setattr(Node, f"__r{name}__", lambda x, y, f=function: f(y, x))
    for name, function in {"lt": c.lt, "le": c.le, "gt": c.gt, "ge": c.ge}.items():
        setattr(Node, f"__{name}__", lambda x, y, f=function: f(x, y))
    for name, op in {"neg": a.Neg(), "abs": a.Abs(), "invert": c.LogicalNot()}.items():
        setattr(Node, f"__{name}__", lambda x, op=op: apply(op, x))

    def multiply(x: Any, y: Any) -> Node:
        return matmul(*pair(x, y))

    setattr(Node, "__matmul__", multiply)  # noqa: B010
    setattr(Node, "__rmatmul__", lambda x, y: multiply(y, x))  # noqa: B010
    setattr(Node, "__getitem__", index)  # noqa: B010
