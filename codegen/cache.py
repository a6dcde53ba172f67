"""Object code on disk, so that the second process need not compile what the first did.

An entry's name is a digest of everything that decides the code: what is compiled (the caller's text), the
CPU, llvmlite, and the source of these packages. Its content begins with its own digest: a damaged entry is
not used, and is written again. Entries are renamed into place, in a folder that only the user may write;
the least recently used go when the folder grows over its limit. GRAPHNET_CACHE=off turns it off.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import llvmlite

from .machine import Machine

LIMIT = 256 << 20  # bytes of all entries
DIGEST = 32  # bytes of an entry's own digest


def folder() -> Path | None:
    """Where things are kept between processes: $GRAPHNET_CACHE, else the user's cache folder; None if off."""
    named = os.environ.get("GRAPHNET_CACHE")
    if named == "off":
        return None
    base = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    return Path(named) if named else Path(base) / "graphnet"


@cache
def _source() -> bytes:
    """A digest of the packages' own code: another compiler makes other code."""
    root = Path(__file__).resolve().parent.parent
    digest = hashlib.sha256()
    for package in ("codegen", "graphnet"):
        for file in sorted((root / package).rglob("*.py")):
            digest.update(file.read_bytes())
    return digest.digest()


def key(text: str, machine: Machine) -> str:
    """The name of the entry for `text` compiled for a machine."""
    digest = hashlib.sha256(_source())
    known = (machine.cpu, machine.features, machine.extension, str(machine.cache_bytes))
    for part in (text, *known, llvmlite.__version__):
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


def _objects() -> Path | None:
    """The folder of entries, made if need be; None where it cannot be trusted or made."""
    base = folder()
    if base is None:
        return None
    path = base / "objects"
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
        info = path.stat()
    except OSError:
        return None
    others_may_write = bool(info.st_mode & (stat.S_IWGRP | stat.S_IWOTH))
    if others_may_write or (hasattr(os, "getuid") and info.st_uid != os.getuid()):
        return None  # somebody else could put code there
    return path


def load(name: str) -> bytes | None:
    """The object code of an entry, or None."""
    path = _objects()
    if path is None:
        return None
    file = path / name
    try:
        data = file.read_bytes()
    except OSError:
        return None
    code = data[DIGEST:]
    if hashlib.sha256(code).digest() != data[:DIGEST]:
        return None
    with suppress(OSError):
        os.utime(file)  # used now
    return code


def save(entries: Mapping[str, bytes]) -> None:
    """Writes entries. A cache that cannot be written only costs the next process its time."""
    path = _objects()
    if path is None or not entries:
        return
    for name, code in entries.items():
        temporary = path / f"{name}.{os.getpid()}.{threading.get_ident()}"
        try:
            temporary.write_bytes(hashlib.sha256(code).digest() + code)
            temporary.replace(path / name)
        except OSError:
            with suppress(OSError):
                temporary.unlink()
    with suppress(OSError):
        _evict(path)


def _evict(path: Path) -> None:
    entries = []
    for f in path.iterdir():
        with suppress(OSError):
            info = f.stat()
            entries.append((info.st_mtime, info.st_size, f))
    total = sum(size for _, size, _ in entries)
    for _, size, f in sorted(entries, key=lambda e: e[0]):
        if total <= LIMIT:
            break
        with suppress(OSError):
            f.unlink()
        total -= size
