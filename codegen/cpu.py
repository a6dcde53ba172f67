"""LLVM IR -> machine code in this process, on several threads.

Kernels arrive with their loops, tiles and vectors decided, so LLVM is asked only for what it is good
at: promoting register buffers, cleaning up, selecting instructions and allocating registers.

LLVM compiles on as many threads as there are LLVM contexts; a module of ours has one of its own. llvmlite, which
cannot know that, makes every call wait for a lock of its own. The two calls that take the time go round it (`_free`).
"""

from __future__ import annotations

import ctypes
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any

import llvmlite.binding as llvm
from llvmlite.binding import ffi

from . import cache
from .emit import emit_functions
from .errors import CodegenError
from .loops import Kernel
from .machine import Machine, available_threads, machine

# Seconds that a thread waits for Python's lock between two calls of native code, of which a kernel takes several; by
# default they would be 5 ms each, as long as a small kernel takes to compile.
SWITCH = 1e-4


@contextmanager
def quick_switches() -> Iterator[None]:
    """Threads that work outside of Python get its lock without a long wait."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


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
    return str(Compiler(target.create_target_machine(cpu=cpu, opt=2), triple).assembly(ir))


def _free(name: str) -> Callable[..., Any]:
    """A function of LLVM's that does not wait for llvmlite's lock: of what belongs to one thread only."""
    function = getattr(ffi.lib, name)
    return getattr(function, "_cfn", function)


class Compiler:
    """LLVM for one thread: a target machine and the passes our code needs, and no others: compile time is part of
    what users feel."""

    def __init__(self, tm: llvm.TargetMachine, triple: str) -> None:
        self.tm = tm
        self.triple = triple
        self.layout = str(tm.target_data)
        self.options = llvm.create_pipeline_tuning_options(speed_level=1)
        self.builder = llvm.create_pass_builder(tm, self.options)
        self.passes = llvm.create_new_module_pass_manager()
        self.passes.add_sroa_pass()
        self.passes.add_instruction_combine_pass()
        self.passes.add_simplify_cfg_pass()

    def module(self, ir: str) -> llvm.ModuleRef:
        """A module in a context of its own, verified, after the passes."""
        module = llvm.parse_assembly(ir, llvm.create_context())
        module.triple = self.triple
        module.data_layout = self.layout
        module.verify()
        _free("LLVMPY_RunNewModulePassManager")(self.passes, module, self.builder)
        return module

    def object(self, ir: str) -> bytes:
        """Object code."""
        with self.module(ir) as module, ffi.OutputString() as error:
            memory = _free("LLVMPY_TargetMachineEmitToMemory")(self.tm, module, 1, error)
            if not memory:
                raise CodegenError(f"LLVM: {error}")
            try:
                start, size = ffi.lib.LLVMPY_GetBufferStart(memory), ffi.lib.LLVMPY_GetBufferSize(memory)
                return ctypes.string_at(start, size)
            finally:
                ffi.lib.LLVMPY_DisposeMemoryBuffer(memory)

    def assembly(self, ir: str) -> str:
        with self.module(ir) as module:
            return str(self.tm.emit_assembly(module))


_idle: dict[Machine, list[Compiler]] = {}


@contextmanager
def compiler(m: Machine) -> Iterator[Compiler]:
    """A compiler that no other thread has meanwhile. They are used again, since llvmlite's pass builders, once dropped,
    leave some kilobytes behind."""
    idle = _idle.setdefault(m, [])
    try:
        mine = idle.pop()
    except IndexError:
        mine = Compiler(target_machine(m), llvm.get_process_triple())
    try:
        yield mine
    finally:
        idle.append(mine)


@quick_switches()
def compile_objects(sources: Iterable[str], m: Machine, threads: int | None = None) -> list[bytes]:
    """Object code of each source, LLVM IR text; the same bytes for any number of threads.

    Helpers compile while this thread still takes sources, which their writer may make one by one; then it helps
    too. They end before this returns or raises, whatever happens."""
    todo: SimpleQueue[tuple[int, str] | None] = SimpleQueue()
    found: dict[int, bytes] = {}
    failures: list[BaseException] = []

    def work(take: Callable[[], tuple[int, str] | None]) -> None:
        with compiler(m) as mine:
            while not failures and (job := take()) is not None:
                found[job[0]] = mine.object(job[1])

    def help() -> None:
        try:
            work(todo.get)
        except BaseException as e:  # raised again below, by the thread that waits for the result
            failures.append(e)

    def rest() -> tuple[int, str] | None:
        with suppress(Empty):
            return todo.get_nowait()
        return None

    helpers = [threading.Thread(target=help, daemon=True) for _ in range((threads or available_threads()) - 1)]
    try:
        for number, source in enumerate(sources):
            todo.put((number, source))
            if number < len(helpers):
                helpers[number].start()
        work(rest)
    except BaseException as e:
        failures.append(e)
        raise
    finally:
        started = [h for h in helpers if h.ident is not None]
        for _ in started:
            todo.put(None)
        for h in started:
            h.join()
    if failures:
        raise failures[0]
    return [found[n] for n in range(len(found))]


@dataclass
class Code:
    """Machine code in memory; freed with the object. Keep it alive while a function may run."""

    engine: llvm.ExecutionEngine

    def address(self, name: str) -> int:
        return int(self.engine.get_function_address(name))


def link(objects: Iterable[bytes], m: Machine | None = None) -> Code:
    """Object code of this machine, linked into the process."""
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), target_machine(m or machine()))
    for code in objects:
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return Code(engine)


def compile_ir(ir: str, m: Machine | None = None) -> Code:
    """Machine code for LLVM IR text."""
    m = m or machine()
    with compiler(m) as mine:
        return link([mine.object(ir)], m)


def compile_once(ir: str) -> Code:
    """The same, kept on disk for the next process: for code that every process needs."""
    m = machine()
    name = cache.key(ir, m)
    code = cache.load(name)
    if code is None:
        with compiler(m) as mine:
            code = mine.object(ir)
        cache.save({name: code})
    return link([code], m)


def assembly(ir: str, m: Machine | None = None) -> str:
    """The assembly text of what `compile_ir` makes, for readers."""
    with compiler(m or machine()) as mine:
        return mine.assembly(ir)


def compile_kernels(kernels: Sequence[Kernel], extra_ir: str = "", m: Machine | None = None) -> Code:
    """Machine code for kernels and further LLVM functions that call them."""
    return compile_ir(emit_functions(tuple(kernels)) + extra_ir, m)
