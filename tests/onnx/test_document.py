"""docs/onnx.md."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnx.defs")

import onnx

from graphnet.onnx.document import markdown
from graphnet.onnx.table import MAIN, NEWEST

PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"


@pytest.mark.skipif(onnx.defs.onnx_opset_version() != NEWEST[MAIN], reason="the page is of another version of onnx")
def test_the_page_is_what_the_table_says():
    assert PAGE.read_text() == markdown(), "python -m graphnet.onnx.document > docs/onnx.md"
