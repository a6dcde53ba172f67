"""Where the time of a compiled function goes: each kernel's mean over the middle half of many calls, and what part of
the machine's rates it reaches."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from codegen.measure import rates
from codegen.runtime.cpu import CpuExecutable

from .errors import GraphnetError
from .explain import KernelReport, explain, ticks
from .specialization import Specialization

SETTLE = 5  # first calls, which find cold caches and sleeping threads
WIDEST = 48  # characters of ops in a table


@dataclass(frozen=True, slots=True)
class KernelProfile:
    """One kernel: the seconds of a call, waits for other threads before it included, and its share of the kernels' sum.
    Operations as its ops count them; bytes: each array that it reads or writes, once. The bandwidth is that of the
    level of the memory hierarchy that holds so many bytes."""

    number: int
    name: str
    ops: tuple[str, ...]
    lines: tuple[str, ...]  # the user's, as file:line
    how: str
    seconds: float
    share: float
    gflops: float
    of_peak: float
    gbytes: float
    of_bandwidth: float

    @property
    def floor_share(self) -> float:
        """Of the longer of the two least times: how near to it the kernel is."""
        return max(self.of_peak, self.of_bandwidth)


@dataclass(frozen=True, slots=True)
class Profile:
    """Of one set of sizes; prints as a table. `call`: the seconds of a whole call from Python."""

    sizes: dict[str, int]
    threads: int
    runs: int
    kernels: tuple[KernelProfile, ...]
    call: float
    seconds: float  # of all kernels
    gflops: float
    of_peak: float
    peak_gflops: float

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def by_time(self) -> tuple[KernelProfile, ...]:
        return tuple(sorted(self.kernels, key=lambda k: -k.seconds))

    def __str__(self) -> str:
        return self.table(self.kernels)

    def table(self, kernels: tuple[KernelProfile, ...]) -> str:
        heads = ("", "us", "share", "GFLOP/s", "of peak", "GB/s", "of it")
        widths = (3, 9, 6, 8, 8, 7, 6)
        lines = [" ".join(f"{h:>{w}}" for h, w in zip(heads, widths, strict=True)) + "  kernel"]
        for k in kernels:
            cells = (
                str(k.number),
                f"{k.seconds * 1e6:.1f}",
                f"{k.share:.1%}",
                f"{k.gflops:.0f}" if k.gflops else "",
                f"{k.of_peak:.0%}" if k.gflops else "",
                f"{k.gbytes:.1f}",
                f"{k.of_bandwidth:.0%}",
            )
            ops = " + ".join(k.ops)
            ops = ops if len(ops) <= WIDEST else ops[: WIDEST - 3] + "..."
            row = " ".join(f"{c:>{w}}" for c, w in zip(cells, widths, strict=True))
            lines.append(f"{row}  {ops}; {k.how}" + (f" ({', '.join(k.lines)})" if k.lines else ""))
        return "\n".join(
            [
                *lines,
                "",
                f"{len(self.kernels)} kernels: {self.seconds * 1e3:.3f} ms, {self.gflops:.1f} GFLOP/s, "
                f"{self.of_peak:.0%} of {self.peak_gflops:.0f}; a call from Python {self.call * 1e3:.3f} ms "
                f"(the middle half of {self.runs}, {self.threads} threads)",
            ]
        )


def profile(spec: Specialization, call: Callable[[], object], runs: int = 100) -> Profile:
    """Calls `runs` times, after a few that do not count. Kernels that only run after parameters were written are left
    out. Raises GraphnetError for targets other than CPUs, whose kernels nothing times."""
    executable = spec.executable
    if not isinstance(executable, CpuExecutable):
        raise GraphnetError(f'profiles are of the target "cpu"; this function is compiled for {spec.target}')
    for _ in range(SETTLE):
        call()
    calls, kernels = np.empty(runs), np.empty((runs, spec.steps))
    for n in range(runs):
        start = time.perf_counter()
        call()
        calls[n] = time.perf_counter() - start
        kernels[n] = executable.kernel_seconds(ticks())
    middle = np.argsort(calls)[runs // 4 : runs - runs // 4]  # the same calls for all: the parts add up to no more
    call_seconds, mean = float(calls[middle].mean()), kernels[middle].mean(axis=0)
    each = [k for k in explain(spec).kernels if not k.prepared]
    total = float(sum(mean[k.number] for k in each))
    machine = rates(spec.target.extension)
    peak = machine.flops * spec.threads

    def row(k: KernelReport) -> KernelProfile:
        seconds = max(float(mean[k.number]), 1e-9)
        flops, nbytes = k.flops / seconds, k.bytes / seconds
        bandwidth = machine.bytes_a_second(k.bytes, spec.threads)
        share = seconds / total if total else 0.0
        rate = (flops / 1e9, flops / peak, nbytes / 1e9, nbytes / bandwidth)
        return KernelProfile(k.number, k.name, k.ops, k.lines, k.how, seconds, share, *rate)

    flops = sum(k.flops for k in each) / max(total, 1e-9)
    return Profile(
        spec.sizes,
        spec.threads,
        runs,
        tuple(row(k) for k in each),
        call_seconds,
        total,
        flops / 1e9,
        flops / peak,
        peak / 1e9,
    )
