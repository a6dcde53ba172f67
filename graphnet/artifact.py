"""What a specialisation needs in order to run, without nodes, passes or loops; and the same on disk, for the next
process, whose first call then runs no pass.

An entry's name is a digest of all that decides the program: the graph (`digest`), the settings of the passes, the CPU,
the versions of Python, NumPy and llvmlite, and the source of both packages. It names the object code of its kernels,
which lies beside it (`codegen/cache.py`): with one of them gone or damaged, the program is made again. The content is
JSON, and after it the bytes of constants that passes have made.

Not kept: programs with ops of the user's own, whose code is in no digest; tuned ones, which depend on measurements.
"""

from __future__ import annotations

import json
import platform
from dataclasses import astuple, dataclass
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from codegen import cache
from codegen.cpu import Code, link
from codegen.machine import machine
from codegen.program import Call, Outline

from .digest import digest
from .lower import Cost, Lowered
from .module import Module, Settings
from .node import Constant, Graph, Parameter
from .passes.memory import Plan
from .targets import Kernels, Target

LARGEST = 16 << 20  # bytes of an entry


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of an executable, exact before anything is allocated."""

    arena: int
    prepared: int  # computed from parameters and kept
    parameters: int
    inputs: int
    outputs: int

    @property
    def total(self) -> int:
        return self.arena + self.prepared + self.parameters + self.inputs + self.outputs


@dataclass(frozen=True, slots=True)
class Output:
    slot: int
    shape: tuple[int, ...]
    dtype: str  # codegen's name
    bytes: int


@dataclass(frozen=True, slots=True, eq=False)
class Artifact:
    """Parameters and constants are known by their places among the graph's."""

    inputs: tuple[int, ...]  # slots
    outputs: tuple[Output, ...]
    parameters: tuple[tuple[int, int], ...]  # place, slot
    sources: tuple[int, ...]  # places of the parameters from which values are prepared
    constants: tuple[tuple[int, int], ...]  # of the graph, that kernels read: place, slot
    folded: tuple[tuple[int, np.ndarray], ...]  # those that passes have made: slot, bytes
    memory: Memory
    cost: Cost
    program: Outline
    objects: tuple[str, ...]  # entries of the kernels' object code; none on targets without


def constants(graph: Graph) -> list[np.ndarray]:
    """In the order of the nodes."""
    return [np.ascontiguousarray(op.array) for op in _constants(graph)]


def _constants(graph: Graph) -> list[Constant]:
    return [n.op for n in graph.nodes() if isinstance(n.op, Constant)]


def artifact(graph: Graph, module: Module, lowered: Lowered, kernels: Kernels) -> Artifact:
    """Of what the passes have made of a graph."""
    plan: Plan = module.plan
    slots = plan.slots
    parameter = {n: k for k, n in enumerate(graph.parameters)}
    constant = {op: k for k, op in enumerate(_constants(graph))}
    read = {s for step in lowered.program.steps for s in step.slots}
    leaves = [(n.op, s) for n, s in plan.slot.items() if isinstance(n.op, Constant) and s in read]
    prepared = [reads for g, reads in zip(module.groups, plan.reads, strict=True) if g.prepared]
    return Artifact(
        tuple(plan.slot[n] for n in module.graph.inputs),
        tuple(Output(s, slots[s].shape, slots[s].dtype, slots[s].bytes) for s in plan.outputs),
        tuple((parameter[n], s) for n, s in plan.slot.items() if isinstance(n.op, Parameter)),
        tuple({parameter[n]: None for reads in prepared for n in reads if isinstance(n.op, Parameter)}),
        tuple((constant[op], s) for op, s in leaves if op in constant),
        tuple((s, np.frombuffer(op.data, np.uint8)) for op, s in leaves if op not in constant),
        Memory(
            plan.arena_bytes,
            plan.prepared_bytes,
            sum(slots[plan.slot[p]].bytes for p in module.graph.parameters),
            sum(slots[plan.slot[n]].bytes for n in module.graph.inputs),
            sum(slots[s].bytes for s in plan.outputs),
        ),
        lowered.cost,
        kernels.outline,
        tuple(kernels.entries().values()),
    )


# ------------------------------------------------------------------------------------------- on disk


def entry(graph: Graph, settings: Settings, target: Target) -> str | None:
    """The name under which the program of a graph is kept; None where it is not."""
    if cache.folder() is None or not target.is_native or settings.tuner is not None:
        return None
    name = digest(graph)
    if name is None:
        return None
    versions = (np.__version__, platform.python_version())
    return cache.key(f"program {name} {settings} {versions}", machine(target.extension))


def load(name: str, target: Target) -> tuple[Artifact, Code] | None:
    """A program and its code, linked; None if it is not there, or not all of it."""
    data = cache.load(name)
    if data is None:
        return None
    found = from_bytes(data)
    objects = list(cache.load_all(found.objects).values())
    if any(o is None for o in objects):
        return None
    return found, link([o for o in objects if o is not None], machine(target.extension))


def save(name: str, a: Artifact) -> None:
    """Keeps a program whose kernels' code is kept."""
    data = to_bytes(a)
    if len(data) <= LARGEST:
        cache.save({name: data})


def to_bytes(a: Artifact) -> bytes:
    number = {name: k for k, name in enumerate(dict.fromkeys(c.kernel for c in a.program.calls))}
    head = {
        "inputs": a.inputs,
        "outputs": [astuple(o) for o in a.outputs],
        "parameters": a.parameters,
        "sources": a.sources,
        "constants": a.constants,
        "folded": [(s, array.nbytes) for s, array in a.folded],
        "memory": astuple(a.memory),
        "cost": astuple(a.cost),
        "arena": a.program.arena_bytes,
        "offsets": a.program.offsets,
        "first": a.program.first,
        "kernels": list(number),
        "calls": [(number[c.kernel], c.slots, c.waits) for c in a.program.calls],
        "objects": a.objects,
    }
    return b"\n".join((json.dumps(head, separators=(",", ":")).encode(), b"".join(x.tobytes() for _, x in a.folded)))


def from_bytes(data: bytes) -> Artifact:
    text, _, rest = data.partition(b"\n")
    head: dict[str, Any] = json.loads(text)
    kernels = head["kernels"]
    ends = pairwise(accumulate((n for _, n in head["folded"]), initial=0))
    return Artifact(
        tuple(head["inputs"]),
        tuple(Output(slot, tuple(shape), dtype, nbytes) for slot, shape, dtype, nbytes in head["outputs"]),
        _pairs(head["parameters"]),
        tuple(head["sources"]),
        _pairs(head["constants"]),
        tuple((s, np.array(memoryview(rest)[a:b])) for (s, _), (a, b) in zip(head["folded"], ends, strict=True)),
        Memory(*head["memory"]),
        Cost(*head["cost"]),
        Outline(
            head["arena"],
            tuple(head["offsets"]),
            tuple(Call(kernels[k], tuple(slots), waits) for k, slots, waits in head["calls"]),
            head["first"],
        ),
        tuple(head["objects"]),
    )


def _pairs(rows: list[list[int]]) -> tuple[tuple[int, int], ...]:
    return tuple((place, slot) for place, slot in rows)
