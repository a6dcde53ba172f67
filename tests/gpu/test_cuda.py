"""The CUDA runtime: what it says without a GPU, its calls against a stand-in, and the real thing (-m gpu)."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from codegen.emulator import to_cpu
from codegen.errors import CodegenError
from codegen.kernels import gpu
from codegen.program import Program, Slot
from codegen.runtime import cuda
from codegen.runtime.cuda import CudaProgram, GpuUnavailable, Launch, architecture, place_program, probe

from .kernels import CASES, affine_map, run_native, schedules


@dataclass
class Driver:
    """As much of libcuda as the probe speaks to."""

    init: int = 0
    version: int = 13000
    count: int = 1
    capability: tuple[int, int] = (9, 0)
    broken: str = ""
    calls: list[str] = field(default_factory=list)

    def cuInit(self, flags: int) -> int:
        return self.init

    def __getattr__(self, name: str) -> Any:
        answers = {
            "cuDriverGetVersion": lambda: self.version,
            "cuDeviceGetCount": lambda: self.count,
            "cuDeviceGet": lambda n: n,
            "cuDeviceGetAttribute": lambda which, device: self.capability[which - 75],
        }

        def call(out: Any, *args: int) -> int:
            self.calls.append(name)
            out._obj.value = answers[name](*args)
            return 999 if name == self.broken else 0

        return call


def missing(name: str) -> Any:
    raise OSError(f"{name}: cannot open shared object file")


def test_a_machine_with_everything() -> None:
    assert probe(lambda name: Driver(), not_installed="") == (9, 0)


@pytest.mark.parametrize(
    ("driver", "reason"),
    [
        (Driver(init=100), "no NVIDIA GPU is visible (cuInit gave error 100)"),
        (Driver(init=999), "the driver did not start (cuInit gave error 999)"),
        (Driver(version=11080), "the driver is too old: it speaks CUDA 11.8, our PTX needs 12.0"),
        (Driver(count=0), "there is no GPU"),
        (Driver(capability=(7, 5)), "GPU 0 has compute capability 7.5, our kernels need 8.0"),
        (Driver(broken="cuDeviceGetCount"), "cuDeviceGetCount gave error 999"),
    ],
)
def test_each_missing_piece_is_named(driver: Driver, reason: str) -> None:
    with pytest.raises(GpuUnavailable) as e:
        probe(lambda name: driver, not_installed="")
    assert reason in str(e.value)
    assert 'target="cpu"' in str(e.value) and 'target="emulator"' in str(e.value)


def test_no_driver_and_no_packages() -> None:
    with pytest.raises(GpuUnavailable, match=r"library libcuda\.so\.1 was not found"):
        probe(missing, not_installed="")
    with pytest.raises(GpuUnavailable, match=r"pip install 'graphnet\[cuda\]'"):
        probe(missing, not_installed="No module named 'cuda'")
    assert issubclass(GpuUnavailable, CodegenError)


def has_gpu() -> str:
    """Why there is none, or nothing."""
    try:
        probe()
    except GpuUnavailable as e:
        return e.reason
    return ""


@pytest.mark.skipif(not has_gpu(), reason="this machine has a GPU")
def test_a_program_without_gpu_is_one_clear_error() -> None:
    with pytest.raises(GpuUnavailable, match='target="emulator"'):
        CudaProgram([], [])


def test_architectures() -> None:
    assert [architecture(c) for c in ((8, 0), (8, 6), (8, 7), (8, 9), (9, 0), (12, 0))] == [
        *("sm_80", "sm_86", "sm_86", "sm_89", "sm_90", "sm_90")
    ]


def test_places() -> None:
    slots = (
        Slot("a", "f32", (100,), 400, "arena", 0),
        Slot("x", "f32", (3,), 12),
        Slot("b", "f32", (10,), 40, "arena", 448),
        Slot("y", "f32", (70,), 280),
    )
    assert place_program(Program("p", slots, (), 488)) == ([0, 512, 448, 768], 1280)


# ------------------------------------------------------------- a GPU made of host memory and the emulator


class FakeGpu:
    """Stands in for cuda-core: device memory is host memory, and a kernel runs as its emulation."""

    def __init__(self, kernels: dict[str, Any]) -> None:
        self.kernels = kernels
        self.launched: list[tuple[str, Any, Any]] = []
        self.closed = False
        self.stream = SimpleNamespace(handle=7, sync=lambda: None)

    def set_current(self) -> None:
        pass

    def create_stream(self) -> Any:
        return self.stream

    def allocate(self, size: int, *, stream: Any) -> Any:
        self.memory = np.full(size + 256, 0xA5, np.uint8)
        start = -(-self.memory.ctypes.data // 256) * 256
        return SimpleNamespace(handle=start, close=lambda stream: setattr(self, "closed", True))

    def module(self, ptx: bytes, name: str) -> Any:
        assert f".entry {name}(".encode() in ptx
        return SimpleNamespace(get_kernel=lambda name: self.kernels[name])

    def launch(self, stream: Any, config: Any, kernel: Any, *addresses: int) -> None:
        self.launched.append((kernel.name, config.grid, config.block))
        arrays = [
            np.frombuffer((ctypes.c_char * (b.size * np.dtype(cuda_dtype(b)).itemsize)).from_address(a), cuda_dtype(b))
            for a, b in zip(addresses, kernel.params, strict=True)
        ]
        run_native(to_cpu(kernel), [a.reshape(b.shape) for a, b in zip(arrays, kernel.params, strict=True)])

    @staticmethod
    def copy(destination: int, source: int, nbytes: int, stream: int) -> tuple[int]:
        ctypes.memmove(destination, source, nbytes)
        return (0,)


def cuda_dtype(b: Any) -> str:
    return {"f32": "float32", "f64": "float64", "i64": "int64", "i32": "int32"}[b.dtype]


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGpu]:
    device = FakeGpu({})
    replacements = {
        "probe": lambda: (8, 0),
        "Device": lambda n: device,
        "ObjectCode": SimpleNamespace(from_ptx=device.module),
        "LaunchConfig": lambda grid, block: SimpleNamespace(grid=grid, block=block),
        "launch": device.launch,
        "driver": SimpleNamespace(cuMemcpyHtoDAsync=FakeGpu.copy, cuMemcpyDtoHAsync=FakeGpu.copy),
    }
    for name, stand_in in replacements.items():
        monkeypatch.setattr(cuda, name, stand_in, raising=False)
    yield device


def test_launches_in_order_over_slots(fake: FakeGpu) -> None:
    case = affine_map(20, 30)
    kernel = gpu.schedule(case.computation)
    fake.kernels[kernel.name] = kernel
    x, bias, y = (a * np.float32(0.1) for a in case.arrays)
    once = np.expm1(np.maximum(2 * x + bias, 0))
    # y = f(x), then x = f(y), each with the same bias: data stays on the device in between.
    program = CudaProgram([Launch(kernel, (0, 1, 2)), Launch(kernel, (2, 1, 0))], [x.nbytes, bias.nbytes, y.nbytes])
    program.write(0, x)
    program.write(1, bias)
    program.run()
    assert fake.launched == [("affine_map", 3, 256)] * 2
    np.testing.assert_allclose(program.read(2, np.empty_like(y)), once, rtol=1e-5, atol=1e-5)
    twice = np.expm1(np.maximum(2 * once + bias, 0))
    np.testing.assert_allclose(program.read(0, np.empty_like(x)), twice, rtol=1e-4, atol=1e-5)
    program.close()
    assert fake.closed


def test_wrong_sizes_and_arguments(fake: FakeGpu) -> None:
    case = affine_map(20, 30)
    kernel = gpu.schedule(case.computation)
    fake.kernels[kernel.name] = kernel
    with pytest.raises(CodegenError, match="affine_map has 3 parameters, its launch 2 slots"):
        CudaProgram([Launch(kernel, (0, 1))], [2400, 120])
    with pytest.raises(CodegenError, match="slot 1 begins at byte 8, not a multiple of 16"):
        CudaProgram([], [8, 8], [0, 8])
    program = CudaProgram([], [8])
    with pytest.raises(CodegenError, match="slot 0 holds 8 bytes, the array has 12"):
        program.write(0, np.zeros(3, np.float32))
    with pytest.raises(CodegenError, match="contiguous"):
        program.read(0, np.zeros((2, 2), np.float32)[:, 0])


# --------------------------------------------------------------------------------------- a real GPU


@pytest.mark.gpu
@pytest.mark.skipif(bool(has_gpu()), reason=f"no GPU: {has_gpu()}")
def test_every_schedule_on_the_gpu() -> None:
    kernels = [(case, k) for case in CASES.values() for k in schedules(case).values()]
    launches, arrays = [], []
    for _, kernel in kernels:
        launches.append(Launch(kernel, tuple(range(len(arrays), len(arrays) + len(kernel.params)))))
        arrays += next(case.fresh() for case, k in kernels if k is kernel)
    program = CudaProgram(launches, [a.nbytes for a in arrays])
    for slot, a in enumerate(arrays):
        program.write(slot, a)
    program.run()
    for x, (case, _) in zip(launches, kernels, strict=True):
        results = [program.read(slot, arrays[slot]) for slot in x.arguments]
        case.check(results)
    assert len(program.seconds()) == len(kernels)
    program.close()
