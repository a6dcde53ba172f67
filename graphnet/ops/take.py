"""Reading and writing elements by integer nodes, under the names that users of arrays know. All of it is `Take` and
`Scatter` of `gather`, which says what negative indices and those out of range mean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import GraphnetError, ShapeError
from ..node import Node, apply, constant
from ..site import located
from ..types import Extent, Shape, broadcast_shapes, concrete, normalise_axes, size
from .arithmetic import add, maximum, minimum, mul
from .broadcast import broadcast_to, reshape
from .compare import lt, where
from .elementwise import cast
from .gather import Scatter, Take, scattered
from .move import slice
from .positions import zeros


def _node(x: Any) -> Node:
    return x if isinstance(x, Node) else constant(x)


# ------------------------------------------------------------------------------------------ reading


@located
def take(x: Node, indices: Any, axis: int | None = None) -> Node:
    """Elements of `x` by indices of any shape, which replaces `axis` (None: of all elements, in the order of memory).
    numpy.take; ONNX Gather."""
    if axis is None:
        return apply(Take(0), reshape(x, (-1,)), _node(indices))
    (a,) = normalise_axes(axis, x.rank)
    return apply(Take(a), x, _node(indices))


@located
def embedding(indices: Any, table: Node) -> Node:
    """Rows (..., features) of a table (rows, features) by indices (...). Its gradient adds the cotangents of equal
    indices in the order of memory."""
    if table.rank != 2:
        raise ShapeError(f"embedding: a table is (rows, features), not {table!r}")
    return apply(Take(0), table, _node(indices))


@located
def take_along_axis(x: Node, indices: Any, axis: int = -1) -> Node:
    """y[..., i, ...] = x[..., indices[..., i, ...], ...], other axes broadcast. numpy.take_along_axis."""
    x, i, a = _along(x, _node(indices), axis)
    return gather_elements(x, i, a)


@located
def gather_elements(x: Node, indices: Any, axis: int = 0) -> Node:
    """take_along_axis without broadcasting: indices may cover less of the other axes than `x` has, from their start.
    ONNX GatherElements; torch.gather."""
    (a,) = normalise_axes(axis, x.rank)
    return apply(Take(a, _others(a, x.rank)), x, _node(indices))


@located
def gather_nd(x: Node, indices: Any, batch_dims: int = 0) -> Node:
    """Indices (batch..., U..., K), each K of them for the axes of `x` after the batch: (batch..., U..., rest of x).
    ONNX GatherND."""
    y, i, op = _points(x, _node(indices), batch_dims)
    return apply(Take(*op), y, i)


def take_axes(x: Node, indices: Sequence[Node], first: int) -> Node:
    """Elements by one index an axis, from axis `first` on; the indices broadcast, and replace the axes."""
    shape = broadcast_shapes(*(i.shape for i in indices))
    wide = [broadcast_to(i, shape) for i in indices]
    at = _linear(wide, x.shape[first : first + len(indices)])
    return apply(Take(first), _flat(x, first, len(indices)), at)


# ------------------------------------------------------------------------------------------ writing


@located
def put_along_axis(x: Node, indices: Any, values: Any, axis: int = -1, reduction: str = "none") -> Node:
    """`x` with y[..., indices[..., i, ...], ...] = values[..., i, ...], or what is there combined with it by "add",
    "mul", "max" or "min"; other axes broadcast. numpy.put_along_axis."""
    x, i, a = _along(x, _node(indices), axis)
    return scatter_elements(x, i, broadcast_to(_of(values, x), i.shape), a, reduction)


@located
def scatter_elements(x: Node, indices: Any, updates: Any, axis: int = 0, reduction: str = "none") -> Node:
    """put_along_axis without broadcasting: indices and updates may cover less of the other axes than `x` has.
    ONNX ScatterElements; torch.scatter, torch.scatter_reduce."""
    (a,) = normalise_axes(axis, x.rank)
    return scattered(Scatter(a, _others(a, x.rank), reduction), x, _node(indices), _of(updates, x))


@located
def scatter_nd(x: Node, indices: Any, updates: Any, reduction: str = "none", batch_dims: int = 0) -> Node:
    """`x` with updates (batch..., U..., rest of x) at the places of gather_nd. ONNX ScatterND."""
    y, i, op = _points(x, _node(indices), batch_dims)
    return reshape(scattered(Scatter(*op, reduction), y, i, _of(updates, x)), x.shape)


@located
def index_add(x: Node, indices: Any, updates: Any, axis: int = 0) -> Node:
    """`x` with updates, laid out as take(x, indices, axis), added in the places of the indices. torch.index_add."""
    (a,) = normalise_axes(axis, x.rank)
    return scattered(Scatter(a, (), "add"), x, _node(indices), _of(updates, x))


@located
def index_update(x: Node, indices: Any, updates: Any, axis: int = 0) -> Node:
    """`x` with updates, laid out as take(x, indices, axis), in the places of the indices; of equal indices the last
    one counts. torch.index_copy."""
    (a,) = normalise_axes(axis, x.rank)
    return scattered(Scatter(a), x, _node(indices), _of(updates, x))


@located
def bincount(x: Node, length: int, weights: Node | None = None) -> Node:
    """How often each of 0 ... length - 1 is among the integers `x` (int32), or the sum of its weights. Other values
    are not counted. numpy.bincount, whose length the data would decide."""
    flat = reshape(x, (-1,))
    each = constant(1, "int32") if weights is None else reshape(weights, (-1,))
    at = where(lt(flat, 0), length, minimum(flat, length))
    counted = zeros((length + 1,), each.dtype)
    return slice(scattered(Scatter(0, (), "add"), counted, at, broadcast_to(each, flat.shape)), (0,), (length,))


# ------------------------------------------------------------------------------------------ what they share


def _of(values: Any, x: Node) -> Node:
    return values if isinstance(values, Node) else constant(values, x.dtype)


def _others(axis: int, rank: int) -> tuple[int, ...]:
    return tuple(a for a in range(rank) if a != axis)


def _along(x: Node, indices: Node, axis: int) -> tuple[Node, Node, int]:
    """Both broadcast to each other off the axis."""
    if x.rank != indices.rank:
        raise ShapeError(f"indices {indices!r} need the rank of {x!r}")
    (a,) = normalise_axes(axis, x.rank)
    off: list[Shape] = [(*n.shape[:a], 1, *n.shape[a + 1 :]) for n in (x, indices)]
    shape = broadcast_shapes(*off)
    x, indices = (broadcast_to(n, (*shape[:a], n.shape[a], *shape[a + 1 :])) for n in (x, indices))
    return x, indices, a


def _points(x: Node, indices: Node, batch_dims: int) -> tuple[Node, Node, tuple[int, tuple[int, ...]]]:
    """`x` with the axes that each index names as one, indices into that, and the attributes of Take or Scatter."""
    if indices.rank < 1 or not 0 <= batch_dims < indices.rank:
        raise ShapeError(f"batch_dims {batch_dims} does not fit the indices {indices!r}")
    if indices.shape[:batch_dims] != x.shape[:batch_dims]:
        raise ShapeError(f"the batches of {x!r} and of the indices {indices!r} differ")
    (k,) = concrete(indices.shape[-1:])
    if not 1 <= k <= x.rank - batch_dims:
        raise ShapeError(f"indices {indices!r} name {k} axes of {x!r} after {batch_dims} of the batch")
    each = []
    for j in range(k):
        starts, stops = [0] * (indices.rank - 1) + [j], [None] * (indices.rank - 1) + [j + 1]
        each.append(reshape(slice(indices, starts, stops), indices.shape[:-1]))
    i = _linear(each, x.shape[batch_dims : batch_dims + k])
    return _flat(x, batch_dims, k), i, (batch_dims, tuple(range(batch_dims)))


def _flat(x: Node, first: int, count: int) -> Node:
    """`count` axes as one."""
    return reshape(x, (*x.shape[:first], size(x.shape[first : first + count]), *x.shape[first + count :]))


def _linear(indices: Sequence[Node], extents: Shape) -> Node:
    """The row-major number of the element that one index an axis names, each of them in its range."""
    if len(indices) == 1:
        return indices[0]
    total: Node | None = None
    for i, e in zip(indices, extents, strict=True):
        n = _known(e)
        at = cast(i, "int64")
        at = maximum(minimum(where(lt(at, 0), add(at, n), at), n - 1), 0)
        total = at if total is None else add(mul(total, n), at)
    assert total is not None
    return total


def _known(e: Extent) -> int:
    if not isinstance(e, int):
        raise GraphnetError(f"several indices at once need known extents, not {e}; index one axis after another")
    return e
