"""Windows that slide over the last axes of images: what convolution and pooling share.

A window of k taps, `dilation` apart, reaches over dilation * (k - 1) + 1 elements; its position i begins at
i * stride - padding. All that is here is for one axis or for a tuple of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from codegen.compute import Axis, axis
from codegen.expr import Expr, maximum, minimum

from ..errors import ShapeError
from ..types import Extent

Pair = tuple[int, int]
Ints = tuple[int, ...]
Padding = tuple[Pair, ...]  # before and after, axis by axis

COUNTS = {1: "one", 2: "two", 3: "three"}


def ints_of(value: object, what: str, count: int, least: int = 1) -> Ints:
    """An integer, which counts for each of `count` axes, or as many; each at least `least`."""
    items: list[Any] = list(value) if isinstance(value, (tuple, list)) else [value] * count
    if len(items) != count or any(isinstance(i, bool) or not hasattr(i, "__index__") for i in items):
        several = f" or {COUNTS.get(count, count)}" if count > 1 else ""
        raise ShapeError(f"{what} must be an integer{several}, not {value!r}")
    found = tuple(i.__index__() for i in items)
    if any(i < least for i in found):
        raise ShapeError(f"{what} must be at least {least}, not {value!r}")
    return found


def pair_of(value: object, what: str, least: int = 1) -> Pair:
    """An integer, or two, each at least `least`."""
    a, b = ints_of(value, what, 2, least)
    return a, b


def reach(k: int, dilation: int) -> int:
    """How many elements lie between the first tap and the last, these included."""
    return dilation * (k - 1) + 1


def padding_of(value: object, shape: Sequence[Extent], window: Ints, stride: Ints, dilation: Ints) -> Padding:
    """Elements added before and after along each axis: "valid" adds none; "same" makes the output ceil(n / stride)
    with the odd one after (as TensorFlow), "same_lower" with the odd one before; a number goes on all sides, one an
    axis on both of its sides, or pairs as they are."""
    rank = len(window)
    if value == "valid":
        return ((0, 0),) * rank
    if value in ("same", "same_lower"):
        sides = []
        for n, k, s, d in zip(shape, window, stride, dilation, strict=True):
            if s == 1:
                total = reach(k, d) - 1
            elif isinstance(n, int):
                total = max((-(-n // s) - 1) * s + reach(k, d) - n, 0)
            else:
                raise ShapeError(f"padding {value!r} with stride {s} depends on the symbolic size {n}; give numbers")
            small, large = total // 2, total - total // 2
            sides.append((small, large) if value == "same" else (large, small))
        return tuple(sides)
    if isinstance(value, str):
        raise ShapeError(f'padding must be "valid", "same", "same_lower", a number or pairs, not {value!r}')
    if isinstance(value, (tuple, list)) and len(value) == rank and all(isinstance(v, (tuple, list)) for v in value):
        return tuple(pair_of(v, "padding", 0) for v in value)
    return tuple((a, a) for a in ints_of(value, "padding", rank, 0))


def check_window(op: str, rank: int, stride: Ints, padding: Padding, dilation: Ints) -> None:
    """Raises ShapeError for attributes that no window of `rank` axes has, however they came."""
    for what, value in (("stride", stride), ("dilation", dilation)):
        if not isinstance(value, tuple):
            raise ShapeError(f"{op}: {what} must be {COUNTS[rank]} integers, not {value!r}")
        ints_of(value, f"{op}: {what}", rank)
    if len(padding) != rank:
        raise ShapeError(f"{op}: padding must be {COUNTS[rank]} pairs, not {padding!r}")
    for p in padding:
        pair_of(p, f"{op}: padding", 0)


def output_extent(n: Extent, k: int, stride: int, padding: Pair, dilation: int = 1) -> Extent:
    """How many positions a window of k has in n padded elements."""
    return (n + padding[0] + padding[1] - reach(k, dilation)) // stride + 1


def output_extents(
    shape: Sequence[Extent], window: Sequence[Extent], stride: Ints, padding: Padding, dilation: Ints
) -> tuple[Extent, ...]:
    """(H, W) -> (P, Q); raises ShapeError where that would be empty or the window is not concrete."""
    if not all(isinstance(k, int) and k >= 1 for k in window):
        raise ShapeError(f"a window must have concrete sizes >= 1, not {tuple(window)}")
    each = zip(shape, window, stride, padding, dilation, strict=True)
    out = tuple(output_extent(n, int(k), s, p, d) for n, k, s, p, d in each)  # type: ignore[arg-type]
    return fitting(out, shape, window, padding, dilation)


def fitting(
    out: tuple[Extent, ...], shape: Sequence[Extent], window: Sequence[Extent], padding: Padding, dilation: Ints
) -> tuple[Extent, ...]:
    """`out`; raises ShapeError where it is empty."""
    if any(isinstance(e, int) and e < 1 for e in out):
        text = "x".join
        given, wanted, got = (text(map(str, t)) for t in (shape, window, out))
        extra = f" with dilation {dilation}" if any(d != 1 for d in dilation) else ""
        pads = f" padded by {padding}" if any(any(p) for p in padding) else ""
        raise ShapeError(f"a {wanted} window{extra} does not fit the {given} input{pads}: the output would be {got}")
    return out


def span(name: str, extent: int, first: Expr, least: int, most: int, step: int, limit: int) -> Axis:
    """The t of 0 <= t < extent for which 0 <= first + t * step < limit. `first` lies in least..most:
    where that leaves nothing out, the bounds are constants."""
    lo: object = 0 if least >= 0 else maximum(((step - 1) - first) // step, 0)
    inside = most + (extent - 1) * step < limit
    hi: object = extent if inside else minimum(((limit + step - 1) - first) // step, extent)
    return axis(name, extent, lo, hi)
