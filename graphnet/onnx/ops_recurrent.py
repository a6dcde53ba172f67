"""RNN, GRU and LSTM, as scans: both directions, lengths of sequences, activations to choose.

    x (T, N, I), w (D, gates H, I), r (D, gates H, H), b (D, 2 gates H)
    -> y (T, D, N, H) and the last states (D, N, H)

With layout 1 the batch comes first everywhere. Where sequences end early, states stay and y is 0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import graphnet as gn

from ..node import Node
from .call import Call
from .table import converts

Activation = Callable[[Node], Node]
States = tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Direction:
    """The weights of one direction. Biases are vectors (gates H,); peepholes are None or (3 H,)."""

    w: Node
    r: Node
    input_bias: Node
    state_bias: Node
    peepholes: Node | None
    activations: tuple[Activation, ...]
    reverse: bool
    hidden: int

    def gate(self, values: Node, k: int) -> Node:
        """Gate number k of values (..., gates H)."""
        return values[(..., slice(k * self.hidden, (k + 1) * self.hidden))]


# A step: (direction, projected input (N, gates H), states) -> new states, of which the first is the output.
Step = Callable[[Call, Direction, Node, States], States]


@converts("RNN")
def rnn(c: Call) -> list[Node | None]:
    return _recurrent(c, _rnn_step, gates=1, states=1, default=("Tanh",))


@converts("GRU")
def gru(c: Call) -> list[Node | None]:
    return _recurrent(c, _gru_step, gates=3, states=1, default=("Sigmoid", "Tanh"))


@converts("LSTM")
def lstm(c: Call) -> list[Node | None]:
    return _recurrent(c, _lstm_step, gates=4, states=2, default=("Sigmoid", "Tanh", "Tanh"))


# ------------------------------------------------------------------------------------------ steps


def _rnn_step(c: Call, d: Direction, x: Node, states: States) -> States:
    """h = f(x w + h r)."""
    (h,) = states
    (f,) = d.activations
    return (f(_clipped(c, x + h @ d.r + d.state_bias)),)


def _gru_step(c: Call, d: Direction, x: Node, states: States) -> States:
    """Gates z, r, h: h = (1 - z) g(x w + (r h) r) + z h; r is applied after the product if linear_before_reset."""
    (h,) = states
    f, g = d.activations
    both = x[..., : 2 * d.hidden] + h @ d.r[:, : 2 * d.hidden] + d.state_bias[: 2 * d.hidden]
    z, r = f(_clipped(c, d.gate(both, 0))), f(_clipped(c, d.gate(both, 1)))
    weights, bias = d.gate(d.r, 2), d.gate(d.state_bias, 2)
    seen = r * (h @ weights + bias) if c.attribute("linear_before_reset", 0) else (r * h) @ weights + bias
    new = g(_clipped(c, d.gate(x, 2) + seen))
    return ((1.0 - z) * new + z * h,)


def _lstm_step(c: Call, d: Direction, x: Node, states: States) -> States:
    """Gates i, o, f, c: cell = f cell + i g(c), h = o h(cell). Peepholes let i and f see the old cell, o the new."""
    h, cell = states
    f, g, squash = d.activations
    all_gates = x + h @ d.r + d.state_bias
    i, o, forget, new = (d.gate(all_gates, k) for k in range(4))

    def peep(k: int, at: Node) -> Node | float:
        return 0.0 if d.peepholes is None else d.gate(d.peepholes, k) * at

    i = f(_clipped(c, i + peep(0, cell)))
    forget = 1.0 - i if c.attribute("input_forget", 0) else f(_clipped(c, forget + peep(2, cell)))
    cell = forget * cell + i * g(_clipped(c, new))
    return f(_clipped(c, o + peep(1, cell))) * squash(cell), cell


def _clipped(c: Call, x: Node) -> Node:
    clip = c.attribute("clip")
    return x if clip is None else gn.minimum(gn.maximum(x, -clip), clip)


# ------------------------------------------------------------------------------------- directions


def _recurrent(c: Call, step: Step, gates: int, states: int, default: tuple[str, ...]) -> list[Node | None]:
    batch_first = bool(c.attribute("layout", 0))
    x = gn.transpose(c[0], (1, 0, 2)) if batch_first else c[0]  # (T, N, I)
    directions = list(_directions(c, gates, default))
    lengths = None if c.get(4) is None else gn.reshape(c[4], (1, x.shape[1], 1))
    ys, lasts = [], []
    for number, d in enumerate(directions):
        shape = (x.shape[1], d.hidden)
        first = tuple(_initial(c, 5 + k, number, batch_first, gn.zeros(shape, x.dtype)) for k in range(states))
        y, last = _along_time(c, step, d, x, first, lengths)
        ys.append(y)
        lasts.append(last)
    y = gn.stack(ys, 1)  # (T, D, N, H)
    kept = [gn.stack([last[k] for last in lasts], 0) for k in range(states)]  # (D, N, H)
    if batch_first:
        y, kept = gn.transpose(y, (2, 0, 1, 3)), [gn.transpose(k, (1, 0, 2)) for k in kept]
    return [y, *kept]


def _along_time(c: Call, step: Step, d: Direction, x: Node, first: States, lengths: Node | None) -> tuple[Node, States]:
    """(y (T, N, H), last states). The inputs of all times are projected at once."""
    projected = x @ d.w + d.input_bias  # (T, N, gates H)
    if lengths is None:
        inputs: tuple[Node, ...] = (projected,)
    else:
        times = gn.reshape(gn.cast(gn.arange(x.shape[0]), lengths.dtype), (x.shape[0], 1, 1))
        inputs = (projected, times < lengths)

    def at(carry: States, now: tuple[Node, ...]) -> tuple[States, Node]:
        new = step(c, d, now[0], carry)
        if len(now) == 1:
            return new, new[0]
        there = now[1]
        kept = tuple(gn.where(there, n, old) for n, old in zip(new, carry, strict=True))
        return kept, gn.where(there, new[0], 0.0)

    last, y = gn.scan(at, first, inputs, reverse=d.reverse)
    return y, last


def _initial(c: Call, i: int, direction: int, batch_first: bool, zeros: Node) -> Node:
    """State (N, H) of one direction from input i, (D, N, H)."""
    given = c.get(i)
    if given is None:
        return zeros
    return given[:, direction] if batch_first else given[direction]


def _directions(c: Call, gates: int, default: tuple[str, ...]) -> Iterator[Direction]:
    kind = c.attribute("direction")
    w, r, b, p = c[1], c[2], c.get(3), c.get(7) if c.op == "LSTM" else None
    count, hidden = c.sizes_of((r.shape[0], r.shape[2]))
    c.refuse_unless(count == (2 if kind == "bidirectional" else 1), f"{count} directions for {kind!r}")
    names = c.attribute("activations") if c.has("activations") else list(default) * count
    c.refuse_unless(len(names) == len(default) * count, f"{len(names)} activations for {count} directions")
    alphas, betas = iter(c.attribute("activation_alpha") or ()), iter(c.attribute("activation_beta") or ())
    functions = [_activation(c, name, alphas, betas) for name in names]
    for k in range(count):
        bias = gn.zeros((2 * gates * hidden,), w.dtype) if b is None else b[k]
        yield Direction(
            gn.transpose(w[k]),  # (I, gates H)
            gn.transpose(r[k]),
            bias[: gates * hidden],
            bias[gates * hidden :],
            None if p is None else p[k],
            tuple(functions[k * len(default) : (k + 1) * len(default)]),
            kind == "reverse" or k == 1,
            hidden,
        )


def _activation(c: Call, name: str, alphas: Iterator[float], betas: Iterator[float]) -> Activation:
    """By its name in any case. Those with settings take the next ones of the lists, else their defaults."""
    match name.lower():
        case "relu":
            return gn.relu
        case "tanh":
            return gn.tanh
        case "sigmoid":
            return gn.sigmoid
        case "softplus":
            return gn.softplus
        case "softsign":
            return lambda x: x / (1.0 + abs(x))
        case "leakyrelu":
            slope = next(alphas, 0.01)
            return lambda x: gn.leaky_relu(x, slope)
        case "thresholdedrelu":
            threshold = next(alphas, 1.0)
            return lambda x: gn.where(x > threshold, x, 0.0)
        case "elu":
            scale = next(alphas, 1.0)
            return lambda x: gn.where(x > 0.0, x, scale * (gn.exp(gn.minimum(x, 0.0)) - 1.0))
        case "affine":
            a, b = next(alphas, 1.0), next(betas, 0.0)
            return lambda x: a * x + b
        case "scaledtanh":
            a, b = next(alphas, 1.0), next(betas, 1.0)
            return lambda x: a * gn.tanh(b * x)
        case "hardsigmoid":
            a, b = next(alphas, 0.2), next(betas, 0.5)
            return lambda x: gn.maximum(gn.minimum(a * x + b, 1.0), 0.0)
    c.refuse(f"activation {name!r} is not supported")
