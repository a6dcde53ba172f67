"""The element types of the loop language: one table.

The float types of two bytes are for storage: they are loaded, stored, chosen and converted, and all arithmetic is done
on what they convert to. In registers they are their bits, so that no target needs instructions for them (`half`).
"""

from __future__ import annotations

from dataclasses import dataclass

import ml_dtypes  # noqa: F401  (NumPy knows the name "bfloat16" from here on)
import numpy as np


@dataclass(frozen=True, slots=True)
class DType:
    """An element type: its short name here, NumPy's, LLVM's, its size in memory and its kind."""

    name: str
    numpy: str
    llvm: str  # the register type; a bool is i1 in registers and one byte in memory
    bytes: int
    kind: str  # "float", "int", "uint" or "bool"
    wide: str = ""  # of storage types: the dtype that arithmetic is done in


_TABLE = (
    DType("f32", "float32", "float", 4, "float"),
    DType("f64", "float64", "double", 8, "float"),
    DType("f16", "float16", "i16", 2, "float", "f32"),
    DType("bf16", "bfloat16", "i16", 2, "float", "f32"),
    DType("i8", "int8", "i8", 1, "int"),
    DType("i16", "int16", "i16", 2, "int"),
    DType("i32", "int32", "i32", 4, "int"),
    DType("i64", "int64", "i64", 8, "int"),
    DType("u8", "uint8", "i8", 1, "uint"),
    DType("u16", "uint16", "i16", 2, "uint"),
    DType("u32", "uint32", "i32", 4, "uint"),
    DType("u64", "uint64", "i64", 8, "uint"),
    DType("bool", "bool", "i1", 1, "bool"),
)

DTYPES: dict[str, DType] = {d.name: d for d in _TABLE}
FROM_NUMPY: dict[str, str] = {d.numpy: d.name for d in _TABLE}


def is_float(dtype: str) -> bool:
    return DTYPES[dtype].kind == "float"


def is_storage(dtype: str) -> bool:
    """Whether a dtype only stores: arithmetic is done in `wide(dtype)`."""
    return bool(DTYPES[dtype].wide)


def wide(dtype: str) -> str:
    """The dtype that arithmetic on values of `dtype` is done in."""
    return DTYPES[dtype].wide or dtype


def limits(dtype: str) -> tuple[int, int]:
    """The least and the greatest integer of an integer dtype."""
    bits = 8 * DTYPES[dtype].bytes
    return (0, (1 << bits) - 1) if DTYPES[dtype].kind == "uint" else (-(1 << (bits - 1)), (1 << (bits - 1)) - 1)


def numpy_dtype(dtype: str) -> np.dtype:
    """The NumPy dtype that holds a loop-language dtype in memory."""
    return np.dtype(DTYPES[dtype].numpy)
