"""Models that become graphs: names, sizes, constants, training on."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx.defs")

from onnx import TensorProto, helper

import graphnet as gn

from .models import dense, model, tensor, value

X = np.arange(12, dtype=np.float32).reshape(4, 3) / 10


def test_a_model_is_a_graph_with_parameters_that_can_be_trained():
    m = gn.onnx.load(dense())
    assert [str(n.type) for n in m.inputs] == ["float32[N, 3]"] and m.output_names == ("y",)
    assert {p.name: p.shape for p in m.parameters} == {"w": (3, 2), "b": (2,)}
    w, b = m.state["w"].copy(), m.state["b"].copy()
    f = m.compile(threads=1)
    for x in (X, X[:1]):  # N is any
        np.testing.assert_allclose(f(x), np.maximum(x @ w + b, 0), rtol=1e-6)
    loss = gn.sum(m["y"])
    updates = {p: p - 0.1 * g for p, g in zip(m.parameters, gn.gradient(loss, m.parameters), strict=True)}
    step = gn.compile(loss, m.inputs, updates, state=m.state, threads=1)
    before = step(X)
    assert step(X) < before
    assert "product" in gn.draw(loss).dot or gn.to_text(gn.make_graph((loss,), m.inputs))


def test_nodes_point_at_the_model():
    m = gn.onnx.load(dense())
    assert "MatMul" in str(m["y"].inputs[0].inputs[0].sites[0]) or "product" in str(m["y"].inputs[0].inputs[0].sites[0])


def test_sizes_and_shapes_make_numbers_of_names(tmp_path):
    path = tmp_path / "dense.onnx"
    path.write_bytes(dense().SerializeToString())
    assert gn.onnx.load(path, sizes={"N": 5})["y"].shape == (5, 2)
    assert gn.onnx.load(path.read_bytes(), shapes={"x": (6, 3)})["y"].shape == (6, 2)
    with pytest.raises(gn.GraphnetError, match="no size 'M'; there are N"):
        gn.onnx.load(path, sizes={"M": 5})
    with pytest.raises(gn.GraphnetError, match="declared as"):
        gn.onnx.load(path, shapes={"x": (6, 4)})


def test_shape_computations_keep_named_sizes():
    """(N, 2, 3) is flattened as exporters write it: Shape, Gather, Unsqueeze, Concat, Reshape."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Slice", ["s", "zero", "one"], ["n"]),
        helper.make_node("Concat", ["n", "six"], ["to"], axis=0),
        helper.make_node("Reshape", ["x", "to"], ["y"]),
    ]
    known = [tensor(k, v, "int64") for k, v in (("zero", [0]), ("one", [1]), ("six", [6]))]
    m = gn.onnx.load(model(nodes, [value("x", ["N", 2, 3])], [value("y", ["N", 6])], known))
    assert str(m["y"].type) == "float32[N, 6]"


def test_values_that_decide_shapes_must_be_known():
    nodes = [helper.make_node("Reshape", ["x", "to"], ["y"])]
    reshape = model(nodes, [value("x", [2, 3]), value("to", [1], TensorProto.INT64)], [value("y", None)])
    with pytest.raises(gn.onnx.UnknownValueError, match=r"constants=\{'to'"):
        gn.onnx.load(reshape)
    m = gn.onnx.load(reshape, constants={"to": [6]})
    assert m["y"].shape == (6,) and [n.name for n in m.inputs] == ["x"]


def test_everything_that_is_not_supported_is_listed_at_once():
    nodes = [
        helper.make_node("Unique", ["x"], ["u"], name="first"),
        helper.make_node("Multinomial", ["x"], ["v"], name="second"),
        helper.make_node("Fancy", ["x"], ["w"], name="third", domain="com.example"),
    ]
    both = [helper.make_opsetid("", 17), helper.make_opsetid("com.example", 3)]
    bad = model(nodes, [value("x", [4])], [value("u", None)], opset_imports=both)
    bad.graph.input.append(value("s", [1], TensorProto.STRING))
    with pytest.raises(gn.onnx.UnsupportedError) as e:
        gn.onnx.load(bad)
    text = str(e.value)
    assert len(e.value.problems) == 4
    for part in ("first: Unique-17 of x", "second: Multinomial-17", "third: com.example.Fancy-3", "tensors of string"):
        assert part in text


def test_an_operator_set_from_the_future_is_refused():
    with pytest.raises(gn.onnx.UnsupportedError, match="version 99 is newer"):
        gn.onnx.load(model([helper.make_node("Relu", ["x"], ["y"])], [value("x", [1])], [value("y", [1])], opset=99))


def test_branches():
    def branch(op: str) -> object:
        return helper.make_graph([helper.make_node(op, ["x"], [op])], op, [], [value(op, [3])])

    node = helper.make_node("If", ["c"], ["y"], then_branch=branch("Neg"), else_branch=branch("Abs"))
    m = gn.onnx.load(model([node], [value("c", [], TensorProto.BOOL), value("x", [3])], [value("y", [3])]))
    f = m.compile(threads=1)
    x = np.array([1, -2, 3], np.float32)
    np.testing.assert_array_equal(f(np.array(True), x), -x)
    np.testing.assert_array_equal(f(np.array(False), x), abs(x))


def test_loops_are_unrolled():
    body = helper.make_graph(
        [
            helper.make_node("Add", ["a", "x"], ["b"]),
            helper.make_node("Identity", ["going"], ["on"]),
            helper.make_node("Identity", ["b"], ["row"]),
        ],
        "body",
        [value("i", [], TensorProto.INT64), value("going", [], TensorProto.BOOL), value("a", [2])],
        [value("on", [], TensorProto.BOOL), value("b", [2]), value("row", [2])],
    )
    node = helper.make_node("Loop", ["n", "", "x"], ["last", "all"], body=body)
    m = gn.onnx.load(
        model([node], [value("x", [2])], [value("last", [2]), value("all", [3, 2])], [tensor("n", 3, "int64")])
    )
    last, rows = m.compile(threads=1)(np.array([1, 2], np.float32))
    np.testing.assert_array_equal(last, [4, 8])
    np.testing.assert_array_equal(rows, [[2, 4], [3, 6], [4, 8]])


def test_functions_of_the_model_are_written_out():
    twice = helper.make_function(
        "mine", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 17)]
    )
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    nodes = [helper.make_node("Twice", ["x"], ["y"], domain="mine")]
    m = gn.onnx.load(model(nodes, [value("x", [2])], [value("y", [2])], opset_imports=sets, functions=[twice]))
    np.testing.assert_array_equal(m.compile(threads=1)(np.array([1, 2], np.float32)), [2, 4])


def test_a_function_that_calls_itself_is_refused():
    again = helper.make_function(
        "mine", "Again", ["a"], ["b"], [helper.make_node("Again", ["a"], ["b"], domain="mine")],
        [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)],
    )  # fmt: skip
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    nodes = [helper.make_node("Again", ["x"], ["y"], domain="mine")]
    with pytest.raises(gn.onnx.ModelError, match="'Again' calls itself"):
        gn.onnx.load(model(nodes, [value("x", [2])], [value("y", [2])], opset_imports=sets, functions=[again]))


def test_functions_and_loops_that_grow_without_bound_are_refused():
    sets = [helper.make_opsetid("", 17), helper.make_opsetid("mine", 1)]
    functions = []
    for k in range(40):
        called = ("Add", "") if k == 0 else (f"F{k - 1}", "mine")
        inputs = ["a", "a"] if k == 0 else ["a"]
        nodes = [helper.make_node(called[0], inputs, [n], domain=called[1]) for n in ("b", "c")]
        nodes.append(helper.make_node("Add", ["b", "c"], ["d"]))
        functions.append(helper.make_function("mine", f"F{k}", ["a"], ["d"], nodes, sets))
    node = helper.make_node("F39", ["x"], ["y"], domain="mine")
    with pytest.raises(gn.onnx.ModelError, match="more than 1,000,000 nodes"):
        gn.onnx.load(model([node], [value("x", [2])], [value("y", [2])], opset_imports=sets, functions=functions))
