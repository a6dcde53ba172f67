"""Values of known lifetimes in one piece of memory: offsets, so that no two overlap that live at the same time.

The least possible size is not always reached (that problem is NP-hard), but `live` bounds it from below. Values are
placed one by one at the lowest offset where they fit, the largest first, or those first that hold most bytes for most
time: whichever needs less. (Y. Pisarchyk, J. Lee: Efficient memory management for deep neural net inference. 2020.)
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass


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
    offsets, size = [0] * len(lives), 0
    placed: list[tuple[int, int, int, int]] = []  # offset, end, first, last: by offset
    for k in sorted(range(len(lives)), key=lambda k: (-importance(lives[k]), lives[k].first)):
        v, offset = lives[k], 0
        for begin, end, first, last in placed:
            if last < v.first or first > v.last:
                continue
            if begin - offset >= v.nbytes:
                break
            offset = max(offset, end)
        offsets[k] = offset
        insort(placed, (offset, offset + v.nbytes, v.first, v.last))
        size = max(size, offset + v.nbytes)
    return offsets, size
