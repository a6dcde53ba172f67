"""Small models, made by onnx's helper."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def tensor(name: str, array: Any, dtype: str = "float32") -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(array, dtype=dtype), name)


def value(name: str, shape: Any, elem_type: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, elem_type, shape)


def model(
    nodes: list[onnx.NodeProto], inputs: Any, outputs: Any, initializers: Any = (), opset: int = 17, **kw: Any
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "test", list(inputs), list(outputs), list(initializers))
    kw.setdefault("opset_imports", [helper.make_opsetid("", opset)])
    kw.setdefault("ir_version", 8)
    return helper.make_model(graph, **kw)


def dense(rows: Any = "N") -> onnx.ModelProto:
    """y = relu(x w + b), x (rows, 3), w (3, 2)."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["xw"], name="product"),
        helper.make_node("Add", ["xw", "b"], ["z"]),
        helper.make_node("Relu", ["z"], ["y"]),
    ]
    weights = [tensor("w", rng.normal(size=(3, 2))), tensor("b", [0.5, -0.5])]
    return model(nodes, [value("x", [rows, 3])], [value("y", [rows, 2])], weights)
