"""A whole computation: kernels in order over numbered slots of memory, the same for every target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .compute import Chain, Computation
from .loops import Kernel


@dataclass(frozen=True, slots=True)
class Slot:
    """A piece of memory that kernels read and write.

    kind "arena": at `offset` of the executable's own memory; "external": given by the caller."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int
    kind: str = "external"
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Step:
    """One kernel call: what it computes, and for each of its parameters the number of a slot."""

    computation: Computation | Chain
    slots: tuple[int, ...]
    reads: frozenset[int]
    writes: frozenset[int]


@dataclass(frozen=True, slots=True)
class Program:
    """The steps from number `first` on run at every call. Those before *prepare*: what they store is kept between
    calls, and they run only where what they read has changed."""

    name: str
    slots: tuple[Slot, ...]
    steps: tuple[Step, ...]
    arena_bytes: int
    first: int = 0

    def barriers(self) -> tuple[bool, ...]:
        """For each step, whether it must wait for those before it: whether it touches memory that a
        step since the last wait wrote, or writes memory that one read. Nothing waits for preparation, which
        is over when the first of the other steps starts."""
        wait: list[bool] = []
        reads: list[Slot] = []
        writes: list[Slot] = []
        for number, step in enumerate(self.steps):
            if number == self.first:
                reads, writes = [], []
            r = [self.slots[i] for i in step.reads]
            w = [self.slots[i] for i in step.writes]
            conflict = any(overlap(a, b) for a in r + w for b in writes) or any(overlap(a, b) for a in w for b in reads)
            wait.append(conflict)
            if conflict:
                reads, writes = [], []
            reads += r
            writes += w
        return tuple(wait)


@dataclass(frozen=True, slots=True)
class Call:
    """A step without what it computes: the name of its kernel, its slots, and whether it waits for those before it."""

    kernel: str
    slots: tuple[int, ...]
    waits: bool


@dataclass(frozen=True, slots=True)
class Outline:
    """What is left of a program when its kernels are compiled. offsets: of each slot in the arena, -1 where it is
    external; first: as in `Program`."""

    arena_bytes: int
    offsets: tuple[int, ...]
    calls: tuple[Call, ...]
    first: int


def outline(p: Program, kernels: Sequence[str]) -> Outline:
    """kernels: the name of each step's."""
    offsets = tuple(s.offset if s.kind == "arena" else -1 for s in p.slots)
    calls = tuple(Call(k, s.slots, wait) for k, s, wait in zip(kernels, p.steps, p.barriers(), strict=True))
    return Outline(p.arena_bytes, offsets, calls, p.first)


def overlap(a: Slot, b: Slot) -> bool:
    """Whether two slots share memory."""
    if a is b:
        return True
    if a.kind != "arena" or b.kind != "arena":
        return False
    return a.offset < b.offset + b.bytes and b.offset < a.offset + a.bytes


@dataclass(frozen=True, slots=True)
class Scheduled:
    """A step's kernel on one target, and how its loops were chosen."""

    kernel: Kernel
    how: str
