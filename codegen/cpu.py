"""LLVM IR -> machine code in this process.

Kernels arrive with their loops, tiles and vectors decided, so LLVM is asked only for what it is good
at: promoting register buffers, cleaning up, selecting instructions and allocating registers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import llvmlite.binding as llvm

from .emit import emit_functions
from .errors import CodegenError
from .loops import Kernel
from .machine import Machine, machine


def target_machine(m: Machine, opt: int = 2) -> llvm.TargetMachine:
    target = llvm.Target.from_default_triple()
    return target.create_target_machine(cpu=m.cpu, features=m.features, opt=opt, jit=True)


def cross_assembly(ir: str, triple: str, cpu: str = "generic") -> str:
    """The assembly text of LLVM IR for another machine, such as "aarch64-unknown-linux-gnu".

    Raises CodegenError for a triple that this LLVM does not know."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        target = llvm.Target.from_triple(triple)
    except RuntimeError as e:
        raise CodegenError(f"no target {triple!r}: {e}") from None
    tm = target.create_target_machine(cpu=cpu, opt=2)
    module = llvm.parse_assembly(ir)
    module.triple = triple
    module.data_layout = str(tm.target_data)
    optimise(module, tm)
    return str(tm.emit_assembly(module))


@dataclass
class Code:
    """Machine code in memory; freed with the object. Keep it alive while a function may run."""

    engine: llvm.ExecutionEngine
    object: bytes

    def address(self, name: str) -> int:
        return int(self.engine.get_function_address(name))


def optimise(module: llvm.ModuleRef, tm: llvm.TargetMachine) -> None:
    """The passes our code needs, and no others: compile time is part of what users feel."""
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    builder = llvm.create_pass_builder(tm, options)
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_instruction_combine_pass()
    passes.add_simplify_cfg_pass()
    passes.run(module, builder)


def compile_ir(ir: str, m: Machine | None = None) -> Code:
    """Machine code for LLVM IR text."""
    m = m or machine()
    tm = target_machine(m)
    module = llvm.parse_assembly(ir)
    module.triple = llvm.get_process_triple()
    module.data_layout = str(tm.target_data)
    module.verify()
    optimise(module, tm)
    return load_object(tm.emit_object(module), m)


def load_object(code: bytes, m: Machine | None = None) -> Code:
    """Object code of this machine, linked into the process."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine(m or machine()))
    engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return Code(engine, code)


def assembly(ir: str, m: Machine | None = None) -> str:
    """The assembly text of what `compile_ir` makes, for readers."""
    tm = target_machine(m or machine())
    module = llvm.parse_assembly(ir)
    optimise(module, tm)
    return str(tm.emit_assembly(module))


def compile_kernels(kernels: Sequence[Kernel], extra_ir: str = "", m: Machine | None = None) -> Code:
    """Machine code for kernels and further LLVM functions that call them."""
    return compile_ir(emit_functions(tuple(kernels)) + extra_ir, m)
