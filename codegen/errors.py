"""The one exception of codegen."""

from __future__ import annotations


class CodegenError(Exception):
    """A kernel, or its text, that is not well formed, or a call that does not fit it.

    The message names the kernel, the place, and what would be accepted."""
