"""Programs on an NVIDIA GPU, through cuda-core (the extra `[cuda]`) and the driver. No CUDA toolkit is needed.

    probe()                     is there a GPU we can use? if not, which piece is missing
    CudaProgram(launches, ...)  kernels in order on one stream, over numbered slots in one allocation
        .write(slot, array)     host -> device
        .run()                  launches all kernels; returns at once
        .read(slot, array)      waits, then device -> host

What stays in a slot stays on the device between runs: parameters travel only when they are asked for.

The probe speaks to the driver through ctypes, before cuda-core does: without a driver, cuda-core's own
errors range from RuntimeError to a bare SystemError, and name the symptom instead of the missing piece.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import CodegenError
from ..kernels.gpu_common import launch_shape
from ..loops import Kernel
from ..nvptx import ARCHITECTURES, emit_all_ptx
from ..program import Program

try:  # the one optional import of codegen: this module says what is missing when it is used
    from cuda.bindings import driver
    from cuda.core import Device, EventOptions, LaunchConfig, ObjectCode, launch

    _not_installed = ""
except ImportError as _e:
    _not_installed = str(_e)

LIBRARY = "libcuda.so.1"
OLDEST_DRIVER = 12000  # CUDA 12.0, the first that loads PTX 8.0
OLDEST_CAPABILITY = (8, 0)
ALIGNMENT = 256  # of every slot: what the kernels assume (16) and what coalescing likes

_INIT_ERRORS = {100: "no NVIDIA GPU is visible", 803: "the driver library does not fit the kernel module"}
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


class GpuUnavailable(CodegenError):
    """No GPU can run our kernels here; says which step failed, and what runs instead."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            f'target="cuda" cannot run here: {reason}. Use target="cpu", or target="emulator" to run the '
            "same GPU kernels on the CPU"
        )
        self.reason = reason


def probe(load: Callable[[str], Any] = ctypes.CDLL, not_installed: str | None = None) -> tuple[int, int]:
    """The compute capability of GPU 0, once every piece has been found; raises GpuUnavailable for the first
    that is missing. Tests hand in their own `load`."""
    missing = _not_installed if not_installed is None else not_installed
    if missing:
        raise GpuUnavailable(f"the CUDA packages are not installed ({missing}): pip install 'graphnet[cuda]'")
    try:
        cuda = load(LIBRARY)
    except OSError as e:
        raise GpuUnavailable(f"the NVIDIA driver's library {LIBRARY} was not found ({e})") from None
    status = cuda.cuInit(0)
    if status:
        why = _INIT_ERRORS.get(status, "the driver did not start")
        raise GpuUnavailable(f"{why} (cuInit gave error {status})")
    version = _number(cuda, "cuDriverGetVersion")
    if version < OLDEST_DRIVER:
        raise GpuUnavailable(
            f"the driver is too old: it speaks CUDA {_dotted(version)}, our PTX needs {_dotted(OLDEST_DRIVER)}"
        )
    if _number(cuda, "cuDeviceGetCount") == 0:
        raise GpuUnavailable("the driver works, but there is no GPU (is CUDA_VISIBLE_DEVICES empty?)")
    device = _number(cuda, "cuDeviceGet", 0)
    major = _number(cuda, "cuDeviceGetAttribute", _CAPABILITY_MAJOR, device)
    minor = _number(cuda, "cuDeviceGetAttribute", _CAPABILITY_MINOR, device)
    if (major, minor) < OLDEST_CAPABILITY:
        oldest = "{}.{}".format(*OLDEST_CAPABILITY)
        raise GpuUnavailable(f"GPU 0 has compute capability {major}.{minor}, our kernels need {oldest} or later")
    return major, minor


def _number(cuda: Any, function: str, *args: int) -> int:
    """The int that a driver call writes through its first argument."""
    result = ctypes.c_int(0)
    status = getattr(cuda, function)(ctypes.byref(result), *args)
    if status:
        raise GpuUnavailable(f"the driver failed: {function} gave error {status}")
    return result.value


def _dotted(version: int) -> str:
    return f"{version // 1000}.{version % 1000 // 10}"


def architecture(capability: tuple[int, int]) -> str:
    """The newest of our architectures whose PTX a GPU of that capability runs."""
    number = 10 * capability[0] + capability[1]
    return max((a for a in ARCHITECTURES if int(a[3:]) <= number), key=lambda a: int(a[3:]))


@dataclass(frozen=True, slots=True)
class Launch:
    """A kernel, and for each of its parameters the number of a slot."""

    kernel: Kernel
    arguments: tuple[int, ...]


def place(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Offsets for slots of these sizes one after the other, aligned, and the bytes of all."""
    offsets, end = [], 0
    for size in sizes:
        offsets.append(end)
        end += -(-size // ALIGNMENT) * ALIGNMENT
    return offsets, end


def place_program(program: Program) -> tuple[list[int], int]:
    """Offsets of a program's slots: its arena first, then its external slots. All live on the device."""
    external = [i for i, s in enumerate(program.slots) if s.kind != "arena"]
    behind, extra = place([program.slots[i].bytes for i in external])
    arena = -(-program.arena_bytes // ALIGNMENT) * ALIGNMENT
    offsets = [s.offset for s in program.slots]
    for i, offset in zip(external, behind, strict=True):
        offsets[i] = arena + offset
    return offsets, arena + extra


class CudaProgram:
    """Kernels compiled, loaded and bound to device memory. Everything is freed by `close`, or with the object."""

    def __init__(
        self,
        launches: Sequence[Launch],
        sizes: Sequence[int],
        offsets: Sequence[int] | None = None,
        ptx: Sequence[str] | None = None,
        first: int = 0,
    ) -> None:
        """sizes: bytes of each slot; offsets: where each begins in the arena (slots may overlap), else one after
        the other; ptx: of each launch, else it is made here for this GPU; first: how many launches prepare."""
        capability = probe()
        self.launches = tuple(launches)
        self._outputs: dict[int, np.ndarray] = {}
        self.sizes = tuple(sizes)
        placed, _ = place(sizes)
        self.offsets = tuple(placed if offsets is None else offsets)
        total = max((o + s for o, s in zip(self.offsets, self.sizes, strict=True)), default=0)
        misplaced = [i for i, o in enumerate(self.offsets) if o % 16]
        if misplaced:
            raise CodegenError(f"slot {misplaced[0]} begins at byte {self.offsets[misplaced[0]]}, not a multiple of 16")
        self.arch = architecture(capability)
        texts = emit_all_ptx([x.kernel for x in self.launches], self.arch) if ptx is None else list(ptx)
        self.device = Device(0)
        self.device.set_current()
        self.stream = self.device.create_stream()
        self.arena = self.device.allocate(max(total, ALIGNMENT), stream=self.stream)
        self.base = int(self.arena.handle)
        self._modules: list[Any] = []  # kernels do not keep their modules alive
        self._calls = [self._bind(x, text) for x, text in zip(self.launches, texts, strict=True)]
        self.first = first

    @classmethod
    def of(cls, program: Program, kernels: Sequence[Kernel], ptx: Sequence[str] | None = None) -> CudaProgram:
        """A program's steps in order, each as its kernel."""
        offsets, _ = place_program(program)
        launches = [Launch(k, step.slots) for k, step in zip(kernels, program.steps, strict=True)]
        return cls(launches, [s.bytes for s in program.slots], offsets, ptx, program.first)

    def _bind(self, x: Launch, ptx: str) -> tuple[Any, Any, tuple[int, ...]]:
        module = ObjectCode.from_ptx(ptx.encode(), name=x.kernel.name)
        self._modules.append(module)
        blocks, threads = launch_shape(x.kernel)
        # launch() passes a Python int as 64 bits: an address.
        addresses = tuple(self.base + self.offsets[slot] for slot in x.arguments)
        if len(addresses) != len(x.kernel.params):
            raise CodegenError(
                f"kernel {x.kernel.name} has {len(x.kernel.params)} parameters, its launch {len(addresses)} slots"
            )
        return LaunchConfig(grid=blocks, block=threads), module.get_kernel(x.kernel.name), addresses

    def write(self, slot: int, array: np.ndarray) -> None:
        """Copies an array into a slot."""
        source = np.ascontiguousarray(array)
        self._fits(slot, source)
        if not source.nbytes:
            return
        self.device.set_current()
        # From pageable memory the driver has taken the bytes when this returns.
        where = self.base + self.offsets[slot]
        _check(driver.cuMemcpyHtoDAsync(where, source.ctypes.data, source.nbytes, self.stream.handle), "upload")

    def read(self, slot: int, array: np.ndarray) -> np.ndarray:
        """Waits for the kernels, copies a slot into an array and returns it."""
        self._fits(slot, array)
        if not array.flags.c_contiguous or not array.flags.writeable:
            raise CodegenError(f"slot {slot} can only be read into a writeable, contiguous array")
        if array.nbytes:
            self.device.set_current()
            where = self.base + self.offsets[slot]
            _check(driver.cuMemcpyDtoHAsync(array.ctypes.data, where, array.nbytes, self.stream.handle), "download")
        self.sync()
        return array

    def prepare(self) -> None:
        """Launches the kernels whose results are kept between runs."""
        self._launch(self._calls[: self.first])

    def run(self) -> None:
        """Launches the others in order. Errors of kernels appear at the next `read` or `sync`."""
        self._launch(self._calls[self.first :])

    def _launch(self, calls: Sequence[tuple[Any, Any, tuple[int, ...]]]) -> None:
        self.device.set_current()
        for config, kernel, addresses in calls:
            launch(self.stream, config, kernel, *addresses)

    def sync(self) -> None:
        """Waits for everything launched."""
        try:
            self.stream.sync()
        except Exception as e:  # the driver's own exceptions have no common base but this
            raise CodegenError(f"a kernel failed on the GPU: {e}") from e

    def seconds(self) -> list[float]:
        """Runs once with an event around each kernel: the seconds that each took on the device."""
        self.device.set_current()
        timed = EventOptions(timing_enabled=True)
        events = [self.stream.record(options=timed)]
        for config, kernel, addresses in self._calls:
            launch(self.stream, config, kernel, *addresses)
            events.append(self.stream.record(options=timed))
        self.sync()
        return [(after - before) / 1e3 for before, after in pairwise(events)]

    def close(self) -> None:
        """Waits, and gives the memory back."""
        self.sync()
        self.arena.close(self.stream)
        self._calls, self._modules = [], []

    def bind(self, slot: int, array: np.ndarray) -> None:
        """Gives a slot its value."""
        self.write(slot, array)

    def bind_output(self, slot: int, array: np.ndarray) -> None:
        """Where `execute` puts a slot's value."""
        self._outputs[slot] = array

    def execute(self) -> None:
        """Runs, and fills the arrays of `bind_output`."""
        self.run()
        for slot, array in self._outputs.items():
            self.read(slot, array)
        self._outputs.clear()

    def _fits(self, slot: int, array: np.ndarray) -> None:
        if array.nbytes > self.sizes[slot]:
            raise CodegenError(f"slot {slot} holds {self.sizes[slot]} bytes, the array has {array.nbytes}")


def _check(result: tuple[Any, ...], what: str) -> None:
    if int(result[0]) != 0:
        raise CodegenError(f"the {what} failed on the GPU: {result[0]}")
