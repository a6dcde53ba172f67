"""The code of the documentation, so that tests can run it."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a page in one language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def shown_in(excerpt: str, text: str) -> bool:
    """Whether the lines of an excerpt stand in the text in that order; only at `...` may lines be left out."""
    parts = re.split(r"^ *\.\.\.\n", excerpt, flags=re.MULTILINE)
    text, at = text + "\n", 0
    for part in parts:
        at = text.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return True
