"""The program at each level, as text: "graph", "loops", "llvm", "asm", "ptx"."""

from __future__ import annotations

from codegen.cpu import assembly
from codegen.machine import machine
from codegen.nvptx import emit_all_ptx
from codegen.runtime.cpu import CpuExecutable
from codegen.text import print_kernel

from .errors import GraphnetError
from .lower import lower
from .module import Module, Settings
from .node import Graph
from .pipeline import run
from .specialization import Specialization
from .targets import Target, native_ir, schedule
from .text import to_text

KINDS = ("graph", "loops", "llvm", "asm", "ptx")


def source(spec: Specialization, graph: Graph, kind: str, arch: str = "sm_80") -> str:
    """The text of one level.

    "graph": the declaration; "loops": the kernels in the loop language; "llvm" and "asm": what the CPU
    targets run; "ptx": the GPU's kernels for `arch`, whatever the function's target.

    Raises GraphnetError for a level that the target does not have."""
    if kind not in KINDS:
        raise GraphnetError(f"no source {kind!r}; there are {', '.join(KINDS)}")
    if kind == "graph":
        return to_text(graph)
    if kind == "loops":
        return "\n".join(print_kernel(s.kernel) for s in spec.scheduled)
    if kind == "ptx":
        return "\n".join(ptx(graph, spec.sizes, arch).values())
    if not isinstance(spec.executable, CpuExecutable):
        raise GraphnetError(f"target {spec.target} has no {kind}; it has graph, loops and ptx")
    ir = native_ir(spec.kernels)
    return ir if kind == "llvm" else assembly(ir, machine(spec.target.extension))


def gpu_kernels(graph: Graph, sizes: dict[str, int]) -> Module:
    """The module that GPU targets make of a graph."""
    return run(Module(graph, Settings("gpu", 1, tuple(sizes.items()))))


def ptx(graph: Graph, sizes: dict[str, int], arch: str = "sm_80") -> dict[str, str]:
    """PTX of every kernel of a graph, by kernel name, in the order of execution."""
    program = lower(gpu_kernels(graph, sizes)).program
    kernels = [schedule(step.computation, Target("cuda")).kernel for step in program.steps]
    texts = emit_all_ptx(kernels, arch)
    return {k.name: text for k, text in zip(kernels, texts, strict=True)}
