"""`graphnet compile`."""

from __future__ import annotations

import argparse
import statistics
import time
from typing import Any

import numpy as np

import graphnet as gn

from ..function import Function
from ..node import Node
from ..targets import parse_target
from ..types import Dim, concrete
from .common import UsageError, add_json, add_threads, count, print_json

DESCRIPTION = """\
Compiles an ONNX model and says what became of it: inputs, outputs, parameters, kernels, memory, and the time that
compilation took. What is not supported is listed in full, with the nodes that ask for it. Needs the extra [onnx]."""

EXAMPLES = """\
examples:
  graphnet compile model.onnx
  graphnet compile model.onnx --size N=8 --size height=224 --size width=224
  graphnet compile model.onnx --size N=1 --run 20      also runs it, on random inputs"""


def declare(p: argparse.ArgumentParser) -> None:
    p.add_argument("model", metavar="FILE", help="an .onnx file; external data is read from its folder")
    p.add_argument(
        "--size",
        action="append",
        default=[],
        type=named_size,
        metavar="NAME=N",
        help="a size that the model only names",
    )
    p.add_argument("--target", default="cpu", help="cpu (default), cpu:avx2, cpu:simd128, emulator, cuda")
    add_threads(p)
    p.add_argument(
        "--run", dest="times", type=count, metavar="TIMES", help="run it this often on random inputs, and time it"
    )
    add_json(p)


def named_size(text: str) -> tuple[str, int]:
    name, equals, number = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"must be NAME=N, not {text!r}")
    return name, count(number)


def run(a: argparse.Namespace) -> None:
    parse_target(a.target)
    model = gn.onnx.load(a.model, sizes=dict(a.size))
    unknown = {name for n in model.inputs for e in n.shape if isinstance(e, Dim) for name in e.names}
    if unknown:
        example = " ".join(f"--size {name}=1" for name in sorted(unknown))
        raise UsageError(f"{model.name} names sizes without giving them; say, for example, {example}")
    start = time.perf_counter()
    function = model.compile(target=a.target, threads=a.threads)
    specialization = function.specialise({})
    seconds = time.perf_counter() - start
    memory = specialization.memory
    found: dict[str, Any] = {
        "model": model.name,
        "inputs": {n.name: str(n.type) for n in model.inputs},
        "outputs": {name: str(n.type) for name, n in zip(model.output_names, model.outputs, strict=True)},
        "parameters": len(model.parameters),
        "elements_of_parameters": sum(int(np.prod(concrete(p.shape))) for p in model.parameters),
        "kernels": specialization.steps,
        "bytes": {k: getattr(memory, k) for k in ("arena", "prepared", "parameters", "inputs", "outputs")},
        "compile_seconds": seconds,
    }
    if a.times:
        found["median_seconds"] = median(function, [arbitrary(n) for n in model.inputs], a.times)
    if a.json:
        print_json(found)
    else:
        print(summary(found))


def arbitrary(n: Node) -> np.ndarray:
    """Random values of an input: floats in [0, 1), integers 0 or 1; the same in every run."""
    rng = np.random.default_rng(0)
    shape = concrete(n.shape)
    return (rng.random(shape) if n.type.is_float else rng.integers(0, 2, shape)).astype(n.dtype)


def median(function: Function, arrays: list[np.ndarray], times: int) -> float:
    """Seconds of a call."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        function(*arrays)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def summary(found: dict[str, Any]) -> str:
    lines = [found["model"]]
    for what in ("inputs", "outputs"):
        lines += [f"  {what[:-1]:<11}{name}: {t}" for name, t in found[what].items()]
    lines.append(f"  parameters {found['parameters']} with {found['elements_of_parameters']:,} elements")
    lines.append(f"  kernels    {found['kernels']}, compiled in {found['compile_seconds']:.2f} s")
    sizes = ", ".join(f"{name} {size / 2**20:.2f}" for name, size in found["bytes"].items())
    lines.append(f"  memory     {sum(found['bytes'].values()) / 2**20:.2f} MiB: {sizes}")
    if "median_seconds" in found:
        lines.append(f"  a call     {found['median_seconds'] * 1e3:.3f} ms (median, on random inputs)")
    return "\n".join(lines)
