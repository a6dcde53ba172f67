"""Memory for arrays: it starts on a cache line, and large results are written where those before them were.

Memory that is new to a process costs more than writing it: the system clears every page on its first touch, and takes
it back when it is freed. Of 12.8 MB, a result of 64 channels and 56x56 pixels, that is a millisecond each time.
"""

from __future__ import annotations

import math
from sys import getrefcount

import numpy as np

ALIGNMENT = 64  # bytes: kernels that store past the caches want it
KEPT = 2  # arrays: in `y = f(x)` the last result is there until the next has been computed


def aligned_empty(nbytes: int) -> np.ndarray:
    """Uninitialised bytes that start on a cache line."""
    return _from_a_line(np.empty(nbytes + ALIGNMENT, np.uint8), nbytes)


def aligned_zeros(nbytes: int) -> np.ndarray:
    """Zero bytes, likewise; many of them are not touched before somebody else does."""
    return _from_a_line(np.zeros(nbytes + ALIGNMENT, np.uint8), nbytes)


def _from_a_line(memory: np.ndarray, nbytes: int) -> np.ndarray:
    skip = -memory.ctypes.data % ALIGNMENT
    return memory[skip : skip + nbytes]


class Results:
    """Uninitialised arrays of one shape and dtype, one a call. Memory that nobody holds any more, by an array or by any
    view of one, is used again; where more than KEPT arrays are held at once, the others are new.

    Not for calls from several threads at once."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape = shape
        self.dtype = dtype
        self.nbytes = dtype.itemsize * math.prod(shape)
        self._owners: list[np.ndarray] = []  # every view of an array, and of its views, refers to the array's owner

    def __call__(self) -> np.ndarray:
        for owner in self._owners:
            if getrefcount(owner) <= UNHELD:
                return self._array(owner)
        owner = np.empty(self.nbytes + ALIGNMENT, np.uint8)
        if len(self._owners) < KEPT:
            self._owners.append(owner)
        return self._array(owner)

    def _array(self, owner: np.ndarray) -> np.ndarray:
        return _from_a_line(owner, self.nbytes).view(self.dtype).reshape(self.shape)


def _unheld() -> int:
    """What `getrefcount` says in the loop above of an owner that nobody else refers to."""
    for owner in [np.empty(1)]:
        return getrefcount(owner)
    return 0


UNHELD = _unheld()
