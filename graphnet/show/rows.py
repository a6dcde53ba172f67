"""The row of every box: a layer is a band of rows, in which its forward side runs down and its backward side up.

Rows are decided here and not left to `dot`, which cannot know that a layer and its gradient belong side by side.
Linear in the size of the picture.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Mapping
from typing import TypeVar

from .picture import Picture

T = TypeVar("T", bound=Hashable)


def rows(p: Picture) -> dict[str, int]:
    """Row 0 is at the top. Boxes beside others have the row of those."""
    outer = {x.name: b.name for b in p.boxes for x in (b, *b.beside)}
    box = {b.name: b for b in p.boxes}
    above: dict[str, list[tuple[str, int]]] = {b.name: [] for b in p.boxes}  # who is above, and by how much at least
    for a in p.arrows:
        tail, head = outer[a.tail], outer[a.head]
        if a.how == "flow" and box[head].side == "backward":
            above[tail].append((head, 1))
        elif a.how == "flow":
            above[head].append((tail, 1))
        elif a.how == "saved":
            above[head].append((tail, 0))
    free = {b.name for b in p.boxes if b.free}
    bands: dict[object, list[str]] = {}
    for b in p.boxes:
        if not b.free:
            bands.setdefault(b.layer, []).append(b.name)
    band_of = {name: k for k, names in enumerate(bands.values()) for name in names}
    inner = {n: [(m, d) for m, d in above[n] if band_of.get(m) == band_of[n]] for n in band_of}
    local: dict[str, int] = {}
    for names in bands.values():
        for n in _sorted(names, {m: [x for x, _ in inner[m]] for m in names}):
            local[n] = max((local[m] + d for m, d in inner[n] if m in local), default=0)
    height = [max(local[n] for n in names) + 1 for names in bands.values()]
    before: dict[int, list[int]] = {k: [] for k in range(len(bands))}
    for n, k in band_of.items():
        before[k] += [band_of[m] for m, _ in above[n] if band_of.get(m, k) != k]
    start: dict[int, int] = {}
    for k in _sorted(before, before):
        start[k] = max((start[j] + height[j] for j in before[k] if j in start), default=0)
    found = {n: start[k] + local[n] for n, k in band_of.items()}
    # Inputs stand just above their users, outputs just below what they show.
    for a in p.arrows:
        tail, head = outer[a.tail], outer[a.head]
        if head in free and tail in found:
            found[head] = max(found.get(head, 0), found[tail] + (-1 if box[head].side == "backward" else 1))
        elif tail in free and head in found:
            found[tail] = min(found.get(tail, found[head] - 1), found[head] - 1)
    for n in free:
        found.setdefault(n, 0)
    top = min(found.values(), default=0)
    return {x: found[b] - top for x, b in outer.items()}


def _sorted(things: Iterable[T], before: Mapping[T, Iterable[T]]) -> list[T]:
    """Things with those before them first; where they wait for each other, in the order given."""
    given = list(things)
    known = set(given)
    waiting = {t: {b for b in before[t] if b in known and b != t} for t in given}
    after: dict[T, list[T]] = {}
    for t in given:
        for b in waiting[t]:
            after.setdefault(b, []).append(t)
    ready = deque(t for t in given if not waiting[t])
    left = deque(given)
    order: dict[T, None] = {}
    while left:
        t = ready.popleft() if ready else left.popleft()
        if t in order:
            continue
        order[t] = None
        for u in after.get(t, ()):
            waiting[u].discard(t)
            if not waiting[u]:
                ready.append(u)
    return list(order)
