"""Ops that move elements: shapes, slices, concatenation, padding, constants."""

from __future__ import annotations

from math import prod

import numpy as np
import onnx

import graphnet as gn

from ..node import Node, apply
from ..ops.broadcast import Size
from ..types import Dim, Extent, broadcast_shapes
from .call import Call, Value
from .dtypes import dtype_of, name_of
from .reading import array_of
from .shapes import extents_of, is_known, node_of
from .table import converts

MOST_NUMBERS = 1 << 24  # of a range, which is a constant

# -------------------------------------------------------------------------------------- constants


@converts("Constant")
def constant(c: Call) -> Node:
    for name in ("value_float", "value_floats", "value_int", "value_ints"):
        if c.has(name):
            dtype = np.float32 if "float" in name else np.int64
            return gn.constant(np.asarray(c.attribute(name), dtype=dtype))
    tensor = c.attribute("value")
    if not isinstance(tensor, onnx.TensorProto):
        c.refuse("only constants of numbers are supported")
    return gn.constant(array_of(tensor, c.folder, "its value"))


@converts("ConstantOfShape", since=9)
def constant_of_shape(c: Call) -> Node:
    tensor = c.attribute("value")
    value = np.zeros(1, np.float32) if tensor is None else array_of(tensor, None, "its value")
    c.refuse_unless(value.size == 1, "the value must be a single number")
    return gn.broadcast_to(gn.constant(value.reshape(())), c.extents(0))


@converts("EyeLike", since=9)
def eye_like(c: Call) -> Node:
    x = c[0]
    dtype = dtype_of(c.attribute("dtype")) if c.has("dtype") else x.dtype
    if dtype is None:
        c.refuse(f"{name_of(c.attribute('dtype'))} is not supported")
    return gn.eye(x.shape[0], x.shape[1], c.attribute("k"), dtype)


@converts("Range", since=11)
def arange(c: Call) -> Node:
    start, limit, delta = (c.scalar(i) for i in range(3))
    c.refuse_unless(delta != 0, "delta is 0")
    count = max(int(np.ceil((limit - start) / delta)), 0)
    c.refuse_unless(count <= MOST_NUMBERS, f"more than {MOST_NUMBERS} numbers")
    dtype = c[0].dtype
    return gn.constant((start + np.arange(count) * delta).astype(dtype))


# ----------------------------------------------------------------------------------------- shapes


@converts("Shape")
def shape(c: Call) -> Value:
    """The sizes that are only named stay so, for those ops that make shapes of them."""
    x = c[0]
    start, end = c.attribute("start", 0), c.attribute("end", None)
    extents = extents_of(list(x.shape)[start:end])
    return Value(node_of(extents), None if is_known(extents) else extents)


@converts("Size")
def size(c: Call) -> Node:
    total = prod(c[0].shape, start=1)
    return apply(Size(total, "int64")) if isinstance(total, Dim) else gn.constant(np.asarray(total, np.int64))


def _reshaped(c: Call, target: list[Extent]) -> Node:
    x = c[0]
    if not c.attribute("allowzero", 0):
        target = [x.shape[a] if isinstance(e, int) and e == 0 else e for a, e in enumerate(target)]
    if any(isinstance(e, int) and e == 0 for e in target) and -1 in target:
        c.refuse("a shape with 0 and -1 is ambiguous")
    return gn.reshape(x, target)


@converts("Reshape")
def reshape_to_attribute(c: Call) -> Node:
    return _reshaped(c, c.attribute("shape"))


@converts("Reshape", since=5)
def reshape(c: Call) -> Node:
    return _reshaped(c, c.extents(1))


@converts("Flatten")
def flatten(c: Call) -> Node:
    x = c[0]
    axis = c.attribute("axis") + (x.rank if c.attribute("axis") < 0 else 0)
    return gn.reshape(x, (prod(x.shape[:axis], start=1), prod(x.shape[axis:], start=1)))


@converts("Squeeze")
def squeeze_attribute(c: Call) -> Node:
    return _squeezed(c, c.attribute("axes"))


@converts("Squeeze", since=13)
def squeeze(c: Call) -> Node:
    return _squeezed(c, c.ints_or(1, None))


def _squeezed(c: Call, axes: list[int] | None) -> Node:
    x = c[0]
    found = [a for a, e in enumerate(x.shape) if e == 1] if axes is None else axes
    return gn.squeeze(x, tuple(found))


@converts("Unsqueeze")
def unsqueeze_attribute(c: Call) -> Node:
    return _unsqueezed(c, c.attribute("axes"))


@converts("Unsqueeze", since=13)
def unsqueeze(c: Call) -> Node:
    return _unsqueezed(c, c.ints(1))


def _unsqueezed(c: Call, axes: list[int]) -> Node:
    x, rank = c[0], c[0].rank + len(axes)
    new = {a + rank if a < 0 else a for a in axes}
    if len(new) != len(axes) or not new <= set(range(rank)):
        raise gn.ShapeError(f"axes {axes} are no {len(axes)} axes of {rank}")
    kept = iter(x.shape)
    return gn.reshape(x, [1 if a in new else next(kept) for a in range(rank)])


@converts("Transpose")
def transpose(c: Call) -> Node:
    return gn.transpose(c[0], c.attribute("perm"))


@converts("Expand", since=8)
def expand(c: Call) -> Node:
    target = tuple(c.extents(1))
    return gn.broadcast_to(c[0], broadcast_shapes(c[0].shape, target))


@converts("Tile")
def tile_along_axis(c: Call) -> Node:
    """So many times along one axis."""
    times, axis = int(c.scalar(1)), int(c.scalar(2))
    return gn.tile(c[0], [times if a == axis % c[0].rank else 1 for a in range(c[0].rank)])


@converts("Tile", since=6)
def tile(c: Call) -> Node:
    x, repeats = c[0], c.ints(1)
    c.refuse_unless(len(repeats) == x.rank, f"{len(repeats)} repeats for {x.type}")
    return gn.tile(x, repeats)


# ------------------------------------------------------------------------------- parts and wholes


@converts("Concat")
def concat(c: Call) -> Node:
    return gn.concatenate(c.nodes, c.attribute("axis", 1))


@converts("Split")
def split_attribute(c: Call) -> list[Node]:
    """Version 1 may have the parts as an input, too."""
    return _split(c, c.attribute("split") or c.ints_or(1, None))


@converts("Split", since=13)
def split(c: Call) -> list[Node]:
    return _split(c, c.ints_or(1, None))


def _split(c: Call, parts: list[int] | None) -> list[Node]:
    """Parts of given extents, or as many equal ones as there are outputs, the last one smaller if need be."""
    x, axis = c[0], c.attribute("axis", 0)
    axis = axis + x.rank if axis < 0 else axis
    (extent,) = c.sizes_of((x.shape[axis],))
    if not parts:
        count = len(c.outputs)
        if c.attribute("num_outputs", count) != count:
            raise gn.ShapeError(f"num_outputs is {c.attribute('num_outputs')}, but there are {count}")
        each = -(-extent // count)
        parts = [max(min(each, extent - i * each), 0) for i in range(count)]
    if sum(parts) != extent or min(parts) < 0:
        raise gn.ShapeError(f"parts of {parts} are not the {extent} elements of axis {axis}")
    ends = np.cumsum(parts).tolist()
    head = (slice(None),) * axis
    return [x[(*head, slice(end - part, end))] for part, end in zip(parts, ends, strict=True)]


@converts("Slice")
def slice_attributes(c: Call) -> Node:
    return _sliced(c, c.attribute("starts"), c.attribute("ends"), c.attribute("axes"), None)


@converts("Slice", since=10)
def slice_(c: Call) -> Node:
    return _sliced(c, c.ints(1), c.ints(2), c.ints_or(3, None), c.ints_or(4, None))


def _sliced(c: Call, starts: list[int], ends: list[int], axes: list[int] | None, steps: list[int] | None) -> Node:
    """As NumPy, except that a negative end below -extent, with a negative step, goes to the first element."""
    x = c[0]
    keys = [slice(None)] * x.rank
    each = zip(axes or range(len(starts)), starts, ends, steps or [1] * len(starts), strict=True)
    for axis, start, end, step in each:
        a, extent = axis % x.rank, x.shape[axis % x.rank]
        if not isinstance(extent, int):
            known = step > 0 and start >= 0 and end >= 2**31 - 1
            c.refuse_unless(known or (step > 0 and end < 0), f"axis {axis} has {extent} elements; pass sizes={{...}}")
            keys[a] = slice(start, None if known else end, step)
        elif step > 0:
            keys[a] = slice(start, end, step)
        else:
            keys[a] = slice(start, None if end < -extent else end, step)
    return x[tuple(keys)]


@converts("Pad")
def pad_attributes(c: Call) -> Node:
    pads = c.attribute("pads") or c.attribute("paddings")
    return _padded(c, pads, c.attribute("value"), None)


@converts("Pad", since=11)
def pad(c: Call) -> Node:
    value = c.scalar(2) if c.get(2) is not None else 0
    return _padded(c, c.ints(1), value, c.ints_or(3, None))


def _padded(c: Call, pads: list[int], value: float, axes: list[int] | None) -> Node:
    x = c[0]
    mode = c.attribute("mode")
    where = [a % x.rank for a in axes] if axes is not None else list(range(x.rank))
    sides = [(0, 0)] * x.rank
    for i, a in enumerate(where):
        sides[a] = (pads[i], pads[i + len(where)])
    if mode not in ("constant", "reflect", "edge", "wrap"):
        c.refuse(f"mode {mode!r} is not supported")
    if mode != "constant":  # these are made of pieces
        extents = c.known_sizes()
        pieces = max((hi // max(n - 1, 1) for n, pair in zip(extents, sides, strict=True) for hi in pair), default=0)
        c.refuse_unless(pieces <= 100, f"padding {sides} of {x.type} repeats it {pieces} times")
    return gn.pad(x, sides, value, mode)
