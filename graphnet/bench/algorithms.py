"""Studies of the algorithms for convolution: where they cross as kernels grow, and whether the one that is chosen is
the fastest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from ..errors import GraphnetError
from ..module import Candidate
from .cases import PARTS, Conv, function
from .harness import REST, Configuration, Configurations, Field, interleave
from .ops import SHORTEST, op_configurations, suitable_burst

# Both studies: cheap enough for direct sums of the largest kernel.
CROSSOVER = tuple(
    Conv("forward", 4, 64, 64, (56, 56), (k, k)) for k in (3, 5, 7, 9, 11, 13, 15, 17, 21, 25, 31)
)
GRID = tuple(
    Conv(part, (1, 8, 16)[(a + b) % 3], channels, channels, (size, size), (k, k))
    for (a, (size, channels)), (b, k), part in product(
        enumerate(((7, 256), (14, 128), (28, 128), (56, 64))), enumerate((1, 3, 5, 7, 11)), PARTS
    )
)
NEAR = 1.1  # of the fastest algorithm's time: as good as it
ROUNDS, WARMUP = 5, 3
ALONE = 50  # rounds, where nobody but us takes part
HALVES = ("fitted", "held out")  # the shapes of the grid in turn: constants of the models may be fitted to the first


def forced(case: Conv, threads: int) -> tuple[Field, str, dict[str, float]]:
    """Steps of every algorithm that can compute the case, by its name; which of them is chosen by itself; and what
    each is modelled to cost, in operations. All must agree."""
    arrays = tuple(case.arrays().values())
    compiled = function(case, threads)
    expected = compiled(*arrays)
    (spec,) = compiled.specializations
    candidates: list[Candidate] = []
    chosen = ""
    for decision in spec.module.decisions:
        if decision.pass_name == "choose_conv":
            chosen, candidates = decision.choice, list(decision.candidates)
    if not chosen:
        raise GraphnetError(f"no algorithm was chosen for {case}")

    def configurations() -> Configurations:
        def step_of(name: str) -> Callable[[], Any]:
            return partial(function(case, threads, name), *arrays)

        able = [c.name for c in candidates if c.cost is not None]
        return {name: Configuration(partial(step_of, name)) for name in able}

    field = Field()
    field.left_out |= {c.name: str(c.refused) for c in candidates if c.cost is None}
    field.enter(configurations, "graphnet", [expected])
    return field, chosen, {c.name: c.cost for c in candidates if c.cost is not None}


def timed(field: Field, seconds: float, alone: bool = False) -> dict[str, float]:
    """Median milliseconds of each step, in one interleaved run of at most so many seconds.

    Where all are ours, no threads spin after their last work: nobody has to rest before a turn, and the seconds are
    spent on many short ones, so that a change of the machine's pace meets all alike."""
    burst = min(suitable_burst(step) for step in field.steps.values())
    rounds, rest = (ALONE, 0.0) if alone else (ROUNDS, REST)
    burst = max(SHORTEST, burst // 4) if alone else burst
    settle, warmup = -(-burst // 4), min(burst, WARMUP)
    timings = interleave(field.steps, rounds, burst, settle=settle, warmup=warmup, seconds=seconds, rest=rest)
    return {name: round(1e3 * t.median, 4) for name, t in timings.items()}


def described(case: Conv) -> dict[str, Any]:
    arrays = {"part": case.part, "batch": case.n, "channels": [case.c, case.k]}
    return {**arrays, "size": list(case.size), "window": list(case.window)}


def crossover(threads: int, against: Sequence[str], seconds: float, on_case: Callable[[], object]) -> dict[str, Any]:
    """Milliseconds and modelled operations of every algorithm, for kernels from small to large, and of the peers'
    best configurations. `seconds`: of each kernel."""
    rows = []
    for case in CROSSOVER:
        field, chosen, modelled = forced(case, threads)
        own = list(field.steps)
        arrays = case.arrays()
        expected = function(case, threads)(*arrays.values())
        for peer in against:
            field.enter(partial(op_configurations, peer, case, threads), peer, [expected])
        found = timed(field, seconds)
        peers = {}
        for peer in against:
            times = [ms for name, ms in found.items() if name not in own and name.split()[0] == peer]
            if times:
                peers[peer] = min(times)
        rows.append(
            {
                **described(case),
                "milliseconds": {name: found[name] for name in own},
                "modelled_gop": {name: round(cost / 1e9, 4) for name, cost in modelled.items()},
                "chosen": chosen,
                "peers": peers,
                "left_out": field.left_out,
            }
        )
        on_case()
    return {"study": "conv-crossover", "threads": threads, "kernels": rows}


def crossover_text(r: dict[str, Any]) -> str:
    lines = []
    for row in r["kernels"]:
        times = {**row["milliseconds"], **row["peers"]}
        cells = [f"{n}{' (chosen)' if n == row['chosen'] else ''} {ms:.3f}" for n, ms in times.items()]
        lines.append(f"{row['window'][0]:>3}x{row['window'][1]:<3} {'; '.join(cells)}")
    first = r["kernels"][0]
    shape = f"batch {first['batch']}, {first['channels'][0]} to {first['channels'][1]} channels"
    what = f"forward, {shape}, {'x'.join(map(str, first['size']))}, {r['threads']} threads: milliseconds"
    return "\n".join([what, *lines])


def selection(threads: int, seconds: float, on_case: Callable[[], object]) -> dict[str, Any]:
    """For each shape of the grid, the chosen algorithm's time over that of the fastest. `seconds`: of each shape."""
    rows = []
    for number, case in enumerate(GRID):
        field, chosen, _ = forced(case, threads)
        times = timed(field, seconds, alone=True)
        best = min(times, key=lambda name: times[name])
        loss = times[chosen] / times[best] if chosen in times else np.inf
        rows.append(
            {
                **described(case),
                "half": HALVES[number % 2],
                "chosen": chosen,
                "best": best,
                "loss": round(loss, 3),
                "milliseconds": times,
                "left_out": field.left_out,
            }
        )
        on_case()
    near = sum(row["loss"] <= NEAR for row in rows)
    losses = {half: [row["loss"] for row in rows if row["half"] == half] for half in HALVES}
    halves = {half: [sum(loss <= NEAR for loss in found), len(found)] for half, found in losses.items()}
    study = {"study": "selection", "threads": threads, "shapes": rows}
    return {**study, "within_10_percent": near, "of": len(rows), "halves": halves}


def selection_text(r: dict[str, Any]) -> str:
    lines = []
    for row in sorted(r["shapes"], key=lambda row: -row["loss"]):
        (h, v), (c, k), (a, b) = row["size"], row["channels"], row["window"]
        shape = f"{row['part']}, batch {row['batch']}, {c} to {k} channels, {h}x{v}, kernel {a}x{b}"
        times = ", ".join(f"{name} {ms:.3f}" for name, ms in row["milliseconds"].items())
        lines.append(f"{row['loss']:6.2f}x  {shape}: {row['chosen']}; ms: {times}")
    near, of = r["within_10_percent"], r["of"]
    halves = "; ".join(f"{name}: {n} of {total}" for name, (n, total) in r["halves"].items())
    return "\n".join([*lines, f"{near} of {of} ({near / of:.0%}) within 10% of the fastest algorithm; {halves}"])
