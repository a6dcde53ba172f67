"""What is drawn: boxes, in layers, and arrows. Where they go is decided in `rows` and by the program `dot`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .layers import Layer


@dataclass(frozen=True, slots=True)
class Box:
    """One box. `label` is HTML-like, already safe. side: "forward" or "backward"."""

    name: str
    label: str
    kind: str
    side: str
    layer: Layer | None = None
    tooltip: str = ""
    little: bool = False
    bold: bool = False
    beside: tuple[Box, ...] = ()  # operands that only this box reads
    free: bool = False  # an input, output or the like: its row follows from the box at the other end of its arrow


@dataclass(frozen=True, slots=True)
class Arrow:
    """From a value to its user.

    how: "flow" within a side; "saved" from the forward side to the backward side; "back" from the backward side to the
    forward side, which only derivatives of derivatives have."""

    tail: str
    head: str
    how: str
    label: str = ""
    tooltip: str = ""
    weight: int = 400  # how straight a flow should be


@dataclass(slots=True)
class Picture:
    title: str
    boxes: list[Box] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    notes: tuple[str, ...] = ()
    roomy: bool = False  # whether labels of arrows get rows of their own

    def label_once(self) -> None:
        """What an arrow says of its value is said once, on the straightest arrow."""
        best: dict[tuple[str, str], Arrow] = {}
        for a in self.arrows:
            key = (a.tail, a.label)
            if key not in best or a.weight > best[key].weight:
                best[key] = a
        self.arrows = [a if best[a.tail, a.label] is a else replace(a, label="") for a in self.arrows]
