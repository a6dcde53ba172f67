"""Values of known lifetimes in one piece of memory: offsets, so that no two overlap that live at the same time.

The least possible size is not always reached (that problem is NP-hard), but `live` bounds it from below. Values are
placed one by one at the lowest offset where they fit, the largest first, or those first that hold most bytes for most
time: whichever needs less. (Y. Pisarchyk, J. Lee: Efficient memory management for deep neural net inference. 2020.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Life:
    """A value of so many bytes, from the step that makes it to the last one that reads it."""

    nbytes: int
    first: int
    last: int


def live(lives: Sequence[Life]) -> int:
    """The most bytes that live at once."""
    change: dict[int, int] = {}
    for v in lives:
        change[v.first] = change.get(v.first, 0) + v.nbytes
        change[v.last + 1] = change.get(v.last + 1, 0) - v.nbytes
    now = most = 0
    for step in sorted(change):
        now += change[step]
        most = max(most, now)
    return most


def place(lives: Sequence[Life]) -> tuple[list[int], int]:
    """An offset for each value, and the bytes of all together."""
    by_bytes = _place(lives, lambda v: v.nbytes)
    if by_bytes[1] == live(lives):
        return by_bytes
    by_area = _place(lives, lambda v: v.nbytes * (v.last - v.first + 1))
    return min(by_bytes, by_area, key=lambda placed: placed[1])


def _place(lives: Sequence[Life], importance: Callable[[Life], int]) -> tuple[list[int], int]:
    """Every value meets all that are there already, so the columns are arrays: tens of thousands take seconds."""
    offsets, size = [0] * len(lives), 0
    begin, end, first, last = np.zeros((4, len(lives)), np.int64)  # of the placed ones, by offset
    order = sorted(range(len(lives)), key=lambda k: (-importance(lives[k]), lives[k].first))
    for count, k in enumerate(order):
        v = lives[k]
        meets = (last[:count] >= v.first) & (first[:count] <= v.last)
        free = np.maximum.accumulate(np.append(0, end[:count][meets]))  # from where on, below each of them and above
        fits = np.flatnonzero(begin[:count][meets] - free[:-1] >= v.nbytes)
        offset = int(free[fits[0]] if fits.size else free[-1])
        at = int(np.searchsorted(begin[:count], offset, "right"))
        for column, value in ((begin, offset), (end, offset + v.nbytes), (first, v.first), (last, v.last)):
            column[at + 1 : count + 1] = column[at:count]
            column[at] = value
        offsets[k] = offset
        size = max(size, offset + v.nbytes)
    return offsets, size
