"""The meaning of a graph: every op by its NumPy reference, one after another. Slow and obviously right."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .body import with_sizes
from .errors import GraphnetError, ShapeError, VerifyError
from .node import Graph, Input, Node, Parameter, toposort
from .op import Op
from .site import where
from .types import STORAGE, Dim, Extent, Type, substitute


def evaluate(
    what: Graph | Node | Iterable[Node],
    feed: Mapping[Node | str, Any] | None = None,
    parameters: Mapping[Node | str, Any] | None = None,
    rng: np.random.Generator | None = None,
) -> list[np.ndarray]:
    """The values of some nodes, or of a graph's outputs and then its updates.

    feed, parameters: arrays by node or by name. A parameter that is not given has its initial value,
    drawn from `rng` (by default a generator seeded with 0, in the order of the graph)."""
    outputs = what.results if isinstance(what, Graph) else (what,) if isinstance(what, Node) else tuple(what)
    order = toposort(outputs)
    given = {**(feed or {}), **(parameters or {})}
    rng = rng or np.random.default_rng(0)
    values: dict[Node, np.ndarray] = {}
    sizes: dict[str, int] = {}
    # Leaves first, the given ones that are not needed too: their shapes are what tells the symbolic sizes.
    unused = (what.inputs if isinstance(what, Graph) else ()) + tuple(k for k in given if isinstance(k, Node))
    for n in dict.fromkeys((*order, *unused)):
        if isinstance(n.op, (Input, Parameter)) and n not in values:
            values[n] = _leaf(n, given, sizes, rng)
    with np.errstate(all="ignore"):
        for n in order:
            if n not in values:
                values[n] = _value(n, tuple(values[i] for i in n.inputs), sizes)
    return [values[n] for n in outputs]


def _leaf(n: Node, given: Mapping[Any, Any], sizes: dict[str, int], rng: np.random.Generator) -> np.ndarray:
    key = n if n in given else n.name
    if key not in given:
        if isinstance(n.op, Parameter):
            return n.op.init.sample(n.shape, n.dtype, rng)
        raise GraphnetError(f"no value given for input {n.name!r}, {n.type}{where(n.sites)}")
    array = np.asarray(given[key], dtype=n.dtype)
    bind(n, array.shape, sizes)
    return array


def bind(n: Node, shape: tuple[int, ...], sizes: dict[str, int]) -> None:
    """Notes in `sizes` what an array's shape says about the named sizes of an input; raises ShapeError
    where they disagree."""
    wanted = f"input {n.name!r} is {n.type}, given {list(shape)}{where(n.sites)}"
    if len(shape) != n.rank:
        raise ShapeError(f"wrong rank: {wanted}")
    for e, actual in zip(n.shape, shape, strict=True):
        if isinstance(e, Dim) and len(e.names) == 1 and e == Dim.named(*e.names):
            sizes.setdefault(next(iter(e.names)), actual)
    for e, actual in zip(n.shape, shape, strict=True):
        if substitute(e, sizes) != actual:
            known = ", ".join(f"{k} = {v}" for k, v in sizes.items())
            raise ShapeError(f"{e} is not {actual}{f' ({known})' if known else ''}: {wanted}")


def reference(op: Op, t: Type, inputs: Iterable[np.ndarray]) -> np.ndarray:
    """An op's NumPy meaning. float16 and bfloat16 are read as float32, and the result is rounded to them."""
    out = np.asarray(op.evaluate(*(x.astype(np.float32) if x.dtype.name in STORAGE else x for x in inputs)))
    return out.astype(t.dtype) if t.dtype in STORAGE else out


def _value(n: Node, inputs: tuple[np.ndarray, ...], sizes: Mapping[str, int]) -> np.ndarray:
    op = with_sizes(n.op, sizes) if sizes else n.op
    if type(op).evaluate is Op.evaluate:
        if type(op).graph is Op.graph:
            raise GraphnetError(f"op {op.name} has neither evaluate nor graph: {n!r}")
        leaves = {i: a for i, a in zip(n.inputs, inputs, strict=True)}
        return _composite(op.graph(*n.inputs), leaves, sizes)
    out = reference(op, n.type, inputs)
    shape: tuple[Extent, ...] = tuple(substitute(e, sizes) for e in n.shape)
    if out.dtype != n.dtype or out.shape != shape:
        raise VerifyError(f"{op.name}: evaluate gave {out.dtype}{list(out.shape)}, infer {n.type}{where(n.sites)}")
    return out


def _composite(out: Node, values: dict[Node, np.ndarray], sizes: Mapping[str, int]) -> np.ndarray:
    """The value of a composite op's graph, given those of its inputs."""
    for n in _inner(out, values):
        values[n] = _value(n, tuple(values[i] for i in n.inputs), sizes)
    return values[out]


def _inner(out: Node, known: Mapping[Node, Any]) -> list[Node]:
    """Nodes between the known ones and `out`, inputs first."""
    needed = {out} - known.keys()
    for n in reversed(toposort([out])):
        if n in needed:
            needed.update(i for i in n.inputs if i not in known)
    return [n for n in toposort([out]) if n in needed]
