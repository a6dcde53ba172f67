"""The reference of ops: docs/ops.md and `graphnet ops`."""

from __future__ import annotations

from pathlib import Path

import pytest

import graphnet as gn
from graphnet.cli import main
from graphnet.op import OPS
from graphnet.reference import entry, gradient, markdown, signature

OPS_PAGE = Path(__file__).parent.parent / "docs" / "ops.md"


def test_the_page_is_what_the_registry_says_today() -> None:
    pytest.importorskip("onnx")  # whose converters the page names
    stale = "docs/ops.md is stale: run `graphnet ops --markdown > docs/ops.md`"
    assert OPS_PAGE.read_text() == markdown(), stale


def test_every_op_has_an_entry() -> None:
    page = OPS_PAGE.read_text()
    for name, op in OPS.items():
        if op.kind != "leaf" and op.__module__.startswith("graphnet."):
            assert f"\n### {name}\n" in page, name


def test_an_entry_has_signature_shapes_formula_and_gradient() -> None:
    text = entry(OPS["tanh"])
    assert "gn.tanh(x)" in text and "`float32[3, 4] -> float32[3, 4]`" in text
    assert "1 - tanh(x)^2" in text and "dx = `g * (1 - (out * out))`" in text


def test_signatures_are_those_that_users_call() -> None:
    assert signature(OPS["conv2d"]).startswith("gn.conv2d(x, w, stride=1, padding='valid'")
    for name, op in OPS.items():
        if op.kind != "leaf" and op.__module__.startswith("graphnet."):
            assert callable(getattr(gn, name)) and signature(op).startswith(f"gn.{name}(")


def test_an_op_without_derivative_says_why() -> None:
    assert gradient(OPS["argmax"]) == "none: the output is not a float"


def test_the_command_lists_describes_and_refuses(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ops"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == sum(op.kind != "leaf" for op in OPS.values())
    assert main(["ops", "relu"]) == 0
    assert "### relu" in capsys.readouterr().out
    assert main(["ops", "rellu"]) == 1
    assert "did you mean relu" in capsys.readouterr().err
