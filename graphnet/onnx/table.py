"""The table of converters: (domain, op type, first version) -> function.

A converter takes a `Call` and returns a node of the graph, or several. It serves from its `since` up to the next
row's; `NEWEST` are the newest versions of the operator sets that the table was checked against.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from ..node import Node

if TYPE_CHECKING:
    from .call import Call, Several, Value

Converter = Callable[["Call"], "Node | Value | Several | Sequence[Node | None]"]

C = TypeVar("C", bound=Converter)

MAIN = ""  # the domain ai.onnx
NEWEST = {MAIN: 28, "ai.onnx.ml": 5, "ai.onnx.preview": 1, "ai.onnx.preview.training": 1}


@dataclass(frozen=True, slots=True)
class Row:
    domain: str
    op: str
    since: int
    convert: Converter


_rows: dict[tuple[str, str], list[Row]] = {}


def converts(op: str, since: int = 1, domain: str = MAIN) -> Callable[[C], C]:
    """Enters a function into the table."""

    def enter(function: C) -> C:
        rows = _rows.setdefault((domain, op), [])
        if any(r.since == since for r in rows):
            raise ValueError(f"two converters for {op}-{since}")
        rows.append(Row(domain, op, since, function))
        rows.sort(key=lambda r: r.since)
        return function

    return enter


def find(domain: str, op: str, version: int) -> Row | None:
    """The row for an op of an operator set of that version."""
    served = [r for r in _rows.get((canonical(domain), op), ()) if r.since <= version]
    return served[-1] if served else None


def rows() -> list[Row]:
    """All rows, by domain, op and version."""
    return [r for key in sorted(_rows) for r in _rows[key]]


def canonical(domain: str) -> str:
    """The main domain has two spellings."""
    return MAIN if domain == "ai.onnx" else domain
