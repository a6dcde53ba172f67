"""The CPU we compile for: its name, features and the width of its vectors."""

from __future__ import annotations

import glob
import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import llvmlite.binding as llvm

from .errors import CodegenError

# Vector extensions by name: (LLVM features, bytes in a register, number of registers). "simd128" is the plain
# fallback that every 64-bit CPU has: SSE2 on x86-64, NEON on aarch64. An x86-64 without FMA instructions (before
# 2013) computes each fma by a call of the C library: right, and slow.
EXTENSIONS = {
    "avx512": ("+avx512f,+avx512dq,+avx512bw,+avx512vl,+avx2,+fma,+bmi,+bmi2", 64, 32),
    "avx2": ("+avx2,+fma,+bmi,+bmi2,-avx512f", 32, 16),
    "simd128": ("", 16, 16),
}

USUAL_CACHE = 32 << 20  # bytes of a last level, where the system does not say


@dataclass(frozen=True, slots=True)
class Machine:
    """What the CPU schedules need to know."""

    extension: str
    cpu: str
    features: str
    vector_bytes: int
    registers: int
    cache_bytes: int = USUAL_CACHE  # of the last level

    def lanes(self, dtype_bytes: int) -> int:
        return self.vector_bytes // dtype_bytes


@cache
def machine(extension: str = "") -> Machine:
    """This host, at its widest extension or at a narrower one by name ("avx512", "avx2", "simd128").

    Raises CodegenError for an extension that the host does not have."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.initialize_native_asmparser()  # for the pause instruction
    host = llvm.get_host_cpu_features()
    has = [n for n, needed in (("avx512", "avx512vl"), ("avx2", "fma")) if host.get(needed)] + ["simd128"]
    chosen = extension or has[0]
    if chosen not in has:
        raise CodegenError(f"this CPU has no {chosen!r}; it has {', '.join(has)}")
    features, width, registers = EXTENSIONS[chosen]
    if chosen == has[0]:
        return Machine(chosen, llvm.get_host_cpu_name(), host.flatten(), width, registers, last_level_cache())
    generic = "x86-64" if host.get("sse2") else "generic"
    if chosen == "simd128" and host.get("fma"):
        features = "+fma"
    return Machine(chosen, generic, features, width, registers, last_level_cache())


def last_level_cache() -> int:
    """Bytes of this CPU's largest cache, or what is usual where the system does not say."""
    found = []
    for path in glob.glob("/sys/devices/system/cpu/cpu0/cache/index*/size"):
        with suppress(OSError, ValueError), open(path) as f:
            found.append(int(f.read().strip().removesuffix("K")) << 10)
    return max(found, default=USUAL_CACHE)


def available_threads() -> int:
    """CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
