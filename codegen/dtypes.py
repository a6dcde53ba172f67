"""The element types of the loop language: one table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class DType:
    """An element type: its short name here, NumPy's, LLVM's, its size in memory and its kind."""

    name: str
    numpy: str
    llvm: str  # the register type; a bool is i1 in registers and one byte in memory
    bytes: int
    kind: str  # "float", "int", "uint" or "bool"


_TABLE = (
    DType("f32", "float32", "float", 4, "float"),
    DType("f64", "float64", "double", 8, "float"),
    DType("i32", "int32", "i32", 4, "int"),
    DType("i64", "int64", "i64", 8, "int"),
    DType("u8", "uint8", "i8", 1, "uint"),
    DType("bool", "bool", "i1", 1, "bool"),
)

DTYPES: dict[str, DType] = {d.name: d for d in _TABLE}
FROM_NUMPY: dict[str, str] = {d.numpy: d.name for d in _TABLE}


def is_float(dtype: str) -> bool:
    return DTYPES[dtype].kind == "float"


def numpy_dtype(dtype: str) -> np.dtype:
    """The NumPy dtype that holds a loop-language dtype in memory."""
    return np.dtype(DTYPES[dtype].numpy)
