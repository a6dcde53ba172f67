"""What algorithms for convolution have in common: the problem that a node states, and what an algorithm says of it.

Every convolution of stride 1, and either gradient, is a sliding sum between an image x (n, c, ...) and something
that slides. An input gradient is itself a convolution, of the cotangent with the kernel turned around:
dx = dy padded by r - 1 - pad, convolved with w[k, c, r-1-i, r-1-j] over k.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .node import Node, apply
from .ops.conv import Convolution, InputGradient, WeightGradient
from .ops.move import Flip, Pad, Transpose
from .ops.window import Padding, Pair
from .types import concrete

Batch = dict[Node, int]  # which axis of a node runs over the batch; what an algorithm builds is added to it

RESIDENT = 5 << 19  # bytes of a transformed kernel that every block of tiles reads: more is too much for a shared cache

# What a byte costs, in operations of a product: ratios of rates that CPUs of today have in common, fitted to each
# kernel of one half of the convolutions in `bench/algorithms.py`.
NEAR = 4 << 20  # bytes that stay in a cache from one kernel to the next; up to them a pair's first rate, beyond both
PASSED = 8.0, 10.0  # that one kernel writes and the next reads
READ = 3.0  # of a transformed kernel, as the product reads it
STREAMED = 0.0, 12.0  # the same, where it is constant: in a network it comes from memory, at that rate


def price(rate: tuple[float, float], nbytes: float) -> float:
    """Of an array of so many bytes, at a rate for all of them and another for those that do not stay."""
    return rate[0] * nbytes + rate[1] * max(0.0, nbytes - NEAR)


@dataclass(frozen=True, slots=True)
class Problem:
    """A convolution: x (n, c, h, w) padded by `padding`, w (k, c / groups, *window), y (n, k, *out). Of an input
    gradient, x is the cotangent. `gradient` is "", "input" or "weight"; `lanes` of a vector register; `batched`:
    whether the batch is an axis that the layout pass may put innermost; `constant`: whether the kernel is the same at
    every call, so that what is made of it costs nothing; `transformed`: the algorithm of the convolution whose weight
    gradient this is, which may have transformed x already. Along three axes, which direct sums alone take, the pairs
    are triples."""

    gradient: str
    n: int
    c: int
    k: int
    groups: int
    size: Pair
    window: Pair
    out: Pair
    padding: Padding
    stride: Pair
    dilation: Pair
    lanes: int
    batched: bool
    constant: bool
    transformed: str = ""

    @property
    def direct(self) -> float:
        """Operations of direct sums."""
        outputs = self.size if self.gradient == "input" else self.out
        return 2.0 * self.n * self.k * (self.c // self.groups) * math.prod((*self.window, *outputs))

    @property
    def cropped(self) -> bool:
        """Whether padding wider than the kernel would cut rows off the cotangent instead of padding it."""
        return any(p < 0 for sides in self.padding for p in sides)


@dataclass(frozen=True, slots=True)
class Question:
    """Which of the algorithms of these names is the fastest for a node, whose problem this is."""

    node: Node
    problem: Problem
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One way to compute a convolution or gradient.

    name    such as "winograd F(4x4, 3x3)"; its first word is the kind
    error   the largest error in float32, relative to the largest result
    refuse  why it cannot be used, or None
    cost    modelled, in floating-point operations: comparable among algorithms, the same on every machine
    build   the node from the inputs of the convolution or gradient; None: the node as it is
    groups  whether it takes more than one group
    axes    along how many it slides, at most"""

    name: str
    error: float
    refuse: Callable[[Problem], str | None]
    cost: Callable[[Problem], float]
    build: Callable[[Problem, tuple[Node, ...], Batch], Node] | None
    groups: bool = False
    axes: int = 2

    def refused(self, p: Problem) -> str | None:
        """Why it cannot be used, by what it is or by what it says."""
        if p.groups > 1 and not self.groups:
            return f"not for groups, of which there are {p.groups}"
        if len(p.window) > self.axes:
            return f"only along {self.axes} axes, not {len(p.window)}"
        return self.refuse(p)

    @property
    def kind(self) -> str:
        return self.name.split()[0]


def problem(n: Node, lanes: int, batched: bool, constant: bool) -> Problem:
    """What a convolution or gradient does, as a convolution. `constant`: of its operand that is a kernel."""
    op = n.op
    assert isinstance(op, Convolution)
    first, second, result = (tuple[Any, ...](concrete(v.shape)) for v in (*n.inputs, n))
    steps: Any = (op.stride, op.dilation)
    if isinstance(op, InputGradient):
        w, x, y = first, second, result
        each = zip(op.dilation, w[2:], op.padding, strict=True)
        sides = [(d * (k - 1) - before, d * (k - 1) - after) for d, k, (before, after) in each]
        rest = *steps, lanes, batched, constant
        return Problem("input", x[0], w[0], y[1], op.groups, x[2:], w[2:], y[2:], tuple(sides), *rest)
    if isinstance(op, WeightGradient):
        x, y, w = first, second, result
    else:
        x, w, y = first, second, result
    gradient = "weight" if isinstance(op, WeightGradient) else ""
    rest = *steps, lanes, batched, constant and not gradient
    return Problem(gradient, x[0], x[1], w[0], op.groups, x[2:], w[2:], y[2:], op.padding, *rest)


def turned_around(w: Node) -> Node:
    """The kernel (K,C,R,S) that an input gradient slides over the cotangent: (C,K,R,S), views that cost nothing."""
    return apply(Flip((2, 3)), apply(Transpose((1, 0, 2, 3)), w))


def padded(x: Node, low: Pair, to: Pair, batch: Batch) -> Node:
    """x (N,C,H,W) with `low` zeros before and as many after as give rows and columns `to`."""
    high = tuple(t - e - a for t, e, a in zip(to, concrete(x.shape)[2:], low, strict=True))
    if any(low) or any(high):
        x = apply(Pad((0, 0, *low), (0, 0, *high), (0, 0, 0, 0)), x)
        batch[x] = 0
    return x
