"""Patterns of nodes: their grammar, matching, and building nodes from them.

Grammar, in Python's syntax:

    p ::= name                      any node; the same name again must be the same node
        | number | True | False     a constant all of whose elements are that number
        | op(p, ..., attribute=a)   a node of that op; every attribute must be named on the left of a rule
    a ::= name                      any value; the same name again must be the same value
        | literal                   that value
        | function(a, ...)          on the right and in `when`: a function of FUNCTIONS, of nodes too

Operands of commutative ops match in either order.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .errors import GraphnetError
from .node import Constant, Node, apply, constant
from .op import OPS
from .types import FLOATS

COMMUTATIVE = frozenset({"add", "mul", "maximum", "minimum", "eq", "ne", "logical_and", "logical_or"})

# Ops that rearrange or repeat elements: a constant seen through them is still all one number.
_TRANSPARENT = frozenset({"broadcast_to", "reshape", "transpose"})

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "compose": lambda a, b: tuple(a[i] for i in b),  # the axes of a transpose by a, then by b
    "is_identity": lambda a: tuple(a) == tuple(range(len(a))),
    "is_single": lambda axes: len(axes) == 1,
    "only": lambda axes: axes[0],
    "ones": lambda shape: (1,) * len(shape),
    "is_scalar": lambda x: x.shape == (),
    "only_first_is_scalar": lambda x, y: x.shape == () and y.shape != (),
    "has_one_element": lambda x: all(e == 1 for e in x.shape),
    "may_be_positive": lambda x: not (x.op.name == "neg" and x.inputs[0].op.name == "abs"),
    "is_integer": lambda x: not x.type.is_float and x.dtype != "bool",
}


@dataclass(frozen=True, slots=True)
class Wild:
    name: str


@dataclass(frozen=True, slots=True)
class Number:
    value: bool | int | float


@dataclass(frozen=True, slots=True)
class Call:
    """An op on the graph, or a function of attributes."""

    name: str
    args: tuple[Pattern | Literal, ...]
    attributes: tuple[tuple[str, Pattern | Literal], ...] = ()


@dataclass(frozen=True, slots=True)
class Literal:
    """A fixed attribute."""

    value: Any


Pattern = Wild | Number | Call
Bindings = dict[str, Any]


# ------------------------------------------------------------------------------------------- parsing


def parse_pattern(text: str) -> Pattern:
    """Raises GraphnetError where the text is not of the grammar, or names an op or attribute that is not there."""
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as e:
        raise GraphnetError(f"pattern {text!r}: {e.msg}") from None
    return _pattern(tree, text)


def _pattern(tree: ast.expr, text: str) -> Pattern:
    match tree:
        case ast.Name(id=name):
            return Wild(name)
        case ast.Constant(value=bool() | int() | float() as value):
            return Number(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return Number(-value)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            if name not in OPS:
                raise GraphnetError(f"pattern {text!r}: there is no op {name!r}")
            known = {f.name for f in fields(OPS[name])}
            for k in keywords:
                if k.arg not in known:
                    raise GraphnetError(f"pattern {text!r}: op {name} has no attribute {k.arg!r}")
            return Call(
                name,
                tuple(_pattern(a, text) for a in args),
                tuple((str(k.arg), parse_attribute(k.value, text)) for k in keywords),
            )
    raise GraphnetError(f"pattern {text!r}: {ast.unparse(tree)!r} is not a name, a number or an op")


def parse_attribute(tree: ast.expr, text: str) -> Wild | Call | Literal:
    match tree:
        case ast.Name(id=name):
            return Wild(name)
        case ast.Call(func=ast.Name(id=name), args=args) if name in FUNCTIONS:
            return Call(name, tuple(parse_attribute(a, text) for a in args))
    try:
        return Literal(ast.literal_eval(tree))
    except ValueError:
        raise GraphnetError(f"pattern {text!r}: attribute {ast.unparse(tree)!r} is not of the grammar") from None


def names(pattern: Pattern | Literal) -> set[str]:
    """The wildcards of a pattern, of nodes and of attributes."""
    match pattern:
        case Wild(name):
            return {name}
        case Call(_, args, attributes):
            return set().union(*(names(a) for a in args), *(names(a) for _, a in attributes))
    return set()


# ------------------------------------------------------------------------------------------ matching


def uniform_value(node: Node) -> bool | int | float | None:
    """The number that every element of a constant is, seen through broadcasts and reshapes; else None."""
    while node.op.name in _TRANSPARENT:
        node = node.inputs[0]
    if not isinstance(node.op, Constant):
        return None
    data, width = node.op.data, np.dtype(node.dtype).itemsize
    # On bytes, so that 0.0 and -0.0 are two numbers; the ends first, which settles most tables at once.
    first = data[:width]
    if not data or data[-width:] != first or data != first * (len(data) // width):
        return None
    value: bool | int | float = node.op.array.reshape(-1)[0].item()
    return value


def same_number(found: bool | int | float, wanted: bool | int | float, dtype: str) -> bool:
    """Whether a constant's value is the number of a pattern, once that is rounded to the constant's dtype."""
    if dtype in FLOATS:
        wanted = np.dtype(dtype).type(wanted).item()
    elif isinstance(found, bool) != isinstance(wanted, bool):
        return False
    return found == wanted and bool(np.signbit(found) == np.signbit(wanted))


def match_node(pattern: Pattern | Literal, node: Node, bound: Bindings) -> Iterator[Bindings]:
    """Every way in which the node is of the pattern, given what is bound already."""
    match pattern:
        case Wild(name):
            if name not in bound:
                yield {**bound, name: node}
            elif bound[name] is node:
                yield bound
        case Number(value):
            found = uniform_value(node)
            if found is not None and same_number(found, value, node.dtype):
                yield bound
        case Call(name, args, attributes):
            if node.op.name != name or len(node.inputs) != len(args):
                return
            after = _match_attributes(attributes, node, bound)
            if after is None:
                return
            yield from _match_all(args, node.inputs, after)
            if name in COMMUTATIVE and node.inputs[0] is not node.inputs[1]:
                yield from _match_all(args, node.inputs[::-1], after)


def _match_all(patterns: tuple[Pattern | Literal, ...], nodes: tuple[Node, ...], bound: Bindings) -> Iterator[Bindings]:
    if not patterns:
        yield bound
        return
    for b in match_node(patterns[0], nodes[0], bound):
        yield from _match_all(patterns[1:], nodes[1:], b)


def _match_attributes(
    attributes: tuple[tuple[str, Pattern | Literal], ...], node: Node, bound: Bindings
) -> Bindings | None:
    for key, a in attributes:
        value = getattr(node.op, key)
        match a:
            case Literal(wanted) if value != wanted:
                return None
            case Wild(name) if name not in bound:
                bound = {**bound, name: value}
            case Wild(name) if bound[name] != value:
                return None
    return bound


# ------------------------------------------------------------------------------------------ building


def attribute(a: Pattern | Literal, bound: Bindings) -> Any:
    match a:
        case Literal(value) | Number(value):
            return value
        case Wild(name):
            return bound[name]
        case Call(name, args, _):
            return FUNCTIONS[name](*(attribute(x, bound) for x in args))


def build(pattern: Pattern | Literal, bound: Bindings, dtype: str) -> Node:
    """The node that a pattern describes; numbers become scalars of that dtype."""
    match pattern:
        case Wild(name):
            node: Node = bound[name]
            return node
        case Number(value):
            return constant(value, "bool" if isinstance(value, bool) else dtype)
        case Call(name, args, attributes):
            op = OPS[name](**{k: attribute(a, bound) for k, a in attributes})
            return apply(op, *(build(a, bound, dtype) for a in args))
    raise GraphnetError(f"not a pattern of nodes: {pattern!r}")
