"""Values computed again instead of kept, so that a program fits into given bytes.

At the step where most bytes live, a value that waits there for a later reader gives way: its kernel runs a second time
just before that reader. What the kernel reads must be there then: it is, or it is kept longer, or it is computed again
as well. Of all such changes the one that frees most bytes at that step for the time it costs is made, if fewer bytes
then live at once; and again, at the step where most live now. As the change at a reader makes readers of its own, the
next ones cut the way back into segments, each of which is computed again from where it begins.

After XLA's rematerialisation pass, and T. Chen, B. Xu, C. Zhang, C. Guestrin: Training deep nets with sublinear memory
cost. arXiv:1604.06174. A kernel that runs again is the same kernel on the same values: results keep their bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from .arena import Life

FLOP, BYTE = 1 / 60e9, 1 / 50e9  # seconds, the same on every machine; small kernels reach a fraction of the peak
LIMITS = (1, 2, 4, 8, 16)  # kernels that one change may run again
TRIED = 16  # changes that are looked at for a step before it counts as the least
MOST = 1.0  # of the program's own time: what all repetitions together may cost


@dataclass(frozen=True, slots=True)
class Work:
    """A kernel: the values it reads and makes, by number; its seconds; the kernels that overwrite what it reads, before
    which it must run. `again`: whether it may run twice. `whole`: whether it then makes everything, so that its code,
    and the order of its sums, is the same."""

    reads: tuple[int, ...]
    makes: tuple[int, ...]
    cost: float
    overwritten: tuple[int, ...] = ()
    again: bool = True
    whole: bool = False


@dataclass(frozen=True, slots=True)
class Run:
    """A work, and which of its values are made this time."""

    work: int
    makes: tuple[int, ...]
    again: bool = False


@dataclass(frozen=True, slots=True)
class Problem:
    """Works in order. nbytes: of each value; 0 for those that have places of their own. `last`: values that are read
    when all works have run."""

    works: tuple[Work, ...]
    nbytes: tuple[int, ...]
    last: frozenset[int] = frozenset()

    def as_it_is(self) -> tuple[Run, ...]:
        return tuple(Run(k, w.makes) for k, w in enumerate(self.works))


@dataclass(slots=True)
class Version:
    """A value as one run makes it: read at `uses`, the numbers of runs."""

    value: int
    first: int
    uses: list[int] = field(default_factory=list)

    @property
    def last(self) -> int:
        return self.uses[-1] if self.uses else self.first


def versions(p: Problem, runs: Sequence[Run]) -> list[Version]:
    """Everything that the runs make: each reader reads the newest."""
    out: list[Version] = []
    newest: dict[int, Version] = {}
    for k, run in enumerate(runs):
        for v in p.works[run.work].reads:
            if v in newest:
                newest[v].uses.append(k)
        for v in run.makes:
            newest[v] = Version(v, k)
            out.append(newest[v])
    for v in p.last:
        newest[v].uses.append(len(runs))
    return out


def lives(p: Problem, runs: Sequence[Run]) -> list[Life]:
    """Of all versions that need a place."""
    return [Life(p.nbytes[v.value], v.first, v.last) for v in versions(p, runs) if p.nbytes[v.value]]


def cost(p: Problem, runs: Sequence[Run]) -> float:
    """Seconds of what runs again."""
    return sum(p.works[r.work].cost for r in runs if r.again)


def shrink(p: Problem, worth: Callable[[int, float], float]) -> Iterator[tuple[Run, ...]]:
    """Runs of which fewer and fewer bytes live at once, or at fewer steps as many. worth: of a change, by the bytes
    that it frees where most live, and its seconds."""
    runs, allowed = p.as_it_is(), MOST * sum(w.cost for w in p.works)
    now = _Now(p, runs)
    while True:
        changes = [c for c in now.changes() if c.seconds <= allowed]
        changes.sort(key=lambda c: -worth(c.freed, c.seconds))
        for change in changes[:TRIED]:
            then = _Now(p, change.runs(runs))
            if then.height < now.height:
                break
        else:
            return
        allowed -= change.seconds
        runs, now = then.runs, then
        yield runs


def needed(p: Problem, runs: Sequence[Run], fits: Callable[[Sequence[Run]], bool]) -> tuple[Run, ...]:
    """The runs without repetitions that later ones have made superfluous: the dearest are left out first."""
    kept = tuple(runs)
    for run in sorted((r for r in runs if r.again), key=lambda r: -p.works[r.work].cost):
        at = next(k for k, r in enumerate(kept) if r is run)
        without = kept[:at] + kept[at + 1 :]
        if fits(without):
            kept = without
    return kept


@dataclass(frozen=True, slots=True)
class _Change:
    """Works that run again before run number `at`; bytes freed where most live; seconds."""

    at: int
    again: tuple[Run, ...]
    freed: int
    seconds: float

    def runs(self, runs: tuple[Run, ...]) -> tuple[Run, ...]:
        return runs[: self.at] + self.again + runs[self.at :]


class _Now:
    """What lives when, and how less could."""

    def __init__(self, p: Problem, runs: tuple[Run, ...]) -> None:
        self.p, self.runs = p, runs
        self.versions = [v for v in versions(p, runs) if p.nbytes[v.value]]
        change = [0] * (len(runs) + 2)
        for v in self.versions:
            change[v.first] += p.nbytes[v.value]
            change[v.last + 1] -= p.nbytes[v.value]
        profile, total = [], 0
        for c in change[:-1]:
            total += c
            profile.append(total)
        most = max(profile)
        self.peak = profile.index(most)
        self.height = most, profile.count(most)

    def changes(self) -> Iterator[_Change]:
        """All that free bytes at the peak."""
        maker = {v: k for k, w in enumerate(self.p.works) for v in w.makes}
        place = {r.work: k for k, r in enumerate(self.runs) if not r.again}
        of: dict[int, list[Version]] = {}
        for version in self.versions:
            of.setdefault(version.value, []).append(version)
        for version in self.versions:
            if version.first < self.peak < version.last and self.peak not in version.uses:
                at = next(u for u in version.uses if u > self.peak)
                found: set[tuple[Run, ...]] = set()
                for limit in LIMITS:
                    change = self._again(version.value, at, limit, maker, place, of)
                    if change and change.freed > 0 and change.again not in found:
                        found.add(change.again)
                        yield change

    def _again(
        self,
        value: int,
        at: int,
        limit: int,
        maker: dict[int, int],
        place: dict[int, int],
        of: dict[int, list[Version]],
    ) -> _Change | None:
        """`value` computed again before run `at`, with at most `limit` kernels; None if it cannot be."""
        p = self.p
        makes: dict[int, set[int]] = {}
        freed = p.nbytes[value]
        waiting, seen = [value], {value}
        while waiting:
            waiting.sort(key=lambda v: p.nbytes[v])
            v = waiting.pop()
            work = p.works[maker[v]]
            able = work.again and all(place[o] >= at for o in work.overwritten)
            if maker[v] not in makes and (not able or len(makes) == limit):
                if v == value:
                    return None
                freed -= p.nbytes[v]  # kept instead
                continue
            is_new = maker[v] not in makes
            makes.setdefault(maker[v], set()).add(v)
            for i in work.reads if is_new else ():
                if not p.nbytes[i] or i in seen:
                    continue
                newest = next(x for x in reversed(of[i]) if x.first < at)
                if newest.last < self.peak:  # else it is there at the peak, or can be had for nothing
                    seen.add(i)
                    waiting.append(i)
        again = tuple(
            Run(k, p.works[k].makes if p.works[k].whole else tuple(sorted(makes[k])), True) for k in sorted(makes)
        )
        return _Change(at, again, freed, sum(p.works[k].cost for k in makes))


def by_time(freed: int, seconds: float) -> float:
    return freed / max(seconds, 1e-9)


def by_bytes(freed: int, seconds: float) -> float:
    return freed


WORTH = (by_time, by_bytes)  # in this order: the second finds what the first does not

