"""Old forms of ops: attributes that became inputs, broadcasting on request, other defaults."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx.defs")

import onnx
from onnx import helper

import graphnet as gn
from graphnet.onnx import backend

from .models import model, tensor, value

X = np.arange(24, dtype=np.float32).reshape(2, 3, 4) - 7
V = np.array([1, 2, 3], np.float32)


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


PADS = [0, 1, 0, 0, 0, 2]

CASES = {
    "add along axis": ("Add", 6, {"broadcast": 1, "axis": 1}, [X, V], X + V[:, None]),
    "mul of the last axis": ("Mul", 6, {"broadcast": 1}, [X, X[0, 0]], X * X[0, 0]),
    "clip": ("Clip", 6, {"min": -1.0, "max": 2.0}, [X], X.clip(-1, 2)),
    "clip of one side": ("Clip", 6, {"min": 0.0}, [X], X.clip(0)),
    "pad": ("Pad", 2, {"pads": PADS, "value": 5.0}, [X], np.pad(X, [(0, 0), (1, 0), (0, 2)], constant_values=5)),
    "pad of version 1": ("Pad", 1, {"paddings": PADS}, [X], np.pad(X, [(0, 0), (1, 0), (0, 2)])),
    "softmax of a matrix": ("Softmax", 11, {"axis": 1}, [X], softmax(X.reshape(2, 12)).reshape(X.shape)),
    "softmax along an axis": ("Softmax", 13, {"axis": 1}, [X], np.moveaxis(softmax(np.moveaxis(X, 1, -1)), -1, 1)),
    "slice": ("Slice", 9, {"starts": [1, -2], "ends": [9, 4], "axes": [1, 2]}, [X], X[:, 1:9, -2:4]),
    "reshape": ("Reshape", 1, {"shape": [0, -1]}, [X], X.reshape(2, 12)),
    "unsqueeze": ("Unsqueeze", 11, {"axes": [0, -1]}, [X], X[None, ..., None]),
    "squeeze": ("Squeeze", 11, {"axes": [0]}, [X[:1]], X[0]),
    "sum": ("ReduceSum", 11, {"axes": [1], "keepdims": 0}, [X], X.sum(1)),
    "prelu of channels": ("PRelu", 6, {}, [X, V], np.where(X < 0, X * V[:, None], X)),
    "dropout": ("Dropout", 6, {"is_test": 1}, [X], X),
    "cast by name": ("Cast", 1, {"to": "INT32"}, [X], X.astype(np.int32)),
    "upsample": ("Upsample", 7, {"scales": [1.0, 1.0, 2.0]}, [X], X.repeat(2, 2)),
    "concatenate along 1": ("Concat", 1, {}, [X, X], np.concatenate([X, X], 1)),
    "batch norm": (
        "BatchNormalization", 6, {"is_test": 1, "epsilon": 1e-9}, [X, V, V, V, V],
        (X - V[:, None]) / np.sqrt(V)[:, None] * V[:, None] + V[:, None],
    ),
    "power of channels": ("Pow", 6, {"broadcast": 1, "axis": 1}, [abs(X), V], abs(X) ** V[:, None]),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_old_forms(name):
    op, version, attributes, inputs, wanted = CASES[name]
    (found,) = backend.run_node(
        helper.make_node(op, [f"x{i}" for i in range(len(inputs))], ["y"], **attributes),
        inputs, opset_version=version, threads=1,
    )  # fmt: skip
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


def test_training_of_old_versions_is_refused():
    x, vectors = value("x", [2, 3, 4]), [tensor(n, V) for n in "sbmv"]
    for op, names in (("BatchNormalization", [*"xsbmv"]), ("Dropout", ["x"])):
        node = helper.make_node(op, names, ["y"])
        declared = [value(n, [3]) for n in names[1:]]
        with pytest.raises(gn.onnx.UnsupportedError, match="training"):
            gn.onnx.load(model([node], [x, *declared], [value("y", [2, 3, 4])], vectors[: len(names) - 1], opset=6))


def test_each_converter_serves_from_a_version_that_onnx_has():
    history: dict[tuple[str, str], set[int]] = {}
    for s in onnx.defs.get_all_schemas_with_history():
        history.setdefault((s.domain, s.name), set()).add(s.since_version)
    for row in gn.onnx.table.rows():
        versions = history[row.domain, row.op]
        assert row.since in versions or row.since <= min(versions), row  # the first row serves from the start
