"""Ops that read and write by indices, and that rearrange: gather, scatter, one-hot, triangles, sequences."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import graphnet as gn

from ..node import Node
from .call import Call
from .table import Converter, converts

# Indices out of range are undefined in ONNX, and refused where they are known; others are moved to the nearest place.


def _indices(c: Call, i: int, extent: object) -> Node:
    """Input i, of which known values must be in range."""
    node = c[i]
    known = c.known_or_none(i)
    if known is not None and isinstance(extent, int) and known.size:
        low, high = int(known.min()), int(known.max())
        if low < -extent or high >= extent:
            raise gn.ShapeError(f"indices from {low} to {high} for {extent} elements")
    return node


@converts("Gather")
def gather(c: Call) -> Node:
    x, axis = c[0], c.attribute("axis")
    return gn.take(x, _indices(c, 1, x.shape[axis]), axis)


@converts("GatherElements", since=11)
def gather_elements(c: Call) -> Node:
    x, axis = c[0], c.attribute("axis")
    return gn.gather_elements(x, _indices(c, 1, x.shape[axis]), axis)


@converts("GatherND", since=11)
def gather_nd(c: Call) -> Node:
    return gn.gather_nd(c[0], c[1], c.attribute("batch_dims", 0))


@converts("Scatter", since=9)
@converts("ScatterElements", since=11)
def scatter_elements(c: Call) -> Node:
    x, axis = c[0], c.attribute("axis")
    return gn.scatter_elements(x, _indices(c, 1, x.shape[axis]), c[2], axis, c.attribute("reduction", "none"))


@converts("ScatterND", since=11)
def scatter_nd(c: Call) -> Node:
    return gn.scatter_nd(c[0], c[1], c[2], c.attribute("reduction", "none"))


@converts("TensorScatter", since=24)
def tensor_scatter(c: Call) -> Node:
    """Writes the update into the cache of each batch along `axis`, from its index on; "circular" starts over at the
    end."""
    past, update, axis = c[0], c[1], c.attribute("axis") % c[0].rank
    extent, count = c.sizes_of((past.shape[axis], update.shape[axis]))
    start = gn.constant(np.zeros(c.sizes_of(past.shape[:1]), np.int64)) if c.get(2) is None else c[2]
    at = gn.reshape(start, (past.shape[0], 1)) + gn.reshape(gn.arange(count, dtype="int64"), (1, count))
    if c.attribute("mode") == "circular":
        at = gn.remainder(at, extent)
    places = gn.reshape(at, (past.shape[0], *(count if a == axis else 1 for a in range(1, past.rank))))
    return gn.scatter_elements(past, gn.broadcast_to(places, update.shape), update, axis)


@converts("OneHot", since=9)
def one_hot(c: Call) -> Node:
    """Indices from -depth count from the end; others that are out of range are off everywhere."""
    depth, axis = int(c.scalar(1)), c.attribute("axis")
    at = gn.cast(c[0], "int64")
    at = gn.where(at < 0, at + depth, at)
    off, on = (gn.reshape(c[2][i : i + 1], ()) for i in (0, 1))
    return gn.where(gn.one_hot(at, depth, "bool", axis), on, off)


@converts("Compress", since=9)
def compress(c: Call) -> Node:
    """The condition must be known: it decides the shape."""
    x, keep = c[0], np.flatnonzero(c.array(1))
    if c.attribute("axis") is None:
        return gn.take(gn.reshape(x, (-1,)), keep, 0)
    return gn.take(x, keep, c.attribute("axis"))


@converts("NonZero", since=9)
def nonzero(c: Call) -> Node:
    """Of a value that is known, as it decides the shape."""
    return gn.constant(np.stack(np.nonzero(np.atleast_1d(c.array(0)))).astype(np.int64))


def _cumulative(function: Callable[..., Node]) -> Converter:
    def convert(c: Call) -> Node:
        return function(c[0], int(c.scalar(1)), bool(c.attribute("exclusive")), bool(c.attribute("reverse")))

    return convert


converts("CumSum", since=11)(_cumulative(gn.cumsum))
converts("CumProd", since=26)(_cumulative(gn.cumprod))


@converts("TopK")
def top_k_of_attribute(c: Call) -> list[Node]:
    return _top_k(c, c.attribute("k"))


@converts("TopK", since=10)
def top_k(c: Call) -> list[Node]:
    return _top_k(c, int(c.scalar(1)))


def _top_k(c: Call, k: int) -> list[Node]:
    values, places = gn.top_k(c[0], k, c.attribute("axis"), bool(c.attribute("largest", 1)))
    return [values, gn.cast(places, "int64")]


@converts("Trilu", since=14)
def trilu(c: Call) -> Node:
    k = int(c.scalar(1)) if c.get(1) is not None else 0
    return (gn.triu if c.attribute("upper") else gn.tril)(c[0], k)


@converts("SpaceToDepth")
def space_to_depth(c: Call) -> Node:
    x, block = c[0], c.attribute("blocksize")
    if c.attribute("mode", "DCR") == "DCR":
        return gn.space_to_depth(x, block)
    n, depth, h, w = x.shape
    cut = gn.reshape(x, (n, depth, h // block, block, w // block, block))
    return gn.reshape(gn.transpose(cut, (0, 1, 3, 5, 2, 4)), (n, depth * block * block, h // block, w // block))


@converts("DepthToSpace")
def depth_to_space(c: Call) -> Node:
    return gn.depth_to_space(c[0], c.attribute("blocksize"), c.attribute("mode", "DCR"))


@converts("ReverseSequence", since=10)
def reverse_sequence(c: Call) -> Node:
    """The first lengths[b] elements along the time axis in the other order, in each batch b."""
    x, time, batch = c[0], c.attribute("time_axis") % c[0].rank, c.attribute("batch_axis") % c[0].rank
    steps, batches = c.sizes_of((x.shape[time], x.shape[batch]))
    lengths = gn.reshape(c[1], [batches if a == batch else 1 for a in range(x.rank)])
    t = gn.reshape(gn.arange(steps, dtype="int64"), [steps if a == time else 1 for a in range(x.rank)])
    at = gn.where(t < lengths, (lengths - 1) - t, t + lengths * 0)
    return gn.gather_elements(x, gn.broadcast_to(at, x.shape), time)
