"""onnx's interface to engines: `prepare`, `run_model`, `run_node`.

    rep = graphnet.onnx.backend.prepare(model, "CPU")
    outputs = rep.run([x])

A prepared model compiles itself for the shapes that it is run with, once for each. Inputs whose values decide shapes,
such as that of a Reshape, are found at the first run: from then on it compiles once for each of their values, too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, namedtupledict

from codegen.errors import CodegenError

from ..errors import GraphnetError
from ..function import Function
from ..state import State
from ..targets import parse_target
from .dtypes import dtype_of
from .errors import UnknownValueError
from .model import imported
from .prepared import Prepared
from .prepared import prepare as read

DEVICES = {"CPU": "cpu", "CUDA": "cuda"}


class GraphnetRep(BackendRep):
    """A model, ready to run."""

    def __init__(self, source: Prepared, settings: Mapping[str, Any]) -> None:
        self.source = source
        self.settings = dict(settings)
        self.state = State()
        self._decisive: tuple[str, ...] = ()  # inputs whose values decide shapes
        self._compiled: dict[tuple[Any, ...], Function] = {}

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs for arrays, given by position or by name: a tuple that also knows the names."""
        arrays = self._arrays(inputs)
        while True:
            constants = {n: arrays[n] for n in self._decisive}
            rest = {n: a for n, a in arrays.items() if n not in constants}
            try:
                function = self._function(rest, constants)
            except UnknownValueError as e:
                self._decisive += e.names
            else:
                break
        out = function(**rest)
        outputs = out if isinstance(out, tuple) else (out,)
        names = [v.name for v in self.source.model.graph.output]
        return namedtupledict("Outputs", names)(*(np.asarray(o) for o in outputs))

    def _function(self, rest: Mapping[str, np.ndarray], constants: Mapping[str, np.ndarray]) -> Function:
        key = (
            tuple((n, a.shape) for n, a in rest.items()),
            tuple((n, a.shape, a.tobytes()) for n, a in constants.items()),
        )
        if key not in self._compiled:
            shapes = {n: a.shape for n, a in rest.items()}
            model = imported(self.source, {}, shapes, constants, self.state)
            self._compiled[key] = model.compile(**self.settings)
        return self._compiled[key]

    def _arrays(self, inputs: Any) -> dict[str, np.ndarray]:
        declared = {v.name: v.type.tensor_type for v in self.source.inputs}
        if isinstance(inputs, Mapping):
            given = dict(inputs)
        else:
            values = list(inputs) if isinstance(inputs, Sequence) else [inputs]
            if len(values) != len(declared):
                names = ", ".join(declared)
                raise GraphnetError(f"the model takes {len(declared)} inputs ({names}), not {len(values)}")
            given = dict(zip(declared, values, strict=True))
        if set(given) != set(declared):
            raise GraphnetError(f"the inputs are {', '.join(declared)}, not {', '.join(given)}")
        arrays = {}
        for name in declared:
            array, dtype = np.asarray(given[name]), dtype_of(declared[name].elem_type)
            if array.dtype.name != dtype:
                raise GraphnetError(f"input {name!r} is {dtype}, the given array {array.dtype}")
            arrays[name] = array
        return arrays


class GraphnetBackend(Backend):
    """onnx.backend.base.Backend on graphnet."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether nothing in the model is known not to be supported."""
        try:
            read(model)
        except GraphnetError:
            return False
        return True

    @classmethod
    def prepare(cls, model: Any, device: str = "CPU", **kwargs: Any) -> GraphnetRep:
        """A model (a ModelProto, bytes, or a path), read and checked. kwargs: settings of `gn.compile`."""
        if not cls.supports_device(device):
            raise GraphnetError(f"there is no device {device!r} here; there are {', '.join(DEVICES)}")
        return GraphnetRep(read(model), {"target": DEVICES[device.partition(":")[0]]} | kwargs)

    @classmethod
    def run_node(
        cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None, **kwargs: Any
    ) -> tuple[Any, ...]:
        """The outputs of a single node for these arrays."""
        version = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        names = [i for i in node.input if i]
        arrays = dict(inputs) if isinstance(inputs, Mapping) else dict(zip(names, map(np.asarray, inputs), strict=True))
        declared = [
            onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for n, a in arrays.items()
        ]
        outputs = [onnx.ValueInfoProto(name=o) for o in node.output if o]
        graph = onnx.helper.make_graph([node], "node", declared, outputs)
        bare = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid(node.domain, version)])
        return cls.prepare(bare, device, **kwargs).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether models run there: "CPU", and "CUDA" where there is a GPU that graphnet can use."""
        name, _, number = device.partition(":")
        if name not in DEVICES or number not in ("", "0"):
            return False
        try:
            parse_target(DEVICES[name])
        except CodegenError:
            return False
        return True


prepare = GraphnetBackend.prepare
run_model = GraphnetBackend.run_model
run_node = GraphnetBackend.run_node
supports_device = GraphnetBackend.supports_device
is_compatible = GraphnetBackend.is_compatible
