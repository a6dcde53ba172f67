"""A drawing: DOT text, an SVG where `dot` is installed, and files."""

from __future__ import annotations

import os
from html import escape
from pathlib import Path

import graphviz

from ..errors import GraphnetError
from ..files import replacing

SUFFIXES = (".svg", ".png", ".pdf", ".dot")
INSTALL = (
    "the program `dot` of graphviz was not found; install it with `apt install graphviz`, `brew install graphviz`, "
    "`conda install graphviz` or from https://graphviz.org/download"
)


class Drawing:
    """A picture of a graph. Notebooks show it; `save` writes it; `dot` is its source."""

    def __init__(self, dot: str, title: str) -> None:
        self.dot = dot
        self.title = title
        self._svg: str | None = None

    def render(self, form: str) -> bytes:
        """The picture as "svg", "png" or "pdf". Raises GraphnetError where `dot` is not installed or fails."""
        try:
            return bytes(graphviz.Source(self.dot).pipe(format=form))
        except graphviz.ExecutableNotFound:
            raise GraphnetError(INSTALL) from None
        except graphviz.CalledProcessError as e:
            said = e.stderr.decode(errors="replace") if isinstance(e.stderr, bytes) else str(e.stderr)
            raise GraphnetError(f"`dot` failed on {self.title!r}: {said.strip()}") from None

    @property
    def svg(self) -> str:
        if self._svg is None:
            self._svg = self.render("svg").decode()
        return self._svg

    def _repr_svg_(self) -> str | None:
        try:
            return self.svg
        except GraphnetError:
            return None  # notebooks then ask for _repr_html_

    def _repr_html_(self) -> str | None:
        """The DOT text, where there can be no picture."""
        try:
            return None if self.svg else ""
        except GraphnetError as e:
            return f"<p>No picture: {escape(str(e))}.</p><pre>{escape(self.dot)}</pre>"

    def __repr__(self) -> str:
        return f"<drawing: {self.title}; {len(self.dot.splitlines())} lines of DOT; .save('picture.svg') writes it>"

    def __str__(self) -> str:
        return self.dot

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes .svg, .png, .pdf or .dot, by the path's suffix; the file appears complete or not at all.

        Raises GraphnetError for another suffix, a path that cannot be written, and a missing `dot` if it is needed."""
        target = Path(path)
        suffix = target.suffix.lower()
        if suffix not in SUFFIXES:
            raise GraphnetError(f"{target}: drawings are saved as {', '.join(SUFFIXES)}, not {suffix or 'no suffix'}")
        try:
            with replacing(target) as beside:
                beside.write_bytes(self.dot.encode() if suffix == ".dot" else self.render(suffix[1:]))
        except OSError as e:
            raise GraphnetError(f"{target} cannot be written: {e.strerror}") from None
        except GraphnetError as e:
            raise GraphnetError(f"{target} was not written: {e}. A .dot file needs no program") from None
        return target
