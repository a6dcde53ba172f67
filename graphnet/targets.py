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
from codegen.canonical import ChainForm, Form, form_of, named
from codegen.compute import Chain, Computation
from codegen.cpu import compile_objects, link
from codegen.emit import emit_functions
from codegen.emulator import to_cpu
from codegen.kernels import cpu as cpu_schedules
from codegen.kernels import gpu as gpu_schedules
from codegen.loops import Kernel
from codegen.machine import machine
from codegen.nvptx import ARCHITECTURES, emit_all_ptx
from codegen.program import Outline, Program, Scheduled, outline
from codegen.runtime.cpu import CpuExecutable, kernel_ir
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
    def is_threaded(self) -> bool:
        """Whether the CPU's threads divide the work."""
        return self.name in ("cpu", "emulator") and not self.checks

    @property
    def is_native(self) -> bool:
        """Whether it runs as machine code of this CPU, kept on disk."""
        return self.is_threaded

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


def schedule(c: Computation | Chain, target: Target) -> Scheduled:
    """The loops of a computation on a target, verified, and how they were chosen."""
    if target.family == "cpu":
        kernel, how = cpu_schedules.schedule(c, machine(target.extension))
    else:
        assert isinstance(c, Computation), "only the passes for the CPU make chains"
        kernel, how = gpu_schedules.choose(c)
    verify(kernel, target.family)
    return Scheduled(kernel, how)


class Kernels:
    """The kernels of a program on a target. Steps that compute the same share one, scheduled when first asked for."""

    def __init__(self, program: Program, target: Target) -> None:
        self.program = program
        self.target = target
        self.forms = tuple(form_of(s.computation, s.slots) for s in program.steps)
        self.distinct = tuple({f.digest: f for f in self.forms}.values())
        self._scheduled: dict[str, Scheduled] = {}

    def scheduled(self, form: Form | ChainForm) -> Scheduled:
        """The kernel of a form, under its canonical names."""
        if form.digest not in self._scheduled:
            self._scheduled[form.digest] = schedule(form.computation(), self.target)
        return self._scheduled[form.digest]

    @property
    def made(self) -> int:
        """How many kernels were scheduled: those whose code was not on disk."""
        return len(self._scheduled)

    @property
    def outline(self) -> Outline:
        """The program, with its kernels by their canonical names."""
        return outline(self.program, [f.name for f in self.forms])

    def entries(self) -> dict[str, str]:
        """Under which names the kernels' object code is kept on disk."""
        m = machine(self.target.extension)
        return {f.name: cache.key(f"{self.target.family} {f.digest}", m) for f in self.distinct}

    def all(self) -> tuple[Scheduled, ...]:
        """The kernel of each step, under the names of the program."""
        out = []
        for step, form in zip(self.program.steps, self.forms, strict=True):
            s, c = self.scheduled(form), step.computation
            out.append(Scheduled(named(s.kernel, c.name, c.params), s.how))
        return tuple(out)

    def loops(self) -> list[Kernel]:
        """The loops of each step."""
        return [s.kernel for s in self.all()]


def native_ir(kernels: Kernels) -> str:
    """The LLVM IR of what the CPU runs, a function for each distinct kernel: of a program for the CPU, or of one for
    a GPU, emulated."""
    first: dict[str, Kernel] = {}
    for form, kernel in zip(kernels.forms, kernels.loops(), strict=True):
        first.setdefault(form.digest, kernel)
    return emit_functions(tuple(_on_cpu(k, kernels.target) for k in first.values()))


def _on_cpu(kernel: Kernel, target: Target) -> Kernel:
    return to_cpu(kernel) if target.family == "gpu" else kernel


def _native(program: Program, kernels: Kernels, threads: int) -> Executable:
    target = kernels.target
    if target.checks:
        return CheckedProgram(program, kernels.loops(), target.checks)
    m = machine(target.extension)
    entries = kernels.entries()
    code = cache.load_all(entries.values())
    missing = [f for f in kernels.distinct if code[entries[f.name]] is None]
    missing.sort(key=lambda f: -f.size)  # the last ones are small: no core waits long for another
    sources = (kernel_ir(_on_cpu(kernels.scheduled(f).kernel, target)) for f in missing)
    made = {entries[f.name]: o for f, o in zip(missing, compile_objects(sources, m), strict=True)}
    cache.save(made)
    linked = link([made[name] if o is None else o for name, o in code.items()], m)
    return CpuExecutable(kernels.outline, linked, threads)


def _interpret(program: Program, kernels: Kernels, threads: int) -> Executable:
    return InterpretedProgram(program, kernels.loops())


def _cuda(program: Program, kernels: Kernels, threads: int) -> Executable:
    architecture = kernels.target.option
    loops = kernels.loops()
    return OnDevice(CudaProgram.of(program, loops, emit_all_ptx(loops, architecture) if architecture else None))


Build = Callable[[Program, Kernels, int], Executable]  # with a number of threads

TARGETS: dict[str, Build] = {"cpu": _native, "emulator": _native, "cuda": _cuda, "interpret": _interpret}
