"""Element types of ONNX and of graphnet."""

from __future__ import annotations

import numpy as np
import onnx

from ..types import DTYPES

NAMES = {number: name for name, number in onnx.TensorProto.DataType.items()}  # 1: "FLOAT"


def dtype_of(elem_type: int) -> str | None:
    """graphnet's name of an element type; None where it has none."""
    if elem_type not in NAMES or elem_type in (onnx.TensorProto.UNDEFINED, onnx.TensorProto.STRING):
        return None
    name = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(elem_type)).name
    return name if name in DTYPES else None


def name_of(elem_type: int) -> str:
    """ONNX's name of an element type, for messages."""
    return NAMES.get(elem_type, f"element type {elem_type}").lower()
