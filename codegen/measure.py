"""What this machine can do, measured once and cached: the floor under every kernel's time.

    FMA rate     a register tile of independent FMAs with nothing else in the loop
    bandwidth    reading and adding up arrays that fit in L2, in L3, and in neither
"""

from __future__ import annotations

import ctypes
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np

from .cache import folder
from .cpu import compile_kernels
from .expr import Buffer, Fma, Var
from .loops import Alloc, Kernel, Stmt, loop, store
from .machine import Machine, available_threads, machine

WORKING_SETS = (256 << 10, 8 << 20, 128 << 20)  # bytes


@dataclass(frozen=True, slots=True)
class Rates:
    """Of one core: float32 operations a second (an FMA is two), and bytes a second by working set."""

    flops: float
    bandwidth: tuple[float, float, float]

    def seconds(self, flops: float, nbytes: float, threads: int) -> float:
        """The least time for so many operations over so many distinct bytes: whichever takes longer."""
        return max(flops / (self.flops * threads), nbytes / self.bytes_a_second(nbytes, threads))

    def bytes_a_second(self, nbytes: float, threads: int) -> float:
        """The bandwidth of what holds so many bytes."""
        # Caches are private to a core up to L2; memory is shared by all.
        level = next((i for i, w in enumerate(WORKING_SETS[:2]) if nbytes / threads <= 2 * w), 2)
        return self.bandwidth[level] * (threads if level < 2 else 1)


def _fma_kernel(m: Machine, steps: int) -> tuple[Kernel, float]:
    """steps * rows * vectors FMAs on registers, and how many operations that is."""
    lanes = m.lanes(4)
    rows, vectors = (12, 2) if m.registers == 32 else (5, 2)
    acc = Buffer("acc", "f32", (rows, vectors, lanes), "register")
    x, y = Buffer("x", "f32", (rows + vectors * lanes,)), Buffer("y", "f32", (rows, vectors, lanes))
    wide = Buffer("wide", "f32", (vectors, lanes), "register")
    i, j, v = Var("row"), Var("vec"), Var("lane")

    def tile(statement: Stmt) -> Stmt:
        return loop("unrolled", i, 0, rows, loop("unrolled", j, 0, vectors, loop("vector", v, 0, lanes, statement)))

    body = (
        Alloc(acc),
        Alloc(wide),
        tile(store(acc, (i, j, v), 0.0)),
        loop("unrolled", j, 0, vectors, loop("vector", v, 0, lanes, store(wide, (j, v), x[rows + j * lanes + v]))),
        loop("serial", "step", 0, steps, tile(store(acc, (i, j, v), Fma(x[i], wide[j, v], acc[i, j, v])))),
        tile(store(y, (i, j, v), acc[i, j, v])),
    )
    return Kernel("fma", (x, y), body), 2.0 * steps * rows * vectors * lanes


def _sum_kernel(m: Machine, elements: int) -> Kernel:
    """Adds up a float32 array, 8 vectors at a time."""
    lanes = m.lanes(4)
    acc = Buffer("acc", "f32", (8, lanes), "register")
    x, y = Buffer("x", "f32", (elements,)), Buffer("y", "f32", (8, lanes))
    j, v, b = Var("vec"), Var("lane"), Var("chunk")

    def tile(statement: Stmt) -> Stmt:
        return loop("unrolled", j, 0, 8, loop("vector", v, 0, lanes, statement))

    add = store(acc, (j, v), acc[j, v] + x[b * (8 * lanes) + j * lanes + v])
    body = (
        Alloc(acc),
        tile(store(acc, (j, v), 0.0)),
        loop("serial", b, 0, elements // (8 * lanes), tile(add)),
        tile(store(y, (j, v), acc[j, v])),
    )
    return Kernel(f"sum_{elements}", (x, y), body)


def _best_time(address: int, arrays: list[np.ndarray], repeats: int) -> float:
    pointers = [a.ctypes.data for a in arrays]
    f = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(arrays), ctypes.c_int64, ctypes.c_int64)(address)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        f(*pointers, 0, 1)
        best = min(best, time.perf_counter() - start)
    return best


def measure(m: Machine) -> Rates:
    """Measures, in about a quarter of a second."""
    fma, operations = _fma_kernel(m, 20_000)
    sums = [_sum_kernel(m, w // 4) for w in WORKING_SETS]
    code = compile_kernels([fma, *sums], m=m)
    x = np.ones(WORKING_SETS[-1] // 4, np.float32)
    y = np.empty(4096, np.float32)
    flops = operations / _best_time(code.address("fma"), [x, y], 20)
    near, middle, far = (
        w / _best_time(code.address(k.name), [x, y], r)
        for w, k, r in zip(WORKING_SETS, sums, (200, 20, 3), strict=True)
    )
    return Rates(flops, (near, middle, far))


@cache
def rates(extension: str = "") -> Rates:
    """The machine's rates: from the cache if it was measured before, else measured and kept there."""
    m = machine(extension)
    base = folder()
    if base is None:
        return measure(m)
    file = base / f"rates-{m.cpu}-{m.extension}-{available_threads()}.json"
    try:
        known = json.loads(file.read_text())
        near, middle, far = known["bandwidth"]
        return Rates(float(known["flops"]), (float(near), float(middle), float(far)))
    except (OSError, ValueError, KeyError, TypeError):
        found = measure(m)
    with suppress(OSError):  # a cache that cannot be written only costs the next process a measurement
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = file.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(asdict(found)))
        temporary.replace(file)
    return found
