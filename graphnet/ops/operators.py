"""Gives nodes their operators. `==` and `!=` stay identity, since nodes are keys: see `gn.eq`."""

from __future__ import annotations

from typing import Any

from ..node import Node, apply
from . import elementwise as e
from .matmul import matmul
from .move import index


def install() -> None:
    """Sets the operators on Node; arithmetic lifts numbers and arrays on either side."""
    arithmetic = {"add": e.add, "sub": e.sub, "mul": e.mul, "truediv": e.div, "pow": e.power}
    logic = {"and": e.logical_and, "or": e.logical_or}
    for name, function in (arithmetic | logic).items():
        setattr(Node, f"__{name}__", lambda x, y, f=function: f(x, y))
        setattr(Node, f"__r{name}__", lambda x, y, f=function: f(y, x))
    for name, function in {"lt": e.lt, "le": e.le, "gt": e.gt, "ge": e.ge}.items():
        setattr(Node, f"__{name}__", lambda x, y, f=function: f(x, y))
    for name, op in {"neg": e.Neg(), "abs": e.Abs(), "invert": e.LogicalNot()}.items():
        setattr(Node, f"__{name}__", lambda x, op=op: apply(op, x))

    def multiply(x: Any, y: Any) -> Node:
        return matmul(*e.pair(x, y))

    setattr(Node, "__matmul__", multiply)  # noqa: B010
    setattr(Node, "__rmatmul__", lambda x, y: multiply(y, x))  # noqa: B010
    setattr(Node, "__getitem__", index)  # noqa: B010
