"""What is measured of single ops: the table of cases, and each kind of case as a graph of ours.

A case names its arrays, and says what a step is: from these arrays, given from Python, to fresh results. Nobody may
prepare anything from the values of one of them, weights included: in training they differ at every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

import graphnet as gn
from graphnet.node import Node, apply
from graphnet.ops.conv import Convolution

Arrays = dict[str, np.ndarray]
Pair = tuple[int, int]


def arbitrary(shapes: dict[str, tuple[int, ...]]) -> Arrays:
    """The same in every run."""
    rng = np.random.default_rng(0)
    return {name: rng.standard_normal(shape, dtype=np.float32) for name, shape in shapes.items()}


def declared(arrays: Arrays, batched: Sequence[str]) -> list[Node]:
    """An input for each array; of those named, the first axis is N."""
    return [gn.input(name, ("N", *a.shape[1:]) if name in batched else a.shape) for name, a in arrays.items()]


@dataclass(frozen=True, slots=True)
class Conv:
    """x (n,c,*size) and w (k,c,*window) -> y (n,k,*size), or a gradient of that from dy (n,k,*size): stride 1, and as
    much padding as keeps the size. part: forward, input-gradient or weight-gradient."""

    part: str
    n: int
    c: int
    k: int
    size: Pair
    window: Pair

    @property
    def padding(self) -> tuple[int, int]:
        return self.window[0] // 2, self.window[1] // 2

    @property
    def flops(self) -> int:
        """As direct sums, with no regard to the edges."""
        return 2 * self.n * self.c * self.k * math.prod(self.size) * math.prod(self.window)

    bytes = 0

    def arrays(self) -> Arrays:
        shapes = {"x": (self.n, self.c, *self.size), "w": (self.k, self.c, *self.window)}
        shapes["dy"] = (self.n, self.k, *self.size)
        unused = {"forward": "dy", "input-gradient": "x", "weight-gradient": "w"}[self.part]
        return arbitrary({name: shape for name, shape in shapes.items() if name != unused})

    def graph(self, algorithm: str = "auto") -> tuple[list[Node], list[Node]]:
        """Inputs and outputs, by that algorithm of `gn.conv2d`."""
        inputs = declared(self.arrays(), ("x", "dy"))
        named = {n.name: n for n in inputs}
        x = named["x"] if "x" in named else gn.input("x", ("N", self.c, *self.size))
        w = named["w"] if "w" in named else gn.input("w", (self.k, self.c, *self.window))
        y = gn.conv2d(x, w, padding=self.padding, algorithm=algorithm if self.part == "forward" else "auto")
        if self.part == "forward":
            return inputs, [y]
        of = x if self.part == "input-gradient" else w
        (gradient,) = gn.vjp([y], [of], [named["dy"]])
        assert gradient is not None and isinstance(gradient.op, Convolution)
        return inputs, [apply(replace(gradient.op, algorithm=algorithm), *gradient.inputs)]


@dataclass(frozen=True, slots=True)
class Gemm:
    """a (m,k) @ b (k,n); transposed: "" or which of the two lies the other way round in memory, "a" or "b"."""

    m: int
    k: int
    n: int
    transposed: str = ""

    @property
    def flops(self) -> int:
        return 2 * self.m * self.k * self.n

    bytes = 0

    def arrays(self) -> Arrays:
        shapes = {"a": (self.m, self.k), "b": (self.k, self.n)}
        return arbitrary({name: s[::-1] if name == self.transposed else s for name, s in shapes.items()})

    def graph(self) -> tuple[list[Node], list[Node]]:
        inputs = declared(self.arrays(), ())
        a, b = (gn.transpose(i) if i.name == self.transposed else i for i in inputs)
        return inputs, [gn.matmul(a, b)]


@dataclass(frozen=True, slots=True)
class Pass:
    """An op whose time is that of its memory traffic. x (and y, z) of `shape`; travels: how many arrays of that shape
    are read or written at the least, each time counted: what comes from other arrays, and stays in caches, is not."""

    op: str
    shape: tuple[int, ...]
    operands: tuple[str, ...]
    travels: float

    flops = 0

    @property
    def bytes(self) -> int:
        return int(4 * self.travels * math.prod(self.shape))

    def arrays(self) -> Arrays:
        channels = (self.shape[1],)
        vectors = {"scale", "shift"}
        return arbitrary({name: channels if name in vectors else self.shape for name in self.operands})

    def graph(self) -> tuple[list[Node], list[Node]]:
        inputs = declared(self.arrays(), ("x", "y", "z", "dy"))
        return inputs, PASSES[self.op](*inputs)


def _batch_norm_train(x: Node, dy: Node, scale: Node, shift: Node) -> list[Node]:
    y = gn.batch_norm(x, scale, shift)
    gradients = gn.vjp([y], [x, scale, shift], [dy])
    return [y, *(g for g in gradients if g is not None)]


PASSES: dict[str, Callable[..., list[Node]]] = {
    "negate": lambda x: [-x],
    "chain": lambda x, y, z: [gn.relu(x * y + z)],
    "swish": lambda x, y: [x * gn.sigmoid(x) + y],
    "softmax": lambda x: [gn.softmax(x)],
    "max-pool": lambda x: [gn.max_pool2d(x, 2)],
    "max-pool-3": lambda x: [gn.max_pool2d(x, 3, stride=2, padding=1)],
    "avg-pool": lambda x: [gn.avg_pool2d(x, 2)],
    "batch-norm": lambda x, scale, shift: [gn.batch_norm(x, scale, shift)],
    "batch-norm-train": _batch_norm_train,
}

Case = Conv | Gemm | Pass
PARTS = ("forward", "input-gradient", "weight-gradient")

# Large enough to leave the caches, and small enough that no allocator maps fresh pages at every call.
IMAGES, ROWS = (16, 64, 80, 80), (3200, 2048)
POOLED = (32, 64, 80, 80)  # whose results are a fourth as large

CASES: dict[str, Case] = {
    **{f"conv-k{k}-{part}": Conv(part, 16, 64, 64, (56, 56), (k, k)) for k in (3, 5, 7, 13) for part in PARTS},
    **{f"conv-k31-{part}": Conv(part, 16, 64, 64, (64, 64), (31, 31)) for part in PARTS},
    **{f"conv1d-k1025-{part}": Conv(part, 4, 16, 16, (1, 16384), (1, 1025)) for part in PARTS},
    **{f"gemm-{m}": Gemm(m, m, m) for m in (64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)},
    # Dense layers of the networks: forward, input gradient (dy @ w^T), weight gradient (x^T @ dy).
    **{
        f"gemm-{n}x{i}x{o}{suffix}": case
        for n, i, o in ((64, 784, 512), (64, 512, 256), (64, 256, 10), (16, 9216, 4096), (1, 9216, 4096), (1, 400, 120))
        for suffix, case in {
            "": Gemm(n, i, o),
            "-input-gradient": Gemm(n, o, i, "b"),
            "-weight-gradient": Gemm(i, n, o, "a"),
        }.items()
    },
    "chain": Pass("chain", IMAGES, ("x", "y", "z"), 4),
    "swish": Pass("swish", IMAGES, ("x", "y"), 3),
    "softmax": Pass("softmax", ROWS, ("x",), 2),
    "max-pool": Pass("max-pool", POOLED, ("x",), 1.25),
    "max-pool-3": Pass("max-pool-3", POOLED, ("x",), 1.25),
    "avg-pool": Pass("avg-pool", POOLED, ("x",), 1.25),
    # Statistics first, then the result: x twice, y once. Backwards: x and dy twice (sums, then dx), dx once.
    "batch-norm": Pass("batch-norm", IMAGES, ("x", "scale", "shift"), 3),
    "batch-norm-train": Pass("batch-norm-train", IMAGES, ("x", "dy", "scale", "shift"), 8),
}


def function(case: Case, threads: int, algorithm: str = "auto") -> gn.Function:
    """The case as a compiled function of its arrays."""
    graph = partial(case.graph, algorithm) if isinstance(case, Conv) else case.graph
    inputs, outputs = graph()
    return gn.compile(outputs, inputs, threads=threads)
