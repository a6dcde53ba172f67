"""A workload's network as an ONNX model with the workload's weights, for the runtimes that only infer."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .harness import Workload
from .networks import NETWORKS

OPSET = 17
INPUT, OUTPUT = "x", "logits"


class Layers:
    """See `networks.Layers`: values are names, and every layer adds an ONNX operator."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []

    def op(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def has(self, name: str) -> bool:
        return name in self.weights

    def conv(self, x: str, w: str, b: str | None = None, stride: int = 1, padding: int = 0) -> str:
        inputs = (x, w, b) if b else (x, w)
        return self.op("Conv", *inputs, strides=[stride] * 2, pads=[padding] * 4)

    def dense(self, x: str, w: str, b: str) -> str:
        return self.op("Gemm", x, w, b)

    def relu(self, x: str) -> str:
        return self.op("Relu", x)

    def add(self, x: str, y: str) -> str:
        return self.op("Add", x, y)

    def max_pool(self, x: str, window: int, stride: int, padding: int = 0) -> str:
        return self.op("MaxPool", x, kernel_shape=[window] * 2, strides=[stride] * 2, pads=[padding] * 4)

    def batch_norm(self, x: str, name: str) -> str:
        values = (f"{name}.{k}" for k in ("scale", "shift", "mean", "variance"))
        return self.op("BatchNormalization", x, *values, epsilon=1e-5)

    def mean(self, x: str) -> str:
        return self.flat(self.op("GlobalAveragePool", x))

    def flat(self, x: str) -> str:
        return self.op("Flatten", x)


def serialized(work: Workload) -> bytes:
    """The model, from images "x" of the workload's shape to "logits"."""
    weights = {**work.weights, **work.statistics}
    layers = Layers(weights)
    last = NETWORKS[work.model](INPUT, layers)
    used = {name for node in layers.nodes for name in node.input}
    graph = helper.make_graph(
        [*layers.nodes, helper.make_node("Identity", [last], [OUTPUT])],
        work.model,
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, work.images.shape)],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.ascontiguousarray(w), name) for name, w in weights.items() if name in used],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 9  # the first of this opset's time: older runtimes read it too
    return bytes(model.SerializeToString())
