"""What a compiled function takes: arguments by position or name, of the declared dtypes, ranks and shapes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .errors import DTypeError, GraphnetError, ShapeError
from .node import Graph, Node
from .site import where
from .types import Dim


class Signature:
    """The inputs of a graph, against which the arguments of each call are checked."""

    def __init__(self, graph: Graph) -> None:
        self.inputs = graph.inputs
        self.names = [n.name for n in graph.inputs]
        self.dtypes = [np.dtype(n.dtype) for n in graph.inputs]
        self._expected = list(zip(self.inputs, self.dtypes, strict=True))

    def arrays(self, args: tuple[Any, ...], named: dict[str, Any]) -> list[np.ndarray]:
        """The arguments as contiguous arrays of the declared dtypes, in the order of the inputs."""
        values = args if not named and len(args) == len(self.names) else self._by_name(args, named)
        return [
            a if type(a) is np.ndarray and a.dtype is d and a.flags.c_contiguous else self._array(n, a)
            for (n, d), a in zip(self._expected, values)  # noqa: B905 (as many)
        ]

    def _by_name(self, args: tuple[Any, ...], named: dict[str, Any]) -> list[Any]:
        names = self.names
        if len(args) > len(names):
            raise GraphnetError(f"the function takes {len(names)} inputs ({', '.join(names)}), not {len(args)}")
        given = dict(zip(names, args, strict=False))
        for name, value in named.items():
            if name not in names or name in given:
                what = "given twice" if name in given else "not an input"
                raise GraphnetError(f"{name!r} is {what}; the inputs are {', '.join(names)}")
            given[name] = value
        missing = [n for n in names if n not in given]
        if missing:
            raise GraphnetError(f"missing inputs: {', '.join(missing)}")
        return [given[n] for n in names]

    def _array(self, n: Node, value: Any) -> np.ndarray:
        """One argument; Python numbers become scalars."""
        array = value if isinstance(value, np.ndarray) else np.asarray(value)
        if array.dtype != n.dtype:
            if not isinstance(value, np.ndarray) and array.dtype.kind in "iuf" and array.ndim == 0:
                array = array.astype(n.dtype)  # a Python number
            else:
                raise DTypeError(
                    f"input {n.name!r} is {n.type}, the given array {array.dtype}; convert it, as in "
                    f"array.astype({n.dtype!r}){where(n.sites)}"
                )
        return array if array.flags.c_contiguous else np.ascontiguousarray(array)

    def sizes(self, arrays: Sequence[np.ndarray]) -> dict[str, int]:
        """The named sizes, from the arrays' shapes. Raises ShapeError where they disagree."""
        for n, a in zip(self.inputs, arrays, strict=True):
            if a.ndim != n.rank:
                given = f"{a.dtype}{list(a.shape)}"
                raise ShapeError(f"input {n.name!r} is {n.type}, of rank {n.rank}; given {given}{where(n.sites)}")
        sizes: dict[str, int] = {}
        source: dict[str, str] = {}
        for n, a in zip(self.inputs, arrays, strict=True):
            for axis, (declared, given) in enumerate(zip(n.shape, a.shape, strict=True)):
                if isinstance(declared, Dim) and str(declared) in declared.names:
                    name = str(declared)
                    if sizes.setdefault(name, given) != given:
                        raise ShapeError(
                            f"{name} is {sizes[name]} in {source[name]} but {given} on axis {axis} of input {n.name!r}"
                            f"{where(n.sites)}"
                        )
                    source.setdefault(name, f"input {n.name!r}")
        for n, a in zip(self.inputs, arrays, strict=True):
            wanted = tuple(e.substitute(sizes) if isinstance(e, Dim) else e for e in n.shape)
            if wanted != a.shape:
                raise ShapeError(
                    f"input {n.name!r} is {n.type}: expected {list(wanted)}, given {list(a.shape)}{where(n.sites)}"
                )
        return sizes
