"""What a model asks for that is not supported: all of it, before anything is built."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from .dtypes import dtype_of, name_of
from .errors import Problem
from .functions import is_defined
from .reading import graphs
from .table import NEWEST, canonical, find

_TYPES_OF_ATTRIBUTES = {"Cast": "to", "ConstantOfShape": "value", "Constant": "value"}


def described(node: onnx.NodeProto, version: int | None, reason: str) -> Problem:
    """A problem with a node. Nodes need no name: then its first output says which."""
    domain = canonical(node.domain)
    op = f"{domain + '.' if domain else ''}{node.op_type}{f'-{version}' if version else ''}"
    where = node.name or next((f"-> {o}" for o in node.output if o), node.op_type)
    return Problem(where, op, tuple(node.input), reason)


def of_ops(model: onnx.ModelProto, versions: dict[str, int]) -> list[Problem]:
    """Operator sets and ops that the table does not have."""
    found = []
    for domain, version in versions.items():
        if domain in NEWEST and version > NEWEST[domain]:
            reason = f"version {version} is newer than {NEWEST[domain]}, the newest that is known"
            found.append(Problem(f"operator set {domain or 'ai.onnx'}", "", (), reason))
    for graph in graphs(model.graph):
        for node in graph.node:
            domain = canonical(node.domain)
            if domain not in versions:
                found.append(described(node, None, f"the model does not import the operator set {domain!r}"))
                continue
            version = versions[domain]
            if find(domain, node.op_type, version) is None and not is_defined(domain, node.op_type, version):
                found.append(described(node, version, "no such op is supported"))
    return found


def of_types(model: onnx.ModelProto) -> list[Problem]:
    """Values that are no tensors, or of element types that graphnet does not have."""
    found: dict[str, Problem] = {}

    def note(where: str, reason: str) -> None:
        found.setdefault(where, Problem(where, "", (), reason))

    for graph in graphs(model.graph):
        for s in graph.sparse_initializer:
            note(s.values.name, "sparse tensors are not supported")
        for where, elem_type in _declared(graph):
            if isinstance(elem_type, str):
                note(where, f"{elem_type} are not supported")
            elif elem_type and dtype_of(elem_type) is None:
                note(where, f"tensors of {name_of(elem_type)} are not supported")
    return list(found.values())


def _declared(graph: onnx.GraphProto) -> Iterator[tuple[str, int | str]]:
    """(Value, its element type, or what it is instead of a tensor)."""
    inside = {v.name for v in graph.value_info}  # where sequences may be
    for v in (*graph.input, *graph.output, *graph.value_info):
        kind = v.type.WhichOneof("value")
        if kind == "sequence_type" and v.name in inside:
            yield v.name, v.type.sequence_type.elem_type.tensor_type.elem_type
        elif kind in (None, "tensor_type"):
            yield v.name, v.type.tensor_type.elem_type
        else:
            yield (
                v.name,
                {"sequence_type": "sequences", "optional_type": "optional values", "map_type": "maps"}.get(
                    kind, "sparse tensors"
                ),
            )
    for t in graph.initializer:
        yield t.name, t.data_type
    for node in graph.node:
        wanted = _TYPES_OF_ATTRIBUTES.get(node.op_type)
        for a in node.attribute:
            if a.name == wanted:
                yield described(node, None, "").where, a.t.data_type if a.HasField("t") else a.i
