"""Padding in all of NumPy's usual modes: a constant around, or elements of the array itself, in flipped or repeated
pieces. What is cropped (negative padding) is cut off first."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import ShapeError
from ..node import Node, apply
from ..site import located
from .broadcast import broadcast_to
from .move import Pad, concatenate, flip, slice

MODES = ("constant", "edge", "reflect", "symmetric", "wrap")


@located
def pad(
    x: Node, padding: int | Sequence[int | tuple[int, int]], value: float = 0, mode: str = "constant"
) -> Node:
    """`x` with more around it: one number of elements for all sides, or for each axis a number or (before, after).
    Negative numbers crop. numpy.pad, whose modes are

        constant     value value | a b c d | value value
        edge             a a     | a b c d |     d d
        reflect          c b     | a b c d |     c b
        symmetric        b a     | a b c d |     d c
        wrap             c d     | a b c d |     a b
    """
    each = [padding] * x.rank if isinstance(padding, int) else list(padding)
    if len(each) != x.rank:
        raise ShapeError(f"pad: {len(each)} paddings for the {x.rank} axes of {x!r}")
    if mode not in MODES:
        raise ShapeError(f"pad: mode {mode!r}; there are {', '.join(MODES)}")
    pairs = [(p, p) if isinstance(p, int) else (int(p[0]), int(p[1])) for p in each]
    x = _cropped(x, pairs)
    pairs = [(max(lo, 0), max(hi, 0)) for lo, hi in pairs]
    if not any(lo or hi for lo, hi in pairs):
        return x
    if mode == "constant":
        return apply(Pad(tuple(lo for lo, _ in pairs), tuple(hi for _, hi in pairs), (0,) * x.rank, value), x)
    for a, (lo, hi) in enumerate(pairs):
        if lo or hi:
            x = concatenate(_pieces(x, a, lo, hi, mode), a)
    return x


def _cropped(x: Node, pairs: Sequence[tuple[int, int]]) -> Node:
    for a, ((lo, hi), e) in enumerate(zip(pairs, x.shape, strict=True)):
        if isinstance(e, int) and max(-lo, 0) + max(-hi, 0) > e:
            raise ShapeError(f"pad: ({lo}, {hi}) crops more than the {e} elements of axis {a} of {x!r}")
    starts = [max(-lo, 0) for lo, _ in pairs]
    return slice(x, starts, [e - max(-hi, 0) for e, (_, hi) in zip(x.shape, pairs, strict=True)])


def _pieces(x: Node, axis: int, low: int, high: int, mode: str) -> list[Node]:
    """`x` and, on both sides, as much of it as padding takes; more than once where that is more than there is."""
    e = x.shape[axis]
    if e == 0 or (mode == "reflect" and e == 1):
        if mode == "reflect" and e == 1:  # as NumPy: the only element
            return _pieces(x, axis, low, high, "edge")
        raise ShapeError(f"pad: mode {mode!r} needs elements along axis {axis} of {x!r}")
    if mode == "edge":
        left, right = _part(x, axis, 0, 1), _part(x, axis, e - 1, e)
        sides = [_repeated(left, axis, low), x, _repeated(right, axis, high)]
        return [s for s, n in zip(sides, (low, 1, high), strict=True) if n]
    period = e - 1 if mode == "reflect" else e  # how much of x one side takes before it repeats

    def unit(number: int, before: bool) -> Node:
        """What stands at distance `number` (from 1): flipped for odd ones, unless it wraps."""
        turned = mode != "wrap" and number % 2 == 1
        part = x
        if mode == "reflect":  # each piece leaves out the element that its neighbour ends with
            part = _part(x, axis, 0, e - 1) if before != turned else _part(x, axis, 1, e)
        return flip(part, axis) if turned else part

    first: list[Node] = []
    last: list[Node] = []
    for before, wanted, found in ((True, low, first), (False, high, last)):
        number = 1
        while wanted:
            piece = unit(number, before)
            if not isinstance(period, int) or wanted < period:  # of a symbolic extent: no more than there is
                piece = _part(piece, axis, period - wanted, None) if before else _part(piece, axis, 0, wanted)
                wanted = 0
            else:
                wanted -= period
            found.append(piece)
            number += 1
    return [*first[::-1], x, *last]


def _part(x: Node, axis: int, start: object, stop: object) -> Node:
    whole: list[object] = [0] * x.rank
    ends: list[object] = [None] * x.rank
    whole[axis], ends[axis] = start, stop
    return slice(x, whole, ends)  # type: ignore[arg-type]


def _repeated(x: Node, axis: int, times: int) -> Node:
    return broadcast_to(x, (*x.shape[:axis], times, *x.shape[axis + 1 :]))
