"""Every optimiser, penalty, clip and schedule against plain NumPy in float64 over 100 steps, and against PyTorch."""

from __future__ import annotations

import math

import numpy as np
import pytest

import graphnet as gn
from graphnet import optim
from graphnet.optim import schedule

STEPS, RATE = 100, 0.05
START = np.array([1.0, -2.0, 3.0, 0.5])
GRADIENTS = np.random.default_rng(0).normal(size=(STEPS, 4)) * [1.0, 0.1, 10.0, 1e-3]


def ref_sgd(rate=RATE):
    return lambda p, g, t, s: p - rate * g


def ref_momentum(p, g, t, s):
    s["v"] = 0.9 * s["v"] + g
    return p - RATE * s["v"]


def ref_average(p, g, t, s):
    s["v"] = 0.9 * s["v"] + (1 - 0.9) * g
    return p - RATE * s["v"]


def ref_nesterov(p, g, t, s):
    s["v"] = 0.9 * s["v"] + g
    return p - RATE * (g + 0.9 * s["v"])


def ref_adagrad(p, g, t, s):
    s["G"] = s["G"] + g * g
    return p - RATE * g / (np.sqrt(s["G"] + 0.25) + 1e-10)


def ref_rmsprop(centered, beta):
    def step(p, g, t, s):
        s["v"] = 0.99 * s["v"] + (1 - 0.99) * g * g
        s["m"] = 0.99 * s["m"] + (1 - 0.99) * g
        spread = s["v"] - s["m"] ** 2 if centered else s["v"]
        s["b"] = beta * s["b"] + g / (np.sqrt(spread) + 1e-8)
        return p - RATE * s["b"]

    return step


def ref_adadelta(p, g, t, s):
    s["v"] = 0.9 * s["v"] + 0.1 * g * g
    d = np.sqrt(s["u"] + 1e-6) / np.sqrt(s["v"] + 1e-6) * g
    s["u"] = 0.9 * s["u"] + 0.1 * d * d
    return p - d


def ref_adam(decay):
    def step(p, g, t, s):
        """Algorithm 1 of Kingma and Ba; algorithm 2 of Loshchilov and Hutter."""
        s["m"], s["v"] = 0.9 * s["m"] + (1 - 0.9) * g, 0.999 * s["v"] + (1 - 0.999) * g * g
        m, v = s["m"] / (1 - 0.9**t), s["v"] / (1 - 0.999**t)
        return p - RATE * (m / (np.sqrt(v) + 1e-8) + decay * p)

    return step


# ours, NumPy's, and the class and settings of PyTorch's
CASES = {
    "sgd": (lambda p, g: optim.sgd(p, g, RATE), ref_sgd(), ("SGD", {})),
    "momentum": (lambda p, g: optim.momentum(p, g, RATE), ref_momentum, ("SGD", {"momentum": 0.9})),
    "average": (lambda p, g: optim.momentum(p, g, RATE, dampening=0.9), ref_average, None),
    "nesterov": (
        lambda p, g: optim.nesterov(p, g, RATE), ref_nesterov, ("SGD", {"momentum": 0.9, "nesterov": True})
    ),
    "adagrad": (
        lambda p, g: optim.adagrad(p, g, RATE, initial=0.25),
        ref_adagrad,
        ("Adagrad", {"initial_accumulator_value": 0.25}),
    ),
    "rmsprop": (lambda p, g: optim.rmsprop(p, g, RATE), ref_rmsprop(False, 0.0), ("RMSprop", {})),
    "rmsprop centered": (
        lambda p, g: optim.rmsprop(p, g, RATE, centered=True, beta=0.9),
        ref_rmsprop(True, 0.9),
        ("RMSprop", {"centered": True, "momentum": 0.9}),
    ),
    "adadelta": (lambda p, g: optim.adadelta(p, g), ref_adadelta, ("Adadelta", {"lr": 1.0})),
    "adam": (lambda p, g: optim.adam(p, g, RATE), ref_adam(0.0), ("Adam", {})),
    "adamw": (
        lambda p, g: optim.adamw(p, g, RATE, weight_decay=0.1), ref_adam(0.1), ("AdamW", {"weight_decay": 0.1})
    ),
}  # fmt: skip


def trained(make, dtype):
    """The parameter after each step."""
    p, g = gn.parameter("p", (4,), gn.init.value(START.astype(dtype)), dtype), gn.input("g", (4,), dtype)
    f = gn.compile([], [g], updates=make(p, g))
    out = []
    for each in GRADIENTS.astype(dtype):
        f(each)
        out.append(f.state[p].copy())
    return np.array(out)


def by_numpy(step, dtype):
    p, memory, out = START.astype(dtype).astype("d"), dict.fromkeys("vmubG", 0.0), []
    for t, g in enumerate(GRADIENTS.astype(dtype).astype("d"), 1):
        p = step(p, g, t, memory)
        out.append(p)
    return np.array(out)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("case", CASES)
def test_hundred_steps(case, dtype, tolerance):
    make, reference, _ = CASES[case]
    want = by_numpy(reference, dtype)
    np.testing.assert_allclose(trained(make, dtype), want, rtol=tolerance, atol=tolerance * np.abs(want).max())


@pytest.mark.parametrize("case", [name for name, c in CASES.items() if c[2]])
def test_as_pytorch(case):
    torch = pytest.importorskip("torch")
    make, _, (name, settings) = CASES[case]
    p = torch.tensor(START, requires_grad=True)
    method, want = getattr(torch.optim, name)([p], **{"lr": RATE, **settings}), []
    for g in GRADIENTS:
        p.grad = torch.tensor(g)
        method.step()
        want.append(p.detach().numpy().copy())
    np.testing.assert_allclose(trained(make, "float64"), want, rtol=1e-11, atol=1e-12)


def test_errors():
    p = gn.parameter("p", (2,))
    g = gn.gradient(gn.sum(p * p), p)
    for make, settings, message in (
        (optim.nesterov, {"learning_rate": 0.1, "beta": 1.0}, r"nesterov: beta must be in \[0, 1\)"),
        (optim.adagrad, {"epsilon": 0}, "adagrad: epsilon must be a finite number > 0"),
        (optim.adagrad, {"initial": -1.0}, "adagrad: initial"),
        (optim.rmsprop, {"alpha": -0.1}, "rmsprop: alpha"),
        (optim.adadelta, {"rho": 2}, "adadelta: rho"),
        (optim.adamw, {"weight_decay": -1}, "adamw: weight_decay"),
        (optim.adamw, {"learning_rate": math.nan}, "adamw: the learning rate"),
    ):
        with pytest.raises(gn.GraphnetError, match=message):
            make(p, g, **settings)
    for make in (lambda: optim.l2([], 0.1), lambda: optim.l1([1.0], 0.1), lambda: optim.l1(p, -1.0)):
        with pytest.raises(gn.GraphnetError, match=r"l[12]:.*test_optimisers"):
            make()


# ------------------------------------------------------------------------------- penalties and clipping


def test_penalties():
    a, b = np.array([1.0, -2.0, 0.0]), np.array([[3.0], [-0.5]])
    p, q = gn.parameter("p", (3,), a, "float64"), gn.parameter("q", (2, 1), b, "float64")
    params = {"first": [p], "q": q}
    values = {p: a, q: b}
    for penalty, want, slopes in (
        (optim.l1(params, 0.1), 0.1 * 6.5, (0.1 * np.sign(a), 0.1 * np.sign(b))),
        (optim.l2(params, 0.1), 0.05 * 14.25, (0.1 * a, 0.1 * b)),
        (optim.elastic_net(params, 0.2, 0.4), 0.2 * 6.5 + 0.2 * 14.25, (0.2 * np.sign(a) + 0.4 * a, None)),
    ):
        total, dp, dq = gn.evaluate([penalty, *gn.gradient(penalty, [p, q])], {}, values)
        assert total == pytest.approx(want, rel=1e-14)
        np.testing.assert_allclose(dp, slopes[0], rtol=1e-14)
        if slopes[1] is not None:
            np.testing.assert_allclose(dq, slopes[1], rtol=1e-14)


def test_weight_decay_is_an_l2_penalty():
    torch = pytest.importorskip("torch")

    def make(p, g):
        return optim.momentum(p, g + gn.gradient(optim.l2(p, 0.1), p), RATE)

    p = torch.tensor(START, requires_grad=True)
    method = torch.optim.SGD([p], RATE, momentum=0.9, weight_decay=0.1)
    for g in GRADIENTS:
        p.grad = torch.tensor(g)
        method.step()
    np.testing.assert_allclose(trained(make, "float64")[-1], p.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize("limit", [0.5, 1e3])
def test_clipping(limit):
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(3, 4)), rng.normal(size=(5,)).astype("f")
    x, y = gn.input("x", (3, 4), "float64"), gn.input("y", (5,))
    feed = {x: a, y: b}
    norm = np.sqrt((a**2).sum() + (b.astype("d") ** 2).sum())
    clipped = optim.clip_by_global_norm({"x": x, "y": (y,)}, limit)
    assert list(clipped) == ["x", "y"] and clipped["y"][0].dtype == "float32"
    got = gn.evaluate([clipped["x"], clipped["y"][0], optim.global_norm([x, y])], feed)
    factor = min(1.0, limit / norm)
    np.testing.assert_allclose(got[0], a * factor, rtol=1e-6)
    np.testing.assert_allclose(got[1], b * factor, rtol=1e-6)
    assert got[2] == pytest.approx(norm, rel=1e-6)
    (value,) = gn.evaluate(optim.clip_by_value([x], limit), feed)
    np.testing.assert_array_equal(value, np.clip(a, -limit, limit))


def test_clipping_of_zeros_and_over_a_training_step():
    x = gn.input("x", (2,), "float64")
    assert gn.evaluate(optim.clip_by_global_norm(x, 1.0), {x: np.zeros(2)})[0].tolist() == [0, 0]

    def reference(p, g, t, s):
        return p - RATE * g * min(1.0, 0.5 / np.sqrt((g * g).sum()))

    got = trained(lambda p, g: optim.sgd(p, optim.clip_by_global_norm(g, 0.5), RATE), "float64")
    np.testing.assert_allclose(got, by_numpy(reference, "float64"), rtol=1e-12)


# ------------------------------------------------------------------------------------------- schedules

CYCLES = [(70, 80), (30, 40), (10, 20), (0, 10)]  # start and length, the latest first

SCHEDULES = {
    "exponential": (lambda t: schedule.exponential(t, 0.1, 0.9, 7), lambda t: 0.1 * 0.9 ** (t / 7)),
    "step": (lambda t: schedule.step(t, 0.1, 0.5, 30), lambda t: 0.1 * 0.5 ** (t // 30)),
    "piecewise": (
        lambda t: schedule.piecewise(t, [0.1, 0.01, 0.5], [10, 50]),
        lambda t: 0.1 if t < 10 else 0.01 if t < 50 else 0.5,
    ),
    "polynomial": (
        lambda t: schedule.polynomial(t, 0.1, 60, 2.0, 0.01), lambda t: 0.09 * (1 - min(t, 60) / 60) ** 2 + 0.01
    ),
    "linear": (lambda t: schedule.polynomial(t, 0.1, 60), lambda t: 0.1 * (1 - min(t, 60) / 60)),
    "warmup": (
        lambda t: schedule.warmup(t, schedule.exponential(t, 0.1, 0.9), 20, first=0.1),
        lambda t: 0.1 * 0.9**t * (0.1 + 0.9 * min(t / 20, 1)),
    ),
    "cosine": (
        lambda t: schedule.cosine(t, 0.1, 60, 0.01),
        lambda t: 0.01 + 0.045 * (1 + math.cos(math.pi * min(t, 60) / 60)),
    ),
    "cosine, equal cycles": (
        lambda t: schedule.cosine(t, 0.1, 13, restarts=1), lambda t: 0.05 * (1 + math.cos(math.pi * (t % 13) / 13))
    ),
    "cosine, longer cycles": (
        lambda t: schedule.cosine(t, 0.1, 10, restarts=2),
        lambda t: 0.05 * (1 + math.cos(math.pi * next((t - s) / n for s, n in CYCLES if t >= s))),
    ),
    "constant after warmup": (lambda t: schedule.warmup(t, 0.1, 20), lambda t: 0.1 * min(t / 20, 1)),
}  # fmt: skip


@pytest.mark.parametrize("case", SCHEDULES)
def test_schedules(case):
    make, reference = SCHEDULES[case]
    t = optim.counter()
    rate = make(t)
    assert rate.type.dtype == "float64" and rate.shape == ()
    f = gn.compile(rate, updates=optim.count(t))
    got = [float(f()) for _ in range(STEPS)]
    np.testing.assert_allclose(got, [reference(k) for k in range(STEPS)], rtol=1e-12, atol=1e-15)


def test_a_schedule_in_a_training_step():
    t = optim.counter()

    def make(p, g):
        return optim.sgd(p, g, schedule.step(t, 0.1, 0.5, 30)) | optim.count(t)

    def reference(p, g, t, s):
        return p - 0.1 * 0.5 ** ((t - 1) // 30) * g

    np.testing.assert_allclose(trained(make, "float64"), by_numpy(reference, "float64"), rtol=1e-12)
    want = by_numpy(reference, "float32")
    np.testing.assert_allclose(trained(make, "float32"), want, rtol=1e-5, atol=1e-5)


def test_schedule_errors():
    t = optim.counter()
    for make, message in (
        (lambda: schedule.step(gn.input("x", ()), 0.1, 0.5, 3), "must be an integer scalar"),
        (lambda: schedule.step(t, -0.1, 0.5, 3), "the rate must be a finite number >= 0"),
        (lambda: schedule.step(t, 0.1, 0.5, 0), "an integer >= 1, not 0"),
        (lambda: schedule.exponential(t, 0.1, 0.0), "must be a finite number > 0"),
        (lambda: schedule.cosine(t, 0.1, 3, restarts=-1), "restarts is 0 or the factor"),
        (lambda: schedule.piecewise(t, [0.1], [3]), "one rate more than boundaries"),
        (lambda: schedule.piecewise(t, [0.1, 0.2, 0.3], [3, 2]), "boundaries rise"),
    ):
        with pytest.raises(gn.GraphnetError, match=message):
            make()
