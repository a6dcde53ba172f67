"""Where the user made a node: file and line of the first frame outside the two packages."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from types import FrameType
from typing import ParamSpec, TypeVar

from .errors import GraphnetError

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_PACKAGES = (os.path.join(_ROOT, "graphnet") + os.sep, os.path.join(_ROOT, "codegen") + os.sep)
# Declarations that users read as examples count as the user's, though they live in the package.
_USER_LIKE = (
    os.path.join(_ROOT, "graphnet", "models") + os.sep,
    os.path.join(_ROOT, "graphnet", "training.py"),
)


@dataclass(frozen=True, slots=True)
class Site:
    """A line of the user's, and what was derived from it ("" for the node written there)."""

    file: str
    line: int
    role: str = ""

    def __str__(self) -> str:
        return f"{os.path.basename(self.file)}:{self.line}" + (f" ({self.role})" if self.role else "")


_inherited: list[tuple[Site, ...]] = []


def current_sites() -> tuple[Site, ...]:
    """The sites a node made now belongs to: inherited inside `derived`, else the user's frame."""
    if _inherited:
        return _inherited[-1]
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith(_PACKAGES) or file.startswith(_USER_LIKE):
            return (Site(file, frame.f_lineno),)
        frame = frame.f_back
    return ()


def in_derivation() -> bool:
    """Whether nodes made now are derived from others, rather than written by the user."""
    return bool(_inherited)


@contextmanager
def derived(sites: tuple[Site, ...], role: str = "") -> Iterator[None]:
    """Nodes made inside point at `sites` (with `role`, unless those have one already)."""
    marked = tuple(Site(s.file, s.line, s.role or role) for s in sites) if role else sites
    _inherited.append(marked)
    try:
        yield
    finally:
        _inherited.pop()


def where(sites: tuple[Site, ...]) -> str:
    """` (at file:line)` for error messages; empty when unknown."""
    return f" (at {sites[0].file}:{sites[0].line})" if sites else ""


_P = ParamSpec("_P")
_R = TypeVar("_R")


def located(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Decorates what users call: errors raised on purpose name the user's line, once."""

    @wraps(function)
    def call(*args: _P.args, **kw: _P.kwargs) -> _R:
        try:
            return function(*args, **kw)
        except GraphnetError as e:
            if " (at " in str(e):
                raise
            raise type(e)(f"{e}{where(current_sites())}") from None

    return call
