"""One interleaved run of a case of `cases`: ours, the peers' ways, and plain copies of as many bytes."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import cycle
from typing import Any

import numpy as np

from codegen.machine import last_level_cache
from codegen.measure import rates

from ..errors import GraphnetError
from .cases import CASES, Case, Pass, function
from .harness import PEERS, Configurations, Field, Step, extra, interleave
from .report import OURS, compared

COPY = "copy"  # how the names of copies begin
SHORTEST, LONGEST = 3, 200  # bursts
TURNS = 4  # times the bytes of the last cache, that copies go round among


def op_configurations(peer: str, case: Case, threads: int) -> Configurations:
    """A peer's ways to do a case. Raises GraphnetError for one that does not do it, is unknown, or not installed."""
    if peer not in PEERS:
        raise GraphnetError(f"unknown peer {peer!r}; there are {', '.join(PEERS)}")
    if not PEERS[peer].ops:
        raise GraphnetError("it runs networks only")
    found: Configurations = extra(PEERS[peer].ops).make(case, threads)
    if not found:
        raise GraphnetError("it has no other way to do this case")
    return found


def ours(case: Case, threads: int, algorithm: str = "auto") -> tuple[Step, Any]:
    """A step of ours, called with arrays and returning fresh ones, row-major; and what it returns."""
    compiled, arrays = function(case, threads, algorithm), tuple(case.arrays().values())
    step = partial(compiled, *arrays)
    return step, step()


def compare_case(
    name: str,
    threads: int,
    against: Sequence[str] = (),
    rounds: int = 15,
    burst: int | None = None,
    seconds: float = math.inf,
    on_round: Callable[[int], None] = lambda done: None,
) -> dict[str, Any]:
    """One run, as a dictionary. A case that is all memory traffic is compared with copies of as many bytes, by the
    best of ours, PyTorch's (if it takes part) and NumPy's."""
    case = CASES[name]
    step, expected = ours(case, threads)
    field = Field({OURS: step})
    for peer in against:
        field.enter(partial(op_configurations, peer, case, threads), peer, [expected])
    copies = _copies(case, threads, "torch" in against) if isinstance(case, Pass) else {}
    burst = burst or suitable_burst(step)
    timings = interleave(
        {**field.steps, **copies},
        rounds=rounds,
        burst=burst,
        settle=-(-burst // 4),
        warmup=min(burst, 5),
        seconds=seconds,
        on_round=on_round,
    )
    copied = {n: case.bytes / timings.pop(n).median / 1e9 for n in copies}
    found = compared(timings, case.flops, rates().flops * threads / 1e9, field.left_out)
    if copied:
        best = max(copied.values())
        for row in found["results"].values():
            gbytes = case.bytes / row["median"] / 1e6
            row |= {"gbytes": round(gbytes, 2), "percent_of_bandwidth": round(100 * gbytes / best, 1)}
        found |= {"megabytes": round(case.bytes / 1e6, 3), "copies": {n: round(v, 2) for n, v in copied.items()}}
    shapes = {n: list(a.shape) for n, a in case.arrays().items()}
    return {"case": name, "arrays": shapes, "threads": threads, **found}


def _copies(case: Pass, threads: int, with_torch: bool) -> dict[str, Step]:
    """Half of the bytes are read, half written. Ours writes -x: to copy is nothing for us.

    Each goes round among so many arrays that nothing it reads is in a cache: a copy of the same 33 MB again and again
    was measured at 50 to 127 GB/s, by how much of it the last cache had kept, where memory gives 40."""
    count = max(2, -(-TURNS * last_level_cache() // case.bytes))
    negate = Pass("negate", (1, case.bytes // 8), ("x",), 2)
    compiled = function(negate, threads)
    sources = [np.ones((1, case.bytes // 8), np.float32) for _ in range(count)]
    target = np.empty_like(sources[0])
    steps = {
        f"{COPY}: {OURS}": _in_turn([partial(compiled, s) for s in sources]),
        f"{COPY}: numpy, one thread": _in_turn([partial(np.copyto, target, s) for s in sources]),
    }
    if with_torch:
        make = extra("torch_ops").copying
        steps[f"{COPY}: torch"] = _in_turn([make(case.bytes) for _ in range(count)])
    return steps


def _in_turn(steps: Sequence[Step]) -> Step:
    """A step that is the next of these each time."""
    turns = cycle(steps)
    return lambda: next(turns)()


def suitable_burst(step: Step) -> int:
    """About twenty milliseconds of it."""
    step()
    start = time.perf_counter()
    step()
    return int(min(max(0.02 / (time.perf_counter() - start), SHORTEST), LONGEST))
