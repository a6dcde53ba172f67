"""Sorting and what follows from it: values are `take` of the places in order, so all of it is differentiable. `order`
says where NaN goes and what becomes of equal elements. What has no size before it runs is refused here, by name."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import DTypeError, GraphnetError, ShapeError
from ..node import Node, apply, constant
from ..site import located
from ..types import concrete, normalise_axes
from .broadcast import reshape
from .compare import eq, ne, where
from .elementwise import cast
from .index import squeeze
from .move import slice
from .order import MergeOrder, SearchSorted
from .rearrange import split
from .reduce import mean
from .take import bincount, gather_elements


@located
def argsort(x: Node, axis: int = -1, descending: bool = False) -> Node:
    """The places (int32) of the elements along `axis` in ascending or descending order; of equal ones the first comes
    first. numpy.argsort(kind="stable")."""
    (a,) = normalise_axes(axis, x.rank)
    planes = apply(MergeOrder(a, bool(descending)), x)
    return cast(reshape(slice(planes, [0] * planes.rank, [1, *x.shape]), x.shape), "int32")


@located
def sort(x: Node, axis: int = -1, descending: bool = False) -> Node:
    """The elements along `axis` in ascending or descending order. Differentiable. numpy.sort."""
    return gather_elements(x, argsort(x, axis, descending), axis)


@located
def top_k(x: Node, k: int, axis: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Node, Node]:
    """The k largest or smallest elements along `axis`, best first, and their places (int32); of equal ones the first.
    `sorted=False` says that their order does not matter; they are sorted all the same. torch.topk; ONNX TopK."""
    (a,) = normalise_axes(axis, x.rank)
    e = x.shape[a]
    if not isinstance(k, int) or k < 0 or (isinstance(e, int) and k > e):
        raise ShapeError(f"top_k: k is an integer from 0 to {e}, the extent of axis {a} of {x!r}, not {k!r}")
    order = argsort(x, a, largest)
    best = slice(order, [0] * x.rank, [k if b == a else n for b, n in enumerate(x.shape)])
    return gather_elements(x, best, a), best


@located
def kth_value(x: Node, k: int, axis: int = -1) -> tuple[Node, Node]:
    """The k-th smallest element along `axis` (from 1), and its place (int32), both without the axis. torch.kthvalue."""
    (a,) = normalise_axes(axis, x.rank)
    values, places = top_k(x, k, a, largest=False)
    if k < 1:
        raise ShapeError(f"kth_value: k is at least 1, not {k}")
    return squeeze(split(values, [k - 1, 1], a)[1], a), squeeze(split(places, [k - 1, 1], a)[1], a)


@located
def median(x: Node, axis: int = -1) -> Node:
    """The middle element along `axis`, or the mean of the two in the middle; NaN if there is one. numpy.median."""
    (a,) = normalise_axes(axis, x.rank)
    (n,) = concrete((x.shape[a],))
    if n == 0 or not x.type.is_float:
        raise DTypeError(f"median takes floats along an axis with elements, not {x!r}")
    ordered = sort(x, a)
    _, middle, _ = split(ordered, [(n - 1) // 2, 2 - n % 2, (n - 1) // 2], a)
    last = split(ordered, [n - 1, 1], a)[1]  # NaN, if there is one
    return where(ne(squeeze(last, a), squeeze(last, a)), squeeze(last, a), mean(middle, a))


@located
def searchsorted(vector: Any, values: Any, right: bool = False) -> Node:
    """For each value how many elements of a sorted vector are less (int32), or not greater if `right`.
    numpy.searchsorted."""
    v = values if isinstance(values, Node) else constant(values, vector.dtype)
    return apply(SearchSorted(bool(right)), vector if isinstance(vector, Node) else constant(vector, v.dtype), v)


@located
def histogram(x: Node, bins: int, range: tuple[float, float]) -> Node:
    """How many elements of `x` (int32) lie in each of `bins` equal parts of `range`, which both ends belong to; others
    are not counted. numpy.histogram, whose range the data would decide."""
    low, high = range
    if bins < 1 or not low < high or not x.type.is_float:
        raise ShapeError(f"histogram of floats takes at least one bin and a range low < high, not {bins} and {range}")
    edges = np.linspace(low, high, bins + 1).astype(x.dtype)
    flat = reshape(x, (-1,))
    part = searchsorted(edges, flat, right=True) - 1
    last = constant(edges[-1], x.dtype)
    return bincount(where(eq(flat, last), bins - 1, where(flat < last, part, -1)), bins)


def _refused(name: str, instead: str) -> None:
    raise GraphnetError(
        f"{name}: the shape of the result depends on the values, and all sizes are known before a graph runs; {instead}"
    )


@located
def nonzero(x: Node) -> None:
    """Refused: how many elements are not zero is not known before the graph runs."""
    _refused("nonzero", "use gn.where(x != 0, ..., 0), or gn.top_k of the mask for a fixed number of places")


@located
def unique(x: Node) -> None:
    """Refused: how many different elements there are is not known before the graph runs."""
    _refused("unique", "use gn.sort, or gn.bincount(x, length) for integers in a known range")


@located
def compress(condition: Node, x: Node, axis: int | None = None) -> None:
    """Refused: how many elements a condition selects is not known before the graph runs."""
    _refused("compress", "use gn.where(condition, x, 0), or gn.take with a fixed number of indices")
