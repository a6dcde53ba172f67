"""Optimisers against plain NumPy in float64, over 100 steps."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from graphnet import init, optim
from graphnet.errors import GraphnetError, ShapeError
from graphnet.evaluate import evaluate
from graphnet.gradient import gradient
from graphnet.node import Node, input, make_graph, parameter
from graphnet.ops.broadcast import sum

Step = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def sgd() -> Step:
    return lambda p, g, t: p - 0.1 * g


def momentum(beta: float, dampening: float) -> Step:
    v = np.zeros(())

    def step(p: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        nonlocal v
        v = beta * v + (1 - dampening) * g
        return p - 0.1 * v

    return step


def adam(rate: float, beta1: float, beta2: float, epsilon: float) -> Step:
    """Algorithm 1 of Kingma and Ba, as printed."""
    m = v = np.zeros(())

    def step(p: np.ndarray, g: np.ndarray, t: int) -> np.ndarray:
        nonlocal m, v
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        return p - rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + epsilon)

    return step


CASES = {
    "sgd": (lambda p, g: optim.sgd(p, g, 0.1), sgd()),
    "momentum": (lambda p, g: optim.momentum(p, g, 0.1, beta=0.8), momentum(0.8, 0.0)),
    "average": (lambda p, g: optim.momentum(p, g, 0.1, beta=0.8, dampening=0.8), momentum(0.8, 0.8)),
    "adam": (lambda p, g: optim.adam(p, g, 0.05, 0.9, 0.999, 1e-8), adam(0.05, 0.9, 0.999, 1e-8)),
    "adam, epsilon": (lambda p, g: optim.adam(p, g, 0.05, 0.5, 0.9, 0.1), adam(0.05, 0.5, 0.9, 0.1)),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_hundred_steps(case: str, dtype: str) -> None:
    make, reference = CASES[case]
    if case in ("momentum", "average", "adam", "adam, epsilon"):
        # A fresh state for each run.
        reference = {
            "momentum": lambda: momentum(0.8, 0.0),
            "average": lambda: momentum(0.8, 0.8),
            "adam": lambda: adam(0.05, 0.9, 0.999, 1e-8),
            "adam, epsilon": lambda: adam(0.05, 0.5, 0.9, 0.1),
        }[case]()
    start = np.array([1.0, -2.0, 3.0, 0.5])
    scale = np.array([1.0, 0.1, 3.0, 0.01])
    p, x = parameter("p", (4,), init.value(start.astype(dtype)), dtype), input("x", (4,), dtype)
    loss = sum(x * p * p)
    updates = make(p, gradient(loss, p))
    graph = make_graph([loss], [x], updates)
    state: dict[Node, np.ndarray] = {}
    want = start.astype(dtype).astype(np.float64)
    for t in range(1, 101):
        _, *new = evaluate(graph, {x: scale}, state)
        state = {k: v for (k, _), v in zip(graph.updates, new, strict=True)}
        want = reference(want, 2 * scale.astype(dtype).astype(np.float64) * want, t)
    np.testing.assert_allclose(
        state[p], want, rtol=1e-12 if dtype == "float64" else 2e-4, atol=1e-14 if dtype == "float64" else 1e-5
    )


def test_structures_and_state() -> None:
    params = {"a": parameter("a", (2,)), "b": parameter("b", (3, 2))}
    loss = sum(params["a"] * params["b"])
    for p, g in (
        (params, gradient(loss, params)),
        (list(params.values()), gradient(loss, list(params.values()))),
        (tuple(params.values()), gradient(loss, tuple(params.values()))),
    ):
        updates = optim.adam(p, g)
        assert [k.name for k in updates if "." not in k.name] == ["a", "b"]
        assert len(updates) == 2 + 4 + 2
        make_graph([loss], [], updates)
    assert all(new.op.kind in ("elementwise", "reduce", "move") for new in optim.sgd(p, g, 0.1).values())


def test_learning_rate_as_a_node() -> None:
    p, rate = parameter("p", (2,), init.ones()), input("rate", ())
    (new,) = optim.sgd(p, gradient(sum(p), p), rate).values()
    np.testing.assert_array_equal(evaluate(new, {"rate": 0.25})[0], [0.75, 0.75])


def test_errors() -> None:
    p, x = parameter("p", (2,)), input("x", (2,))
    g = gradient(sum(p * p), p)
    for rate in (float("nan"), -0.1, float("inf"), "fast", True):
        for make in (optim.sgd, optim.momentum, optim.adam):
            with pytest.raises(GraphnetError, match=r"learning rate must be.*test_optim\.py"):
                make(p, g, rate)
    with pytest.raises(GraphnetError, match="beta1"):
        optim.adam(p, g, beta1=1.0)
    with pytest.raises(GraphnetError, match="epsilon"):
        optim.adam(p, g, epsilon=float("nan"))
    with pytest.raises(GraphnetError, match="dampening"):
        optim.momentum(p, g, 0.1, dampening=2.0)
    with pytest.raises(GraphnetError, match="not a parameter"):
        optim.sgd(x, x, 0.1)
    with pytest.raises(ShapeError, match="gradient of parameter 'p'"):
        optim.sgd(p, sum(g), 0.1)
    with pytest.raises(GraphnetError, match="same keys"):
        optim.sgd({"p": p}, {"q": g}, 0.1)
    with pytest.raises(GraphnetError, match="1 parameters but 2"):
        optim.sgd([p], [g, g], 0.1)
    with pytest.raises(GraphnetError, match="twice"):
        optim.sgd([p, p], [g, g], 0.1)


@pytest.mark.parametrize(
    ("made", "std"),
    [(init.normal(0.3), 0.3), (init.uniform(0.3), 0.3 / 3**0.5), (init.he_normal(), (2 / 400) ** 0.5),
     (init.he_normal(gain=1.0), (1 / 400) ** 0.5), (init.glorot_uniform(), (2 / 600) ** 0.5),
     (init.he_uniform(), (2 / 400) ** 0.5), (init.he_uniform(gain=1.0), (1 / 400) ** 0.5)],
)  # fmt: skip
def test_initialisers(made: init.Initialiser, std: float) -> None:
    a = made.sample((400, 200), "float32", np.random.default_rng(0))
    assert a.shape == (400, 200) and a.dtype == np.float32
    assert abs(a.mean()) < std * 0.02 and a.std() == pytest.approx(std, rel=0.01)
    np.testing.assert_array_equal(a, made.sample((400, 200), "float32", np.random.default_rng(0)))
    assert hash(made) == hash(type(made)(**vars(made)))


@pytest.mark.parametrize("made", [init.normal(), init.uniform()])
def test_large_values_are_the_same_for_any_number_of_threads(
    made: init.Initialiser, monkeypatch: pytest.MonkeyPatch
) -> None:
    shape = (2 * init.CHUNK + 5,)
    values = []
    for threads in (1, 2, 5):
        monkeypatch.setattr(init, "available_threads", lambda threads=threads: threads)
        values.append(made.sample(shape, "float32", np.random.default_rng(0)))
    np.testing.assert_array_equal(values[0], values[1])
    np.testing.assert_array_equal(values[0], values[2])
    parts = np.split(values[0], [init.CHUNK, 2 * init.CHUNK])
    assert not np.array_equal(parts[0], parts[1]) and parts[0][:5].tolist() != parts[2].tolist()


def test_fans() -> None:
    assert init.fans((400, 120)) == (400, 120)
    assert init.fans((16, 6, 5, 5)) == (150, 400)
    assert init.fans((7,)) == (7, 7) and init.fans(()) == (1, 1)
