"""`graphnet emit`."""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from codegen.kernels.gpu_common import launch_shape
from codegen.nvptx import ARCHITECTURES, assemble, emit_all_ptx, find_ptxas
from codegen.program import Program, Scheduled

from ..function import Function
from ..lower import lower
from ..module import Module
from ..source import gpu_kernels
from ..targets import Target, parse_target, schedule
from .common import (
    UsageError,
    add_batch,
    add_json,
    add_mode,
    add_model,
    add_optimizer,
    declared,
    model_of,
    print_json,
)

INDEX = "kernels.json"

DESCRIPTION = """\
Writes the code that a network is compiled to into a folder.

  --target cuda   one .ptx file a kernel, numbered in the order in which they run; no GPU is needed
  --target cpu    program.ll (LLVM IR), program.s (assembly), program.loops (graphnet's own loop language)

With either comes kernels.json: the kernels in the order in which they run, for each its arguments as numbers of
slots, on GPUs its grid and block, and whether it only prepares what the others read, after parameters have changed;
and the slots: pieces of memory, in one arena or given by the caller."""

EXAMPLES = """\
examples:
  graphnet emit lenet --output lenet-ptx --target cuda --arch sm_90
  graphnet emit lenet --output lenet-ptx --target cuda --check     what ptxas says: registers, spills
  graphnet emit mlp --mode infer --batch 1 --output mlp-cpu        for this computer's CPU"""


def declare(p: argparse.ArgumentParser) -> None:
    add_model(p)
    p.add_argument("--output", required=True, metavar="DIR", help="the folder; made if there is none")
    add_mode(p)
    add_batch(p)
    add_optimizer(p)
    p.add_argument("--target", default="cpu", help="cpu (default), cpu:avx2, cpu:simd128, or cuda")
    p.add_argument("--arch", choices=ARCHITECTURES, help="the GPU architecture, for cuda (default: sm_80)")
    p.add_argument("--check", action="store_true", help="assemble the PTX with ptxas and report registers and spills")
    add_json(p)


def run(a: argparse.Namespace) -> None:
    on_gpu = a.target == "cuda"
    if not on_gpu and (a.arch or a.check):
        raise UsageError(f"{'--arch' if a.arch else '--check'} is for --target cuda")
    if not on_gpu and a.target.partition(":")[0] != "cpu":
        raise UsageError(f"argument --target: code is emitted for cpu and cuda, not {a.target!r}")
    if a.check and find_ptxas() is None:
        raise UsageError("--check needs ptxas: install the CUDA toolkit, or pip install nvidia-cuda-nvcc")
    if not on_gpu:
        parse_target(a.target)
    folder = Path(a.output)
    with publishing(folder) as temporary:  # entered first: a place that cannot be written is known at once
        function = declared(model_of(a), a.mode, a.optimizer, target="cpu" if on_gpu else a.target)
        head = {"model": a.model, "mode": a.mode, "batch": a.batch}
        if a.mode == "train":
            head["optimizer"] = a.optimizer
        emit = emit_gpu if on_gpu else emit_cpu
        index = head | emit(function, a, temporary)
        (temporary / INDEX).write_text(legible(index))
    if a.json:
        print_json(index)
    else:
        print(summary(folder, index, a.check))


# ------------------------------------------------------------------------------------------- emission


def emit_gpu(function: Function, a: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Writes the PTX of every kernel; returns the index."""
    arch = a.arch or "sm_80"
    module = gpu_kernels(function.graph, {"N": a.batch})
    program = lower(module).program
    scheduled = [schedule(step.computation, Target("cuda")) for step in program.steps]
    texts = emit_all_ptx([s.kernel for s in scheduled], arch)
    rows = kernels(program, scheduled)
    for row, s, ptx in zip(rows, scheduled, texts, strict=True):
        row["file"] = f"{row['name']}.ptx"
        row["grid"], row["block"] = launch_shape(s.kernel)
        if a.check:
            row["ptxas"] = resources(assemble(ptx, arch) or "")
        (folder / row["file"]).write_text(ptx)
    return {"target": "cuda", "arch": arch, **memory(module, program), "kernels": rows}


def emit_cpu(function: Function, a: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Writes the program at each level; returns the index."""
    spec = function.specialise({"N": a.batch})
    files = {"llvm": "program.ll", "asm": "program.s", "loops": "program.loops"}
    for kind, name in files.items():
        (folder / name).write_text(function.source(kind))
    rows = kernels(spec.program, spec.scheduled)
    for row, waits in zip(rows, spec.program.barriers(), strict=True):
        row["waits"] = waits
    return {"target": a.target, "files": files, **memory(spec.module, spec.program), "kernels": rows}


def kernels(program: Program, scheduled: tuple[Scheduled, ...] | list[Scheduled]) -> list[dict[str, Any]]:
    return [
        {"name": s.kernel.name, "how": s.how, "arguments": list(step.slots), "prepares": number < program.first}
        for number, (step, s) in enumerate(zip(program.steps, scheduled, strict=True))
    ]


def memory(module: Module, program: Program) -> dict[str, Any]:
    """The slots, and which of them are inputs, outputs, parameters and constants (with their bytes)."""
    slots = [
        {"name": s.name, "dtype": s.dtype, "shape": list(s.shape), "bytes": s.bytes, "kind": s.kind}
        | ({"offset": s.offset} if s.kind == "arena" else {})
        for s in program.slots
    ]
    at = module.plan.slot
    read = {slot for step in program.steps for slot in step.slots}  # most constants are part of the code
    constants = {at[n]: n.op.evaluate() for n in at if n.op.name == "constant" and at[n] in read}
    return {
        "arena_bytes": program.arena_bytes,
        "slots": slots,
        "inputs": {n.name: at[n] for n in module.graph.inputs},
        "outputs": list(module.plan.outputs),
        "parameters": {p.name: at[p] for p in module.graph.parameters},
        "constants": {slot: value.tobytes().hex() for slot, value in constants.items()},
    }


def legible(index: dict[str, Any]) -> str:
    """JSON with a line for each kernel and each slot."""
    rows = []
    for key, value in index.items():
        text = json.dumps(value)
        if isinstance(value, list) and value and isinstance(value[0], dict):
            text = "[\n  " + ",\n  ".join(json.dumps(v) for v in value) + "\n ]"
        rows.append(f" {json.dumps(key)}: {text}")
    return "{\n" + ",\n".join(rows) + "\n}\n"


_RESOURCES = {
    "registers": r"Used (\d+) registers",
    "shared_bytes": r"(\d+) bytes smem",
    "spill_store_bytes": r"(\d+) bytes spill stores",
    "spill_load_bytes": r"(\d+) bytes spill loads",
}


def resources(report: str) -> dict[str, int]:
    """The numbers in what ptxas says about a kernel."""
    found = {name: re.search(pattern, report) for name, pattern in _RESOURCES.items()}
    return {name: int(m[1]) if m else 0 for name, m in found.items()}


def summary(folder: Path, index: dict[str, Any], checked: bool) -> str:
    rows = index["kernels"]
    lines = []
    if checked:
        lines.append(f"{'registers':>9} {'shared B':>8} {'spilled B':>9}  kernel")
        for row in rows:
            r = row["ptxas"]
            lines.append(f"{r['registers']:>9} {r['shared_bytes']:>8} {r['spill_store_bytes']:>9}  {row['name']}")
        lines.append(f"ptxas accepts all {len(rows)} kernels for {index['arch']}")
    what = f"{len(rows)} kernels in PTX for {index['arch']}" if "arch" in index else f"{len(rows)} kernels"
    return "\n".join([*lines, f"wrote {what} to {folder}; {INDEX} says in which order and with what they run"])


# -------------------------------------------------------------------------------------------- folders


@contextmanager
def publishing(folder: Path) -> Iterator[Path]:
    """A temporary folder; its files appear in `folder` on leaving without an error, INDEX last.

    Files of an earlier emission, as its index lists them, are removed. Anything else there stays."""
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "there is a file, a folder is needed", str(folder))
    final = folder.resolve()
    name = f".{final.name}.{secrets.token_hex(4)}"
    temporary = final / name if final.exists() else final.with_name(name)  # either way on the same disk
    try:
        temporary.mkdir(parents=True)
    except OSError as e:
        raise OSError(e.errno, e.strerror, str(folder)) from None
    try:
        yield temporary
        if not final.exists():
            os.replace(temporary, final)
            return
        names = sorted(p.name for p in temporary.iterdir())
        for old in listed(final) - set(names):
            (final / old).unlink(missing_ok=True)
        for name in sorted(names, key=lambda n: n == INDEX):
            os.replace(temporary / name, final / name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def listed(folder: Path) -> set[str]:
    """The files that the index in a folder names; none if there is no index of ours."""
    try:
        index = json.loads((folder / INDEX).read_text())
        names = [*index.get("files", {}).values(), *(k["file"] for k in index["kernels"] if "file" in k)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set()
    # Names only, whatever the file says: nothing outside of the folder is touched.
    return {n for n in names if isinstance(n, str) and n == Path(n).name and n not in (".", "..")}
