"""Functions: the model's own, and ops that the standard defines by others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.inliner

from ..node import Node
from ..types import Dim
from .errors import ModelError
from .table import canonical, find

MOST_NODES = 1_000_000  # of a model, its functions written out and its loops unrolled


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with the calls of its own functions written out."""
    if not model.functions:
        return model
    _check_size(model)
    try:
        return onnx.inliner.inline_local_functions(model)
    except (RuntimeError, ValueError) as e:
        raise ModelError(f"the model's functions cannot be written out: {e}") from None


def _calls(nodes: Iterable[onnx.NodeProto]) -> list[tuple[str, str]]:
    """The (domain, op) of nodes and of those in their subgraphs."""
    stack, found = list(nodes), []
    while stack:
        n = stack.pop()
        found.append((canonical(n.domain), n.op_type))
        for a in n.attribute:
            for g in (a.g, *a.graphs):
                stack.extend(g.node)
    return found


def _check_size(model: onnx.ModelProto) -> None:
    """Raises ModelError where a function calls itself, be it through others, or where functions that call functions
    come to too many nodes."""
    calls: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for f in model.functions:
        calls.setdefault((canonical(f.domain), f.name), []).extend(_calls(f.node))
    sizes: dict[tuple[str, str], int] = {}
    while free := [k for k, called in calls.items() if not calls.keys() & set(called)]:
        for k in free:
            sizes[k] = sum(sizes.get(n, 1) for n in calls[k])
        for k in free:
            del calls[k]
    if calls:
        raise ModelError(f"the model's function {min(calls)[1]!r} calls itself")
    if sum(sizes.get(n, 1) for n in _calls(model.graph.node)) > MOST_NODES:
        raise ModelError(f"the model's functions come to more than {MOST_NODES:,} nodes")


# --------------------------------------------------------------------------- the standard's functions


def is_defined(domain: str, op: str, version: int) -> bool:
    """Whether the standard defines an op by others, and there is no converter for it."""
    if find(domain, op, version) is not None:
        return False
    schema = schema_of(domain, op, version)
    return schema is not None and bool(schema.has_function or schema.has_context_dependent_function)


def schema_of(domain: str, op: str, version: int) -> Any:
    """The definition of an op; None where there is none."""
    try:
        return onnx.defs.get_schema(op, version, canonical(domain))
    except onnx.defs.SchemaError:
        return None


def definition(proto: onnx.NodeProto, version: int, inputs: Sequence[Node | None]) -> onnx.FunctionProto:
    """The function that defines a node, with the node's attributes filled in. Many depend on the inputs' types."""
    schema = schema_of(proto.domain, proto.op_type, version)
    function = onnx.FunctionProto()
    if schema.has_function:
        served = [v for v in schema.function_opset_versions if v <= version]
        body = schema.get_function_with_opset_version(max(served, default=schema.since_version))
    else:
        served = [v for v in schema.context_dependent_function_opset_versions if v <= version]
        at = max(served, default=schema.since_version)
        types = [_type(x).SerializeToString() for x in inputs]
        body = schema.get_context_dependent_function_with_opset_version(at, proto.SerializeToString(), types)
    if not body:
        raise ModelError(f"{proto.op_type} has no definition for these inputs")
    function.ParseFromString(body)
    given = {a.name: a for a in proto.attribute}
    defaults = {name: a.default_value for name, a in schema.attributes.items() if a.default_value.name}
    _fill_in(function.node, defaults | given)
    if not function.opset_import:
        function.opset_import.append(onnx.helper.make_opsetid(proto.domain, version))
    return function


def _type(x: Node | None) -> onnx.TypeProto:
    if x is None:
        return onnx.TypeProto()
    shape = [str(e) if isinstance(e, Dim) else e for e in x.shape]
    return onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(np.dtype(x.dtype)), shape)


def _fill_in(nodes: Iterable[onnx.NodeProto], attributes: dict[str, onnx.AttributeProto]) -> None:
    """Attributes that refer to those of the call become those; without one they are left out."""
    for n in nodes:
        kept = []
        for a in n.attribute:
            if a.ref_attr_name:
                if a.ref_attr_name in attributes:
                    value = onnx.AttributeProto()
                    value.CopyFrom(attributes[a.ref_attr_name])
                    value.name = a.name
                    kept.append(value)
            else:
                for g in (a.g, *a.graphs):
                    _fill_in(g.node, attributes)
                kept.append(a)
        kept = [onnx.AttributeProto.FromString(a.SerializeToString()) for a in kept]
        del n.attribute[:]
        n.attribute.extend(kept)
