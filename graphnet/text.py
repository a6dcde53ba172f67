"""Graphs as text, and back to the same objects: `parse(to_text(graph)) is graph`.

The text is Python's syntax, read with `ast` and never run. Grammar, one statement a line:

    graph     ::= body* statement* ["return" [variable ("," variable)*]]
    body      ::= "def" name "(" [variable ":" type ","]* "):" statement* "return" [value ("," value)*]
    statement ::= variable "=" value | "update(" variable "," value ")"
    value     ::= variable
                | "input(" string "," type ")"
                | "parameter(" string "," type ", init=" name "(" [name "=" attribute ","]* ")" ")"
                | "constant(" type "," data ")"
                | op "(" [value ","]* [name "=" attribute ","]* ")"         op in OPS
    type      ::= dtype | dtype "[" extent ("," extent)* "]"                a bare dtype is a scalar
    data      ::= number | nested lists of numbers | string                 base64 of the array's bytes
    attribute ::= number | string | True | False | None | "float('inf')" | extent | "(" [attribute ","]* ")"
                | name                                                      of a body
    extent    ::= integer | name | extent ("+" | "-" | "*" | "//") extent   names are symbolic sizes

A body is a graph that an op has as an attribute, such as the step of a loop. Inputs come first, in the order of the
graph's arguments; parameters that are only updated come last. A comment
`# lenet.py:12 (gradient)` holds the node's sites.
"""

from __future__ import annotations

import ast
import base64
import binascii
import json
import keyword
import math
import re
from collections.abc import Callable
from dataclasses import fields
from itertools import count
from typing import Any

import numpy as np

from .errors import GraphnetError
from .init import INITIALISERS, Initialiser, Value
from .node import Constant, Graph, Input, Node, Parameter, apply, make_graph
from .op import OPS, Op
from .site import Site, derived
from .types import DTYPES, FLOATS, Dim, Type, concrete, extent

SMALL = 16  # constants of at most so many elements are written as numbers

# ------------------------------------------------------------------------------------------- printing


def to_text(graph: Graph, sites: bool = True) -> str:
    """The graph in the grammar above, with or without the users' lines."""
    bodies = _bodies(graph)
    sizes = {name for g in (graph, *bodies) for n in _ordered(g) for e in n.shape for name in getattr(e, "names", ())}
    names = _names(graph)
    free = (f"body{k}" for k in count() if f"body{k}" not in sizes and f"body{k}" not in names.values())
    titles: dict[Graph, str] = {}
    lines = []
    for body in bodies:
        own = {n: n.name for n in body.inputs}
        own |= {n: name for n, name in _names(body).items() if n not in own}
        titles[body] = next(free)
        lines.append(f"def {titles[body]}({', '.join(f'{n.name}: {type_text(n.type)}' for n in body.inputs)}):")
        lines += [f"    {line}" for line in _statements(body, own, titles, sites, body.inputs)]
    return "\n".join(lines + _statements(graph, names, titles, sites)) + "\n"


def _statements(
    graph: Graph, names: dict[Node, str], titles: dict[Graph, str], sites: bool, known: tuple[Node, ...] = ()
) -> list[str]:
    """The lines of one graph, in which `known` are the arguments."""
    lines = []
    for n in _ordered(graph):
        if _is_inline(n) or n in known:
            continue
        comment = ", ".join(map(str, n.sites)) if sites else ""
        lines.append(f"{names[n]} = {_call(n, names, titles)}" + (f"  # {comment}" if comment else ""))
    lines += [f"update({_ref(p, names)}, {_ref(new, names)})" for p, new in graph.updates]
    return [*lines, f"return {', '.join(_ref(n, names) for n in graph.outputs)}".rstrip()]


def _bodies(graph: Graph) -> list[Graph]:
    """The graphs that ops have as attributes, inner ones first."""
    found: dict[Graph, None] = {}
    stack = [(graph, False)]
    while stack:
        g, done = stack.pop()
        if done:
            found[g] = None
        elif g not in found:
            stack.append((g, True))
            inner = [v for n in g.nodes() for v in vars(n.op).values() if isinstance(v, Graph)]
            stack.extend((v, False) for v in reversed(inner) if v not in found)
    del found[graph]
    return list(found)


def _ordered(graph: Graph) -> list[Node]:
    nodes = graph.nodes()
    known = set(nodes)
    return nodes + [p for p in graph.parameters if p not in known]


def _names(graph: Graph) -> dict[Node, str]:
    """A variable for every node: the user's name of a leaf where that is one, else v0, v1, ..."""
    names: dict[Node, str] = {}
    taken: set[str] = set()
    leaves = [n for n in _ordered(graph) if isinstance(n.op, (Input, Parameter))]
    for n in leaves:
        name = re.sub(r"\W", "_", n.name, flags=re.ASCII)
        if not name.isidentifier() or keyword.iskeyword(name):
            name = "leaf_" + name
        while name in taken or re.fullmatch(r"v\d+", name):
            name += "_"
        taken.add(name)
        names[n] = name
    count = 0
    for n in graph.nodes():
        if n not in names and not _is_inline(n):
            names[n] = f"v{count}"
            count += 1
    return names


def _is_inline(n: Node) -> bool:
    return isinstance(n.op, Constant) and n.shape == ()


def _ref(n: Node, names: dict[Node, str]) -> str:
    return _call(n, names, {}) if _is_inline(n) else names[n]


def _call(n: Node, names: dict[Node, str], titles: dict[Graph, str]) -> str:
    match n.op:
        case Input(label, t):
            return f"input({json.dumps(label, ensure_ascii=False)}, {type_text(t)})"
        case Parameter(label, t, init):
            return f"parameter({json.dumps(label, ensure_ascii=False)}, {type_text(t)}, init={_init_text(init)})"
        case Constant(t, data):
            return f"constant({type_text(t)}, {_data_text(t, data)})"
    parts = [_ref(i, names) for i in n.inputs]
    for k, v in n.op.attributes().items():
        parts.append(f"{k}={titles[v] if isinstance(v, Graph) else _attribute_text(v)}")
    return f"{n.op.name}({', '.join(parts)})"


def type_text(t: Type) -> str:
    return f"{t.dtype}[{', '.join(map(str, t.shape))}]" if t.shape else t.dtype


def _init_text(init: Initialiser) -> str:
    if isinstance(init, Value):
        return f"value({type_text(init.type)}, {_data_text(init.type, init.data)})"
    return f"{init.name}({', '.join(f'{f.name}={_attribute_text(getattr(init, f.name))}' for f in fields(init))})"


def _data_text(t: Type, data: bytes) -> str:
    """Numbers where they are few and give the same bytes when read, else base64."""
    array = np.frombuffer(data, t.dtype)
    if array.size <= SMALL:
        nested: Any = [_shortest(x) for x in array]
        for e in reversed(concrete(t.shape[1:])):
            nested = [nested[i : i + e] for i in range(0, len(nested), e or 1)]
        if t.shape == ():
            nested = nested[0]
        text = _attribute_text(nested)
        if _data(t, ast.parse(text, mode="eval").body) == data:
            return text
    return json.dumps(base64.b64encode(data).decode())


def _shortest(x: np.generic) -> bool | int | float:
    """A Python number that gives `x` again; float32 0.1 as 0.1, not 0.10000000149011612."""
    if isinstance(x, np.float32) and np.isfinite(x) and np.float32(float(str(x))) == x:
        return float(str(x))
    return float(x) if x.dtype.name in FLOATS else x.item()


def _attribute_text(value: Any) -> str:
    match value:
        case float() if not math.isfinite(value):
            return f'float("{value}")'
        case str():
            return json.dumps(value, ensure_ascii=False)
        case tuple():
            return f"({', '.join(map(_attribute_text, value))}{',' if len(value) == 1 else ''})"
        case list():
            return f"[{', '.join(map(_attribute_text, value))}]"
        case None | bool() | int() | float():
            return repr(value)
        case Dim():
            return str(value)
    raise GraphnetError(f"an attribute of type {type(value).__name__} has no text: {value!r}")


# -------------------------------------------------------------------------------------------- parsing


def parse(text: str) -> Graph:
    """The graph of a text. Raises GraphnetError, naming the line, for anything outside of the grammar."""
    try:
        tree = ast.parse(text)
    except SyntaxError as e:
        raise GraphnetError(f"line {e.lineno}: {e.msg}") from None
    return _graph(tree.body, text.splitlines(), {}, {})


def _graph(
    body: list[ast.stmt], lines: list[str], names: dict[str, Node], bodies: dict[str, Graph], inner: bool = False
) -> Graph:
    """The graph of some statements. names: the arguments, of a body."""
    inputs = list(names.values())
    updates: list[tuple[Node, Node]] = []
    outputs: list[Node] = []
    for s in body:
        try:
            match s:
                case ast.FunctionDef(name=name) if not inner:
                    if name in bodies:
                        raise GraphnetError(f"{name} is defined twice")
                    bodies[name] = _graph(s.body, lines, _arguments(s.args), bodies, inner=True)
                case ast.Assign(targets=[ast.Name(id=name)], value=value):
                    if name in names:
                        raise GraphnetError(f"{name} is assigned twice")
                    with derived(_sites(lines[(s.end_lineno or s.lineno) - 1])):
                        names[name] = _node(value, names, bodies)
                    if isinstance(names[name].op, Input):
                        inputs.append(names[name])
                case ast.Expr(value=ast.Call(func=ast.Name(id="update"), args=[p, new], keywords=[])):
                    updates.append((_node(p, names, bodies), _node(new, names, bodies)))
                case ast.Return(value=value) if s is body[-1]:
                    found = value.elts if isinstance(value, ast.Tuple) else [value] if value else []
                    outputs = [_node(v, names, bodies) for v in found]
                case _:
                    raise GraphnetError("expected an assignment, update(...), or return at the end")
        except (GraphnetError, TypeError, ValueError) as e:
            if str(e).startswith("line "):  # of a body
                raise
            kind = type(e) if isinstance(e, GraphnetError) else GraphnetError
            raise kind(f"line {s.lineno}: {e}") from None
    return make_graph(outputs, inputs, updates)


def _arguments(a: ast.arguments) -> dict[str, Node]:
    """The inputs of a body."""
    if a.posonlyargs or a.kwonlyargs or a.vararg or a.kwarg or a.defaults or any(x.annotation is None for x in a.args):
        raise GraphnetError("the arguments of a body are names with types")
    return {x.arg: apply(Input(x.arg, _type(x.annotation))) for x in a.args if x.annotation is not None}


_SITE = re.compile(r"([^:#]+):(\d+)(?: \(([^)]*)\))?")


def _sites(line: str) -> tuple[Site, ...]:
    """The sites in a line's comment; none if it is a comment of another kind."""
    found = [_SITE.fullmatch(part) for part in line.rpartition("  # ")[2].split(", ")] if "  # " in line else []
    return tuple(Site(m[1], int(m[2]), m[3] or "") for m in found if m) if all(found) else ()


def _node(e: ast.expr, names: dict[str, Node], bodies: dict[str, Graph]) -> Node:
    match e:
        case ast.Name(id=name):
            if name not in names:
                raise GraphnetError(f"{name} is used before it is assigned")
            return names[name]
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            if name in _LEAVES:
                return apply(_LEAVES[name](args, keywords))
            if name not in OPS:
                raise GraphnetError(f"unknown op {name!r}")
            attributes = {k.arg: _body(k.value, bodies) or _attribute(k.value) for k in keywords if k.arg}
            return apply(OPS[name](**attributes), *(_node(a, names, bodies) for a in args))
    raise GraphnetError(f"expected a variable or a call, not {ast.unparse(e)}")


def _body(e: ast.expr, bodies: dict[str, Graph]) -> Graph | None:
    return bodies.get(e.id) if isinstance(e, ast.Name) else None


def _input(args: list[ast.expr], keywords: list[ast.keyword]) -> Op:
    match args, keywords:
        case [ast.Constant(value=str(label)), t], []:
            return Input(label, _type(t))
    raise GraphnetError("expected input(name, type)")


def _parameter(args: list[ast.expr], keywords: list[ast.keyword]) -> Op:
    match args, keywords:
        case [ast.Constant(value=str(label)), t], [ast.keyword(arg="init", value=init)]:
            return Parameter(label, _type(t), _initialiser(init))
    raise GraphnetError("expected parameter(name, type, init=...)")


def _constant(args: list[ast.expr], keywords: list[ast.keyword]) -> Op:
    match args, keywords:
        case [t, data], []:
            return Constant(_type(t), _data(_type(t), data))
    raise GraphnetError("expected constant(type, data)")


_LEAVES: dict[str, Callable[[list[ast.expr], list[ast.keyword]], Op]] = {
    "input": _input,
    "parameter": _parameter,
    "constant": _constant,
}


def _initialiser(e: ast.expr) -> Initialiser:
    match e:
        case ast.Call(func=ast.Name(id="value"), args=[t, data], keywords=[]):
            return Value(_type(t), _data(_type(t), data))
        case ast.Call(func=ast.Name(id=name), args=[], keywords=keywords) if name in INITIALISERS:
            return INITIALISERS[name](**{k.arg: _attribute(k.value) for k in keywords if k.arg})
    raise GraphnetError(f"expected an initialiser, not {ast.unparse(e)}")


def _type(e: ast.expr) -> Type:
    match e:
        case ast.Name(id=dtype) if dtype in DTYPES:
            return Type(dtype, ())
        case ast.Subscript(value=ast.Name(id=dtype), slice=shape) if dtype in DTYPES:
            items = shape.elts if isinstance(shape, ast.Tuple) else [shape]
            return Type(dtype, tuple(extent(_attribute(i)) for i in items))
    raise GraphnetError(f"expected a type such as float32[N, 10], not {ast.unparse(e)}")


def _data(t: Type, e: ast.expr) -> bytes:
    shape = concrete(t.shape)
    value = _attribute(e)
    if isinstance(value, str):
        try:
            data = base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise GraphnetError(f"damaged base64: {error}") from None
        if len(data) != math.prod(shape) * np.dtype(t.dtype).itemsize:
            raise GraphnetError(f"{len(data)} bytes are not a {t}")
        return data
    array = np.array(value, dtype=t.dtype).reshape(shape) if math.prod(shape) == 0 else np.array(value, dtype=t.dtype)
    if array.shape != shape:
        raise GraphnetError(f"data of shape {list(array.shape)} for a constant {t}")
    return array.tobytes()


def _attribute(e: ast.expr) -> Any:
    match e:
        case ast.Constant(value=None | bool() | int() | float() | str()):
            return e.value
        case ast.Tuple(elts=items):
            return tuple(map(_attribute, items))
        case ast.List(elts=items):
            return list(map(_attribute, items))
        case ast.UnaryOp(op=ast.USub(), operand=a):
            return -_attribute(a)
        case ast.Call(
            func=ast.Name(id="float"), args=[ast.Constant(value="inf" | "-inf" | "nan" as text)], keywords=[]
        ):
            return float(text)
        case ast.Name(id=name):
            return Dim.named(name)
        case ast.BinOp(left=a, op=op, right=b) if type(op) in _ARITHMETIC:
            return _ARITHMETIC[type(op)](_attribute(a), _attribute(b))
    raise GraphnetError(f"expected a number, a name, a string or a tuple, not {ast.unparse(e)}")


_ARITHMETIC: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: lambda a, b: a + b,
    ast.Sub: lambda a, b: a - b,
    ast.Mult: lambda a, b: a * b,
    ast.FloorDiv: lambda a, b: a // b,
}
