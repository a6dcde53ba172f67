"""Recurrent layers on `scan`: simple, LSTM, GRU; with ONNX's conventions, of which PyTorch's are a case.

    x (T, N, I); w (D, G*H, I), r (D, G*H, H), b (D, 2*G*H)     ->     y (T, D, N, H), and the last states (D, N, H)

D is 1 for direction "forward" and "reverse", 2 for "bidirectional"; G gates of H features each lie one after another
in the order `gates`, a letter each: ONNX's by default, PyTorch's are "ifgo" and "rzn". b holds the biases of products
with x, then those of the products with h. The products with x are computed for all steps at once, outside of the loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .errors import GraphnetError, ShapeError
from .gradient import zeros
from .node import Node, apply
from .ops.activation import Sigmoid, Tanh
from .ops.arithmetic import maximum, minimum
from .ops.broadcast import reshape
from .ops.compare import where
from .ops.index import expand_dims
from .ops.matmul import matmul
from .ops.move import concatenate, slice, transpose
from .ops.positions import Iota
from .scan import scan
from .site import located
from .types import Extent, Type

Function = Callable[[Node], Node]
DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def sigmoid(x: Node) -> Node:
    return apply(Sigmoid(), x)


def tanh(x: Node) -> Node:
    return apply(Tanh(), x)


@dataclass(frozen=True, slots=True)
class _Layer:
    """What all three share, checked. Weights as declared; `order` says where in them each gate lies."""

    name: str
    x: Node
    w: Node
    r: Node
    b: Node | None
    lengths: Node | None
    directions: tuple[bool, ...]  # whether each is reversed
    order: str
    clip: float | None

    @property
    def size(self) -> Extent:
        """H."""
        return self.r.shape[2]

    def of(self, stacked: Node | None, d: int, shape: Sequence[Extent], what: str) -> Node | None:
        """Direction d of a value (D, *shape)."""
        if stacked is None:
            return None
        wanted = Type(self.x.dtype, (len(self.directions), *shape))
        if stacked.type != wanted:
            raise ShapeError(f"{self.name}: {what} is {stacked.type}, expected {wanted}")
        return self.direction(stacked, d)

    def direction(self, stacked: Node, d: int) -> Node:
        rest = stacked.shape[1:]
        return reshape(slice(stacked, (d, *(0 for _ in rest)), (d + 1, *rest)), rest)

    def gate(self, z: Node, letter: str) -> Node:
        """One gate's part of the last axis (G*H)."""
        k = self.order.index(letter)
        return self.part(z, k, k + 1)

    def part(self, z: Node, start: int, stop: int) -> Node:
        """Features start * H to stop * H of the last axis."""
        first: tuple[Extent, ...] = (0,) * (z.rank - 1)
        return slice(z, (*first, self.size * start), (*z.shape[:-1], self.size * stop))

    def clipped(self, z: Node) -> Node:
        """What an activation is applied to."""
        return z if self.clip is None else maximum(minimum(z, self.clip), -self.clip)

    def state(self, first: Node | None, d: int, what: str) -> Node:
        """The state (N, H) before the first step."""
        shape = (self.x.shape[1], self.size)
        found = self.of(first, d, shape, what)
        return zeros(Type(self.x.dtype, shape)) if found is None else found

    def biases(self, d: int) -> tuple[Node | None, Node | None]:
        """Of the products with x and with h, (G*H) each."""
        g = len(self.order)
        b = self.of(self.b, d, (self.size * (2 * g),), "b")
        return (None, None) if b is None else (self.part(b, 0, g), self.part(b, g, 2 * g))

    def projected(self, d: int, bias: Node | None) -> Node:
        """x w^T + bias for all steps: (T, N, G*H)."""
        z = matmul(self.x, transpose(self.direction(self.w, d)))
        return z if bias is None else z + bias

    def recurrent(self, d: int) -> Node:
        """r^T, (H, G*H)."""
        return transpose(self.direction(self.r, d))

    def run(
        self, d: int, step: Callable[[tuple[Node, ...], Node], tuple[Node, ...]], first: tuple[Node, ...], z: Node
    ) -> tuple[Node, tuple[Node, ...]]:
        """The loop over z. The first of the states is the output; where a sequence is over, states stay and outputs
        are 0."""
        if self.lengths is None:

            def plain(states: tuple[Node, ...], zt: Node) -> tuple[tuple[Node, ...], Node]:
                new = step(states, zt)
                return new, new[0]

            last, y = scan(plain, first, z, reverse=self.directions[d])
            return y, last
        t = apply(Iota((self.x.shape[0], 1, 1), 0, self.lengths.dtype))
        lives = t < expand_dims(self.lengths, 1)  # (T, N, 1)

        def masked(states: tuple[Node, ...], at: tuple[Node, Node]) -> tuple[tuple[Node, ...], Node]:
            zt, here = at
            made = step(states, zt)
            new = tuple(where(here, a, b) for a, b in zip(made, states, strict=True))
            return new, where(here, made[0], 0.0)

        last, y = scan(masked, first, (z, lives), reverse=self.directions[d])
        return y, last

    def finish(self, each: Sequence[tuple[Node, tuple[Node, ...]]]) -> tuple[Node, ...]:
        """y (T, D, N, H), and the last states (D, N, H) of all directions."""
        y = concatenate([expand_dims(y, 1) for y, _ in each], 1)
        states = zip(*(last for _, last in each), strict=True)
        return (y, *(concatenate([expand_dims(s, 0) for s in together]) for together in states))


def _layer(
    name: str,
    x: Node,
    w: Node,
    r: Node,
    b: Node | None,
    lengths: Node | None,
    direction: str,
    gates: tuple[str, str],
    clip: float | None,
) -> _Layer:
    """gates: as given, and the default, of which it must be a permutation up to the names."""
    given, default = gates
    names = {"lstm": str.maketrans("gc", "cc"), "gru": str.maketrans("n", "h"), "rnn": {}}[name]
    order = given.translate(names)
    if direction not in DIRECTIONS:
        raise GraphnetError(f"{name}: direction is one of {', '.join(DIRECTIONS)}, not {direction!r}")
    if sorted(order) != sorted(default):
        raise GraphnetError(f"{name}: gates is a permutation of {default!r}, not {given!r}")
    if clip is not None and not clip > 0:
        raise GraphnetError(f"{name}: clip must be > 0, not {clip!r}")
    if x.rank != 3 or w.rank != 3 or r.rank != 3 or not x.type.is_float:
        raise ShapeError(f"{name}: x (T, N, I), w (D, {len(order)}*H, I), r (D, {len(order)}*H, H), not {x}, {w}, {r}")
    d, h = len(DIRECTIONS[direction]), r.shape[2]
    for what, node, features in (("w", w, x.shape[2]), ("r", r, h)):
        wanted = Type(x.dtype, (d, h * len(order), features))
        if node.type != wanted:
            raise ShapeError(f"{name}: {what} is {node.type}, expected {wanted}")
    if lengths is not None and (lengths.shape != (x.shape[1],) or lengths.type.is_float or lengths.dtype == "bool"):
        raise ShapeError(f"{name}: sequence_lengths must be integers ({x.shape[1]}), not {lengths.type}")
    return _Layer(name, x, w, r, b, lengths, DIRECTIONS[direction], order, clip)


def _functions(
    name: str, activations: Sequence[Function | Sequence[Function]] | None, default: tuple[Function, ...], d: int
) -> tuple[Function, ...]:
    """The activations of direction d: given for all directions, or for each."""
    if activations is None:
        return default
    one = tuple(activations)
    if one and not callable(one[0]):
        if d >= len(one):
            raise GraphnetError(f"{name}: activations of {len(one)} directions, but there are more")
        one = tuple(one[d])  # type: ignore[arg-type]
    if len(one) != len(default) or not all(callable(f) for f in one):
        raise GraphnetError(f"{name}: activations are {len(default)} functions of a node, not {one!r}")
    return one  # type: ignore[return-value]


@located
def rnn(
    x: Node,
    w: Node,
    r: Node,
    b: Node | None = None,
    *,
    initial_h: Node | None = None,
    sequence_lengths: Node | None = None,
    direction: str = "forward",
    activations: Sequence[Function | Sequence[Function]] | None = None,
    clip: float | None = None,
) -> tuple[Node, Node]:
    """h = f(x w^T + h r^T + b), f = tanh by default: y (T, D, N, H) and the last h (D, N, H).

    initial_h (D, N, H), zeros by default. sequence_lengths (N): y is 0 after a sequence's end, and its last state is
    that at the end; in reverse it starts there. clip: the greatest magnitude of what f is applied to."""
    layer = _layer("rnn", x, w, r, b, sequence_lengths, direction, ("h", "h"), clip)
    each = []
    for d in range(len(layer.directions)):
        (f,) = _functions("rnn", activations, (tanh,), d)
        of_x, of_h = layer.biases(d)
        z = layer.projected(d, None if of_x is None or of_h is None else of_x + of_h)
        weights = layer.recurrent(d)

        def step(
            states: tuple[Node, ...], zt: Node, weights: Node = weights, f: Function = f
        ) -> tuple[Node, ...]:
            return (f(layer.clipped(zt + states[0] @ weights)),)

        each.append(layer.run(d, step, (layer.state(initial_h, d, "initial_h"),), z))
    y, last = layer.finish(each)
    return y, last


@located
def lstm(
    x: Node,
    w: Node,
    r: Node,
    b: Node | None = None,
    *,
    initial_h: Node | None = None,
    initial_c: Node | None = None,
    peepholes: Node | None = None,
    sequence_lengths: Node | None = None,
    direction: str = "forward",
    activations: Sequence[Function | Sequence[Function]] | None = None,
    clip: float | None = None,
    input_forget: bool = False,
    gates: str = "iofc",
) -> tuple[Node, Node, Node]:
    """Long short-term memory (Hochreiter and Schmidhuber 1997; Gers and others 2000): y, the last h and the last c.

        i, f, o = F(z), c~ = G(z)      each of its own part of z = x w^T + h r^T + b
        c = f * c + i * c~,  h = o * H(c)

    activations: F, G, H, by default sigmoid, tanh, tanh. peepholes (D, 3*H): weights of c before the step in i, of the
    new c in o, and of c before in f, in this order. input_forget: f = 1 - i. clip: of all that F and G are applied to.
    gates: the order in w, r and b; "ifgo" is PyTorch's. The rest as `rnn`."""
    layer = _layer("lstm", x, w, r, b, sequence_lengths, direction, (gates, "iofc"), clip)
    each = []
    for d in range(len(layer.directions)):
        f, g, h = _functions("lstm", activations, (sigmoid, tanh, tanh), d)
        of_x, of_h = layer.biases(d)
        z = layer.projected(d, None if of_x is None or of_h is None else of_x + of_h)
        weights = layer.recurrent(d)
        p = layer.of(peepholes, d, (layer.size * 3,), "peepholes")

        def step(
            states: tuple[Node, ...],
            zt: Node,
            weights: Node = weights,
            p: Node | None = p,
            f: Function = f,
            g: Function = g,
            h: Function = h,
        ) -> tuple[Node, ...]:
            before, c = states
            z = zt + before @ weights

            def gate(letter: str, place: int, cell: Node) -> Node:
                own = layer.gate(z, letter)
                return f(layer.clipped(own if p is None else own + layer.part(p, place, place + 1) * cell))

            i = gate("i", 0, c)
            forget = 1.0 - i if input_forget else gate("f", 2, c)
            new = forget * c + i * g(layer.clipped(layer.gate(z, "c")))
            return gate("o", 1, new) * h(new), new

        first = layer.state(initial_h, d, "initial_h"), layer.state(initial_c, d, "initial_c")
        each.append(layer.run(d, step, first, z))
    y, last_h, last_c = layer.finish(each)
    return y, last_h, last_c


@located
def gru(
    x: Node,
    w: Node,
    r: Node,
    b: Node | None = None,
    *,
    initial_h: Node | None = None,
    sequence_lengths: Node | None = None,
    direction: str = "forward",
    activations: Sequence[Function | Sequence[Function]] | None = None,
    clip: float | None = None,
    linear_before_reset: bool = False,
    gates: str = "zrh",
) -> tuple[Node, Node]:
    """Gated recurrent unit (Cho and others 2014): y and the last h.

        z, r = F(x w^T + h r^T + b)    each of its own part
        h~ = G(x w^T + (r * h) r^T + b)    or, linear_before_reset, G(x w^T + b_x + r * (h r^T + b_h)), as PyTorch
        h = (1 - z) * h~ + z * h

    activations: F and G, by default sigmoid and tanh. gates: the order in w, r and b; "rzn" is PyTorch's. The rest as
    `rnn`."""
    layer = _layer("gru", x, w, r, b, sequence_lengths, direction, (gates, "zrh"), clip)
    each = []
    for d in range(len(layer.directions)):
        f, g = _functions("gru", activations, (sigmoid, tanh), d)
        of_x, of_h = layer.biases(d)
        z = layer.projected(d, of_x)
        weights = layer.recurrent(d)

        def step(
            states: tuple[Node, ...],
            zt: Node,
            weights: Node = weights,
            of_h: Node | None = of_h,
            f: Function = f,
            g: Function = g,
        ) -> tuple[Node, ...]:
            (h,) = states

            whole = h @ weights if linear_before_reset else None

            def product(value: Node, letter: str) -> Node:
                made = value @ layer.gate(weights, letter) if whole is None else layer.gate(whole, letter)
                return made if of_h is None else made + layer.gate(of_h, letter)

            update = f(layer.clipped(layer.gate(zt, "z") + product(h, "z")))
            reset = f(layer.clipped(layer.gate(zt, "r") + product(h, "r")))
            inner = reset * product(h, "h") if linear_before_reset else product(reset * h, "h")
            new = g(layer.clipped(layer.gate(zt, "h") + inner))
            return ((1.0 - update) * new + update * h,)

        each.append(layer.run(d, step, (layer.state(initial_h, d, "initial_h"),), z))
    y, last = layer.finish(each)
    return y, last
