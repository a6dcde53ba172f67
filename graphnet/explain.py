"""Why the compiled program is as it is: kernels in order, the user's lines they serve, what was fused
and what was not, operations, bytes, and time, predicted and measured."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

from codegen.measure import rates
from codegen.runtime.cpu import CpuExecutable, ticks_per_second

from .module import Group
from .node import Node
from .specialization import Specialization


@dataclass(frozen=True, slots=True)
class KernelReport:
    """One kernel. Seconds are None where they are not known: predictions are for CPUs, measurements of the
    last call (of the last preparation, if the kernel is `prepared`)."""

    number: int
    name: str
    ops: tuple[str, ...]
    lines: tuple[str, ...]  # the user's, as file:line
    how: str
    flops: int
    bytes: int
    waits: bool  # for the other threads, before it starts
    prepared: bool  # not at every call: only after a write of the parameters on which it depends
    reasons: tuple[str, ...]
    predicted: float | None
    measured: float | None

    @property
    def gflops(self) -> float | None:
        return self.flops / self.measured / 1e9 if self.measured else None


@dataclass(frozen=True, slots=True)
class Explanation:
    """The whole program; prints as a table."""

    sizes: dict[str, int]
    target: str
    threads: int
    kernels: tuple[KernelReport, ...]
    choices: tuple[str, ...]
    memory: dict[str, int]
    compile_seconds: dict[str, float]
    peak_gflops: float | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def __str__(self) -> str:
        return "\n".join(_lines(self))


@cache
def ticks() -> float:
    """A second, of the counter that times kernels."""
    return ticks_per_second()


def explain(spec: Specialization) -> Explanation:
    """What was compiled for one set of sizes. Measured times are those of the last call, if there was one."""
    on_cpu = spec.target.name == "cpu"
    machine_rates = rates(spec.target.extension) if on_cpu else None
    measured = None
    if on_cpu and spec.calls and isinstance(spec.executable, CpuExecutable):
        measured = spec.executable.kernel_seconds(ticks())
    slots = spec.program.slots
    kernels = []
    waits = spec.program.barriers()
    steps = zip(spec.program.steps, spec.scheduled, spec.lowered.groups, waits, strict=True)
    for number, (step, scheduled, group, wait) in enumerate(steps):
        flops = group.flops if group else 0
        nbytes = sum(slots[s].bytes for s in step.reads) + sum(slots[s].bytes for s in step.writes)
        kernels.append(
            KernelReport(
                number,
                scheduled.kernel.name,
                tuple(n.op.name for n in group.nodes) if group else ("copy",),
                user_lines(group),
                scheduled.how,
                flops,
                nbytes,
                wait,
                number < spec.program.first,
                group.reasons if group else ("the result could not be computed in place",),
                machine_rates.seconds(flops, nbytes, spec.threads) if machine_rates else None,
                float(measured[number]) if measured is not None else None,
            )
        )
    memory = spec.memory
    return Explanation(
        spec.sizes,
        str(spec.target),
        spec.threads,
        tuple(kernels),
        (
            *(f"{d.pass_name}: {_describe(d.node)}: {d.choice}: {d.reason}" for d in spec.module.decisions),
            *filter(None, (spec.division,)),
        ),
        {**asdict(memory), "total": memory.total},
        dict(spec.seconds),
        machine_rates.flops * spec.threads / 1e9 if machine_rates else None,
    )


def user_lines(group: Group | None) -> tuple[str, ...]:
    if group is None:
        return ()
    return tuple(dict.fromkeys(str(n.sites[0]) for n in group.nodes if n.sites))


def _describe(n: Node) -> str:
    return f"{n.op.name} ({n.sites[0]})" if n.sites else n.op.name


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1e6:.1f}"


def _lines(e: Explanation) -> list[str]:
    sizes = ", ".join(f"{k}={v}" for k, v in e.sizes.items())
    each = [k for k in e.kernels if not k.prepared]
    prepared = len(e.kernels) - len(each)
    out = [
        f"{len(each)} kernels for {e.target}, {e.threads} threads{', ' + sizes if sizes else ''}"
        + (f"; {prepared} more only when parameters were written" if prepared else ""),
        f"memory: arena {e.memory['arena']:,} B, parameters {e.memory['parameters']:,} B, "
        + (f"prepared from them {e.memory['prepared']:,} B, " if prepared else "")
        + f"total {e.memory['total']:,} B",
        f"compiled in {sum(e.compile_seconds.values()):.2f} s",
        "",
        f"{'':>3} {'MFLOP':>8} {'KB':>8} {'floor us':>9} {'us':>8} {'GFLOP/s':>8}  kernel",
    ]
    for k in e.kernels:
        rate = "" if k.gflops is None or not k.flops else f"{k.gflops:.0f}"
        out.append(
            f"{k.number:>3} {k.flops / 1e6:>8.2f} {k.bytes / 1024:>8.1f} {_time(k.predicted):>9} "
            f"{_time(k.measured):>8} {rate:>8}  {' + '.join(k.ops)}"
        )
        notes = ("; waits for all threads" if k.waits else "") + ("; prepared, not at every call" if k.prepared else "")
        out.append(f"{'':50}  {k.how}{notes}")
        if k.lines:
            out.append(f"{'':50}  from {', '.join(k.lines)}")
    total_flops = sum(k.flops for k in each)
    predicted = sum(k.predicted or 0.0 for k in each)
    measured = sum(k.measured or 0.0 for k in each)
    out.append("")
    out.append(
        f"total: {total_flops / 1e6:.1f} MFLOP"
        + (f", floor {predicted * 1e3:.3f} ms" if predicted else "")
        + (f", measured {measured * 1e3:.3f} ms" if measured else "")
        + (f" ({100 * total_flops / measured / 1e9 / e.peak_gflops:.0f}% of {e.peak_gflops:.0f} GFLOP/s)"
           if measured and e.peak_gflops else "")
    )
    if e.choices:
        out += ["", "choices:"] + [f"  {c}" for c in e.choices]
    return out
