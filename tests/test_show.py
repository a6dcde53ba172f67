"""Drawings: what each stage shows, where it puts it, and what files and notebooks get."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
import weakref
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import graphnet as gn
from graphnet import node
from graphnet.errors import GraphnetError
from graphnet.function import Function
from graphnet.models.lenet import lenet
from graphnet.models.model import classifier
from graphnet.node import Node, toposort
from graphnet.show import STAGES, draw
from graphnet.show.graphs import GraphView
from graphnet.show.layers import Layers, sides, update_groups
from graphnet.show.picture import Arrow, Box, Picture
from graphnet.show.rows import rows

needs_dot = pytest.mark.skipif(shutil.which("dot") is None, reason="the program dot of graphviz is not installed")
TIMES = "\N{MULTIPLICATION SIGN}"


def shape(*extents: object) -> str:
    return TIMES.join(map(str, extents))


def training(loss: Node, inputs: list[Node], optimizer: str = "adam") -> Function:
    params = [n for n in toposort([loss]) if n.op.name == "parameter"]
    updates = getattr(gn.optim, optimizer)(params, gn.gradient(loss, params), learning_rate=1e-3)
    return gn.compile([loss], inputs=inputs, updates=updates)


@pytest.fixture(scope="module")
def step() -> Function:
    # Nodes are interned: those that an earlier test has left alive would keep the lines that they came from.
    fresh: weakref.WeakValueDictionary[Any, Node] = weakref.WeakValueDictionary()
    with pytest.MonkeyPatch.context() as m:
        m.setattr(node, "_nodes", fresh)
        model = classifier("lenet", lenet, (1, 28, 28))
        made = training(model.loss, [model.x, model.y])
    node._nodes.update(fresh)
    return made


@pytest.fixture
def small() -> Function:
    x = gn.input("x", ("N", 4))
    w = gn.parameter("w", (4, 2))
    return training(gn.mean(gn.square(gn.tanh(x @ w) * 0.5)), [x])


def labels(dot: str) -> list[str]:
    """The text of every label, without markup."""
    return [re.sub(r"<[^>]*>", " ", m) for m in re.findall(r"label=<(.*?)>(?: [a-z]+=|\])", dot)]


def clusters(dot: str) -> Counter[str]:
    """How many clusters each line of the user's has."""
    return Counter(re.findall(r"<b>([\w.]+:\d+(?: \(\d+ of \d+\))?)(?:&#160;)*</b>", dot))


# ------------------------------------------------------------------------------------------ stages


def test_the_graph_is_what_the_user_wrote(step):
    dot = draw(step, "graph").dot
    lines = [x for x in clusters(dot) if x.startswith("lenet.py")]
    assert len(lines) == 6 and all(n == 1 for n in clusters(dot).values())
    assert "gn.flatten(h)" in dot, "a cluster shows the text of its line"
    for extents in (("N", 6, 28, 28), ("N", 16, 5, 5), ("N", 400), ("N", 84), (16, 6, 5, 5)):
        assert shape(*extents) in dot
    assert "conv2d" in dot and "cross_entropy" in dot and "movement" in dot
    assert "weight_grad" not in dot and "update" not in dot and "adam" not in dot


def test_the_gradient_stands_beside_the_layers(step):
    dot = draw(step, "gradient").dot
    assert {n for x, n in clusters(dot).items()} == {2}, "forward and backward"
    text = " ".join(labels(dot))
    assert text.count("conv2d_weight_grad") == 2 and text.count("conv2d_input_grad") == 1
    assert len(re.findall(r"\bupdate [wb]\d\b", text)) == 10, "one box a weight"
    assert "the update of w also keeps w.adam_m, w.adam_v" in dot
    assert "every update uses adam.correction_0.9, adam.correction_0.999" in dot
    assert "w3.adam_v" not in text
    assert "sqrt" not in text
    assert "sqrt" in draw(step, "gradient", expand_updates=True).dot


def test_constants_are_part_of_labels(small):
    text = " ".join(labels(draw(small, "gradient").dot))
    assert f"{TIMES} 0.5" in text
    assert "constant" not in text


def test_the_optimised_graph_has_sizes_and_layouts(step):
    dot = draw(step, "optimised", {"N": 64}).dot
    assert "cross_entropy" not in dot.replace("gn.cross_entropy", ""), "composite ops are expanded"
    assert shape(6, 28, 28, 64) in dot, "the batch is innermost"
    assert "shapes in the order of memory" in dot and "N = 64" in dot


def test_kernels_are_boxes_with_their_cost(step):
    measured = {k: 0.003 for k in range(100)}
    dot = draw(step, "kernels", {"N": 64}, measured=measured).dot
    spec = step.specialise({"N": 64})
    numbers = re.findall(r"label=<<b>(\d+)(?:&#160;)*</b>", dot)
    assert sorted(map(int, numbers)) == list(range(len(spec.module.groups)))
    for scheduled in spec.scheduled:
        assert scheduled.how in dot
    for report in step.explain({"N": 64}).kernels:
        assert report.flops == 0 or re.search(r"\d [kM]?FLOP", dot)
    assert f"{shape(6, 14, 14, 64)} 301 kB" in dot, "arrows say what lies in memory"
    assert dot.count("3 ms measured") == len(numbers)
    assert "reads b1, w1" in dot and "+ update w3" in dot


def test_kernels_of_a_graph_without_named_sizes():
    x = gn.input("x", (3, 4))
    dot = draw(gn.make_graph([gn.exp(x + 1.0)], [x]), "kernels").dot
    assert "exp" in dot and "output" in dot


def test_nodes_can_be_drawn():
    x = gn.input("x", (3,))
    y = gn.tanh(x)
    for what in (y, [y], gn.make_graph([y], [x]), gn.compile(y, [x])):
        assert "tanh" in draw(what).dot
    w = gn.parameter("w", (3,))
    g = gn.gradient(gn.sum(gn.tanh(x * w)), w)
    assert "mul" in draw(g, "gradient").dot


@pytest.mark.parametrize("stage", STAGES)
def test_derivatives_of_derivatives_are_drawn(stage):
    v, w = gn.input("v", (4,)), gn.parameter("w", (4,))
    loss = gn.sum(gn.tanh(v * w))
    penalised = loss + gn.sum(gn.square(gn.gradient(loss, w)))
    f = training(penalised, [v], "sgd")
    assert "update w" in draw(f, stage).dot or stage == "graph"


@pytest.mark.parametrize("stage", STAGES)
def test_graphs_without_sites_are_drawn(stage, small):
    parsed = gn.parse(gn.to_text(small.graph))
    assert "tanh" in draw(parsed, stage, {"N": 8}).dot


@pytest.mark.parametrize("stage", STAGES)
def test_unusual_graphs_are_drawn(stage):
    x, p, q = gn.input("x", (3,)), gn.parameter("p", (3,)), gn.parameter("q", (3,))
    cases = [
        ([], {p: p * 0.9}),  # no outputs
        ([x], {p: q, q: p}),  # nothing is computed
        ([gn.constant(1.0) + 2.0], {}),  # all is known
        ([gn.reshape(gn.constant(2.0), (1,)), p], {}),
        ([x + p], {p: x + p}),  # an output is a new value
        ([x + p], {p: x * 1.0, q: x * 1.0}),  # two parameters, one new value
        ([gn.tanh(x)], {p: 0.9 * p + gn.tanh(x)}),  # a running mean of a forward value
    ]
    for outputs, updates in cases:
        assert draw(gn.make_graph(outputs, [x], updates), stage).dot.startswith("digraph")


def test_loss_without_outputs_is_forward():
    x, w = gn.input("x", (5, 3)), gn.parameter("w", (3,))
    loss = gn.mean(gn.square(x @ gn.reshape(w, (3, 1))))
    graph = gn.make_graph([], [x], gn.optim.sgd([w], [gn.gradient(loss, w)], 0.1))
    found = sides(graph, gradients_in_outputs=False)
    assert {n.op.name for n in found.forward} == {"matmul", "reshape"}, "the loss itself is not needed"
    assert {n.op.name for n in found.update} == {"mul", "sub"}


def test_labels_are_escaped():
    name = 'a<b>&"\\n|{}'
    x = gn.input(name, (2,))
    d = draw([gn.exp(x)])
    assert "a&lt;b&gt;&amp;&quot;" in d.dot
    if shutil.which("dot"):
        found = "".join(ElementTree.fromstring(d.svg).itertext())
        assert name in found


def test_unknown_stage_and_missing_sizes(step, small):
    with pytest.raises(GraphnetError, match="no stage 'loops'; the stages are graph, gradient, optimised, kernels"):
        draw(step, "loops")
    with pytest.raises(GraphnetError, match="sizes of N are needed"):
        draw(small, "kernels")
    with pytest.raises(GraphnetError, match="is no function, graph or node"):
        draw([3])
    small(np.zeros((8, 4), np.float32))
    assert "N = 8" in draw(small, "kernels").dot, "by default the sizes compiled last"


# ------------------------------------------------------------------------------------------ layers


def dense(x: Node, name: str, out: int) -> Node:
    w = gn.parameter(f"{name}.w", (x.shape[1], out))
    return gn.relu(x @ w)  # a layer for every call


def residual(x: Node, name: str) -> Node:
    return dense(x, name, 8) + x


def test_a_line_that_runs_often_makes_many_layers():
    x = gn.input("rows", ("N", 8))
    h = x
    for i in range(4):
        h = residual(h, f"often{i}")
    loss = gn.mean(gn.square(h))
    f = training(loss, [x], "sgd")
    found = clusters(draw(f, "gradient").dot)
    assert len([x for x in found if "of 4" in x]) == 8, "relu(x @ w) four times, and the addition"
    s = sides(f.graph, gradients_in_outputs=False)
    of = Layers(f.graph, s).of
    for p, new in f.graph.updates:
        user = next(n for n in s.forward if p in n.inputs)
        gradient = next(n for n in s.backward if any(n in u.inputs for u in toposort([new]) if u in s.update))
        assert of[gradient] is of[user], "a weight's gradient is in its layer"
    assert sorted(of[n].turn for n in s.forward if n.op.name == "relu") == [0, 1, 2, 3]
    assert sorted(of[n].turn for n in s.backward if n.op.name == "where") == [0, 1, 2, 3]


def test_what_updates_share_is_found(step):
    s = sides(step.graph, gradients_in_outputs=False)
    groups = update_groups(step.graph, s)
    assert [len(g.parameters) for g in groups] == [3] * 10 + [2]
    assert [g.shared for g in groups] == [False] * 10 + [True]
    assert sum(len(g.nodes) for g in groups) == len(s.update)


# -------------------------------------------------------------------------------------------- rows


def test_rows_keep_a_layer_beside_its_gradient(step):
    picture = GraphView(step.graph, "", False).draw(("forward", "backward", "update"))
    row = rows(picture)
    bands: dict[object, dict[str, set[int]]] = {}
    for b in picture.boxes:
        if b.layer is not None:
            bands.setdefault(b.layer, {}).setdefault(b.side, set()).add(row[b.name])
    assert len(bands) == 7
    for band in bands.values():
        assert min(band["forward"]) == min(band["backward"])
    ordered = sorted(bands.values(), key=lambda band: min(band["forward"]))
    for before, after in pairwise(ordered):
        assert max(before["forward"] | before["backward"]) < min(after["forward"] | after["backward"])
    outer = {x.name: b for b in picture.boxes for x in (b, *b.beside)}
    for a in picture.arrows:
        if a.how == "flow":
            down = row[a.head] - row[a.tail]
            assert down < 0 if outer[a.head].side == "backward" else down > 0


def test_rows_of_a_circle_end():
    boxes = [Box(x, x, "elementwise", "forward") for x in "abc"]
    arrows = [Arrow(a, b, "flow") for a, b in ("ab", "bc", "ca")]
    assert sorted(rows(Picture("", boxes, arrows))) == ["a", "b", "c"]


@needs_dot
@pytest.mark.parametrize("stage", ["gradient", "optimised", "kernels"])
def test_the_forward_side_is_at_the_left(stage, step):
    view = draw(step, stage, {"N": 64})
    plain = subprocess.run(["dot", "-Tplain"], input=view.dot.encode(), capture_output=True, check=True)
    assert plain.stderr == b""
    x = {f[1]: float(f[2]) for f in map(str.split, plain.stdout.decode().splitlines()) if f[0] == "node"}
    forward, backward = (set(re.findall(r"^\t+(\w+) \[label", part, re.M)) for part in halves(view.dot))
    assert forward and backward
    assert max(x[n] for n in forward) < min(x[n] for n in backward if not re.match(r"k[01]$", n))


def halves(dot: str) -> list[str]:
    """The text of the clusters of both sides."""
    start = [dot.index(f"subgraph cluster_{side} ") for side in ("forward", "backward")]
    return [dot[start[0] : start[1]], dot[start[1] : dot.index("\n\t}", start[1])]]


@needs_dot
def test_the_backward_graph_fits_a_laptop(step):
    root = ElementTree.fromstring(draw(step, "gradient").svg)
    width, height = (float(root.attrib[k].removesuffix("pt")) * 4 / 3 for k in ("width", "height"))
    assert width <= 1440 and height <= 1400, "in pixels: one screen wide, at most one and a half high"


def test_time_is_linear_in_the_graph():
    def seconds(layers: int) -> float:
        x = gn.input(f"x{layers}", ("N", 8))
        h = x
        for i in range(layers):
            h = dense(h, f"deep{layers}.{i}", 8)
        f = training(gn.mean(gn.square(h)), [x], "sgd")
        assert len(f.graph.nodes()) > 10 * layers
        best = float("inf")
        for _ in range(3):
            start = time.perf_counter()
            draw(f, "gradient")
            best = min(best, time.perf_counter() - start)
        return best

    small, large = seconds(100), seconds(800)
    assert large < 8 * small * 4, "eight times the nodes, with room for a busy machine; quadratic would be 64 times"


# ------------------------------------------------------------------------------------------- files


@pytest.fixture
def without_dot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))


@needs_dot
@pytest.mark.parametrize(("suffix", "start"), [("svg", b"<?xml"), ("png", b"\x89PNG"), ("pdf", b"%PDF")])
def test_pictures_are_saved(suffix, start, small, tmp_path):
    path = draw(small).save(tmp_path / f"a.{suffix}")
    assert path.read_bytes().startswith(start)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_dot_text_needs_no_program(small, tmp_path, without_dot):
    path = tmp_path / "a.dot"
    path.write_text("what was there before")
    d = draw(small)
    assert d.save(str(path)) == path and path.read_text() == d.dot == str(d)


def test_without_dot_one_error_says_how_to_get_it(small, tmp_path, without_dot):
    d = draw(small)
    for suffix in ("svg", "png", "pdf"):
        with pytest.raises(GraphnetError, match=rf"a\.{suffix} was not written.*`dot`.*apt install graphviz.*\.dot"):
            d.save(tmp_path / f"a.{suffix}")
    assert not list(tmp_path.iterdir())


def test_notebooks_without_dot_get_the_text(small, without_dot):
    d = draw(small)
    assert d._repr_svg_() is None
    assert "apt install graphviz" in d._repr_html_() and "digraph" in d._repr_html_()
    assert small._repr_svg_() is None and "digraph" in small._repr_html_()


@needs_dot
def test_notebooks_show_functions_and_graphs(small):
    for what in (draw(small), small, small.graph):
        assert "<svg" in what._repr_svg_()
        assert what._repr_html_() is None


def test_unknown_suffix(small, tmp_path):
    for name in ("a.jpg", "a"):
        with pytest.raises(GraphnetError, match=r"\.svg, \.png, \.pdf, \.dot"):
            draw(small).save(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_a_path_that_cannot_be_written(small, tmp_path):
    for path in (tmp_path / "missing" / "a.dot", tmp_path / "folder.dot"):
        (tmp_path / "folder.dot").mkdir(exist_ok=True)
        with pytest.raises(GraphnetError, match=re.escape(str(path))):
            draw(small).save(path)
    assert [p.name for p in tmp_path.iterdir()] == ["folder.dot"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(small, tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(GraphnetError, match=r"cannot be written: Permission denied"):
        draw(small).save(tmp_path / "a.dot")
    tmp_path.chmod(0o700)


def test_nothing_is_left_half_written(small, tmp_path, monkeypatch):
    def full(self: Path, data: bytes) -> int:
        self.open("wb").write(data[: len(data) // 2])
        raise OSError(28, "No space left on device")

    path = tmp_path / "a.dot"
    path.write_text("what was there before")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(GraphnetError, match="No space left"):
        draw(small).save(path)
    assert path.read_text() == "what was there before"
    assert [p.name for p in tmp_path.iterdir()] == ["a.dot"]
