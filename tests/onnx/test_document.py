"""docs/onnx.md."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("onnx.defs")

from graphnet.onnx.document import markdown

PAGE = Path(__file__).parents[2] / "docs" / "onnx.md"


def test_the_page_is_what_the_table_says():
    assert PAGE.read_text() == markdown(), "python -m graphnet.onnx.document > docs/onnx.md"
