"""If, Loop, Scan: conditions that are known, loops that are unrolled."""

from __future__ import annotations

import numpy as np

import graphnet as gn

from ..node import Node
from .call import Call, Refused, Unknown
from .table import converts

MOST_STEPS = 1000  # of a loop that is unrolled


@converts("If")
def if_(c: Call) -> list[Node]:
    """A condition that is known takes its branch; else both are computed and the results chosen from."""
    then, otherwise = c.attribute("then_branch"), c.attribute("else_branch")
    try:
        chosen = bool(c.scalar(0))
    except Unknown as e:
        unknown = e
    else:
        return c.run(then if chosen else otherwise, [])
    try:
        yes, no = c.run(then, []), c.run(otherwise, [])
    except Refused:
        raise unknown from None  # one of them may be in order
    if any(a.type != b.type for a, b in zip(yes, no, strict=True)):
        raise unknown  # the condition decides what the results are
    return [gn.where(gn.reshape(c[0], ()), a, b) for a, b in zip(yes, no, strict=True)]


@converts("Loop")
def loop(c: Call) -> list[Node]:
    """Unrolled: the trip count must be known, and so must each condition."""
    body = c.attribute("body")
    carried = [c[i] for i in range(2, len(c))]
    scanned: list[list[Node]] = [[] for _ in range(len(body.output) - 1 - len(carried))]
    most = c.scalar(0) if c.get(0) is not None else None
    going = c.get(1) is None or bool(c.scalar(1))
    step = 0
    while going and (most is None or step < most):
        c.refuse_unless(step < MOST_STEPS, f"more than {MOST_STEPS} steps are not unrolled")
        counter = gn.constant(np.asarray(step, dtype=np.int64))
        condition, *out = c.run(body, [counter, gn.constant(np.asarray(True)), *carried])
        going = bool(c.value(condition))
        carried, produced = out[: len(carried)], out[len(carried) :]
        for rows, row in zip(scanned, produced, strict=True):
            rows.append(row)
        step += 1
    return [*carried, *(_stacked(c, rows, 0) for rows in scanned)]


@converts("Scan", since=9)
def scan(c: Call) -> list[Node]:
    """Unrolled along the scanned axes."""
    body, count = c.attribute("body"), c.attribute("num_scan_inputs")
    carried, sequences = c.nodes[: len(c) - count], c.nodes[len(c) - count :]
    results = len(body.output) - len(carried)
    in_axes = c.attribute("scan_input_axes") or [0] * count
    in_backwards = c.attribute("scan_input_directions") or [0] * count
    out_axes = c.attribute("scan_output_axes") or [0] * results
    out_backwards = c.attribute("scan_output_directions") or [0] * results
    lengths = {c.sizes_of((x.shape[a],))[0] for x, a in zip(sequences, in_axes, strict=True)}
    c.refuse_unless(len(lengths) == 1, f"the scanned inputs have different lengths, {sorted(lengths)}")
    (steps,) = lengths
    c.refuse_unless(0 < steps <= MOST_STEPS, f"{steps} steps are not unrolled")
    scanned: list[list[Node]] = [[] for _ in range(results)]
    for step in range(steps):
        rows = []
        for x, axis, backwards in zip(sequences, in_axes, in_backwards, strict=True):
            at = steps - 1 - step if backwards else step
            rows.append(x[(*[slice(None)] * (axis % x.rank), at)])
        out = c.run(body, [*carried, *rows])
        carried = out[: len(carried)]
        for kept, row in zip(scanned, out[len(carried) :], strict=True):
            kept.append(row)
    outputs = []
    for rows, axis, backwards in zip(scanned, out_axes, out_backwards, strict=True):
        outputs.append(_stacked(c, rows[::-1] if backwards else rows, axis))
    return [*carried, *outputs]


@converts("Scan", since=8)
def scan_of_batches(c: Call) -> list[Node]:
    """Version 8: the inputs begin with lengths, which must be left out, and all have a batch on their first axis."""
    c.refuse_unless(c.get(0) is None, "lengths of sequences are not supported")
    body, count = c.attribute("body"), c.attribute("num_scan_inputs")
    given = [c[i] for i in range(1, len(c))]
    backwards = c.attribute("directions") or [0] * count
    states = len(given) - count
    outputs = []
    for b in range(c.sizes_of(given[0].shape[:1])[0]):
        carried, sequences = [x[b] for x in given[:states]], [x[b] for x in given[states:]]
        scanned: list[list[Node]] = [[] for _ in body.output[states:]]
        (steps,) = {c.sizes_of(x.shape[:1])[0] for x in sequences}
        c.refuse_unless(0 < steps <= MOST_STEPS, f"{steps} steps are not unrolled")
        for step in range(steps):
            rows = [x[steps - 1 - step if back else step] for x, back in zip(sequences, backwards, strict=True)]
            out = c.run(body, [*carried, *rows])
            carried = out[:states]
            for kept, row in zip(scanned, out[states:], strict=True):
                kept.append(row)
        outputs.append([*carried, *(_stacked(c, rows, 0) for rows in scanned)])
    return [gn.stack(list(of_batch), 0) for of_batch in zip(*outputs, strict=True)]


def _stacked(c: Call, rows: list[Node], axis: int) -> Node:
    """The rows of all steps along a new axis."""
    c.refuse_unless(bool(rows), "a loop of no steps gives results without a known type")
    axis = axis % (rows[0].rank + 1)
    return gn.concatenate([gn.expand_dims(r, axis) for r in rows], axis)
