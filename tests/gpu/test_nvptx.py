"""PTX: what is written, what ptxas says of it, and what happens when LLVM dies."""

from __future__ import annotations

import re

import pytest

from codegen import nvptx
from codegen.errors import CodegenError
from codegen.expr import MATH, MATH2, Buffer, Var, binary, cast, unary
from codegen.kernels import gpu
from codegen.kernels.contraction import analyse
from codegen.kernels.gpu_contract import TILES, tiled
from codegen.loops import Alloc, Barrier, Kernel, Stmt, loop, store

from .kernels import CASES, matmul, row_reduce, schedules

needs_ptxas = pytest.mark.skipif(
    nvptx.find_ptxas() is None, reason="no ptxas: neither on the PATH nor in the wheel nvidia-cuda-nvcc"
)
KERNELS = {f"{name}-{how}": k for name, case in CASES.items() for how, k in schedules(case).items()}


@pytest.fixture(scope="module", params=["sm_80", "sm_90"])
def assembled(request: pytest.FixtureRequest) -> dict[str, str]:
    """Every kernel's PTX for one architecture, from one child process."""
    texts = nvptx.emit_all_ptx(list(KERNELS.values()), request.param)
    return {"arch": request.param, **dict(zip(KERNELS, texts, strict=True))}


@needs_ptxas
def test_ptxas_takes_every_schedule(assembled: dict[str, str]) -> None:
    """All kernels in few files, since starting ptxas costs more than assembling one."""
    arch = assembled["arch"]
    header = ""
    bodies: list[str] = []
    for i, name in enumerate(KERNELS):
        header, _, body = assembled[name].partition(".address_size 64\n")
        # Names are unique within a kernel's module only.
        bodies.append(re.sub(rf"\b{KERNELS[name].name}(_\w+)?\b", rf"k{i}\1", body))
    report = nvptx.assemble(header + ".address_size 64\n" + "\n".join(bodies), arch)
    assert report is not None
    assert report.count("Compiling entry function") == len(KERNELS)
    # A tile of 128 x 128 has 64 sums a thread; ptxas moves a predicate or two of its edges to the stack.
    assert max(int(x) for x in re.findall(r"(\d+) bytes spill stores", report)) <= 16


def test_what_is_written() -> None:
    kernel = schedules(matmul())["tiled_16x16"]
    ptx = nvptx.emit_ptx(kernel, "sm_80")
    assert ".version 8.0" in ptx and ".target sm_80" in ptx
    assert ".visible .entry matmul(" in ptx and ".reqntid 256" in ptx
    assert "bar.sync" in ptx
    assert ".shared .align 16 .b8 matmul_a_tile[1280]" in ptx
    assert "fma.rn.f32" in ptx and "ld.global.nc" in ptx
    assert ".local" not in ptx and "call" not in ptx


def test_tiles_load_vectors_from_shared_memory() -> None:
    case = matmul(256, 64, 256)
    product = analyse(case.computation)
    assert product is not None
    ptx = nvptx.emit_ptx(tiled(case.computation, product, TILES[1]), "sm_80")
    assert "ld.shared.v4.b32" in ptx and ".local" not in ptx


def test_maxima_propagate_nan_and_fma_is_explicit() -> None:
    ptx = nvptx.emit_ptx(schedules(row_reduce("max"))["thread_a_point"])
    assert "max.NaN.f32" in ptx
    x, y, i = Buffer("x", "f32", (64,)), Buffer("y", "f32", (64,)), Var("i")
    split = nvptx.emit_ptx(frame((x, y), store(y, (i,), x[i] * 2.5 + 1.5)))
    assert "mul.rn.f32" in split and "add.rn.f32" in split and "fma" not in split


def frame(params: tuple[Buffer, ...], *body: Stmt, name: str = "k") -> Kernel:
    return Kernel(name, params, (loop("grid", "b", 0, 1, loop("thread", "i", 0, 64, *body)),))


@needs_ptxas
@pytest.mark.parametrize("dtype", ["f32", "f64"])
def test_functions_and_dtypes_assemble(dtype: str) -> None:
    x, i = Buffer("x", dtype, (64,)), Var("i")
    outs = [Buffer(f"o{n}", d, (64,)) for n, d in enumerate(("f32", "f64", "i32", "i64", "bool"))]
    body = [store(x, (i,), unary(op, x[i])) for op in (*MATH, "sqrt", "floor", "ceil", "trunc", "rint", "abs", "neg")]
    body += [store(x, (i,), binary(op, x[i], x[i] + 1.0)) for op in MATH2]
    body += [store(o, (i,), cast(x[i], o.dtype)) for o in outs]
    small = Buffer("small", "u8", (64,))
    body += [store(small, (i,), small[i] // small[i] + 3), store(outs[2], (i,), cast(small[i], "i32") % outs[2][i])]
    ptx = nvptx.emit_ptx(frame((x, *outs, small), *body))
    assert "call" not in ptx
    for arch in ("sm_80", "sm_90"):
        assert nvptx.assemble(ptx, arch)


# ------------------------------------------------------------------------------------------- refusals


def test_structure() -> None:
    x, i = Buffer("x", "f32", (64,)), Var("i")
    one = store(x, (i,), 1.0)
    thread = loop("thread", i, 0, 64, one)
    cases: dict[str, Kernel] = {
        "exactly one grid loop": Kernel("k", (x,), (thread,)),
        "exactly one thread loop": Kernel("k", (x,), (loop("grid", "b", 0, 1, thread, thread),)),
        "blocks of 1 to 1024": Kernel("k", (x,), (loop("grid", "b", 0, 1, loop("thread", i, 0, 2048, one)),)),
        "not an identifier": frame((x,), one, name="my kernel"),
        "stand inside the thread loop": Kernel("k", (x,), (loop("grid", "b", 0, 1, Barrier(), thread),)),
        "bytes of shared memory": Kernel(
            "k", (x,), (loop("grid", "b", 0, 1, Alloc(Buffer("s", "f64", (7000,), "shared")), thread),)
        ),
        "vector loop v": frame((x,), loop("vector", "v", 0, 4, store(x, (Var("v"),), 1.0))),
        "parallel loop v": frame((x,), loop("parallel", "v", 0, 4, store(x, (Var("v"),), 1.0))),
    }
    for message, kernel in cases.items():
        with pytest.raises(CodegenError, match=message):
            nvptx.emit_ptx(kernel)


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("  %v = call float @llvm.exp.f32(float %x)", "the call"),
        ("  %v = call float @expf(float %x)", "the call"),
        ("  %v = frem float %x, %x", "'frem'"),
        ("  %v = fadd <4 x float> %x, %x", "vectors"),
        ("  fence seq_cst", "'fence'"),
    ],
)
def test_only_known_instructions_reach_llvm(line: str, what: str) -> None:
    with pytest.raises(CodegenError, match=f"kernel k: no GPU code for (the instruction )?{what}"):
        nvptx.check_ir("k", f"define void @k() {{\nentry:\n{line}\n}}")


GOOD = 'target triple = "nvptx64-nvidia-cuda"\ndefine ptx_kernel void @good() {\n  ret void\n}\n'
DEADLY = """target triple = "nvptx64-nvidia-cuda"
declare float @llvm.exp.f32(float)
define ptx_kernel void @deadly(ptr addrspace(1) %p) {
  %x = load float, ptr addrspace(1) %p
  %y = call float @llvm.exp.f32(float %x)
  store float %y, ptr addrspace(1) %p
  ret void
}
"""


def test_a_dead_child_is_an_error_that_names_the_kernel() -> None:
    with pytest.raises(CodegenError, match="kernel deadly: LLVM's NVPTX backend ended its process"):
        nvptx.compile_ir([("good", GOOD), ("deadly", DEADLY), ("later", GOOD)])
    assert ".entry good" in nvptx.compile_ir([("good", GOOD)])[0]


def test_bad_ir_and_architecture() -> None:
    with pytest.raises(CodegenError, match="kernel bad: LLVM refused its IR for sm_80"):
        nvptx.compile_ir([("bad", "define nonsense")])
    with pytest.raises(CodegenError, match="unknown GPU architecture 'sm_20'; known are sm_80"):
        nvptx.emit_ptx(gpu.schedule(CASES["map"].computation), "sm_20")


@needs_ptxas
def test_ptxas_complaints_are_passed_on() -> None:
    with pytest.raises(CodegenError, match="ptxas refuses the PTX for sm_80"):
        nvptx.assemble(".version 8.0\n.target sm_80\n.address_size 64\nnonsense", "sm_80")


def test_without_ptxas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvptx, "find_ptxas", lambda: None)
    assert nvptx.assemble("", "sm_80") is None
