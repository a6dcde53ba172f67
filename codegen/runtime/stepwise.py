"""Programs run one kernel at a time from Python: slower, and able to look between kernels."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from ..checks import instrument
from ..cpu import compile_kernels
from ..dtypes import numpy_dtype
from ..emulator import to_cpu
from ..expr import Buffer
from ..interpret import interpret
from ..loops import Kernel
from ..program import Program
from .arrays import aligned_empty


class _Stepwise:
    """A program with its arena and external memory by slot; `step` runs one of its kernels."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.arena = aligned_empty(max(program.arena_bytes, 1))
        self.addresses = [self.arena.ctypes.data + s.offset if s.kind == "arena" else 0 for s in program.slots]

    def bind(self, slot: int, array: np.ndarray) -> None:
        """Points an external slot at an array, which the caller keeps alive while the program runs."""
        self.addresses[slot] = array.ctypes.data

    bind_output = bind

    def step(self, number: int) -> None:
        raise NotImplementedError

    def prepare(self) -> None:
        """Runs the steps whose results are kept between runs."""
        for number in range(self.program.first):
            self.step(number)

    def run(self) -> None:
        for number in range(self.program.first, len(self.program.steps)):
            self.step(number)

    def array(self, slot: int, buffer: Buffer) -> np.ndarray:
        """A slot's memory as an array of a kernel parameter's dtype and shape."""
        dtype = numpy_dtype(buffer.dtype)
        memory = (ctypes.c_uint8 * (buffer.size * dtype.itemsize)).from_address(self.addresses[slot])
        return np.ctypeslib.as_array(memory).view(dtype).reshape(buffer.shape)


class InterpretedProgram(_Stepwise):
    """Every kernel by the definition of the loop language."""

    def __init__(self, program: Program, kernels: Sequence[Kernel]) -> None:
        super().__init__(program)
        self.kernels = kernels

    def step(self, number: int) -> None:
        kernel = self.kernels[number]
        slots = self.program.steps[number].slots
        interpret(kernel, [self.array(s, b) for s, b in zip(slots, kernel.params, strict=True)])


class CheckedProgram(_Stepwise):
    """GPU kernels emulated on one thread, every access checked; the first finding is a CodegenError."""

    def __init__(self, program: Program, kernels: Sequence[Kernel], checks: Sequence[str]) -> None:
        super().__init__(program)
        self.checked = [instrument(k, "bounds" in checks, "races" in checks) for k in kernels]
        emulated = [to_cpu(c.kernel, parallel=False) for c in self.checked]
        self.code = compile_kernels(emulated)
        self.functions = []
        for k in emulated:
            kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * len(k.params), ctypes.c_int64, ctypes.c_int64)
            self.functions.append(kind(self.code.address(k.name)))

    def step(self, number: int) -> None:
        extra = self.checked[number].extra_arrays()
        addresses = [self.addresses[s] for s in self.program.steps[number].slots] + [a.ctypes.data for a in extra]
        self.functions[number](*addresses, 0, 1)
        self.checked[number].verify(extra[0])
