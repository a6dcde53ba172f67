"""Which algorithm computes each convolution and input gradient: direct sums, or Winograd's minimal filtering.

F(m, r) does (m + r - 1)^2 multiplications where direct sums do m^2 r^2, but moves transformed tiles through
memory. The costs below are in floating-point operations; a byte between kernels counts as BYTE of them, on
every machine alike, so that the choice (and with it the bits of the result) never depends on a measurement.

An input gradient is itself a convolution, of the cotangent with the kernel turned around:
dx = dy padded by r - 1 - pad, convolved with w[k, c, r-1-i, r-1-j] over k.
"""

from __future__ import annotations

from dataclasses import replace

from ..module import Decision, Module
from ..node import Node, apply, rebuild
from ..ops.conv import Conv2d, Conv2dInputGrad
from ..ops.matmul import MatMul
from ..ops.move import Flip, Pad, Transpose
from ..ops.transform import WinogradInput, WinogradOutput, WinogradWeight
from ..site import derived
from ..types import concrete

BYTE = 16.0  # operations that a byte between kernels costs: FMA rate over memory bandwidth, roughly, of CPUs today
TILES = {3: 4, 5: 4}  # kernel size -> m: errors of 1e-6 to 1e-5 of the result's scale in float32
FEWEST = 8  # channels on either side, below which the transforms are most of the work


def choose_conv(m: Module) -> Module:
    """Winograd where it is predicted to be faster, on CPUs, where the batch fills vectors."""
    if m.settings.target != "cpu":
        return m
    batch = dict(m.batch_axes)
    decisions: list[Decision] = []

    def visit(n: Node, inputs: tuple[Node, ...]) -> Node:
        new = None
        if isinstance(n.op, (Conv2d, Conv2dInputGrad)) and m.batch_axes.get(n) == 0:
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


def _choose(n: Node, inputs: tuple[Node, ...], lanes: int, batch: dict[Node, int]) -> tuple[Node | None, Decision]:
    """The node that computes `n` by Winograd, or None, and why."""
    forward = isinstance(n.op, Conv2d)
    assert isinstance(n.op, (Conv2d, Conv2dInputGrad))
    data, w = inputs if forward else (inputs[1], inputs[0])
    k, c, *window = concrete(w.shape)
    plain = n.op.stride == (1, 1) and n.op.dilation == (1, 1) and window[0] == window[1] and window[0] in TILES
    r = window[0]
    size = concrete(n.shape)[0]
    if not plain:
        return None, Decision("choose_conv", n, "direct", "only 3x3 and 5x5 kernels of stride 1 have a Winograd form")
    if min(k, c) < FEWEST or 2 * size < lanes:
        return None, Decision("choose_conv", n, "direct", "too few channels or images for the transforms to pay")
    m_, (p, q) = TILES[r], concrete(n.shape)[2:]
    alpha, tiles = m_ + r - 1, (-(-p // m_), -(-q // m_))
    direct = 2.0 * size * k * c * r * r * p * q
    columns = tiles[0] * tiles[1] * size
    # bytes: both sides of the product written and read once, the kernel's transform likewise
    traffic = 4.0 * alpha * alpha * (2 * columns * (k + c) + 2 * k * c)
    minimal = 2.0 * alpha * alpha * columns * k * c + BYTE * traffic
    what = f"F({m_}x{m_}, {r}x{r}) modelled {minimal / 1e9:.3g} against {direct / 1e9:.3g} Gop of direct sums"
    if minimal >= direct:
        return None, Decision("choose_conv", n, "direct", what)
    pads = n.op.padding if forward else tuple((r - 1 - a, r - 1 - b) for a, b in n.op.padding)
    if not forward:
        w = apply(Flip((2, 3)), apply(Transpose((1, 0, 2, 3)), w))  # (K,C,r,r) -> (C,K,r,r), turned around
    made = _winograd(data, w, m_, r, pads, tiles, (p, q), batch)
    return made, Decision("choose_conv", n, "Winograd", what)


def _winograd(
    x: Node,
    w: Node,
    m: int,
    r: int,
    pads: tuple[tuple[int, int], ...],
    tiles: tuple[int, int],
    size: tuple[int, int],
    batch: dict[Node, int],
) -> Node:
    """(N,C,H,W), (K,C,r,r) -> (N,K,P,Q), through (A,Th,C,Tw*N), (A,1,K,C) and their product."""
    low = tuple(a for a, _ in pads)
    # padded to whole tiles; a negative amount is never needed, since tiles cover the output
    high = tuple(t * m + r - 1 - e - a for t, e, a in zip(tiles, concrete(x.shape)[2:], low, strict=True))
    if any(low) or any(high):
        x = apply(Pad((0, 0, *low), (0, 0, *high), (0, 0, 0, 0)), x)
        batch[x] = 0
    v = apply(WinogradInput(m, r), x)
    u = apply(WinogradWeight(m, r), w)
    s = apply(MatMul(), u, v)
    return apply(WinogradOutput(m, r, size), s)
