"""Executables for the CPU: kernels in order, called by native code.

Every kernel is compiled by itself, as a function of a table of pointers and the numbers of its slots in it:

    kernel(ptr slots, ptr numbers, i64 tid, i64 threads)

so that its code depends on nothing else of the program. One function, `program`, runs the steps of any program.
"""

from __future__ import annotations

import ctypes
import platform
import time
from collections.abc import Iterable
from functools import cache

import numpy as np

from ..cpu import Code, compile_ir, compile_once
from ..emit import emit_functions
from ..loops import Kernel
from ..program import Outline
from .arrays import aligned_empty
from .entry import Entry, Input, entry
from .threads import BARRIER_IR, Pool, pool

COUNTER = "readcyclecounter" if platform.machine() in ("x86_64", "AMD64") else "readsteadycounter"
POOL, CLOCK, STEPS, COUNT, SLOTS = range(5)  # places in the words that `program` receives

# A step is three words: the kernel, its slots' numbers (32 bits each), and whether to wait for all threads before it.
PROGRAM_IR = f"""
declare i64 @llvm.{COUNTER}()

define void @program(ptr %job, i64 %tid, i64 %threads) nounwind {{
entry:
  %pool = load ptr, ptr %job
  %clock.at = getelementptr i64, ptr %job, i64 {CLOCK}
  %clock = load ptr, ptr %clock.at
  %steps.at = getelementptr i64, ptr %job, i64 {STEPS}
  %steps = load ptr, ptr %steps.at
  %count.at = getelementptr i64, ptr %job, i64 {COUNT}
  %count = load i64, ptr %count.at
  %slots.at = getelementptr i64, ptr %job, i64 {SLOTS}
  %slots = load ptr, ptr %slots.at
  %first = icmp eq i64 %tid, 0
  br label %next
next:
  %n = phi i64 [ 0, %entry ], [ %following, %call ]
  br i1 %first, label %stamp, label %check
stamp:
  %now = call i64 @llvm.{COUNTER}()
  %clock.n = getelementptr i64, ptr %clock, i64 %n
  store i64 %now, ptr %clock.n
  br label %check
check:
  %more = icmp ult i64 %n, %count
  br i1 %more, label %step, label %end
step:
  %at = mul i64 %n, 3
  %kernel.at = getelementptr i64, ptr %steps, i64 %at
  %kernel = load ptr, ptr %kernel.at
  %numbers.at = getelementptr i64, ptr %kernel.at, i64 1
  %numbers = load ptr, ptr %numbers.at
  %wait.at = getelementptr i64, ptr %kernel.at, i64 2
  %wait = load i64, ptr %wait.at
  %waits = icmp ne i64 %wait, 0
  br i1 %waits, label %meet, label %call
meet:
  call void @barrier(ptr %pool, i64 %threads)
  br label %call
call:
  call void %kernel(ptr %slots, ptr %numbers, i64 %tid, i64 %threads)
  %following = add i64 %n, 1
  br label %next
end:
  ret void
}}
"""


_DATA = object.__basicsize__  # in NumPy's array objects the address of the data follows Python's header
_word = ctypes.c_size_t.from_address


def address(array: np.ndarray) -> int:
    """Where the array's data begins: a tenth of the time that `array.ctypes.data` takes, each call of a function
    asks for at least two."""
    return _word(id(array) + _DATA).value


if address(_probe := np.empty(1)) != _probe.ctypes.data:  # another layout of Python's or NumPy's objects

    def address(array: np.ndarray) -> int:
        return int(array.ctypes.data)


def kernel_ir(kernel: Kernel) -> str:
    """A kernel, and `call_` of its name: a function of slots, as above."""
    lines = [f'define void @"call_{kernel.name}"(ptr %slots, ptr %numbers, i64 %tid, i64 %threads) nounwind {{']
    for n in range(len(kernel.params)):
        lines.append(f"  %n{n}.at = getelementptr i32, ptr %numbers, i64 {n}")
        lines.append(f"  %n{n} = load i32, ptr %n{n}.at")
        lines.append(f"  %p{n}.at = getelementptr ptr, ptr %slots, i32 %n{n}")
        lines.append(f"  %p{n} = load ptr, ptr %p{n}.at")
    args = ", ".join([f"ptr %p{n}" for n in range(len(kernel.params))] + ["i64 %tid", "i64 %threads"])
    lines += [f'  call void @"{kernel.name}"({args})', "  ret void", "}"]
    return emit_functions((kernel,)) + "\n".join(lines) + "\n"


@cache
def _program() -> tuple[Code, int]:
    """The function that runs programs, and its address. It is never freed: threads may still be leaving it when
    an executable goes."""
    code = compile_once(BARRIER_IR + PROGRAM_IR)
    return code, code.address("program")


class CpuExecutable:
    """A program's kernels for this CPU, with its arena and its table of pointers.

    Freed with the object: code, arena and all."""

    def __init__(self, program: Outline, code: Code, threads: int) -> None:
        self.first = program.first
        self.code = code
        self.threads = threads
        self.arena = aligned_empty(max(program.arena_bytes, 1))
        base = self.arena.ctypes.data
        self.table = np.array([0 if offset < 0 else base + offset for offset in program.offsets], np.uintp)
        self._slots = self.table.data  # a memoryview: quicker to write into than the array
        self.numbers = np.array([s for call in program.calls for s in call.slots], np.int32)
        where = {name: code.address(f"call_{name}") for name in dict.fromkeys(c.kernel for c in program.calls)}
        at = self.numbers.ctypes.data
        steps = []
        for call in program.calls:
            steps.append((where[call.kernel], at, call.waits))
            at += self.numbers.itemsize * len(call.slots)
        total = len(steps)
        self.steps = np.array(steps, np.uintp).reshape(total, 3)
        self.clock = np.zeros(total + 2, np.int64)  # the end of preparation is not the start of a run
        self.jobs = np.zeros((2, 5), np.uintp)
        for n, (start, count) in enumerate(((0, self.first), (self.first, total - self.first))):
            clock = self.clock[start + n :].ctypes.data
            self.jobs[n] = (0, clock, self.steps[start:].ctypes.data, count, self.table.ctypes.data)
        _, self._entry = _program()
        self._prepare, self._run = self.jobs[0].ctypes.data, self.jobs[1].ctypes.data
        self._shared: Pool | None = None

    def bind(self, slot: int, array: np.ndarray) -> None:
        """Points an external slot at an array, which the caller keeps alive while the program runs."""
        self._slots[slot] = address(array)

    bind_output = bind

    def prepare(self) -> None:
        """Runs the steps whose results are kept between runs."""
        if self.first:
            self._start(self._prepare)

    def run(self) -> None:
        self._start(self._run)

    def entry(self, inputs: Iterable[Input], outputs: Iterable[int]) -> Entry | None:
        """What binds arrays and runs, in one call of native code: see `entry.entry`."""
        p = self._pool()
        return entry((p.start, p.address, self._entry, self._run, p.threads, self.table.ctypes.data), inputs, outputs)

    def _start(self, job: int) -> None:
        self._pool().run(self._entry, job)

    def _pool(self) -> Pool:
        if self._shared is None:
            self._shared = pool(self.threads)
            self.jobs[:, POOL] = self._shared.address
        return self._shared

    def kernel_seconds(self, ticks_per_second: float) -> np.ndarray:
        """Seconds of each kernel in the last run, or of its last preparation, waits for other threads before it
        included."""
        return np.delete(np.diff(self.clock), self.first) / ticks_per_second


def ticks_per_second() -> float:
    """The rate of the counter that times kernels, measured against the system's clock."""
    code = compile_ir(
        f"declare i64 @llvm.{COUNTER}()\ndefine i64 @now() {{\n  %t = call i64 @llvm.{COUNTER}()\n  ret i64 %t\n}}\n"
    )
    now = ctypes.CFUNCTYPE(ctypes.c_int64)(code.address("now"))

    def both() -> tuple[float, int]:  # of several readings the one that nothing came between
        around = ((time.perf_counter(), now(), time.perf_counter()) for _ in range(8))
        before, count, after = min(around, key=lambda r: r[2] - r[0])
        return (before + after) / 2, count

    t0, start = both()
    time.sleep(0.01)
    t1, end = both()
    return (end - start) / (t1 - t0)
