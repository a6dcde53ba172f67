"""Models that are damaged, or lie: each is one clear error."""

from __future__ import annotations

import contextlib
import os

import numpy as np
import pytest

pytest.importorskip("onnx.defs")

import onnx
from onnx import TensorProto, helper

import graphnet as gn
from graphnet.onnx import suite

from .models import dense, model, tensor, value

RELU = helper.make_node("Relu", ["x"], ["y"])


def refused(what, match: str) -> None:
    with pytest.raises(gn.onnx.ModelError, match=match) as e:
        gn.onnx.load(what)
    assert "\n" not in str(e.value)


def test_no_model_at_all(tmp_path):
    refused(b"no model", "not an ONNX model")
    refused(b"", "no graph")
    refused(tmp_path / "none.onnx", "No such file")


def test_every_truncation_is_an_error():
    data = dense().SerializeToString()
    for n in range(0, len(data) - 1, 7):
        with pytest.raises(gn.GraphnetError):
            gn.onnx.load(data[:n])


def test_damaged_bytes_never_crash():
    data = bytearray(dense(4).SerializeToString())
    rng = np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(data)
        damaged[rng.integers(len(data))] = rng.integers(256)
        with contextlib.suppress(gn.GraphnetError):
            gn.onnx.load(bytes(damaged))


def test_senseless_attributes_and_shapes_never_crash():
    rng = np.random.default_rng(0)
    cases = list(suite.cases(("node",)).values())
    for number in range(0, len(cases), 6):
        damaged = onnx.ModelProto()
        damaged.CopyFrom(cases[number].model())
        node, value_info = damaged.graph.node[0], damaged.graph.input
        for a in node.attribute:
            if a.type == onnx.AttributeProto.INT:
                a.i = int(rng.choice([-1, 0, 3, 100, -(2**40)]))
            elif a.type == onnx.AttributeProto.INTS and a.ints:
                a.ints[rng.integers(len(a.ints))] = int(rng.choice([-1, 0, 3, 2**33]))
        if len(value_info) and rng.random() < 0.5:
            del value_info[0].type.tensor_type.shape.dim[:1]
        with contextlib.suppress(gn.GraphnetError):
            gn.onnx.load(damaged)


def test_cycles_missing_and_repeated_names():
    one, two = helper.make_node("Relu", ["b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])
    refused(model([one, two], [value("x", [2])], [value("a", [2])]), "not valid")
    refused(model([helper.make_node("Relu", ["gone"], ["y"])], [], [value("y", [2])]), "not valid")
    refused(model([RELU, RELU], [value("x", [2])], [value("y", [2])]), "not valid")
    refused(model([RELU], [value("x", [2])] * 2, [value("y", [2])]), "two inputs are called 'x'")
    refused(model([RELU], [value("x", [2])], [value("z", [2])]), "'z'")
    twice = [tensor("b", [1.0]), tensor("b", [2.0])]
    refused(model([RELU], [value("x", [2])], [value("y", [2])], twice), "two initializers are called 'b'")


def test_wrong_attributes_and_counts_of_inputs():
    refused(model([helper.make_node("Relu", ["x"], ["y"], alpha=1.0)], [value("x", [2])], [value("y", [2])]), "valid")
    refused(model([helper.make_node("Relu", ["x", "x"], ["y"])], [value("x", [2])], [value("y", [2])]), "valid")


def test_data_that_is_not_what_it_says():
    for change in (
        lambda t: setattr(t, "raw_data", t.raw_data[:-1]),
        lambda t: t.dims.append(7),
        lambda t: t.dims.__setitem__(0, -3),
        lambda t: setattr(t, "data_type", TensorProto.DOUBLE),
    ):
        lying = dense()
        change(lying.graph.initializer[0])
        refused(lying, "initializer 'w'")
    short = dense()
    short.graph.initializer[1].ClearField("raw_data")
    short.graph.initializer[1].float_data.extend([1.0])
    refused(short, "initializer 'b'")


def test_declared_types_that_are_not_computed():
    refused(model([RELU], [value("x", [2])], [value("y", [3])]), "contradicts itself")
    refused(model([RELU], [value("x", [2])], [value("y", [2], TensorProto.DOUBLE)]), "contradicts itself")
    add = helper.make_node("Add", ["x", "z"], ["y"])
    refused(model([add], [value("x", [2]), value("z", [3])], [value("y", [3])]), "contradicts itself")
    inner = dense(4)
    inner.graph.value_info.append(value("z", [4, 5]))
    refused(inner, "contradicts itself")
    both = dense(4)
    both.graph.input.append(value("w", [3, 7]))
    refused(both, "different types")


# --------------------------------------------------------------------------------- external data


def external(folder, location: str, **entries: str) -> os.PathLike[str]:
    """A model of one addition whose weight lies in a file."""
    t = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, text in {"location": location, **entries}.items():
        t.external_data.add(key=key, value=text)
    add = helper.make_node("Add", ["x", "w"], ["y"])
    path = folder / "model.onnx"
    path.write_bytes(model([add], [value("x", [4])], [value("y", [4])], [t]).SerializeToString())
    return path


def test_external_data_is_read_from_the_models_folder(tmp_path):
    weights = np.arange(6, dtype=np.float32)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.bin").write_bytes(weights.tobytes())
    m = gn.onnx.load(external(tmp_path, "data/w.bin", offset="8", length="16"))
    np.testing.assert_array_equal(m.state["w"], weights[2:])
    refused(external(tmp_path, "data/w.bin").read_bytes(), "load the model by its path")


ELSEWHERE = ["/etc/hostname", "../w.bin", "data/../../w.bin", "./w.bin", "", "C:\\secret", "link.bin", "folder/w.bin"]


@pytest.mark.parametrize("location", ELSEWHERE)
def test_nothing_outside_of_the_folder_is_read(tmp_path, location):
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    (tmp_path / "w.bin").write_bytes(bytes(16))
    (home / "link.bin").symlink_to(tmp_path / "secret.bin")
    (home / "folder").symlink_to(tmp_path)
    refused(external(home, location), "external data")


@pytest.mark.parametrize(
    "entries", [{"offset": "4"}, {"length": "8"}, {"offset": "-16"}, {"length": "99999999999"}, {"offset": "many"}]
)
def test_lies_about_external_data(tmp_path, entries):
    (tmp_path / "w.bin").write_bytes(bytes(16))
    refused(external(tmp_path, "w.bin", **entries), "initializer 'w'")
