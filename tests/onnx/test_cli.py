"""`graphnet compile`."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("onnx.defs")

from onnx import helper

from graphnet.cli import main

from .models import dense, model, value


def test_it_says_what_became_of_a_model(tmp_path, capsys):
    path = tmp_path / "dense.onnx"
    path.write_bytes(dense().SerializeToString())
    assert main(["compile", str(path), "--size", "N=4", "--run", "2", "--threads", "1"]) == 0
    text = capsys.readouterr().out
    for part in (
        "input      x: float32[4, 3]",
        "output     y: float32[4, 2]",
        "parameters 2 with 8 elements",
        "a call",
    ):
        assert part in text
    assert main(["compile", str(path), "--size", "N=4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kernels"] >= 1 and found["bytes"]["parameters"] == 32


def test_what_it_cannot_do_is_one_line(tmp_path, capsys):
    path = tmp_path / "dense.onnx"
    path.write_bytes(dense().SerializeToString())
    assert main(["compile", str(path)]) == 2 and "--size N=1" in capsys.readouterr().err
    unique = model([helper.make_node("Unique", ["x"], ["y"], name="odd")], [value("x", [2])], [value("y", None)])
    path.write_bytes(unique.SerializeToString())
    assert main(["compile", str(path)]) == 1 and "odd: Unique-17 of x: no such op" in capsys.readouterr().err
    path.write_bytes(b"damaged")
    assert main(["compile", str(path)]) == 1 and "not an ONNX model" in capsys.readouterr().err
