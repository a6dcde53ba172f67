"""Compiled functions: `compile` a graph, call it with arrays.

A function compiles itself for the sizes it is called with, once for each set of sizes
(`specializations`). Parameters live in its `state`, which several functions may share.
"""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np

from codegen.cpu import quick_switches
from codegen.machine import available_threads
from codegen.runtime.cpu import CpuExecutable

from .artifact import Artifact, Memory, artifact, constants, entry, load, save
from .errors import GraphnetError, ShapeError
from .explain import Explanation, explain
from .module import Module, Settings
from .node import Graph, Node, Parameter, make_graph
from .pipeline import Observer, run
from .profile import Profile, profile
from .signature import Signature
from .site import current_sites, located, where
from .source import source
from .specialization import Specialization, make
from .state import State
from .targets import TARGETS, Executable, OnDevice, Target, parse_target
from .tune import SECONDS, Tuner
from .types import Dim

PRECISIONS = ("default", "highest")


@contextmanager
def no_collection() -> Iterator[None]:
    """Without Python's search for cycles, which would go over all that is kept of a growing graph and its kernels again
    and again: a third of the time of the passes and lowering, to find nothing. What is there at the end counts as old,
    or the first search after would go over it at once."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        if not gc.get_freeze_count():  # of objects that the user took out of all searches
            gc.freeze()
            gc.unfreeze()
        gc.enable()


class Function:
    """A compiled graph. Call it with one array an input; it returns one array an output.

    With one output the array itself is returned, with several a tuple. Updates have happened on return."""

    def __init__(
        self,
        graph: Graph,
        target: Target,
        threads: int,
        state: State,
        observers: Sequence[Observer],
        precision: str,
        max_bytes: int | None,
        tune: float,
    ) -> None:
        self.graph = graph
        self.target = target
        self.threads = threads
        self.state = state
        self.observers = tuple(observers)
        self.precision = precision
        self.max_bytes = max_bytes
        self.tuner = Tuner(tune, target, threads) if tune else None
        self._signature = Signature(graph)
        self._updated = frozenset(p.name for p, _ in graph.updates)
        self._lock = threading.RLock()
        self._by_shapes: dict[tuple[tuple[int, ...], ...], Specialization] = {}
        self._compiled: dict[tuple[int, ...], Specialization] = {}
        self._entered: Specialization | None = None  # the last called, if native code takes its calls
        self._names = sorted({name for n in graph.nodes() for e in n.shape if isinstance(e, Dim) for name in e.names})

    def __call__(self, *args: Any, **named: Any) -> Any:
        # Of a small network's call every line is a part that one can measure: see docs/performance.md.
        spec = self._entered
        entry = None if spec is None or named else spec.entry
        if spec is None or entry is None:
            return self._call(args, named)
        state, updated, make = self.state, self._updated, spec.only
        with self._lock:  # an executable has one arena and one table of pointers
            if state.elsewhere:
                state.fetch()
            if spec.prepared_at != state.version:
                self._prepare(spec)
            results = (make(),) if make else spec.results()
            try:
                done = entry.enter(args, results)
            finally:
                if updated:
                    state.wrote(updated)
            spec.calls += done
        if not done:
            return self._call(args, named)
        return results[0] if make else spec.returned(results)

    @located
    def _call(self, args: tuple[Any, ...], named: dict[str, Any]) -> Any:
        arrays = self._signature.arrays(args, named)
        shapes = tuple([a.shape for a in arrays])
        with self._lock:
            spec = self._by_shapes.get(shapes)
            if spec is None:
                spec = self._by_shapes[shapes] = self.specialise(self._signature.sizes(arrays))
                spec.open(self._signature.dtypes, shapes)
            self._entered = spec if spec.entry else None
            return self._execute(spec, arrays)

    # ------------------------------------------------------------------------------- compilation

    @property
    def specializations(self) -> tuple[Specialization, ...]:
        return tuple(self._compiled.values())

    @located
    @quick_switches()
    @no_collection()
    def specialise(self, sizes: Mapping[str, int]) -> Specialization:
        """Compiles for these sizes of the named dimensions, or finds what was compiled before."""
        missing = [n for n in self._names if n not in sizes]
        if missing:
            raise GraphnetError(f"sizes of {', '.join(missing)} are needed, as in specialise({{{missing[0]!r}: 64}})")
        for n in self._names:
            if not isinstance(sizes[n], (int, np.integer)) or sizes[n] < 1:
                raise ShapeError(f"{n} is {sizes[n]!r}; a size is an integer from 1")
        key = tuple(int(sizes[n]) for n in self._names)
        if key not in self._compiled:
            self._compiled[key] = self._compile(dict(zip(self._names, key, strict=True)))
        return self._compiled[key]

    def _compile(self, sizes: dict[str, int]) -> Specialization:
        """By what is on disk, or by the passes."""
        seconds: dict[str, float] = {}
        last = time.perf_counter()

        def lap(name: str, _: Module | None = None) -> None:
            nonlocal last
            now = time.perf_counter()
            seconds[name] = seconds.get(name, 0.0) + now - last
            last = now

        if self.tuner is None:  # which measures
            self.state.begin(self.graph.parameters)
        settings, target = self._settings(sizes), self.target
        again = partial(make, self.graph, settings, target)
        name = None if self.observers else entry(self.graph, settings, target)
        found = load(name, target) if name else None
        made = None if found else again(self.observers, lap)
        if found:
            kept, code = found
            threads, division = kept.cost.division(self.threads)
            executable: Executable = CpuExecutable(kept.program, code, threads)
            lap("load")
        else:
            assert made is not None
            kept = artifact(self.graph, made.module, made.lowered, made.kernels)
            threads, division = kept.cost.division(self.threads) if target.is_threaded else (self.threads, "")
            executable = TARGETS[target.name](made.lowered.program, made.kernels, threads)
            lap("compile")
        bound, constants = self._bind_fixed(kept, executable)
        lap("values")
        if made and name:
            save(name, kept)
            lap("save")
        sources = tuple(self.graph.parameters[place].name for place in kept.sources)
        fixed = (bound, constants, sources)
        return Specialization(sizes, target, threads, division, kept, executable, seconds, *fixed, again, made)

    def _settings(self, sizes: Mapping[str, int]) -> Settings:
        how = (self.precision, self.max_bytes, self.tuner)
        return Settings(self.target.family, self.target.lanes, tuple(sizes.items()), *how)

    def module(
        self, sizes: Mapping[str, int], stop_after: str | None = None, observers: Sequence[Observer] = ()
    ) -> Module:
        """The graph after the passes, or after the one named."""
        return run(Module(self.graph, self._settings(sizes)), stop_after, observers)

    def _bind_fixed(
        self, kept: Artifact, executable: Executable
    ) -> tuple[list[tuple[Node, int, np.ndarray]], list[np.ndarray]]:
        """Binds parameters, which are returned with their slots, and constants."""
        nodes = self.graph.parameters
        bound = [(nodes[place], slot, self.state.memory(nodes[place])) for place, slot in kept.parameters]
        given = constants(self.graph) if kept.constants else ()
        fixed = [*((slot, given[place]) for place, slot in kept.constants), *kept.folded]
        for slot, array in (*((slot, array) for _, slot, array in bound), *fixed):
            executable.bind(slot, array)
        return bound, [array for _, array in fixed]

    def _execute(self, spec: Specialization, arrays: Sequence[np.ndarray]) -> Any:
        executable, state = spec.executable, self.state
        if isinstance(executable, OnDevice):
            self._upload(spec, executable)
        elif state.elsewhere:
            state.fetch()
        if spec.prepared_at != state.version:
            self._prepare(spec)
        for slot, array in zip(spec.inputs, arrays):  # noqa: B905 (as many, as Signature has seen to)
            executable.bind(slot, array)
        results = spec.results()
        for (slot, _), array in zip(spec.outputs, results):  # noqa: B905
            executable.bind_output(slot, array)
        try:
            executable.run()
        finally:
            if self._updated:
                state.wrote(self._updated)
        spec.calls += 1
        return spec.returned(results)

    def _prepare(self, spec: Specialization) -> None:
        """Computes what is prepared from parameters, unless none of them was written since the last time."""
        version = self.state.version
        if spec.prepared_at < 0 or self.state.written_since(spec.prepared_at, spec.sources):
            spec.executable.prepare()
        spec.prepared_at = version

    def _upload(self, spec: Specialization, executable: OnDevice) -> None:
        """Brings to the GPU the parameters whose newest value is not there, and notes which will be newer there."""
        updated = {p for p, _ in spec.module.graph.updates}
        for n, slot, array in spec.bound:
            if not isinstance(n.op, Parameter):
                continue
            fetch = executable.reader(slot)
            if not self.state.is_newer_in(n.name, fetch):
                self.state.fetch(n.name)
                executable.bind(slot, array)
            if n in updated:
                self.state.newer_elsewhere(n.name, fetch)

    # ------------------------------------------------------------------------------ seeing through

    def _chosen(self, sizes: Mapping[str, int] | None) -> Specialization:
        """The specialization for these sizes; by default the latest."""
        if sizes is None and self._compiled:
            return next(reversed(self._compiled.values()))
        return self.specialise(sizes or {})

    def source(self, kind: str, sizes: Mapping[str, int] | None = None, arch: str = "sm_80") -> str:
        """The program as text, for the latest or the given sizes: see `source.KINDS`."""
        return source(self._chosen(sizes), self.graph, kind, arch)

    def explain(self, sizes: Mapping[str, int] | None = None) -> Explanation:
        """Kernels, lines, choices, costs and times, for the latest or the given sizes."""
        return explain(self._chosen(sizes))

    @located
    def profile(self, *args: Any, runs: int = 100, **named: Any) -> Profile:
        """Calls this function `runs` times with these arguments: where the time goes, kernel by kernel. Updates happen
        at every call."""
        self(*args, **named)
        shapes = tuple([a.shape for a in self._signature.arrays(args, named)])
        return profile(self._by_shapes[shapes], lambda: self(*args, **named), runs)

    def memory(self, sizes: Mapping[str, int] | None = None) -> Memory:
        """Bytes, for the latest or the given sizes."""
        return self._chosen(sizes).memory

    def __repr__(self) -> str:
        return f"<compiled {self.graph} for {self.target}, {len(self._compiled)} specializations>"


@located
def compile(
    outputs: Node | Iterable[Node],
    inputs: Iterable[Node] = (),
    updates: Mapping[Node, Node] | None = None,
    *,
    target: str = "cpu",
    threads: int | None = None,
    state: State | None = None,
    seed: int = 0,
    checks: Sequence[str] = (),
    observers: Sequence[Observer] = (),
    precision: str = "default",
    max_bytes: int | None = None,
    tune: bool | float = False,
) -> Function:
    """A function from `inputs` to `outputs` that also gives parameters their new values in `updates`.

    target: see `targets`. threads: of the CPU; all that this process may use by default. state: the
    parameters' values, shared with another function (`state=step.state`); made from `seed` otherwise.
    checks: "bounds" and "races", with the emulator. precision: "highest" keeps convolutions to direct sums, with
    errors of 3e-7 to 1e-5 of the largest result in float32, by the length of the sums; "default" allows algorithms that
    keep 1e-4 (Winograd's keep 7e-5). max_bytes: the most that `Function.memory` may come to in total: parameters,
    inputs, outputs, what is prepared and the arena. Where that is less than the values need that wait for others, some
    are computed again instead: the same bits, later. What cannot be fitted is an error of the first call, with the
    least that can. tune: True, or seconds (60), in which the algorithms of convolutions are measured on this machine
    when the function is specialised, instead of modelled; times are kept on disk. Bits of results then depend on them.

    Raises GraphnetError for inputs that are missing or are not inputs, and updates of what is no parameter."""
    nodes = (outputs,) if isinstance(outputs, Node) else tuple(outputs)
    for n in nodes:
        if not isinstance(n, Node):
            raise GraphnetError(f"outputs: {n!r} is not a graph node{where(current_sites())}")
    graph = make_graph(nodes, tuple(inputs), updates or {})
    if precision not in PRECISIONS:
        raise GraphnetError(f"unknown precision {precision!r}; there are {', '.join(PRECISIONS)}")
    if threads is not None and threads < 1:
        raise GraphnetError(f"threads must be at least 1, not {threads}")
    if max_bytes is not None and (not isinstance(max_bytes, (int, np.integer)) or max_bytes < 1):
        raise GraphnetError(f"max_bytes is a number of bytes from 1, not {max_bytes!r}")
    if not isinstance(tune, (bool, int, float)) or not 0 <= tune < float("inf"):
        raise GraphnetError(f"tune is True, False or a number of seconds, not {tune!r}")
    if not nodes and not graph.updates:
        raise GraphnetError("nothing to compute: no outputs and no updates")
    parsed = parse_target(target, checks)
    if tune and parsed.name != "cpu":
        raise GraphnetError(f'tune measures machine code of this CPU: target="cpu", not {target!r}')
    seconds = SECONDS if tune is True else float(tune)
    state = State(seed) if state is None else state
    return Function(graph, parsed, threads or available_threads(), state, observers, precision, max_bytes, seconds)
