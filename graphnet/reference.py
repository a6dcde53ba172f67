"""The reference of all ops, made from their classes: docs/ops.md, and `graphnet ops`.

Nothing in it is written twice. The formula is the docstring's; shapes come from an op's first sample through `infer`;
the gradient is what the op's `gradient` gives for a cotangent g, written out.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
import textwrap
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from typing import Any

import graphnet as gn

from .errors import GradientError, GraphnetError
from .node import Constant, Graph, Input, Node, Parameter, apply, input
from .op import OPS, Op, Sample
from .types import DTYPES, Type

# Named by many converters that are about something else.
AUXILIARY = {"cast", "reshape", "broadcast_to", "where", "size", "iota"}

LONGEST = 240  # characters of a gradient that is written out

INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "matmul": "@", "lt": "<", "le": "<=", "eq": "==", "ne": "!="}

MADE_OF_OPS = re.compile(r"graphnet\.(ops\.|recurrent$)")  # modules of functions for networks

KINDS = {
    "elementwise": "one element from the same element of each input; fused",
    "move": "elements in other places; fused",
    "reduce": "folds axes",
    "contract": "sums of products",
    "window": "small windows",
    "transform": "tiles of the input to tiles of the output",
    "serial": "loops with an order, that read and write the output",
    "random": "a function of a key",
    "composite": "a graph of other ops",
}

HEAD = """\
# Ops

Made by `graphnet ops --markdown`; do not edit. Each op is one class: see [adding-an-op.md](adding-an-op.md).

All ops run on all targets (`cpu`, `cuda`, `emulator`, `interpret`) unless a line says otherwise. Gradients are graphs
of these same ops, written here as they are made: `g` is the cotangent of the output, `out` the output itself; a
gradient may be differentiated again. Shapes are those of the first of the op's samples, which its generated tests run.
"""


def markdown() -> str:
    """docs/ops.md."""
    by_file: dict[str, list[type[Op]]] = {}
    for name in sorted(OPS):
        op = OPS[name]
        if op.kind != "leaf" and op.__module__.startswith("graphnet."):
            by_file.setdefault(op.__module__, []).append(op)
    parts = [HEAD]
    for module in sorted(by_file):
        title = module.rsplit(".", 1)[1].replace("_", " ")
        doc = (inspect.getmodule(by_file[module][0]).__doc__ or "").strip().split("\n\n")[0]
        parts.append(f"## {title}\n\n{doc}\n")
        parts += [entry(op) for op in by_file[module]]
    return "\n".join([*parts, functions()])


def functions() -> str:
    """The functions of `gn` that declare graphs of these ops, and are no ops themselves."""
    lines = ["## Functions made of ops", "", "They take and give nodes, as ops do; in graphs only ops are seen.", ""]
    for name in sorted(gn.__all__):
        function = vars(gn).get(name)
        if inspect.isfunction(function) and name not in OPS and MADE_OF_OPS.match(function.__module__):
            first = inspect.cleandoc(function.__doc__ or "").split("\n\n")[0].replace("\n", " ")
            lines.append(f"- `gn.{name}({_call(function)})`: {first}")
    return "\n".join(lines) + "\n"


def entry(op: type[Op]) -> str:
    """One op in Markdown."""
    rows = {
        "kind": f"{op.kind}: {KINDS[op.kind]}",
        "shapes": shapes(op),
        "dtypes": dtypes(op),
        "gradient": gradient(op),
        "ONNX": ", ".join(onnx_names().get(op.name, ())),
    }
    lines = [f"### {op.name}", "", f"    {signature(op)}", "", inspect.cleandoc(op.__doc__ or ""), ""]
    lines += [f"- {what}: {text}" for what, text in rows.items() if text]
    return "\n".join(lines) + "\n"


def signature(op: type[Op]) -> str:
    """How users call it: their own function where there is one, else inputs and attributes of the class."""
    function = vars(gn).get(op.name)
    if inspect.isfunction(function):
        return f"gn.{op.name}({_call(function)})"
    given = []
    for f in fields(op):
        default = f"={f.default!r}" if f.default.__class__.__name__ != "_MISSING_TYPE" else ""
        given.append(f"{f.name}{default}")
    return f"gn.{op.name}({', '.join([*operands(op), *(['*', *given] if given else [])])})"


def _call(function: Any) -> str:
    """The parameters of a function, without their types."""
    words = (re.sub(r": '.*?'( =|$)", r"\1", str(p)).replace(" = ", "=") for p in _parameters(function))
    return ", ".join(words)


def _parameters(function: Any) -> list[inspect.Parameter]:
    return list(inspect.signature(function).parameters.values())


def operands(op: type[Op]) -> list[str]:
    """The names of the inputs, from `evaluate`."""
    parameters = _parameters(op.evaluate)[1:]
    if [p.kind for p in parameters] == [inspect.Parameter.VAR_POSITIONAL]:
        return [f"*{parameters[0].name}"]
    return [p.name for p in parameters]


def shapes(op: type[Op]) -> str:
    found = _first(op)
    if found is None:
        return ""
    sample, node = found
    given = ", ".join(str(i.type) for i in node.inputs)
    attributes = ", ".join(f"{k}={_value(v)}" for k, v in sample.op.attributes().items())
    return f"`{given} -> {node.type}`" + (f" with {attributes}" if attributes else "")


def dtypes(op: type[Op]) -> str:
    """The dtypes that the op accepts, for the inputs that are floats in its first sample."""
    sample = next(iter(op.samples()), None)
    if sample is None:
        return ""
    accepted = []
    for dtype in DTYPES:
        given = (dtype if d == "float" else d for d in sample.dtypes or ("float",) * len(sample.shapes))
        try:
            sample.op.infer(*(Type(d, s) for d, s in zip(given, sample.shapes, strict=True)))
        except GraphnetError:
            continue
        accepted.append(dtype)
    return "all" if len(accepted) == len(DTYPES) else ", ".join(accepted)


def gradient(op: type[Op]) -> str:
    """The cotangents of the inputs, as graph; or why there is none."""
    found = _first(op)
    if found is None:
        return ""
    _, node = found
    if not node.type.is_float:
        return "none: the output is not a float"
    g = input("g", node.shape, node.dtype)
    try:
        parts = node.op.gradient(node, g)
    except GradientError as e:
        return f"none: {e}"
    texts = []
    for i, part in zip(node.inputs, parts, strict=True):
        if part is None:
            texts.append(f"d{i.name} none")
            continue
        text = _Writer({node: "out"}).write(part)
        texts.append(f"d{i.name} = `{text}`" if len(text) <= LONGEST else f"d{i.name} of {_count(part, node)} ops")
    return "; ".join(texts)


def _first(op: type[Op]) -> tuple[Sample, Node] | None:
    """The first sample whose inputs are floats, or the first, and its node."""
    samples = list(op.samples())
    if not samples:
        return None
    sample = next((s for s in samples if s.differentiable), samples[0])
    names = operands(sample.op.__class__)
    if len(names) != len(sample.shapes):
        names = [f"x{k}" for k in range(len(sample.shapes))]
    kinds = sample.input_dtypes("float32")
    nodes = [input(n, s, d) for n, s, d in zip(names, sample.shapes, kinds, strict=True)]
    try:
        return sample, apply(sample.op, *nodes)
    except GraphnetError:
        return None


def _count(n: Node, until: Node) -> int:
    """How many ops make n, from the op's inputs and output."""
    seen: set[Node] = set()
    stack = [n]
    while stack:
        m = stack.pop()
        if m not in seen and m is not until and m.op.kind != "leaf":
            seen.add(m)
            stack += m.inputs
    return len(seen)


# ------------------------------------------------------------------------------------------- ONNX


@cache
def onnx_names() -> dict[str, tuple[str, ...]]:
    """The ONNX ops that become each op of ours, or a graph with it; nothing where the extra [onnx] is not installed.

    Read off the converters: what of `gn` their code names, and what the small functions in its tables make."""
    if importlib.util.find_spec("onnx") is None:
        return {}
    table = importlib.import_module("graphnet.onnx.table")
    importlib.import_module("graphnet.onnx")
    found: dict[str, set[str]] = {}
    for row in table.rows():
        for name in _made(row.convert, set()):
            found.setdefault(name, set()).add(row.op if row.domain == table.MAIN else f"{row.domain}.{row.op}")
    for row in table.rows():  # what is about one of those
        if row.op.lower() in AUXILIARY:
            found.setdefault(row.op.lower(), set()).add(row.op)
    return {name: tuple(sorted(ops)) for name, ops in found.items()}


def _made(function: Any, seen: set[Any], depth: int = 4) -> set[str]:
    """The names of ops that a converter names, itself or in the functions that it calls."""
    if function in seen or depth == 0:
        return set()
    seen.add(function)
    found: set[str] = set()
    for thing in _named(function):
        if inspect.isclass(thing) and issubclass(thing, Op) and thing.name:
            found.add(thing.name)
        elif inspect.isfunction(thing):
            name = thing.__name__.removesuffix("_")
            found |= {name} if name in OPS and "onnx" not in thing.__module__ else _made(thing, seen, depth - 1)
    for cell in (function.__closure__ or ()) if "onnx" in function.__module__ else ():
        inner = cell.cell_contents
        if inspect.isfunction(inner):
            takes_a_call = list(inspect.signature(inner).parameters)[:1] == ["c"]
            found |= _made(inner, seen, depth) if takes_a_call else _tried(inner)
    return {n for n in found if OPS[n].kind != "leaf"} - AUXILIARY


def _named(function: Any) -> list[Any]:
    """What of graphnet the source of a function names, as `gn.name` or by a name of its module."""
    function = inspect.unwrap(function)
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, SyntaxError):  # a part of an expression, such as a lambda in a table
        return []
    found: list[Any] = []
    for n in ast.walk(tree):
        if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == "gn":
            found.append(OPS.get(n.attr) or vars(gn).get(n.attr))
        elif isinstance(n, ast.Name):
            thing = function.__globals__.get(n.id)
            found += thing.values() if isinstance(thing, dict) else thing if isinstance(thing, tuple) else (thing,)
    return [f for f in found if getattr(f, "__module__", "").startswith("graphnet.")]


def _tried(function: Any) -> set[str]:
    """The ops that a function of one node or two makes."""
    if function.__name__ in OPS:
        return {function.__name__}
    for dtype in ("float32", "int32", "bool"):
        for count in (1, 2):
            try:
                made = function(*(input(f"x{k}", (2,), dtype) for k in range(count)))
            except (GraphnetError, TypeError):
                continue
            if isinstance(made, Node) and made.op.kind != "leaf":
                return {made.op.name}
    return set()


# --------------------------------------------------------------------------------- expressions as text


class _Writer:
    """Expressions in one line."""

    def __init__(self, names: Mapping[Node, str]) -> None:
        self.names = names
        self.left = LONGEST  # nodes that are still written: shared ones are written again and again

    def write(self, n: Node, inside: bool = False) -> str:
        self.left -= 1
        if n in self.names:
            return self.names[n]
        if self.left < 0:
            return "." * (LONGEST + 1)
        match n.op:
            case Input(label) | Parameter(label):
                return label
            case Constant() if n.shape == ():
                return f"{n.op.array[()]:g}" if n.type.is_float else str(n.op.array[()])
            case Constant():
                return f"constant({n.type})"
        if n.op.name in INFIX and len(n.inputs) == 2:
            text = f" {INFIX[n.op.name]} ".join(self.write(i, True) for i in n.inputs)
            return f"({text})" if inside else text
        if n.op.name == "neg":
            return f"-{self.write(n.inputs[0], True)}"
        parts = [self.write(i) for i in n.inputs]
        parts += [f"{k}={_value(v)}" for k, v in n.op.attributes().items() if v != _default(n.op, k)]
        return f"{n.op.name}({', '.join(parts)})"


def _value(v: Any) -> str:
    return f"a graph of {len(v.nodes())} nodes" if isinstance(v, Graph) else repr(v).replace("'", "")


def _default(op: Op, name: str) -> Any:
    return next(f.default for f in fields(op) if f.name == name)
