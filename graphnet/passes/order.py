"""In which order kernels run, so that values die early.

Fusion leaves kernels in the graph's order, in which all parameters are updated last: until then a training step holds
every activation and every cotangent. Here what leads to nothing but one result (a weight's gradient, and its update)
runs as soon as all else that it reads is there. The rest keeps its order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Sequence


def early(before: Sequence[Collection[int]], results: Collection[int], wait: int = 0) -> list[int]:
    """An order of the steps 0, 1, ... in which each comes after those of `before`, all smaller than itself.

    results: steps whose values leave the program, and need no memory of it. What leads to one of them alone is a
    tail: its steps run together, once everything else that they need has run, and `wait` more steps that are in no
    tail: they may be about to use up what the step before them has made."""
    users: list[list[int]] = [[] for _ in before]
    for k, needed in enumerate(before):
        for j in needed:
            users[j].append(k)
    tail: dict[int, int] = {}  # the step that ends the tail to which a step belongs
    for k in reversed(range(len(before))):
        ends = {tail.get(u) for u in users[k]}
        if not ends and k in results:
            tail[k] = k
        elif len(ends) == 1 and None not in ends:
            tail[k] = tail[users[k][0]]
    members: dict[int, list[int]] = {}
    for k in sorted(tail):
        members.setdefault(tail[k], []).append(k)
    missing = {end: {j for k in ks for j in before[k]} - set(ks) for end, ks in members.items()}
    waiting: dict[int, list[int]] = {}
    for end, needed in missing.items():
        for j in needed:
            waiting.setdefault(j, []).append(end)
    order: list[int] = []
    done: set[int] = set()

    free = {end for end, needed in missing.items() if not needed}
    ready: deque[tuple[int, int]] = deque()  # the other tails, and the number of the step after which each may run
    count = 0

    def run(steps: list[int]) -> None:
        for k in steps:
            if k in done:
                continue
            order.append(k)
            done.add(k)
            for end in waiting.get(k, ()):
                missing[end].discard(k)
                if not missing[end]:
                    ready.append((end, count + wait))

    for k in range(len(before)):
        if k not in tail or tail[k] in free:
            count += k not in tail
            run([k])
        while ready and ready[0][1] <= count:
            run(members[ready.popleft()[0]])
    while ready:
        run(members[ready.popleft()[0]])
    run(list(range(len(before))))  # tails that wait for each other
    return order
