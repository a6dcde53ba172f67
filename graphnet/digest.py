"""What a graph computes, as one short text: the same for two graphs of which passes make the same program.

One line for each node, inputs before users: the op's class, its attributes, its inputs by number. The users' lines are
no part of it, nor are first values of parameters. Constants are known by a digest of their bytes, bodies of loops by
their own digests.

Only ops of this package have one: the code of others is not part of what names things on disk.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields
from typing import Any

from .node import Constant, Graph, Node, Parameter
from .op import Op
from .types import Dim, Type

PACKAGE = __name__.partition(".")[0]
PLAIN = frozenset((bool, int, float, str, type(None), Dim, Type))  # a `repr` says all of one


class _Unknown(Exception):
    """Something that a text cannot stand for."""


def digest(graph: Graph) -> str | None:
    """None for a graph with ops that are not of this package."""
    try:
        return _digest(graph, {})
    except _Unknown:
        return None


def _digest(graph: Graph, bodies: dict[Graph, str]) -> str:
    number: dict[Node, int] = {}
    rows = []
    for p in (*graph.nodes(), *(p for p, _ in graph.updates)):
        if p not in number:
            rows.append((_op(p.op, bodies), [number[i] for i in p.inputs]))
            number[p] = len(number)
    ends = (
        [number[n] for n in graph.inputs],
        [number[n] for n in graph.outputs],
        [(number[p], number[new]) for p, new in graph.updates],
    )
    return hashlib.sha256(repr((rows, ends)).encode()).hexdigest()


def _op(op: Op, bodies: dict[Graph, str]) -> tuple[Any, ...]:
    """A row's first part: all that the op is."""
    if isinstance(op, Parameter):
        return ("parameter", op.label, op.type)
    if isinstance(op, Constant):
        return ("constant", op.type, hashlib.sha256(op.data).hexdigest())
    name, attributes = _class(type(op))
    return (name, *(_attribute(getattr(op, a), bodies) for a in attributes))


_classes: dict[type[Op], tuple[str, tuple[str, ...]]] = {}


def _class(kind: type[Op]) -> tuple[str, tuple[str, ...]]:
    """A name for an op's class, and its attributes."""
    if kind not in _classes:
        if kind.__module__.partition(".")[0] != PACKAGE:
            raise _Unknown
        _classes[kind] = f"{kind.__module__}.{kind.__qualname__}", tuple(f.name for f in fields(kind))
    return _classes[kind]


def _attribute(value: Any, bodies: dict[Graph, str]) -> Any:
    kind = type(value)
    if kind in PLAIN:
        return value
    if kind is tuple:
        return tuple([_attribute(v, bodies) for v in value])
    if kind is Graph:
        if value not in bodies:
            bodies[value] = _digest(value, bodies)
        return ("body", bodies[value])
    raise _Unknown
