"""GPU loops -> LLVM IR -> PTX, and PTX -> ptxas where it is installed.

The emitter is that of all targets. What differs on a GPU is small:

    grid loop       one block an iteration:  block = ctaid.x
    thread loop     one thread an iteration: thread = tid.x
    shared buffer   a module variable in address space 3
    barrier         bar.sync 0
    parameters      ptr addrspace(1) noalias, readonly where the kernel stores nothing to them

LLVM's NVPTX backend ends the whole process on input that it cannot select, so two fences stand around
it: `check_ir` admits only instructions and intrinsics known to be selectable, and code generation runs in
a child process (this module run as a program), whose death becomes an error that names the kernel.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import llvmlite.binding as llvm

from .affine import Affine, ssa
from .dtypes import DTYPES
from .emit import Dialect, Emitter, Value, emit_functions
from .errors import CodegenError
from .expr import Buffer
from .kernels.gpu_common import launch_shape
from .loops import Alloc, Barrier, For, Kernel, Stmt, Store, statements, stored

ARCHITECTURES = ("sm_80", "sm_86", "sm_89", "sm_90")
_FEATURES = "+ptx80"  # the oldest PTX that knows all of these, so that older drivers load it too
MAX_SHARED = 48 * 1024  # of a block, without asking the driver for more
_TRIPLE = "nvptx64-nvidia-cuda"

GPU = Dialect("cuda", {"global": 1, "shared": 3}, ("grid",), "nounwind")

_BLOCK_INDEX = "llvm.nvvm.read.ptx.sreg.ctaid.x"
_THREAD_INDEX = "llvm.nvvm.read.ptx.sreg.tid.x"
_BARRIER = "llvm.nvvm.barrier.cta.sync.aligned.all"


class GpuEmitter(Emitter):
    """Emits one GPU kernel."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel, GPU)
        self.globals: list[str] = []
        check_structure(kernel)
        self.blocks_in_grid, self.threads = launch_shape(kernel)

    def header(self) -> str:
        written = set().union(*(stored(s) for s in self.kernel.body))
        args = ", ".join(
            f"ptr addrspace(1) noalias {'' if b in written else 'readonly '}align 16 %p.{b.name}"
            for b in self.kernel.params
        )
        # reqntid tells ptxas the number of threads, so that it knows how many registers each may have.
        attributes = f'{self.dialect.attributes} "nvvm.reqntid"="{self.threads}"'
        return "\n".join([*self.globals, f'define ptx_kernel void @"{self.kernel.name}"({args}) {attributes}'])

    def statements_top(self, body: tuple[Stmt, ...]) -> None:
        self.block(body)

    def for_grid(self, s: For) -> None:
        self.run_once(s, _BLOCK_INDEX, self.blocks_in_grid)

    def for_thread(self, s: For) -> None:
        self.run_once(s, _THREAD_INDEX, self.threads)

    def for_parallel(self, s: For) -> None:
        raise self.error(f"parallel loop {s.var.name}: GPU kernels have grid and thread loops instead")

    def for_vector(self, s: For) -> None:
        raise self.error(f"vector loop {s.var.name}: a GPU's lanes are its threads")

    def run_once(self, s: For, register: str, extent: int) -> None:
        """The body, with the index in a special register."""
        self.declarations.add(f"declare i32 @{register}()")
        raw = self.new(f"call range(i32 0, {extent}) i32 @{register}()", "i32")
        index = self.new(f"zext nneg i32 {raw.text} to i64", "i64")
        with self.scope():
            self.env[s.var.name] = ssa(index.text)
            self.block(s.body)

    def allocate(self, buffer: Buffer) -> None:
        if buffer.space != "shared":
            super().allocate(buffer)
            return
        name = f"@{self.kernel.name}_{buffer.name}"
        cell = self.cell(buffer)
        self.globals.append(f"{name} = internal addrspace(3) global [{buffer.size} x {cell}] poison, align 16")
        self.pointers[buffer.name] = name
        self.spaces[buffer.name] = buffer.space

    def load_one(self, buffer: Buffer, at: Affine, cell: str, t: str, memory: str, align: int) -> Value:
        """A load with the alignment that its address provably has: LLVM merges neighbours into vectors by it."""
        if buffer.space in ("global", "shared"):
            align *= math.gcd(16 // align, at.constant, *(c for _, c in at.terms))
        return super().load_one(buffer, at, cell, t, memory, align)

    def barrier(self) -> None:
        self.declarations.add(f"declare void @{_BARRIER}(i32)")
        self.do(f"call void @{_BARRIER}(i32 0)")
        for name in tuple(self.readers):
            if self.spaces[name] in ("global", "shared"):
                self.forget(name)  # other threads may have written there


def check_structure(kernel: Kernel) -> None:
    """Raises CodegenError unless the kernel is one grid loop around one thread loop, as a launch is."""

    def refuse(what: str) -> CodegenError:
        return CodegenError(f"kernel {kernel.name}: {what}")

    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", kernel.name):
        raise refuse("its name is not an identifier of PTX (letters, digits and underscores)")
    if [getattr(s, "kind", "") for s in kernel.body] != ["grid"]:
        raise refuse("a GPU kernel is exactly one grid loop")
    inside = [s for s in statements(kernel.body) if isinstance(s, For) and s.kind in ("grid", "thread")]
    top = kernel.body[0]
    assert isinstance(top, For)
    if [s.kind for s in inside] != ["grid", "thread"] or inside[1] not in top.body:
        raise refuse("a grid loop holds exactly one thread loop, directly")
    if any(isinstance(s, (Barrier, Store)) for s in top.body):
        raise refuse("barriers and stores stand inside the thread loop")
    blocks, threads = launch_shape(kernel)
    if not (1 <= threads <= 1024 and 1 <= blocks < 2**31):
        raise refuse(f"{blocks} blocks of {threads} threads: CUDA launches 1 to 2**31 - 1 blocks of 1 to 1024 threads")
    allocated = [s.buffer for s in statements(kernel.body) if isinstance(s, Alloc)]
    shared = sum(b.size * DTYPES[b.dtype].bytes for b in allocated if b.space == "shared")
    if shared > MAX_SHARED:
        raise refuse(f"{shared} bytes of shared memory; a block has {MAX_SHARED}")


# ---------------------------------------------------------------------------------------- the fences

_ARITHMETIC = "add sub mul sdiv udiv srem urem and or xor shl ashr lshr fadd fsub fmul fdiv fneg icmp fcmp select"
_CONVERSIONS = "zext sext trunc fpext fptrunc sitofp uitofp fptosi fptoui bitcast"
_MEMORY_AND_CONTROL = "alloca getelementptr load store phi br call ret"
_INSTRUCTIONS = frozenset(f"{_ARITHMETIC} {_CONVERSIONS} {_MEMORY_AND_CONTROL}".split(" "))
_FLOAT_INTRINSICS = ("fma", "fabs", "sqrt", "floor", "ceil", "trunc", "rint", "minimum", "maximum")
_INTRINSICS = frozenset(
    [
        *(f"llvm.{f}.{t}" for f in _FLOAT_INTRINSICS for t in ("f32", "f64")),
        *(f"llvm.{f}.{t}" for f in ("smin", "smax", "umin", "umax") for t in ("i8", "i16", "i32", "i64")),
        _BLOCK_INDEX,
        _THREAD_INDEX,
        _BARRIER,
    ]
)
_LINE = re.compile(r"(?:%[\w.]+ = )?(\w+)")
_NAME = re.compile(r"call [^@]*@\"?([\w.]+)")


def check_ir(name: str, ir: str) -> None:
    """Raises CodegenError for an instruction or a call that the backend is not known to select."""
    for line in ir.splitlines():
        text = line.strip()
        if line.startswith("  ") and (m := _LINE.match(text)):
            if m[1] not in _INSTRUCTIONS:
                raise CodegenError(f"kernel {name}: no GPU code for the instruction {m[1]!r} in: {text}")
            if re.search(r"<\d+ x", text):
                raise CodegenError(f"kernel {name}: no GPU code for vectors in: {text}")
            called = _NAME.search(text)
            if m[1] == "call" and (called is None or called[1] not in _INTRINSICS):
                raise CodegenError(f"kernel {name}: no GPU code for the call in: {text}")


def emit_ir(kernel: Kernel) -> str:
    """The kernel as one LLVM module, checked."""
    body = emit_functions((kernel,), GpuEmitter)
    check_ir(kernel.name, body)
    return f'target triple = "{_TRIPLE}"\n\n{body}'


def emit_ptx(kernel: Kernel, arch: str = "sm_80") -> str:
    """The PTX of one kernel."""
    return emit_all_ptx((kernel,), arch)[0]


def emit_all_ptx(kernels: Sequence[Kernel], arch: str = "sm_80") -> list[str]:
    """The PTX of many kernels, one module each, through one child process."""
    return compile_ir([(k.name, emit_ir(k)) for k in kernels], arch)


def compile_ir(modules: Sequence[tuple[str, str]], arch: str = "sm_80", timeout: float = 600) -> list[str]:
    """PTX for (name, LLVM IR) pairs. LLVM runs in a child process; if it dies, the error names the kernel."""
    if arch not in ARCHITECTURES:
        raise CodegenError(f"unknown GPU architecture {arch!r}; known are {', '.join(ARCHITECTURES)}")
    if not modules:
        return []
    environment = dict(os.environ, PYTHONPATH=os.pathsep.join(p or os.getcwd() for p in sys.path))
    request = json.dumps({"arch": arch, "modules": modules})
    command = [sys.executable, "-m", __spec__.name]
    try:
        child = subprocess.run(
            command, input=request, capture_output=True, text=True, env=environment, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        raise CodegenError(f"LLVM took more than {timeout:g} s for {len(modules)} GPU kernels") from None
    answers = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]
    for (name, _), answer in zip(modules, answers, strict=False):
        if "error" in answer:
            raise CodegenError(f"kernel {name}: LLVM refused its IR for {arch}: {answer['error']}")
    if len(answers) < len(modules):
        last = child.stderr.strip().splitlines()[-3:]
        raise CodegenError(
            f"kernel {modules[len(answers)][0]}: LLVM's NVPTX backend ended its process "
            f"(exit code {child.returncode}) for {arch}: {' | '.join(last) or 'it said nothing'}"
        )
    return [answer["ptx"] for answer in answers]


# ---------------------------------------------------------------------------------- the child process


def optimise(module: llvm.ModuleRef, tm: llvm.TargetMachine) -> None:
    """Few passes: kernels are scheduled already, and the full pipeline only raises register pressure."""
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.add_loop_unroll_pass()
    passes.add_instruction_combine_pass()
    passes.add_new_gvn_pass()
    passes.add_dead_code_elimination_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, llvm.create_pass_builder(tm, options))


def child() -> None:
    """Reads {"arch", "modules": [[name, ir]...]} and writes {"ptx"} or {"error"}, a line a module."""
    request = json.load(sys.stdin)
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    llvm.set_option("", "--nvptx-short-ptr")  # 32-bit addresses of shared memory; once, before any target machine
    target = llvm.Target.from_triple(_TRIPLE)
    tm = target.create_target_machine(cpu=request["arch"], features=_FEATURES, opt=3)
    for _, ir in request["modules"]:
        try:
            module = llvm.parse_assembly(ir)
            module.data_layout = str(tm.target_data)
            module.verify()
            optimise(module, tm)
            answer = {"ptx": tm.emit_assembly(module)}
        except RuntimeError as e:
            answer = {"error": str(e)}
        print(json.dumps(answer), flush=True)


# --------------------------------------------------------------------------------------------- ptxas


def find_ptxas() -> str | None:
    """ptxas on the PATH, or in the wheel nvidia-cuda-nvcc."""
    found = shutil.which("ptxas")
    if found:
        return found
    package = find_spec("nvidia")
    for place in (package.submodule_search_locations or ()) if package else ():
        for candidate in sorted(Path(place).glob("cu*/bin/ptxas")):
            if os.access(candidate, os.X_OK):
                return str(candidate)
    return None


def assemble(ptx: str, arch: str) -> str | None:
    """What ptxas reports about registers, spills and shared memory; None where ptxas is not installed.

    Raises CodegenError with its complaint if it refuses the PTX."""
    ptxas = find_ptxas()
    if ptxas is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "kernel.ptx")
        source.write_text(ptx)
        command = [ptxas, "-v", f"-arch={arch}", "-o", str(Path(folder, "kernel.cubin")), str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CodegenError(f"ptxas refuses the PTX for {arch}: {(done.stderr or done.stdout).strip()[:2000]}")
    return (done.stdout + done.stderr).strip()


if __name__ == "__main__":
    child()
