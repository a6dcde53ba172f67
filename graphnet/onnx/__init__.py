"""ONNX models as graphs: `gn.onnx.load("model.onnx")`. Needs the extra [onnx].

    model = gn.onnx.load("resnet50.onnx", sizes={"N": 1})
    f = model.compile()
    loss = gn.cross_entropy(model.outputs[0], labels)
    gradients = gn.gradient(loss, model.parameters)

`reading` and `prepared` check a model, `importer` walks it, `table` has a converter for each op in `ops_*`,
`backend` is onnx's interface, `suite` runs onnx's tests.
"""

from __future__ import annotations

from . import (
    ops_control,
    ops_index,
    ops_math,
    ops_nn,
    ops_quantize,
    ops_recurrent,
    ops_reduce,
    ops_sample,
    ops_sequence,
    ops_signal,
    ops_tensor,
    ops_training,
    ops_window,
)
from .errors import ModelError, Problem, UnknownValueError, UnsupportedError
from .model import Model, load

FAMILIES = (
    ops_control,
    ops_index,
    ops_math,
    ops_nn,
    ops_quantize,
    ops_recurrent,
    ops_reduce,
    ops_sample,
    ops_sequence,
    ops_tensor,
    ops_signal,
    ops_training,
    ops_window,
)  # imported, they have filled the table

__all__ = ["Model", "ModelError", "Problem", "UnknownValueError", "UnsupportedError", "load"]
