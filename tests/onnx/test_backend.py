"""onnx's interface to engines."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx.defs")

from onnx import TensorProto, helper

import graphnet as gn
from graphnet.onnx import backend

from .models import dense, model, value

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_a_prepared_model_runs_for_any_shapes():
    rep = backend.prepare(dense(), threads=1)
    w, b = (np.asarray(rep.run([X]).y) for _ in range(2))
    np.testing.assert_array_equal(w, b)
    assert rep.run({"x": X[:1]})["y"].shape == (1, 2)
    np.testing.assert_array_equal(backend.run_model(dense(), [X])[0], w)


def test_inputs_that_decide_shapes_are_compiled_for_each_value():
    node = helper.make_node("Reshape", ["x", "to"], ["y"])
    rep = backend.prepare(
        model([node], [value("x", [2, 3]), value("to", [None], TensorProto.INT64)], [value("y", None)]), threads=1
    )
    for shape in ((3, 2), (6,), (3, 2)):
        np.testing.assert_array_equal(rep.run([X, np.array(shape)])[0], X.reshape(shape))
    assert len(rep._compiled) == 2


def test_a_single_node():
    out = backend.run_node(helper.make_node("Add", ["a", "b"], ["y"]), [X, X])
    np.testing.assert_array_equal(out[0], X + X)


def test_devices_and_wrong_inputs():
    assert backend.supports_device("CPU") and not backend.supports_device("TPU")
    with pytest.raises(gn.GraphnetError, match="no device 'TPU'"):
        backend.prepare(dense(), "TPU")
    rep = backend.prepare(dense(), threads=1)
    for wrong, match in (([X, X], "takes 1 inputs"), ([X.astype("float64")], "is float32"), ({"z": X}, "inputs are x")):
        with pytest.raises(gn.GraphnetError, match=match):
            rep.run(wrong)
