"""Which algorithm computes each convolution and gradient: direct sums, or Winograd's minimal filtering.

F(m, r) does (m + r - 1)^2 multiplications where direct sums do m^2 r^2, but moves transformed tiles through
memory. The costs below are in floating-point operations; a byte between kernels counts as BYTE of them, on
every machine alike, so that the choice (and with it the bits of the result) never depends on a measurement.

An input gradient is itself a convolution, of the cotangent with the kernel turned around:
dx = dy padded by r - 1 - pad, convolved with w[k, c, r-1-i, r-1-j] over k. A weight gradient slides the
cotangent's tiles over the input: F(r, m). It shares the transform of x with the forward convolution.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ..module import Decision, Module
from ..node import Node, apply, rebuild
from ..ops.conv import Conv2d, Conv2dInputGrad, Conv2dWeightGrad, Convolution, Padding
from ..ops.matmul import MatMul
from ..ops.move import Flip, Pad, Transpose
from ..ops.transform import (
    WinogradCotangent,
    WinogradInput,
    WinogradKernel,
    WinogradOutput,
    WinogradProduct,
    WinogradWeight,
)
from ..site import derived
from ..types import concrete

BYTE = 16.0  # operations that a byte between kernels costs: FMA rate over memory bandwidth, roughly, of CPUs today
TILES = {3: 4, 5: 4}  # kernel size -> m: errors of 1e-6 to 1e-5 of the result's scale in float32
FEWEST = 8  # channels on either side, below which the transforms are most of the work


@dataclass(frozen=True, slots=True)
class Shape:
    """A convolution: x (n, c, ...) padded by `padding`, w (k, c, r, r), y (n, k, p, q)."""

    n: int
    c: int
    k: int
    r: int
    p: int
    q: int
    padding: Padding

    @property
    def m(self) -> int:
        return TILES[self.r]

    @property
    def tiles(self) -> tuple[int, int]:
        return -(-self.p // self.m), -(-self.q // self.m)

    @property
    def direct(self) -> float:
        """Operations of direct sums."""
        return 2.0 * self.n * self.k * self.c * self.r**2 * self.p * self.q

    @property
    def minimal(self) -> float:
        """Operations of Winograd's product, and the price of the bytes between kernels: both operands and
        the result, written and read once."""
        frequencies, columns = (self.m + self.r - 1) ** 2, self.tiles[0] * self.tiles[1] * self.n
        traffic = 4.0 * frequencies * 2 * (columns * (self.k + self.c) + self.k * self.c)
        return 2.0 * frequencies * columns * self.k * self.c + BYTE * traffic


def choose_conv(m: Module) -> Module:
    """Winograd where it is predicted to be faster, on CPUs, where the batch fills vectors."""
    if m.settings.target != "cpu" or m.settings.precision == "highest":
        return m
    batch = dict(m.batch_axes)
    decisions: list[Decision] = []

    def visit(n: Node, inputs: tuple[Node, ...]) -> Node:
        new = None
        # The batch must lie innermost: in the result, or in what a weight gradient sums over.
        if isinstance(n.op, (Conv2d, Conv2dInputGrad, Conv2dWeightGrad)) and 0 in (
            m.batch_axes.get(n),
            m.batch_axes.get(n.inputs[0]),
        ):
            with derived(n.sites):
                new, decision = _choose(n, inputs, m.settings.lanes, batch)
            decisions.append(decision)
        if new is None:
            with derived(n.sites):
                new = n if inputs == n.inputs else apply(n.op, *inputs)
        if n in m.batch_axes:
            batch[new] = m.batch_axes[n]
        return new

    graph = rebuild(m.graph, visit)
    return replace(m, graph=graph, batch_axes=batch).decided(*decisions)


def _shape(n: Node) -> Shape:
    """What a convolution or gradient does, as a convolution."""
    op = n.op
    assert isinstance(op, Convolution)
    if isinstance(op, Conv2dInputGrad):  # of dy with the kernel turned around
        (k, c, r, _), (size, _, h, w) = concrete(n.inputs[0].shape), concrete(n.shape)
        turned = tuple((r - 1 - a, r - 1 - b) for a, b in op.padding)
        return Shape(size, k, c, r, h, w, (turned[0], turned[1]))
    (k, c, r, _) = concrete(n.shape) if isinstance(op, Conv2dWeightGrad) else concrete(n.inputs[1].shape)
    size, _, p, q = concrete(n.inputs[1].shape) if isinstance(op, Conv2dWeightGrad) else concrete(n.shape)
    return Shape(size, c, k, r, p, q, op.padding)


def _choose(n: Node, inputs: tuple[Node, ...], lanes: int, batch: dict[Node, int]) -> tuple[Node | None, Decision]:
    """The node that computes `n` by Winograd, or None, and why."""
    op = n.op
    assert isinstance(op, Convolution)
    kernel = n if isinstance(op, Conv2dWeightGrad) else inputs[0] if isinstance(op, Conv2dInputGrad) else inputs[1]
    window = concrete(kernel.shape)[2:]
    if op.stride != (1, 1) or op.dilation != (1, 1) or window[0] != window[1] or window[0] not in TILES:
        return None, Decision("choose_conv", n, "direct", "only 3x3 and 5x5 kernels of stride 1 have a Winograd form")
    s = _shape(n)
    if min(s.k, s.c) < FEWEST or 2 * s.n < lanes:
        return None, Decision("choose_conv", n, "direct", "too few channels or images for the transforms to pay")
    if any(p < 0 for sides in s.padding for p in sides):
        return None, Decision("choose_conv", n, "direct", "padding wider than the kernel cuts its cotangent")
    form = f"F({s.r}x{s.r}, {s.m}x{s.m})" if isinstance(op, Conv2dWeightGrad) else f"F({s.m}x{s.m}, {s.r}x{s.r})"
    what = f"{form} modelled {s.minimal / 1e9:.3g} against {s.direct / 1e9:.3g} Gop of direct sums"
    if s.minimal >= s.direct:
        return None, Decision("choose_conv", n, "direct", what)
    if isinstance(op, Conv2dWeightGrad):
        made = _weight_gradient(inputs[0], inputs[1], s, batch)
    elif isinstance(op, Conv2dInputGrad):
        turned = apply(Flip((2, 3)), apply(Transpose((1, 0, 2, 3)), inputs[0]))  # (K,C,r,r) -> (C,K,r,r)
        made = _convolution(inputs[1], turned, s, batch)
    else:
        made = _convolution(inputs[0], inputs[1], s, batch)
    return made, Decision("choose_conv", n, "Winograd", what)


def _padded(x: Node, low: tuple[int, int], to: tuple[int, int], batch: dict[Node, int]) -> Node:
    """x (N,C,H,W) with `low` zeros before and as many after as give rows and columns `to`."""
    high = tuple(t - e - a for t, e, a in zip(to, concrete(x.shape)[2:], low, strict=True))
    if any(low) or any(high):
        x = apply(Pad((0, 0, *low), (0, 0, *high), (0, 0, 0, 0)), x)
        batch[x] = 0
    return x


def _transformed(x: Node, s: Shape, batch: dict[Node, int]) -> Node:
    """(N,C,H,W) -> (A,Th,C,Tw*N), padded to whole tiles."""
    low = (s.padding[0][0], s.padding[1][0])
    whole = (s.tiles[0] * s.m + s.r - 1, s.tiles[1] * s.m + s.r - 1)
    return apply(WinogradInput(s.m, s.r), _padded(x, low, whole, batch))


def _convolution(x: Node, w: Node, s: Shape, batch: dict[Node, int]) -> Node:
    """(N,C,H,W), (K,C,r,r) -> (N,K,P,Q), through (A,Th,C,Tw*N), (A,1,K,C) and their product."""
    product = apply(MatMul(), apply(WinogradWeight(s.m, s.r), w), _transformed(x, s, batch))
    return apply(WinogradOutput(s.m, s.r, (s.p, s.q)), product)


def _weight_gradient(x: Node, dy: Node, s: Shape, batch: dict[Node, int]) -> Node:
    """(N,C,H,W), (N,K,P,Q) -> (K,C,r,r), through (A,Th,C,Tw*N), (A,Th,K,Tw*N) and (A,K,C)."""
    tiles = _padded(dy, (0, 0), (s.tiles[0] * s.m, s.tiles[1] * s.m), batch)
    cotangent = apply(WinogradCotangent(s.m, s.r), tiles)
    return apply(WinogradKernel(s.m, s.r), apply(WinogradProduct(), cotangent, _transformed(x, s, batch)))
