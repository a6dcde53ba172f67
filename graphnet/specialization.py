"""What compilation for one set of sizes has produced."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from codegen.dtypes import numpy_dtype
from codegen.program import Program, Scheduled, Slot
from codegen.runtime.arrays import Results

from .lower import Lowered
from .module import Module
from .node import Node, Parameter
from .passes.memory import Plan
from .targets import Executable, Kernels, Target

LARGE = 1 << 20  # bytes of an output from which it is worth a microsecond to write it where the last one was


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


@dataclass(slots=True, eq=False)
class Specialization:
    """A function compiled for one set of sizes."""

    sizes: dict[str, int]
    target: Target
    threads: int
    module: Module
    lowered: Lowered
    kernels: Kernels
    executable: Executable
    seconds: dict[str, float]  # of each pass, and of "lower", "schedule" and "compile"
    bound: list[tuple[Node, int, np.ndarray]]  # parameters and constants, kept alive with their slots
    division: str  # why so many threads; "" where there was no choice
    calls: int = 0
    prepared_at: int = -1  # the version of the state from which values were prepared last
    inputs: tuple[int, ...] = field(init=False)  # slots
    outputs: tuple[tuple[int, Callable[[], np.ndarray]], ...] = field(init=False)  # slots, and what makes arrays
    sources: tuple[str, ...] = field(init=False)  # the parameters from which values are prepared

    def __post_init__(self) -> None:
        plan: Plan = self.module.plan
        self.inputs = tuple(plan.slot[n] for n in self.module.graph.inputs)
        self.outputs = tuple((number, _arrays(plan.slots[number])) for number in plan.outputs)
        read = [reads for g, reads in zip(self.module.groups, plan.reads, strict=True) if g.prepared]
        self.sources = tuple({n.name: None for reads in read for n in reads if isinstance(n.op, Parameter)})

    @property
    def scheduled(self) -> tuple[Scheduled, ...]:
        """The loops of each step."""
        return self.kernels.all()

    @property
    def program(self) -> Program:
        return self.lowered.program

    @property
    def memory(self) -> Memory:
        plan: Plan = self.module.plan
        graph = self.module.graph
        return Memory(
            plan.arena_bytes,
            plan.prepared_bytes,
            sum(plan.slots[plan.slot[p]].bytes for p in graph.parameters),
            sum(plan.slots[plan.slot[n]].bytes for n in graph.inputs),
            sum(plan.slots[s].bytes for s in plan.outputs),
        )

    def __repr__(self) -> str:
        sizes = ", ".join(f"{k}={v}" for k, v in self.sizes.items()) or "no named sizes"
        return f"<{sizes}: {len(self.program.steps)} kernels, compiled in {sum(self.seconds.values()):.2f} s>"


def _arrays(slot: Slot) -> Callable[[], np.ndarray]:
    """What makes an uninitialised array for an output at each call."""
    dtype = numpy_dtype(slot.dtype)
    return Results(slot.shape, dtype) if slot.bytes >= LARGE else partial(np.empty, slot.shape, dtype)
