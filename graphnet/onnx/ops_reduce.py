"""Reductions, softmax and its kin, positions of extremes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import graphnet as gn

from ..node import Node
from .call import Call, Refused
from .table import Converter, converts

Reduction = Callable[[Node, tuple[int, ...], bool], Node]


def _axes_of_attribute(c: Call) -> tuple[int, ...] | None:
    axes = c.attribute("axes")
    return None if axes is None else tuple(axes)


def _axes_of_input(c: Call) -> tuple[int, ...] | None:
    """None: all. An empty list means all too, unless the attribute says that it means none."""
    axes = tuple(c.ints_or(1, ()))
    if axes or c.attribute("noop_with_empty_axes", 0):
        return axes
    return None


def _reduction(function: Reduction, axes_of: Callable[[Call], tuple[int, ...] | None]) -> Converter:
    def convert(c: Call) -> Node:
        x, axes = c[0], axes_of(c)
        given = tuple(range(x.rank)) if axes is None else tuple(a % x.rank if a < 0 else a for a in axes)
        return function(x, given, bool(c.attribute("keepdims")))

    return convert


def _extreme(function: Reduction, sign: int) -> Reduction:
    """max or min; of no elements it is the least (greatest) value of the type."""

    def reduced(x: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
        if x.dtype == "bool":
            return (gn.any if sign > 0 else gn.all)(x, axes, keepdims)
        if not any(x.shape[a] == 0 for a in axes):
            return function(x, axes, keepdims)
        limits = np.iinfo(x.dtype) if not x.type.is_float else None
        value = -sign * np.inf if limits is None else limits.min if sign > 0 else limits.max
        shape = [1 if a in axes else e for a, e in enumerate(x.shape) if keepdims or a not in axes]
        return gn.broadcast_to(gn.constant(np.asarray(value, x.dtype)), shape)

    return reduced


def _log_sum_exp(x: Node, axes: tuple[int, ...], keepdims: bool) -> Node:
    """Of no elements it is -inf."""
    return gn.logsumexp(x, axes, keepdims) if all(x.shape[a] != 0 for a in axes) else gn.log_sum(x, axes, keepdims)


# Op: what it computes, and from which version on its axes are an input.
REDUCTIONS: dict[str, tuple[Reduction, int]] = {
    "ReduceSum": (gn.sum, 13),
    "ReduceMean": (gn.mean, 18),
    "ReduceMax": (_extreme(gn.max, 1), 18),
    "ReduceMin": (_extreme(gn.min, -1), 18),
    "ReduceProd": (gn.prod, 18),
    "ReduceL1": (lambda x, axes, keepdims: gn.sum(abs(x), axes, keepdims), 18),
    "ReduceL2": (gn.vector_norm, 18),
    "ReduceSumSquare": (gn.sum_square, 18),
    "ReduceLogSum": (gn.log_sum, 18),
    "ReduceLogSumExp": (_log_sum_exp, 18),
}

for _name, (_function, _since) in REDUCTIONS.items():
    converts(_name)(_reduction(_function, _axes_of_attribute))
    converts(_name, since=_since)(_reduction(_function, _axes_of_input))


def _position(function: Callable[..., Node]) -> Converter:
    def convert(c: Call) -> Node:
        last = bool(c.attribute("select_last_index", 0))
        return gn.cast(function(c[0], c.attribute("axis"), bool(c.attribute("keepdims")), last), "int64")

    return convert


converts("ArgMax")(_position(gn.argmax))
converts("ArgMin")(_position(gn.argmin))


def _as_matrix(function: Callable[[Node, int], Node]) -> Converter:
    """Before version 13, along all axes from `axis` on, taken as one."""

    def convert(c: Call) -> Node:
        x = c[0]
        axis = c.attribute("axis") + (x.rank if c.attribute("axis") < 0 else 0)
        rows = gn.reshape(x, (*x.shape[:axis], -1))
        return gn.reshape(function(rows, axis), x.shape)

    return convert


def _hardmax(x: Node, axis: int) -> Node:
    extent = x.shape[axis]
    if not isinstance(extent, int):
        raise Refused(f"axis {axis} has {extent} elements; pass sizes={{...}}")
    last = [a for a in range(x.rank) if a != axis] + [axis]
    hot = gn.one_hot(gn.argmax(x, axis), extent, x.dtype)  # (other axes..., extent)
    return gn.transpose(hot, [last.index(a) for a in range(x.rank)])


def _along_axis(function: Callable[[Node, int], Node]) -> Converter:
    return lambda c: function(c[0], c.attribute("axis") % max(c[0].rank, 1))


for _name, _along in (("Softmax", gn.softmax), ("LogSoftmax", gn.log_softmax), ("Hardmax", _hardmax)):
    converts(_name)(_as_matrix(_along))
    converts(_name, since=13)(_along_axis(_along))
