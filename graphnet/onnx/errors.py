"""What can be wrong with a model: it is damaged, or it asks for what graphnet does not do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..errors import GraphnetError


class ModelError(GraphnetError):
    """A model that is damaged, or that contradicts itself."""


class UnknownValueError(GraphnetError):
    """Inputs whose values decide shapes, and that were not given as constants. `names` says which."""

    def __init__(self, names: Iterable[str], what: str) -> None:
        self.names = tuple(names)
        super().__init__(
            f"the values of {', '.join(map(repr, self.names))} decide shapes and must be known when the model is "
            f"loaded: {what}; pass constants={{{self.names[0]!r}: array}}"
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason why a model cannot be imported: where, which op, and why."""

    where: str  # the node's name, or the value's
    op: str  # with its domain and version, such as "Unique-11"; "" for what is not a node
    inputs: tuple[str, ...]
    reason: str

    def __str__(self) -> str:
        given = f" of {', '.join(i or '(none)' for i in self.inputs)}" if self.inputs else ""
        return f"{self.where}: {self.op}{given}: {self.reason}" if self.op else f"{self.where}: {self.reason}"


class UnsupportedError(GraphnetError):
    """A model that is valid, as far as was seen, but asks for what is not supported. `problems` has all of it."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "\n  ".join(map(str, self.problems))
        super().__init__(f"not supported in this model:\n  {lines}")
