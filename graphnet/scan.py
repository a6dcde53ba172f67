"""Loops whose steps are a graph: `scan`, as JAX has it, differentiable to any order without being unrolled.

    step(carry, x) -> (carry, y)

The step is traced once, into a body. Its gradient is a scan in the other direction over the same inputs, the carries
before each step, and the cotangents of the y.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from .body import close, inline, placeholder
from .errors import GraphnetError, ShapeError
from .evaluate import evaluate
from .gradient import vjp, zeros
from .node import Graph, Node, apply, input, make_graph
from .op import Sample, SeveralResults
from .ops.broadcast import reshape
from .ops.move import concatenate, slice
from .site import current_sites, located, where
from .tree import leaves, structure, with_leaves
from .types import Extent, Type, concrete, extent


@dataclass(frozen=True)
class Scan(SeveralResults):
    """A loop over the leading axis of `sequences` inputs, of `length` steps, from the last if `reverse`.

    inputs      first values of the carries, the sequences (length, ...), captured values
    step        of (carries, an element of each sequence, captured values): new carries, then a y for each output
    result      in this order: the last value of each carry; each y, stacked (length, ...); each carry before
                every step, stacked

    Stacks are in the order of the sequences, whatever the direction."""

    name = "scan"
    kind = "composite"
    step: Graph
    carries: int
    sequences: int
    length: Extent
    reverse: bool = False

    def infer(self, *inputs: Type) -> Type:
        wanted = [n.type for n in self.step.inputs]
        made = [n.type for n in self.step.outputs]
        first, each = self.carries, self.carries + self.sequences
        if len(inputs) != len(wanted):
            raise ShapeError(f"scan of a body with {len(wanted)} inputs cannot have {len(inputs)}")
        for k, (given, element) in enumerate(zip(inputs, wanted, strict=True)):
            if given != (_stacked(element, self.length) if first <= k < each else element):
                raise ShapeError(f"input {k} is {given}, but the body takes {element}, {self.length} times")
        if made[:first] != wanted[:first]:
            raise ShapeError(f"carries {wanted[:first]} become {made[:first]}; their types must stay")
        results = (*made[:first], *(_stacked(t, self.length) for t in (*made[first:], *wanted[:first])))
        if not 0 <= self.result < len(results):
            raise ShapeError(f"result {self.result} of a scan with {len(results)}")
        return results[self.result]

    def evaluate(self, *inputs: np.ndarray) -> np.ndarray:
        first, each = self.carries, self.carries + self.sequences
        carry, fixed = list(inputs[:first]), inputs[each:]
        (length,) = concrete((self.length,))
        steps: dict[int, list[np.ndarray]] = {}
        for t in self.order(length):
            arguments = (*carry, *(x[t] for x in inputs[first:each]), *fixed)
            found = evaluate(self.step.outputs, dict(zip(self.step.inputs, arguments, strict=True)))
            steps[t] = [*found[first:], *carry]
            carry = found[:first]
        if self.result < first:
            return carry[self.result]
        if not length:
            made = self.infer(*(Type(x.dtype.name, x.shape) for x in inputs))
            return np.zeros(concrete(made.shape), made.dtype)
        return np.stack([steps[t][self.result - first] for t in range(length)])

    def order(self, length: int) -> Iterable[int]:
        """The numbers of the steps, as they run."""
        return reversed(range(length)) if self.reverse else range(length)

    def graph(self, *inputs: Node) -> Node:
        """Every step written out, for a known length."""
        first, each = self.carries, self.carries + self.sequences
        carry, fixed = list(inputs[:first]), inputs[each:]
        (length,) = concrete((self.length,))
        steps: dict[int, list[Node]] = {}
        for t in self.order(length):
            found = inline(self.step, (*carry, *(element(x, t) for x in inputs[first:each]), *fixed))
            steps[t] = [*found[first:], *carry]
            carry = found[:first]
        if self.result < first:
            return carry[self.result]
        if not length:
            return zeros(self.infer(*(x.type for x in inputs)))
        rows = [steps[t][self.result - first] for t in range(length)]
        return concatenate([reshape(r, (1, *r.shape)) for r in rows])

    # -------------------------------------------------------------------------------------- gradient

    def gradients(self, inputs: tuple[Node, ...], cotangents: Mapping[int, Node]) -> Sequence[Node | None]:
        """A scan in the other direction. It carries the cotangents of the carries, and the sums of those of the
        captured values."""
        first, each = self.carries, self.carries + self.sequences
        outputs, own = self.step.outputs, self.step.inputs
        moving = [k for k in range(first) if own[k].type.is_float]  # carries that have cotangents
        ys = [k for k in range(first, len(outputs)) if k in cotangents]
        before = [k for k in range(first) if len(outputs) + k in cotangents]
        # The body's own derivative, by all its inputs.
        floats = [n for n in own if n.type.is_float]
        d_carry = {k: placeholder(own[k].type) for k in moving}
        d_y = {k: placeholder(outputs[k].type) for k in ys}
        d_before = {k: placeholder(own[k].type) for k in before}
        sent = d_carry | d_y
        found = dict(zip(floats, vjp([outputs[k] for k in sent], floats, list(sent.values())), strict=True))
        partial = [found.get(n) for n in own]
        captured = [k for k in range(each, len(own)) if partial[k] is not None]
        elements = [k for k in range(first, each) if partial[k] is not None]
        total = {k: placeholder(own[k].type) for k in captured}

        def d(k: int) -> Node:
            g = partial[k]
            g = zeros(own[k].type) if g is None else g
            return g + d_before[k] if k in d_before else g

        sums = [t + p for k, t in total.items() if (p := partial[k]) is not None]
        made = [*map(d, moving), *sums, *(p for k in elements if (p := partial[k]) is not None)]
        arguments = (*d_carry.values(), *total.values(), *own[:each], *d_y.values(), *d_before.values(), *own[each:])
        body, _ = close(made, arguments)
        # The loop.
        stacks = [
            apply(Scan(len(outputs) + k, self.step, first, self.sequences, self.length, self.reverse), *inputs)
            for k in range(first)
        ]
        last = [cotangents[k] if k in cotangents else zeros(own[k].type) for k in moving]
        given = (
            *last,
            *(zeros(own[k].type) for k in captured),
            *stacks,
            *inputs[first:each],
            *(cotangents[k] for k in ys),
            *(cotangents[len(outputs) + k] for k in before),
            *inputs[each:],
        )
        carries, sequences = len(moving) + len(captured), each + len(ys) + len(before)

        def result(k: int) -> Node:
            return apply(Scan(k, body, carries, sequences, self.length, not self.reverse), *given)

        at = {k: n for n, k in enumerate((*moving, *captured, *elements))}
        return [result(at[k]) if k in at else None for k in range(len(own))]

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        h, x, w = (input(f"arg{k}", shape, "float64") for k, shape in enumerate(((2, 3), (2, 3), (3, 3))))
        new = h @ w * 0.5 + x
        body = make_graph([new, new * h], [h, x, w])
        for result, reverse in ((0, False), (1, True), (2, False)):
            yield Sample(cls(result, body, 1, 1, 4, reverse), ((2, 3), (4, 2, 3), (3, 3)), ("float64",) * 3)


def _stacked(t: Type, length: Extent) -> Type:
    return t.with_shape((length, *t.shape))


def element(x: Node, t: int) -> Node:
    """x[t]."""
    whole = (None,) * (x.rank - 1)
    return reshape(slice(x, (t, *(0 for _ in whole)), (t + 1, *x.shape[1:])), x.shape[1:])


# ------------------------------------------------------------------------------------------ for users


@located
def scan(
    step: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: Extent | str | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Runs `carry, y = step(carry, x)` over the leading axis of xs; gives the last carry and the y, stacked.

    init, xs and y are nodes, or nested tuples, lists and dicts of nodes, or None. The step is called once, with
    placeholders; it may read nodes from outside, such as weights, which receive gradients. The carry keeps its
    structure and types. length, a number or a name, is only needed without xs. With `reverse` the last elements
    come first; y[t] belongs to x[t] all the same. As jax.lax.scan."""
    first, sequences = leaves(init), leaves(xs)
    for n in (*first, *sequences):
        if not isinstance(n, Node):
            raise GraphnetError(f"scan: init and xs hold graph nodes, not {type(n).__name__} {n!r}")
    steps = _length(sequences, length)
    carry = [placeholder(n.type) for n in first]
    element_of = [placeholder(n.type.with_shape(n.shape[1:])) for n in sequences]
    made = step(with_leaves(init, iter(carry)), with_leaves(xs, iter(element_of)))
    if not isinstance(made, tuple) or len(made) != 2:
        raise GraphnetError(f"scan: the step must return a pair (carry, y), not {type(made).__name__}")
    new, y = made
    if structure(new) != structure(init):
        raise GraphnetError(f"scan: the carry is {structure(init)} at first, but {structure(new)} after a step")
    results, ys = leaves(new), leaves(y)
    for k, (a, b) in enumerate(zip(first, results, strict=True)):
        if not isinstance(b, Node) or a.type != b.type:
            raise ShapeError(f"scan: carry {k} is {a.type} at first, after a step {b!r}; its type must stay")
    for n in ys:
        if not isinstance(n, Node):
            raise GraphnetError(f"scan: y holds graph nodes, not {type(n).__name__} {n!r}")
    body, captured = close([*results, *ys], [*carry, *element_of])
    inputs = (*first, *sequences, *captured)
    found = [
        apply(Scan(k, body, len(first), len(sequences), steps, bool(reverse)), *inputs)
        for k in range(len(results) + len(ys))
    ]
    return with_leaves(init, iter(found)), with_leaves(y, iter(found[len(first) :]))


def _length(sequences: Sequence[Node], length: Extent | str | None) -> Extent:
    """How many steps, on which all agree."""
    found = [extent(length)] if length is not None else []
    for n in sequences:
        if not n.rank:
            raise ShapeError(f"scan: {n!r} is a scalar; xs have a leading axis to run along{where(n.sites)}")
        found.append(n.shape[0])
    if not found:
        raise GraphnetError(f"scan: without xs a length is needed{where(current_sites())}")
    if any(e != found[0] for e in found):
        raise ShapeError(f"scan: leading axes of different extents: {', '.join(map(str, dict.fromkeys(found)))}")
    return found[0]
