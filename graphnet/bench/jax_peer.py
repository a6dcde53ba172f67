"""JAX's best ways to do a workload: the whole step under one jit, old state donated, both image layouts."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .harness import Configuration, Configurations, Step, Workload
from .networks import NETWORKS

Params = dict[str, jax.Array]


class Layers:
    """See `networks.Layers`; images lie as `layout` says, NCHW or NHWC. In training (`updated` is not None), running
    statistics come from the batch, and their new values go into `updated`."""

    def __init__(self, layout: str, params: Params, updated: Params | None = None) -> None:
        self.layout = layout
        self.p = params
        self.updated = updated
        self.channels = layout.index("C")
        self.rows = layout.index("H")

    def has(self, name: str) -> bool:
        return name in self.p

    def vector(self, b: jax.Array) -> jax.Array:
        return b[:, None, None] if self.channels == 1 else b

    def conv(self, x: Any, w: str, b: str | None = None, stride: int = 1, padding: int = 0) -> Any:
        kernel = "OIHW" if self.layout == "NCHW" else "HWIO"
        numbers, pads = (self.layout, kernel, self.layout), ((padding, padding),) * 2
        y = lax.conv_general_dilated(x, self.p[w], (stride, stride), pads, dimension_numbers=numbers)
        return y + self.vector(self.p[b]) if b else y

    def dense(self, x: Any, w: str, b: str) -> Any:
        return x @ self.p[w] + self.p[b]

    def relu(self, x: Any) -> Any:
        return jax.nn.relu(x)

    def add(self, x: Any, y: Any) -> Any:
        return x + y

    def max_pool(self, x: Any, window: int, stride: int, padding: int = 0) -> Any:
        def along(value: Any, other: Any) -> tuple[Any, ...]:
            return tuple(value if self.rows <= a < self.rows + 2 else other for a in range(4))

        pads = along((padding, padding), (0, 0))
        return lax.reduce_window(x, -jnp.inf, lax.max, along(window, 1), along(stride, 1), pads)

    def batch_norm(self, x: Any, name: str) -> Any:
        scale, shift, mean, variance = (self.p[f"{name}.{k}"] for k in ("scale", "shift", "mean", "variance"))
        if self.updated is not None:
            axes = tuple(a for a in range(4) if a != self.channels)
            old_mean, old_variance, n = mean, variance, x.size // x.shape[self.channels]
            # As Flax does: one pass over x for both.
            mean = x.mean(axes)
            variance = jnp.maximum((x * x).mean(axes) - mean * mean, 0)
            self.updated[f"{name}.mean"] = 0.9 * old_mean + 0.1 * mean
            self.updated[f"{name}.variance"] = 0.9 * old_variance + 0.1 * (n / (n - 1)) * variance
        slope = scale * lax.rsqrt(variance + 1e-5)
        return x * self.vector(slope) + self.vector(shift - mean * slope)

    def mean(self, x: Any) -> Any:
        return x.mean((self.rows, self.rows + 1))

    def flat(self, x: Any) -> Any:
        """The dense weights expect channels first."""
        return (x if self.channels == 1 else x.transpose(0, 3, 1, 2)).reshape(len(x), -1)


def parameters(work: Workload, layout: str) -> Params:
    def arrange(w: np.ndarray) -> np.ndarray:
        return w.transpose(2, 3, 1, 0) if w.ndim == 4 and layout == "NHWC" else w

    return {k: jnp.array(arrange(w)) for k, w in work.weights.items()}


def _adam(params: Params, grads: Params, state: Any, rate: float) -> tuple[Params, Any]:
    m, v, t = state
    t = t + 1
    m = {k: 0.9 * m[k] + 0.1 * g for k, g in grads.items()}
    v = {k: 0.999 * v[k] + 0.001 * g * g for k, g in grads.items()}
    rise_m, rise_v = 1 - 0.9**t, 1 - 0.999**t
    new = {k: p - rate * (m[k] / rise_m) / (jnp.sqrt(v[k] / rise_v) + 1e-8) for k, p in params.items()}
    return new, (m, v, t)


def _momentum(params: Params, grads: Params, state: Any, rate: float) -> tuple[Params, Any]:
    v = {k: 0.9 * state[k] + g for k, g in grads.items()}
    return {k: p - rate * v[k] for k, p in params.items()}, v


def _sgd(params: Params, grads: Params, state: Any, rate: float) -> tuple[Params, Any]:
    return {k: p - rate * grads[k] for k, p in params.items()}, state


def _training(work: Workload, layout: str) -> Step:
    network = NETWORKS[work.model]
    update = {"adam": _adam, "momentum": _momentum, "sgd": _sgd}[work.optimizer]

    def loss_of(params: Params, statistics: Params, x: jax.Array, y: jax.Array) -> tuple[jax.Array, Params]:
        updated: Params = {}
        logits = network(x, Layers(layout, params | statistics, updated))
        return -jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], axis=1).mean(), updated

    def step(params: Params, held: Any, x: jax.Array, y: jax.Array) -> tuple[Params, Any, jax.Array]:
        state, statistics = held
        (loss, statistics), grads = jax.value_and_grad(loss_of, has_aux=True)(params, statistics, x, y)
        params, state = update(params, grads, state, work.learning_rate)
        return params, (state, statistics), loss

    run = jax.jit(step, donate_argnums=(0, 1))
    params = parameters(work, layout)
    held: list[Any] = [params, (_state(work, params), _statistics(work))]
    x, y = _inputs(work, layout)

    def once() -> float:
        held[0], held[1], loss = run(held[0], held[1], x, y)
        jax.block_until_ready(held)
        return float(loss)

    return once


def _state(work: Workload, params: Params) -> Any:
    """What the optimiser keeps, at first; every array its own, since all are donated."""
    if work.optimizer == "sgd":
        return ()
    one, two = ({k: jnp.zeros_like(p) for k, p in params.items()} for _ in range(2))
    return one if work.optimizer == "momentum" else (one, two, jnp.zeros((), jnp.float32))


def _statistics(work: Workload) -> Params:
    return {k: jnp.array(v) for k, v in work.statistics.items()}


def _inputs(work: Workload, layout: str) -> tuple[jax.Array, jax.Array]:
    images = work.images if layout == "NCHW" else work.images.transpose(0, 2, 3, 1)
    return jnp.array(images), jnp.array(work.labels)


def _inference(work: Workload, layout: str) -> Step:
    network, params = NETWORKS[work.model], parameters(work, layout) | _statistics(work)
    run = jax.jit(lambda x, p: network(x, Layers(layout, p)))
    x, _ = _inputs(work, layout)
    return lambda: run(x, params).block_until_ready()


def make(work: Workload) -> Configurations:
    """Configurations by name, each under one jit.

    The number of threads was fixed by `harness.pin`, before JAX was imported."""
    one = _training if work.mode == "train" else _inference
    found = {"jax": Configuration(partial(one, work, "NCHW"))}
    if any(w.ndim == 4 for w in work.weights.values()):
        found["jax NHWC"] = Configuration(partial(one, work, "NHWC"))
    return found
