"""Gives nodes their operators. `==` and `!=` stay identity, since nodes are keys: see `gn.eq`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ..node import Node, apply
from ..op import Op
from . import arithmetic as a
from . import bitwise as b
from . import compare as c
from . import division as d
from .elementwise import pair
from .index import index
from .matmul import matmul
from .power import power


def of_bits(logical: Op, bitwise: Op) -> Callable[[Any, Any], Node]:
    """&, | and ^: logic on bools, bit by bit on integers."""

    def apply_either(x: Any, y: Any) -> Node:
        x, y = pair(x, y)
        return apply(bitwise if x.type.is_integer and y.type.is_integer else logical, x, y)

    return apply_either


def install() -> None:
    """Sets the operators on Node; arithmetic lifts numbers and arrays on either side."""
    arithmetic = {"add": a.add, "sub": a.sub, "mul": a.mul, "truediv": a.div, "pow": power}
    arithmetic |= {"floordiv": d.floor_divide, "mod": d.remainder, "lshift": b.left_shift, "rshift": b.right_shift}
    logic = {
        "and": of_bits(c.LogicalAnd(), b.BitwiseAnd()),
        "or": of_bits(c.LogicalOr(), b.BitwiseOr()),
        "xor": of_bits(c.LogicalXor(), b.BitwiseXor()),
    }
    for name, function in (arithmetic | logic).items():
        setattr(Node, f"__{name}__", lambda x, y, f=function: f(x, y))
        setattr(Node, f"__r{name}__", lambda x, y, f=function: f(y, x))
    for name, function in {"lt": c.lt, "le": c.le, "gt": c.gt, "ge": c.ge}.items():
        setattr(Node, f"__{name}__", lambda x, y, f=function: f(x, y))
    for name, op in {"neg": a.Neg(), "abs": a.Abs()}.items():
        setattr(Node, f"__{name}__", lambda x, op=op: apply(op, x))

    def invert(x: Node) -> Node:
        return apply(b.BitwiseNot() if x.type.is_integer else c.LogicalNot(), x)

    def multiply(x: Any, y: Any) -> Node:
        return matmul(*pair(x, y))

    setattr(Node, "__matmul__", multiply)  # noqa: B010
    setattr(Node, "__rmatmul__", lambda x, y: multiply(y, x))  # noqa: B010
    setattr(Node, "__invert__", invert)  # noqa: B010
    setattr(Node, "__getitem__", index)  # noqa: B010
