"""What compilation for one set of sizes has produced."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from codegen.dtypes import numpy_dtype
from codegen.program import Program, Scheduled
from codegen.runtime.arrays import Results
from codegen.runtime.cpu import CpuExecutable
from codegen.runtime.entry import Entry

from .artifact import Artifact, Memory, Output
from .lower import Lowered, lower
from .module import Module, Settings
from .node import Graph, Node
from .pipeline import Observer, run
from .targets import Executable, Kernels, Target

LARGE = 1 << 20  # bytes of an output from which it is worth a microsecond to write it where the last one was


@dataclass(frozen=True, slots=True)
class Made:
    """What the passes, the lowering and the forms of its computations have made of a graph."""

    module: Module
    lowered: Lowered
    kernels: Kernels


def make(
    graph: Graph,
    settings: Settings,
    target: Target,
    observers: Sequence[Observer] = (),
    lap: Callable[[str, Module], None] = lambda name, module: None,
) -> Made:
    """The same for the same graph, settings and target. lap: called after each part with its name."""
    module = run(Module(graph, settings), None, (lap, *observers))
    lowered = lower(module)
    lap("lower", module)
    kernels = Kernels(lowered.program, target)
    lap("canonical", module)
    return Made(module, lowered, kernels)


@dataclass(slots=True, eq=False)
class Specialization:
    """A function compiled for one set of sizes. Where its program was found on disk, passes run when somebody first
    asks for the module, the loops or the like."""

    sizes: dict[str, int]
    target: Target
    threads: int
    division: str  # why so many threads; "" where there was no choice
    artifact: Artifact
    executable: Executable
    seconds: dict[str, float]  # of each pass, and of "lower", "canonical", "compile"; or of "load"
    bound: list[tuple[Node, int, np.ndarray]]  # parameters, kept alive with their slots
    constants: list[np.ndarray]  # likewise
    sources: tuple[str, ...]  # the parameters from which values are prepared
    make: Callable[[], Made]
    known: Made | None  # what that gives, where it was called
    calls: int = 0
    _scalars: bool = field(init=False)
    prepared_at: int = -1  # the version of the state from which values were prepared last
    inputs: tuple[int, ...] = field(init=False)  # slots
    outputs: tuple[tuple[int, Callable[[], np.ndarray]], ...] = field(init=False)  # slots, and what makes arrays
    only: Callable[[], np.ndarray] | None = field(init=False)  # what makes the result, if that is one array
    entry: Entry | None = None

    def __post_init__(self) -> None:
        self.inputs = self.artifact.inputs
        self.outputs = tuple((o.slot, _arrays(o)) for o in self.artifact.outputs)
        self._scalars = any(not o.shape for o in self.artifact.outputs)
        self.only = self.outputs[0][1] if len(self.outputs) == 1 and not self._scalars else None

    def open(self, dtypes: Sequence[np.dtype], shapes: Sequence[tuple[int, ...]]) -> None:
        """Lets native code take the calls with such arrays, where there is some."""
        if isinstance(self.executable, CpuExecutable):
            inputs = zip(self.inputs, dtypes, shapes, strict=True)
            self.entry = self.executable.entry(inputs, [slot for slot, _ in self.outputs])

    def results(self) -> tuple[np.ndarray, ...]:
        """Uninitialised arrays for the outputs."""
        return tuple([make() for _, make in self.outputs])

    def returned(self, results: tuple[np.ndarray, ...]) -> Any:
        """What a call returns: the array if there is one output; a number for an array of no axes."""
        if self._scalars:
            results = tuple([r if r.ndim else r[()] for r in results])
        return results[0] if len(results) == 1 else results

    @property
    def made(self) -> Made:
        if self.known is None:
            made = self.make()
            assert made.kernels.outline == self.artifact.program, "not the program that was kept"
            self.known = made
        return self.known

    @property
    def module(self) -> Module:
        return self.made.module

    @property
    def lowered(self) -> Lowered:
        return self.made.lowered

    @property
    def kernels(self) -> Kernels:
        return self.made.kernels

    @property
    def scheduled(self) -> tuple[Scheduled, ...]:
        """The loops of each step."""
        return self.kernels.all()

    @property
    def program(self) -> Program:
        return self.lowered.program

    @property
    def memory(self) -> Memory:
        return self.artifact.memory

    @property
    def steps(self) -> int:
        """How many kernels the program calls."""
        return len(self.artifact.program.calls)

    def __repr__(self) -> str:
        sizes = ", ".join(f"{k}={v}" for k, v in self.sizes.items()) or "no named sizes"
        return f"<{sizes}: {self.steps} kernels, compiled in {sum(self.seconds.values()):.2f} s>"


def _arrays(o: Output) -> Callable[[], np.ndarray]:
    """What makes an uninitialised array for an output at each call."""
    dtype = numpy_dtype(o.dtype)
    return Results(o.shape, dtype) if o.bytes >= LARGE else partial(np.empty, o.shape, dtype)
