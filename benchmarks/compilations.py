"""A thousand compilations of different small training steps in one process, each dropped: how much memory stays.

    python benchmarks/compilations.py [COUNT]

Prints resident megabytes after a few compilations, and how many more there are after each tenth of the rest. Nothing is
taken from the disk: GRAPHNET_CACHE is off here.
"""

from __future__ import annotations

import gc
import os
import sys

import numpy as np

import graphnet as gn

SETTLE = 20  # compilations before memory is looked at: imports, the compiler's own tables
ALLOWED = 20.0  # megabytes that may stay of a thousand


def resident() -> float:
    """Megabytes of this process in memory."""
    gc.collect()
    with open("/proc/self/statm") as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def compile_and_drop(number: int) -> None:
    """A step that no other number gives: other shapes, another constant."""
    rows, columns = 4 + number % 50, 3 + number // 50
    x, w = gn.input("x", ("N", rows)), gn.parameter("w", (rows, columns))
    loss = gn.sum(gn.tanh(x @ w) * float(number + 1))
    step = gn.compile(loss, [x], {w: w - 0.1 * gn.gradient(loss, [w])[0]}, threads=1 + number % 2)
    step(np.ones((3, rows), "f"))


def main(count: int) -> float:
    """Megabytes that stay."""
    for k in range(SETTLE):
        compile_and_drop(count + k)
    before = resident()
    print(f"{before:.1f} MB after {SETTLE} compilations")
    for k in range(count):
        compile_and_drop(k)
        if (k + 1) % max(1, count // 10) == 0:
            print(f"{k + 1:5} more: {resident() - before:+.1f} MB", flush=True)
    return resident() - before


if __name__ == "__main__":
    os.environ["GRAPHNET_CACHE"] = "off"
    stays = main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
    sys.exit(stays > ALLOWED)
