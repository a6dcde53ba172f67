"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A fresh file beside `path`, to be written inside; it takes the place of `path` on leaving without an error.

    Entering shows at once whether the place can be written, so enter before long work. Raises OSError that
    names `path`."""
    final = Path(os.path.realpath(path))  # a link stays a link
    if final.exists() and not final.is_file():
        code = errno.EISDIR if final.is_dir() else errno.EINVAL
        raise OSError(code, os.strerror(code), str(path))
    temporary = final.with_name(f".{final.stem}.{secrets.token_hex(4)}{final.suffix}")
    try:
        temporary.touch(exist_ok=False)
    except OSError as e:
        raise OSError(e.errno, os.strerror(e.errno or 0), str(path)) from None
    try:
        yield temporary
        os.replace(temporary, final)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
