"""Graphs as attributes of ops: the body of a loop, a user's own gradient. A body is closed: whatever it reads is among
its inputs, which are named arg0, arg1, ... in order, so that equal bodies are one object.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from itertools import count
from typing import Any

from .node import Graph, Input, Node, Parameter, apply, make_graph
from .op import Op
from .site import derived
from .types import Dim, Type

_numbers = count()


def placeholder(t: Type) -> Node:
    """An input that is like no other, to trace a body with."""
    return apply(Input(f"placeholder {next(_numbers)}", t))


def substitute(outputs: Sequence[Node], replacements: Mapping[Node, Node]) -> list[Node]:
    """The outputs with some nodes, mostly leaves, replaced by others of their types. What does not depend on those
    stays as it is."""
    new = dict(replacements)
    stack = [n for n in reversed(outputs) if n not in new]
    while stack:
        n = stack[-1]
        if n in new:
            stack.pop()
            continue
        waiting = [i for i in n.inputs if i not in new]
        if waiting:
            stack.extend(reversed(waiting))
            continue
        stack.pop()
        inputs = tuple(new[i] for i in n.inputs)
        if inputs == n.inputs:
            new[n] = n
        else:
            with derived(n.sites):
                new[n] = apply(n.op, *inputs)
    return [new[n] for n in outputs]


def close(outputs: Sequence[Node], arguments: Sequence[Node]) -> tuple[Graph, tuple[Node, ...]]:
    """The body that makes `outputs` of `arguments`, and the captured nodes: values from outside, which become its
    last inputs. What depends on nothing but constants stays inside; of what depends on outer values alone only the
    results are captured, so that they are computed once."""
    inside: set[Node] = set(arguments)  # depends on an argument
    outside: set[Node] = set()  # depends on an outer leaf, and on no argument
    captured: dict[Node, None] = {}
    for n in _above(outputs, inside):
        if any(i in inside for i in n.inputs):
            inside.add(n)
            captured.update((i, None) for i in n.inputs if i in outside)
        elif isinstance(n.op, (Input, Parameter)) or any(i in outside for i in n.inputs):
            outside.add(n)
    captured.update((n, None) for n in outputs if n in outside)
    sources = (*arguments, *captured)
    names = tuple(apply(Input(f"arg{k}", n.type)) for k, n in enumerate(sources))
    return make_graph(substitute(outputs, dict(zip(sources, names, strict=True))), names), tuple(captured)


def _above(outputs: Sequence[Node], stops: Collection[Node]) -> list[Node]:
    """What the outputs need, inputs first, without the stops and what only those need."""
    order: dict[Node, None] = {}
    stack = [n for n in reversed(outputs) if n not in stops]
    while stack:
        n = stack[-1]
        waiting = [i for i in n.inputs if i not in order and i not in stops] if n not in order else []
        if waiting:
            stack.extend(reversed(waiting))
        else:
            order[stack.pop()] = None
    return list(order)


def inline(body: Graph, arguments: Iterable[Node]) -> list[Node]:
    """The outputs of a body for these arguments."""
    return substitute(body.outputs, dict(zip(body.inputs, arguments, strict=True)))


def with_sizes(op: Op, sizes: Mapping[str, int]) -> Op:
    """The op with named sizes in its attributes filled in."""
    changed = {f.name: new for f in fields(op) if (new := _filled(old := getattr(op, f.name), sizes)) != old}
    return replace(op, **changed) if changed else op


def _filled(value: Any, sizes: Mapping[str, int]) -> Any:
    match value:
        case Dim():
            return value.substitute(sizes)
        case Type():
            return Type(value.dtype, _filled(value.shape, sizes))
        case tuple():
            return tuple(_filled(v, sizes) for v in value)
        case Graph():
            return _filled_body(value, sizes)
    return value


def _filled_body(body: Graph, sizes: Mapping[str, int]) -> Graph:
    new: dict[Node, Node] = {}
    for n in body.nodes():
        with derived(n.sites):
            new[n] = apply(with_sizes(n.op, sizes), *(new[i] for i in n.inputs))
    return make_graph((new[n] for n in body.outputs), (new[n] for n in body.inputs))
