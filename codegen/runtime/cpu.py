"""Executables for the CPU: a whole program as one native function."""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Sequence

import numpy as np

from ..cpu import Code, compile_ir
from ..emit import emit_functions
from ..loops import Kernel
from ..program import Program
from .threads import BARRIER_IR, Pool, pool

COUNTER = "readcyclecounter" if platform.machine() in ("x86_64", "AMD64") else "readsteadycounter"
POOL, CLOCK, FIRST_SLOT = 0, 1, 2  # places in the table of pointers that the entry point receives
ALIGNMENT = 64


def aligned_empty(nbytes: int) -> np.ndarray:
    """Uninitialised bytes that start on a cache line."""
    memory = np.empty(nbytes + ALIGNMENT, np.uint8)
    skip = -memory.ctypes.data % ALIGNMENT
    return memory[skip : skip + nbytes]


_DATA = object.__basicsize__  # in NumPy's array objects the address of the data follows Python's header
_word = ctypes.c_size_t.from_address


def address(array: np.ndarray) -> int:
    """Where the array's data begins: a tenth of the time that `array.ctypes.data` takes, each call of a function
    asks for at least two."""
    return _word(id(array) + _DATA).value


if address(_probe := np.empty(1)) != _probe.ctypes.data:  # another layout of Python's or NumPy's objects

    def address(array: np.ndarray) -> int:
        return int(array.ctypes.data)


def entry_ir(program: Program, kernels: Sequence[Kernel]) -> str:
    """The entry points, `program` and `prepare`: thread `tid`'s share of their kernels in order, barriers where data
    crosses threads, and the time before the first and after each kernel."""
    declared = f"declare i64 @llvm.{COUNTER}()\n"
    return declared + "".join(_entry(program, kernels, name, numbers) for name, numbers in _parts(program).items())


def _parts(program: Program) -> dict[str, range]:
    """The entry points and the numbers of their steps."""
    parts = {"program": range(program.first, len(program.steps))}
    return parts | ({"prepare": range(program.first)} if program.first else {})


def _entry(program: Program, kernels: Sequence[Kernel], name: str, numbers: range) -> str:
    lines = [
        f'define void @"{name}"(ptr %table, i64 %tid, i64 %threads) nounwind {{',
        "entry:",
        "  %pool = load ptr, ptr %table",
        "  %clock.at = getelementptr ptr, ptr %table, i64 1",
        "  %clock = load ptr, ptr %clock.at",
        "  %first = icmp eq i64 %tid, 0",
    ]
    steps, waits = program.steps, program.barriers()
    used = sorted({s for n in numbers for s in steps[n].slots})
    for s in used:
        lines.append(f"  %at{s} = getelementptr ptr, ptr %table, i64 {FIRST_SLOT + s}")
        lines.append(f"  %slot{s} = load ptr, ptr %at{s}")

    def stamp(n: int) -> None:
        lines.append(f"  br i1 %first, label %stamp{n}, label %go{n}")
        lines.append(f"stamp{n}:")
        lines.append(f"  %time{n} = call i64 @llvm.{COUNTER}()")
        lines.append(f"  %place{n} = getelementptr i64, ptr %clock, i64 {n}")
        lines.append(f"  store i64 %time{n}, ptr %place{n}")
        lines.append(f"  br label %go{n}")
        lines.append(f"go{n}:")

    after = 0 if name == "prepare" else 1  # the end of preparation is not the start of the program
    stamp(numbers.start + after)
    for n in numbers:
        if waits[n]:
            lines.append("  call void @barrier(ptr %pool, i64 %threads)")
        args = ", ".join([f"ptr %slot{s}" for s in steps[n].slots] + ["i64 %tid", "i64 %threads"])
        lines.append(f'  call void @"{kernels[n].name}"({args})')
        stamp(n + after + 1)
    lines += ["  ret void", "}"]
    return "\n".join(lines) + "\n"


def program_ir(program: Program, kernels: Sequence[Kernel]) -> str:
    """The whole program as LLVM IR: kernels, the barrier, the entry point."""
    return emit_functions(tuple(kernels)) + BARRIER_IR + entry_ir(program, kernels)


class CpuExecutable:
    """A program's code for this CPU, with its arena and its table of pointers.

    Freed with the object: code, arena and all."""

    def __init__(self, program: Program, code: Code, threads: int) -> None:
        self.program = program
        self.code = code
        self.threads = threads
        self.arena = aligned_empty(max(program.arena_bytes, 1))
        self.clock = np.zeros(len(program.steps) + 2, np.int64)
        self.table = np.zeros(FIRST_SLOT + len(program.slots), np.uintp)
        self._slots = self.table.data[FIRST_SLOT:]  # a memoryview: quicker to write into than the array
        base = self.arena.ctypes.data
        self.table[CLOCK] = self.clock.ctypes.data
        for n, slot in enumerate(program.slots):
            if slot.kind == "arena":
                self.table[FIRST_SLOT + n] = base + slot.offset
        self._entry = self.code.address("program")
        self._prepare = self.code.address("prepare") if program.first else 0
        self._table_address = self.table.ctypes.data
        self._pool: Pool | None = None

    def bind(self, slot: int, array: np.ndarray) -> None:
        """Points an external slot at an array, which the caller keeps alive while the program runs."""
        self._slots[slot] = address(array)

    bind_output = bind

    def prepare(self) -> None:
        """Runs the steps whose results are kept between runs."""
        if self._prepare:
            self._start(self._prepare)

    def run(self) -> None:
        self._start(self._entry)

    def _start(self, entry: int) -> None:
        if self._pool is None:
            self._pool = pool(self.threads)
            self.table[POOL] = self._pool.address
        self._pool.run(entry, self._table_address)

    def kernel_seconds(self, ticks_per_second: float) -> np.ndarray:
        """Seconds of each kernel in the last run, or of its last preparation, waits for other threads before it
        included."""
        return np.delete(np.diff(self.clock), self.program.first) / ticks_per_second


def ticks_per_second() -> float:
    """The rate of the counter that times kernels, measured against the system's clock."""
    code = compile_ir(
        f"declare i64 @llvm.{COUNTER}()\ndefine i64 @now() {{\n  %t = call i64 @llvm.{COUNTER}()\n  ret i64 %t\n}}\n"
    )
    now = ctypes.CFUNCTYPE(ctypes.c_int64)(code.address("now"))
    start, t0 = now(), time.perf_counter()
    time.sleep(0.01)
    return float((now() - start) / (time.perf_counter() - t0))
