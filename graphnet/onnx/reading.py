"""Files, bytes and protobufs to a model that has been checked: nothing in it is believed before.

External data stays inside of the model's folder. Arrays are read once and kept beside the model; what the checker
of onnx sees is the model with its large arrays declared as inputs, so that their size is no matter. Its shape inference
is not used: crafted models make it hang, and the import infers all types itself.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
from google.protobuf.message import DecodeError, Message
from google.protobuf.message import Error as MessageError

from .dtypes import dtype_of, name_of
from .errors import ModelError

LARGE = 256  # elements from which an initializer is none of the checker's business


@dataclass(frozen=True, slots=True)
class Source:
    """A model as it was read: functions inlined, external data loaded."""

    model: onnx.ModelProto
    folder: Path | None
    label: str  # what messages and drawings call it


def parse(what: str | os.PathLike[str] | bytes | onnx.ModelProto) -> Source:
    """The protobuf of a file, of bytes, or as it is."""
    if isinstance(what, onnx.ModelProto):
        model = onnx.ModelProto()
        model.CopyFrom(what)
        return Source(model, None, what.graph.name or "model")
    if isinstance(what, bytes):
        return Source(_parsed(what, "these bytes"), None, "model")
    path = Path(what)
    try:
        data = path.read_bytes()
    except OSError as e:
        raise ModelError(f"{path}: {e.strerror}") from None
    return Source(_parsed(data, str(path)), path.parent, path.name)


def _parsed(data: bytes, name: str) -> onnx.ModelProto:
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except DecodeError as e:
        raise ModelError(f"{name}: not an ONNX model, or a damaged one ({e})") from None
    if not model.ir_version or not model.HasField("graph"):
        raise ModelError(f"{name}: not an ONNX model, or a truncated one: there is no graph")
    stack: list[Message] = [model]
    while stack:
        for field, value in stack.pop().ListFields():
            values = value if isinstance(value, Sequence) and not isinstance(value, (str, bytes)) else (value,)
            if field.type == field.TYPE_MESSAGE:
                stack.extend(values)
            elif field.type == field.TYPE_STRING and any(isinstance(v, bytes) for v in values):
                raise ModelError(f"{name}: a damaged ONNX model: {field.name} is no text")
    return model


# ------------------------------------------------------------------------------------------- graphs


def subgraphs(node: onnx.NodeProto) -> Iterator[onnx.GraphProto]:
    for a in node.attribute:
        if a.type == onnx.AttributeProto.GRAPH:
            yield a.g
        elif a.type == onnx.AttributeProto.GRAPHS:
            yield from a.graphs


def graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and all that stand inside of it."""
    stack = [graph]
    while stack:
        found = stack.pop()
        yield found
        for n in found.node:
            stack.extend(subgraphs(n))


def versions(model: onnx.ModelProto) -> dict[str, int]:
    """The version of each operator set; 1 of the main one where nothing is said, as before there were versions."""
    found: dict[str, int] = {}
    for o in model.opset_import:
        domain = "" if o.domain == "ai.onnx" else o.domain
        if found.setdefault(domain, o.version) != o.version:
            raise ModelError(f"the model imports two versions of operator set {domain or 'ai.onnx'!r}")
    return found or {"": 1}


# ------------------------------------------------------------------------------------------- arrays


def array_of(tensor: onnx.TensorProto, folder: Path | None, what: str) -> np.ndarray:
    """The value of a tensor. Raises ModelError for one that is not what it says."""
    dtype = dtype_of(tensor.data_type)
    if dtype is None:
        raise ModelError(f"{what}: {name_of(tensor.data_type)} is no type of ours")  # the survey has said so before
    shape = tuple(tensor.dims)
    if any(e < 0 for e in shape):
        raise ModelError(f"{what}: an extent of {list(shape)} is negative")
    wanted = math.prod(shape)
    if tensor.data_location == onnx.TensorProto.EXTERNAL:
        data = _external(tensor, folder, what, wanted * np.dtype(dtype).itemsize)
        return np.frombuffer(data, dtype).reshape(shape)
    if tensor.HasField("segment"):
        raise ModelError(f"{what}: tensors in segments are obsolete and not supported")
    if tensor.HasField("raw_data"):
        raw, nbytes = tensor.raw_data, wanted * np.dtype(dtype).itemsize
        if len(raw) != nbytes:
            raise ModelError(f"{what}: {len(raw)} bytes of data, but {dtype}{list(shape)} has {nbytes}")
        return np.frombuffer(raw, np.dtype(dtype).newbyteorder("<")).astype(dtype, copy=False).reshape(shape)
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except (ValueError, TypeError, OverflowError) as e:
        raise ModelError(f"{what}: the data does not fit {dtype}{list(shape)} ({e})") from None
    if array.shape != shape or array.dtype.name != dtype:
        raise ModelError(f"{what}: the data does not fit {dtype}{list(shape)}")
    return array


def _external(tensor: onnx.TensorProto, folder: Path | None, what: str, nbytes: int) -> bytes:
    """The bytes of a tensor that lie in a file of the model's folder."""
    entries = {e.key: e.value for e in tensor.external_data}
    location = entries.get("location", "")
    if folder is None:
        raise ModelError(f"{what}: its data is in the file {location!r}; load the model by its path")
    path = inside(folder, location, what)
    try:
        offset, length = int(entries.get("offset", "0")), int(entries.get("length", str(nbytes)))
        size = path.stat().st_size
    except ValueError:
        raise ModelError(f"{what}: offset and length must be numbers") from None
    if length != nbytes or offset < 0 or offset + length > size:
        raise ModelError(
            f"{what}: {nbytes} bytes are needed; the model says {length} from {offset} on, {path.name} has {size}"
        )
    with path.open("rb") as f:
        f.seek(offset)
        data = f.read(length)
    if len(data) != nbytes:
        raise ModelError(f"{what}: {path.name} ends early")
    return data


def inside(folder: Path, location: str, what: str) -> Path:
    """A file of the folder or of one below it, reached without links. Raises ModelError for anything else."""
    parts = location.split("/")
    if not location or "\\" in location or ":" in location or "\0" in location or set(parts) & {"", ".", ".."}:
        raise ModelError(f"{what}: external data must lie in the model's folder, not at {location!r}")
    path = folder
    for part in parts:
        path = path / part
        if path.is_symlink():
            raise ModelError(f"{what}: external data is reached by a link, {location!r}")
    if not path.is_file():
        raise ModelError(f"{what}: there is no file {location!r} in the model's folder")
    return path


# ------------------------------------------------------------------------------------------- checks


def check(model: onnx.ModelProto, arrays: Mapping[str, np.ndarray]) -> None:
    """onnx's checker, and what it leaves out. arrays: the initializers of the main graph."""
    for graph in graphs(model.graph):
        seen: set[str] = set()
        for t in graph.initializer:
            if not t.name or t.name in seen:
                raise ModelError(f"two initializers are called {t.name!r}")
            seen.add(t.name)
        for what, values in (("inputs", graph.input), ("outputs", graph.output)):
            names = [v.name for v in values]
            twice = sorted({n for n in names if names.count(n) > 1})
            if twice:
                raise ModelError(f"two {what} are called {twice[0]!r}")
    for v in model.graph.input:
        if v.name in arrays and v.type.tensor_type.HasField("shape"):
            array, t = arrays[v.name], v.type.tensor_type
            dims = [d.dim_value if d.HasField("dim_value") else None for d in t.shape.dim]
            fits = len(dims) == array.ndim and all(d in (None, e) for d, e in zip(dims, array.shape, strict=True))
            if not fits or dtype_of(t.elem_type) != array.dtype.name:
                raise ModelError(f"input {v.name!r} and the initializer of that name have different types")
    bare = skeleton(model, arrays)
    for v in bare.graph.output:  # which may leave their types to inference; the checker would not have it
        if v.type.WhichOneof("value") is None:
            v.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
        if v.type.WhichOneof("value") == "tensor_type" and not v.type.tensor_type.HasField("shape"):
            v.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(bare)
    except (onnx.checker.ValidationError, ValueError, MessageError) as e:
        raise ModelError(f"the model is not valid: {_first(e)}") from None


def skeleton(model: onnx.ModelProto, arrays: Mapping[str, np.ndarray]) -> onnx.ModelProto:
    """The model without its large arrays, which are inputs instead: all that checks need."""
    graph = onnx.GraphProto(name=model.graph.name or "graph")
    for field in ("node", "input", "output", "value_info"):
        getattr(graph, field).extend(getattr(model.graph, field))
    declared = {v.name for v in graph.input}
    for name, array in arrays.items():
        if array.size < LARGE:
            graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        if name not in declared and (array.size >= LARGE or model.ir_version < 4):
            elem_type = onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
            graph.input.append(onnx.helper.make_tensor_value_info(name, elem_type, array.shape))
    bare = onnx.ModelProto(ir_version=model.ir_version, graph=graph)
    bare.opset_import.extend(model.opset_import)
    return bare


def _first(e: Exception) -> str:
    """The message on one line, without the protobuf that often follows."""
    lines = [line.strip() for line in str(e).splitlines() if line.strip()]
    return " ".join(lines[:2])[:300] or type(e).__name__
