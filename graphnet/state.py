"""The values of parameters: made by their initialisers, shared by the executables that are given them."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np

from codegen.runtime.arrays import aligned_zeros

from .errors import DTypeError, GraphnetError, ShapeError
from .init import CHUNK, Zeros
from .node import Node, Parameter
from .types import concrete


class State:
    """Parameter values by name. Executables read and update these arrays in place; everybody else reads views of
    them, which show each new value, and writes by `state[name] = value`: what functions have prepared from a value
    is computed again when it has changed.

    version: the number of writes so far."""

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self._arrays: dict[str, np.ndarray] = {}
        self._nodes: dict[str, Node] = {}
        self._coming: dict[Node, Future[np.ndarray]] = {}
        self.version = 0
        self._written: dict[frozenset[str], int] = {}  # the version that the last write of these values made
        self.elsewhere: dict[str, Callable[[np.ndarray], object]] = {}  # what fetches values that are newer on a GPU

    def array(self, parameter: Node) -> np.ndarray:
        """The value of a parameter, made by its initialiser at the first request, to read. The random stream is
        keyed by the seed and the parameter's name, so it does not depend on what else there is."""
        return _readable(self.memory(parameter))

    def memory(self, parameter: Node) -> np.ndarray:
        """The same, for those who write into it and say so (`wrote`)."""
        op = parameter.op
        if not isinstance(op, Parameter):
            raise GraphnetError(f"{parameter!r} is not a parameter")
        name = op.label
        known = self._nodes.get(name)
        if known is not None and known is not parameter:
            raise GraphnetError(f"two parameters are called {name!r}: {known!r} and {parameter!r}")
        if name not in self._arrays:
            coming = self._coming.pop(parameter, None)
            value = self._first(op, parameter) if coming is None else coming.result()
            self._nodes[name] = parameter
            self._arrays[name] = value
        self.fetch(name)
        return self._arrays[name]

    def begin(self, parameters: Iterable[Node]) -> None:
        """Begins to make large values in a thread of its own, for `memory` to wait for: while a function is compiled
        there is time. They are no part of the state before."""
        drawer = ThreadPoolExecutor(1)
        for p in parameters:
            op = p.op
            assert isinstance(op, Parameter)
            large = math.prod(concrete(p.shape)) > CHUNK and not isinstance(op.init, Zeros)
            if large and op.label not in self._arrays and p not in self._coming:
                self._coming[p] = drawer.submit(self._first, op, p)
        drawer.shutdown(wait=False)

    def _first(self, op: Parameter, parameter: Node) -> np.ndarray:
        rng = np.random.Generator(np.random.Philox(key=[self.seed, zlib.crc32(op.label.encode())]))
        value = _aligned(concrete(parameter.shape), parameter.dtype)
        op.init.fill(value, rng)
        return value

    def wrote(self, names: Iterable[str]) -> None:
        """Notes that these values may have changed."""
        self.version += 1
        self._written[frozenset(names)] = self.version

    def written_since(self, version: int, names: Iterable[str]) -> bool:
        """Whether one of these values has been written after that version."""
        return any(written > version and not group.isdisjoint(names) for group, written in self._written.items())

    def fetch(self, name: str | None = None) -> None:
        """Brings values that are newer elsewhere into the arrays: one, or all."""
        for n in [name] if name is not None else list(self.elsewhere):
            if n in self.elsewhere:
                self.elsewhere.pop(n)(self._arrays[n])

    def newer_elsewhere(self, name: str, fetch: Callable[[np.ndarray], object]) -> None:
        """Notes that an executable has updated its own copy, which `fetch` copies into an array."""
        self.elsewhere[name] = fetch

    def is_newer_in(self, name: str, fetch: Callable[[np.ndarray], object]) -> bool:
        """Whether the newest value is the one that this `fetch` copies."""
        return self.elsewhere.get(name) is fetch

    def __getitem__(self, key: str | Node) -> np.ndarray:
        """The value of a parameter, or the one of that name, to read."""
        name = self._name(key)
        if name not in self._arrays:
            raise GraphnetError(f"no parameter {name!r}; there are {', '.join(self._arrays) or 'none yet'}")
        self.fetch(name)
        return _readable(self._arrays[name])

    def __setitem__(self, key: str | Node, value: np.ndarray) -> None:
        """Overwrites a parameter's value; shape and dtype must be its own."""
        name, target, value = self._name(key), self[key], np.asarray(value)
        if value.shape != target.shape:
            raise ShapeError(f"parameter {name!r} has shape {target.shape}, the given value {value.shape}")
        if value.dtype != target.dtype:
            raise DTypeError(f"parameter {name!r} is {target.dtype}, the given value {value.dtype}")
        self._arrays[name][...] = value
        self.wrote((name,))

    def _name(self, key: str | Node) -> str:
        """The name of a parameter, whose value is made if it was not."""
        if isinstance(key, str):
            return key
        self.memory(key)
        return key.name

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)

    def __contains__(self, name: object) -> bool:
        return name in self._arrays

    def items(self) -> list[tuple[str, np.ndarray]]:
        self.fetch()
        return [(name, _readable(value)) for name, value in self._arrays.items()]


def _readable(value: np.ndarray) -> np.ndarray:
    """A view of an array that refuses to be written through."""
    view = value.view()
    view.flags.writeable = False
    return view


def _aligned(shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Zeros that start on a cache line."""
    nbytes = math.prod(shape) * np.dtype(dtype).itemsize
    return aligned_zeros(max(nbytes, 1))[:nbytes].view(dtype).reshape(shape)
