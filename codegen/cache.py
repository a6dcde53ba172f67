"""Object code and programs on disk, so that the second process need not make what the first did.

An entry's name is a digest of everything that decides it: what is compiled (the caller's text), the
CPU, llvmlite, and the source of these packages. Its content begins with its own digest: a damaged entry is
not used, and is written again. Entries are renamed into place, in a folder that only the user may write;
the least recently used go when the folder grows over its limit. GRAPHNET_CACHE=off turns it off.
"""

from __future__ import annotations

import hashlib
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path

import llvmlite

from .machine import Machine

LIMIT = 256 << 20  # bytes of all entries
SOMETIMES = "00"  # how a name begins after which the folder is looked through: one of 256, since that takes its time
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
    root = str(Path(__file__).resolve().parent.parent)
    digest = hashlib.sha256()
    for file in sorted(f for package in ("codegen", "graphnet") for f in _files(os.path.join(root, package))):
        with open(file, "rb", buffering=0) as f:
            text = f.read()
        digest.update(f"{file.removeprefix(root)}\0{len(text)}\0".encode() + text)
    return digest.digest()


def _files(folder: str) -> Iterator[str]:
    """The Python files below a folder; a quarter of the time that pathlib takes, in every process."""
    with os.scandir(folder) as entries:
        for e in entries:
            if e.is_dir(follow_symlinks=False):
                yield from _files(e.path)
            elif e.name.endswith(".py"):
                yield e.path


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
    """The content of an entry, or None."""
    return load_all((name,))[name]


def load_all(names: Iterable[str]) -> dict[str, bytes | None]:
    """The same of several."""
    path = _objects()
    return {name: None if path is None else _read(f"{path}/{name}") for name in names}


def _read(file: str) -> bytes | None:
    try:
        with open(file, "rb", buffering=0) as f:
            data = f.read()
    except OSError:
        return None
    with suppress(OSError):
        os.utime(file)  # used now
    content = data[DIGEST:]
    return content if hashlib.sha256(content).digest() == data[:DIGEST] else None


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
    if any(name.startswith(SOMETIMES) for name in entries):
        with suppress(OSError):
            _evict(path)


def _evict(path: Path) -> None:
    with os.scandir(path) as files:
        entries = []
        for f in files:
            with suppress(OSError):
                info = f.stat()
                entries.append((info.st_mtime_ns, info.st_size, f.path))
    total = sum(size for _, size, _ in entries)
    for _, size, file in sorted(entries):
        if total <= LIMIT:
            break
        with suppress(OSError):
            os.unlink(file)
        total -= size
