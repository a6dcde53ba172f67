"""Sequences of tensors within a model, where their length is known. Models cannot take or give them."""

from __future__ import annotations

import graphnet as gn

from ..node import Node
from .call import Call, Several
from .table import converts


@converts("SequenceEmpty", since=11)
def sequence_empty(c: Call) -> Several:
    return Several(())


@converts("SequenceConstruct", since=11)
def sequence_construct(c: Call) -> Several:
    return Several(tuple(c.nodes))


def _position(c: Call, i: int, length: int, default: int) -> int:
    """A position from the start, of one that may be negative."""
    at = int(c.scalar(i)) if c.get(i) is not None else default
    if not -length <= at <= length:
        raise gn.ShapeError(f"position {at} of a sequence of {length}")
    return at + length if at < 0 else at


@converts("SequenceInsert", since=11)
def sequence_insert(c: Call) -> Several:
    items = c.items(0)
    at = _position(c, 2, len(items), len(items))
    return Several((*items[:at], c[1], *items[at:]))


@converts("SequenceErase", since=11)
def sequence_erase(c: Call) -> Several:
    items = c.items(0)
    at = _position(c, 1, len(items), -1)
    return Several((*items[:at], *items[at + 1 :]))


@converts("SequenceAt", since=11)
def sequence_at(c: Call) -> Node:
    items = c.items(0)
    return items[_position(c, 1, len(items), 0)]


@converts("SequenceLength", since=11)
def sequence_length(c: Call) -> Node:
    return gn.constant(len(c.items(0)), "int64")


@converts("ConcatFromSequence", since=11)
def concat_from_sequence(c: Call) -> Node:
    join = gn.stack if c.attribute("new_axis") else gn.concatenate
    return join(list(c.items(0)), c.attribute("axis"))


@converts("SplitToSequence", since=11)
def split_to_sequence(c: Call) -> Several:
    """Into parts of one extent, or of given ones; without them, into single elements."""
    x, axis = c[0], c.attribute("axis") % c[0].rank
    (extent,) = c.sizes_of((x.shape[axis],))
    if c.get(1) is None:
        c.refuse_unless(extent <= 1000, f"{extent} single elements")
        parts = gn.split(x, [1] * extent, axis)
        return Several(tuple(parts if c.attribute("keepdims") else [gn.squeeze(p, axis) for p in parts]))
    sizes = c.ints(1)
    if c[1].rank == 0:
        c.refuse_unless(sizes[0] > 0, f"parts of {sizes[0]} elements")
        c.refuse_unless(extent // sizes[0] < 1000, f"{extent} elements in parts of {sizes[0]}")
        sizes = [min(sizes[0], extent - start) for start in range(0, extent, sizes[0])]
    return Several(tuple(gn.split(x, sizes, axis)))


@converts("OptionalHasElement", since=15)
def optional_has_element(c: Call) -> Node:
    """Whether the input is there; a tensor always is."""
    return gn.constant(bool(len(c)) and c.values[0] is not None)


@converts("OptionalGetElement", since=15)
def optional_get_element(c: Call) -> Node:
    return c[0]
