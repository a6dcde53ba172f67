"""The targets: how a program becomes something that runs. One row of `TARGETS` each.

    cpu         machine code for this CPU; cpu:avx2 and cpu:simd128 for narrower vectors
    emulator    the GPU's schedules, emulated on this CPU; checks=("bounds", "races") watch every access
    cuda        NVIDIA GPUs, through PTX; cuda:sm_90 for one architecture
    interpret   the CPU's schedules by the definition of the loop language: slow
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import numpy as np

from codegen import cache
from codegen.cpu import compile_ir, load_object
from codegen.emulator import to_cpu
from codegen.kernels import cpu as cpu_schedules
from codegen.kernels import gpu as gpu_schedules
from codegen.machine import machine
from codegen.nvptx import ARCHITECTURES, emit_all_ptx
from codegen.program import Program, Scheduled, Step
from codegen.runtime.cpu import CpuExecutable, program_ir
from codegen.runtime.cuda import CudaProgram, probe
from codegen.runtime.stepwise import CheckedProgram, InterpretedProgram
from codegen.verify import verify

from .errors import GraphnetError


class Executable(Protocol):
    """A program ready to run: external slots are bound to arrays, then it runs and has filled the outputs.
    `prepare` runs first, and again whenever a parameter has another value that the program does not write."""

    def bind(self, slot: int, array: np.ndarray) -> None: ...

    def bind_output(self, slot: int, array: np.ndarray) -> None: ...

    def prepare(self) -> None: ...

    def run(self) -> None: ...


class OnDevice:
    """A program on the GPU as an Executable. What is bound is copied there; parameters stay there, and
    `State` fetches them when somebody looks."""

    def __init__(self, program: CudaProgram) -> None:
        self.program = program
        self.bind, self.bind_output = program.bind, program.bind_output
        self.prepare, self.run = program.prepare, program.execute
        self._readers: dict[int, Callable[[np.ndarray], object]] = {}

    def reader(self, slot: int) -> Callable[[np.ndarray], object]:
        """What copies a slot into an array; the same object for a slot each time."""
        if slot not in self._readers:
            self._readers[slot] = partial(self.program.read, slot)
        return self._readers[slot]


@dataclass(frozen=True, slots=True)
class Target:
    """A parsed target: a name of TARGETS, what followed the colon, and the emulator's checks."""

    name: str
    option: str = ""
    checks: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """ "cpu" or "gpu": whose layouts and schedules it uses."""
        return "cpu" if self.name in ("cpu", "interpret") else "gpu"

    @property
    def extension(self) -> str:
        """The vector extension asked for; "" is the widest."""
        return self.option if self.name == "cpu" else ""

    @property
    def lanes(self) -> int:
        """float32 lanes of a vector."""
        return machine(self.extension).lanes(4)

    def __str__(self) -> str:
        return f"{self.name}:{self.option}" if self.option else self.name


CHECKS = ("bounds", "races")
Schedules = Callable[[], tuple[Scheduled, ...]]


def parse_target(text: str, checks: Sequence[str] = ()) -> Target:
    """A target from its text.

    Raises GraphnetError, naming what there is, for an unknown target or check, CodegenError for a vector extension
    that this CPU does not have, and GpuUnavailable for "cuda" where the extra, the driver or the GPU is missing."""
    name, _, option = text.partition(":")
    if name not in TARGETS:
        raise GraphnetError(f"unknown target {text!r}; there are {', '.join(TARGETS)}")
    if checks and name != "emulator":
        raise GraphnetError(f'checks={tuple(checks)} need target="emulator", not {text!r}')
    unknown = set(checks) - set(CHECKS)
    if unknown:
        raise GraphnetError(f"unknown checks {sorted(unknown)}; there are {', '.join(CHECKS)}")
    if name == "cpu":
        machine(option)  # refuses an extension that this CPU does not have
    elif option and (name != "cuda" or option not in ARCHITECTURES):
        expected = f"there are {', '.join(ARCHITECTURES)}" if name == "cuda" else f"{name} has no options"
        raise GraphnetError(f"unknown target {text!r}; {expected}")
    if name == "cuda":
        probe()
    return Target(name, option, tuple(checks))


def schedule(step: Step, target: Target) -> Scheduled:
    """The loops of one step on a target, verified, and how they were chosen."""
    if target.family == "cpu":
        kernel, how = cpu_schedules.schedule(step.computation, machine(target.extension))
    else:
        kernel, how = gpu_schedules.choose(step.computation)
    verify(kernel, target.family)
    return Scheduled(kernel, how)


def native_ir(program: Program, scheduled: Sequence[Scheduled], target: Target) -> str:
    """The LLVM IR that the CPU runs: of a program for the CPU, or of one for a GPU, emulated."""
    kernels = [s.kernel for s in scheduled]
    return program_ir(program, [to_cpu(k) for k in kernels] if target.family == "gpu" else kernels)


def _native(program: Program, schedules: Schedules, target: Target, threads: int, identity: str) -> Executable:
    if target.checks:
        return CheckedProgram(program, [s.kernel for s in schedules()], target.checks)
    m = machine(target.extension)
    name = cache.key(f"{target}\n{identity}", m) if identity else ""
    known = cache.load(name) if name else None
    if known is not None:
        return CpuExecutable(program, load_object(known, m), threads)
    code = compile_ir(native_ir(program, schedules(), target), m)
    if name:
        cache.save(name, code.object)
    return CpuExecutable(program, code, threads)


def _interpret(program: Program, schedules: Schedules, target: Target, threads: int, identity: str) -> Executable:
    return InterpretedProgram(program, [s.kernel for s in schedules()])


def _cuda(program: Program, schedules: Schedules, target: Target, threads: int, identity: str) -> Executable:
    kernels = [s.kernel for s in schedules()]
    ptx = emit_all_ptx(kernels, target.option) if target.option else None
    return OnDevice(CudaProgram.of(program, kernels, ptx))


# program, its schedules (made only if no cached code serves), target, threads, and a text that decides the code
# ("" where none does)
Build = Callable[[Program, Schedules, Target, int, str], Executable]

TARGETS: dict[str, Build] = {"cpu": _native, "emulator": _native, "cuda": _cuda, "interpret": _interpret}
