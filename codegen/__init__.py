"""codegen: numeric kernels as loops, lowered to LLVM IR for CPUs and to PTX for NVIDIA GPUs.

Data flows down this list; nothing here imports graphnet.

    dtypes, expr, traverse, loops    the loop language: element types, scalar expressions, statements
    text, verify, interpret    print and parse it, check it, run it slowly and obviously
    compute                index notation: what a kernel computes, before anyone says how
    kernels/               schedules: index notation -> loops, for the CPU and for GPUs
    mathlib                elementary functions as expressions of the loop language
    emit, cpu, nvptx       loops -> LLVM IR -> machine code or PTX
    emulator               GPU loops -> CPU loops, split at barriers, with checks on request
    runtime/               threads, executables, the CUDA driver
"""
