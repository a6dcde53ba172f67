"""Integers that are known though perhaps only as named sizes: what `Shape` gives, and the arithmetic on it.

Such values are NumPy arrays of objects, ints and `Dim`s. The few ops of which shape computations are made are
evaluated on them here; whatever else they meet sees a node of the graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ..node import Node, apply, constant
from ..ops.broadcast import Size, reshape
from ..ops.move import concatenate
from ..types import Dim, Extent

Extents = np.ndarray  # of objects


def extents_of(values: Sequence[Extent]) -> Extents:
    """A vector of extents."""
    out = np.empty(len(values), dtype=object)
    out[:] = values
    return out


def is_known(extents: Extents) -> bool:
    """Whether all are numbers."""
    return not any(isinstance(e, Dim) for e in extents.reshape(-1))


def node_of(extents: Extents, dtype: str = "int64") -> Node:
    """The same as a node of the graph."""
    if is_known(extents):
        return constant(extents.astype(dtype))
    parts = [
        reshape(apply(Size(e, dtype)) if isinstance(e, Dim) else constant(np.asarray(e, dtype)), (1,))
        for e in extents.reshape(-1)
    ]
    return reshape(concatenate(parts), extents.shape)


# Each takes the inputs (None where one is left out) and a function that gives attributes.
Attribute = Callable[[str, Any], Any]
Shaped = Callable[[list[Extents | None], Attribute], Extents | None]


def _ints(values: Extents | None) -> list[int] | None:
    """Numbers, or None where a size is not."""
    if values is None or not is_known(values):
        return None
    return [int(v) for v in values.reshape(-1)]


def _gather(x: list[Extents | None], attribute: Attribute) -> Extents | None:
    values, places = x[0], x[1]
    if values is None or places is None or not is_known(places):
        return None
    return np.asarray(np.take(values, places.astype(np.int64), axis=attribute("axis", 0)), dtype=object)


def _concat(x: list[Extents | None], attribute: Attribute) -> Extents | None:
    return np.concatenate([v for v in x if v is not None], axis=attribute("axis", 0))


def _slice(x: list[Extents | None], attribute: Attribute) -> Extents | None:
    values = x[0]
    given = [_ints(v) for v in x[1:]] if len(x) > 1 else [attribute(k, None) for k in ("starts", "ends", "axes")]
    starts, ends = given[:2]
    if values is None or starts is None or ends is None or any(v is None for v in x[1:3]):
        return None
    axes = given[2] if len(given) > 2 and given[2] is not None else list(range(len(starts)))
    steps = given[3] if len(given) > 3 and given[3] is not None else [1] * len(starts)
    keys = [slice(None)] * values.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        keys[axis] = slice(start, end if end >= -values.shape[axis] or step > 0 else None, step)
    return values[tuple(keys)]


def _squeeze(x: list[Extents | None], attribute: Attribute) -> Extents | None:
    axes = _ints(x[1]) if len(x) > 1 else attribute("axes", None)
    return x[0] if x[0] is None else np.squeeze(x[0], None if axes is None else tuple(axes))


def _unsqueeze(x: list[Extents | None], attribute: Attribute) -> Extents | None:
    axes = _ints(x[1]) if len(x) > 1 else attribute("axes", None)
    return None if x[0] is None or axes is None else np.expand_dims(x[0], tuple(axes))


def _reshape(x: list[Extents | None], attribute: Attribute) -> Extents | None:
    shape = _ints(x[1]) if len(x) > 1 else attribute("shape", None)
    return None if x[0] is None or shape is None or 0 in shape else x[0].reshape(shape)


def _identity(x: list[Extents | None], attribute: Attribute) -> Extents | None:
    return x[0]


def _cast(x: list[Extents | None], attribute: Attribute) -> Extents | None:
    return x[0] if attribute("to", 0) in (6, 7) else None  # int32, int64


def _binary(function: Callable[[Any, Any], Any]) -> Shaped:
    def apply_to(x: list[Extents | None], attribute: Attribute) -> Extents | None:
        a, b = x
        return None if a is None or b is None else np.asarray(function(a, b), dtype=object)

    return apply_to


def _div(x: list[Extents | None], attribute: Attribute) -> Extents | None:
    """Of sizes by numbers > 0: sizes are not negative, so rounding down is rounding towards zero."""
    a, b = x
    by = _ints(b)
    return None if a is None or b is None or by is None or min(by, default=1) < 1 else np.asarray(a // b, dtype=object)


def _product(x: list[Extents | None], attribute: Attribute) -> Extents | None:
    values = x[0]
    if values is None or values.ndim != 1 or len(x) > 1 or attribute("axes", None) not in (None, [0], [-1]):
        return None
    total: Any = 1
    for e in values:
        total = total * e
    out = np.empty((1,), dtype=object)
    out[0] = total
    return out if attribute("keepdims", 1) else out.reshape(())


SHAPED: dict[str, Shaped] = {
    "Add": _binary(lambda a, b: a + b),
    "Cast": _cast,
    "Concat": _concat,
    "Div": _div,
    "Gather": _gather,
    "Identity": _identity,
    "Mul": _binary(lambda a, b: a * b),
    "ReduceProd": _product,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Sub": _binary(lambda a, b: a - b),
    "Unsqueeze": _unsqueeze,
}
