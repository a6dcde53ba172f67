"""JAX's best ways to do a workload: the whole step under one jit, old state donated, both image layouts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from .harness import Step, Workload

Params = dict[str, jax.Array]


def _conv(x: jax.Array, w: jax.Array, b: jax.Array, padding: str, layout: str) -> jax.Array:
    kernel = "OIHW" if layout == "NCHW" else "HWIO"
    out = lax.conv_general_dilated(x, w, (1, 1), padding, dimension_numbers=(layout, kernel, layout))
    return out + (b[:, None, None] if layout == "NCHW" else b)


def _max_pool(x: jax.Array, layout: str) -> jax.Array:
    window = (1, 1, 2, 2) if layout == "NCHW" else (1, 2, 2, 1)
    return lax.reduce_window(x, -jnp.inf, lax.max, window, window, "VALID")


def lenet(x: jax.Array, p: Params, layout: str) -> jax.Array:
    h = _max_pool(jax.nn.relu(_conv(x, p["w1"], p["b1"], "SAME", layout)), layout)
    h = _max_pool(jax.nn.relu(_conv(h, p["w2"], p["b2"], "VALID", layout)), layout)
    if layout == "NHWC":  # the dense weights expect channels first
        h = h.transpose(0, 3, 1, 2)
    h = jax.nn.relu(h.reshape(len(h), -1) @ p["w3"] + p["b3"])
    h = jax.nn.relu(h @ p["w4"] + p["b4"])
    return h @ p["w5"] + p["b5"]


def mlp(x: jax.Array, p: Params, layout: str) -> jax.Array:
    h = jax.nn.relu(x.reshape(len(x), -1) @ p["w1"] + p["b1"])
    h = jax.nn.relu(h @ p["w2"] + p["b2"])
    return h @ p["w3"] + p["b3"]


NETWORKS: dict[str, Callable[[jax.Array, Params, str], jax.Array]] = {"lenet": lenet, "mlp": mlp}


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


def _sgd(params: Params, grads: Params, state: Any, rate: float) -> tuple[Params, Any]:
    return {k: p - rate * grads[k] for k, p in params.items()}, state


def _training(work: Workload, layout: str) -> Step:
    network, update = NETWORKS[work.model], _adam if work.optimizer == "adam" else _sgd

    def loss_of(params: Params, x: jax.Array, y: jax.Array) -> jax.Array:
        chosen = jnp.take_along_axis(jax.nn.log_softmax(network(x, params, layout)), y[:, None], axis=1)
        return -chosen.mean()

    def step(params: Params, state: Any, x: jax.Array, y: jax.Array) -> tuple[Params, Any, jax.Array]:
        loss, grads = jax.value_and_grad(loss_of)(params, x, y)
        return *update(params, grads, state, work.learning_rate), loss

    run = jax.jit(step, donate_argnums=(0, 1))
    params = parameters(work, layout)
    zeros = {k: jnp.zeros_like(p) for k, p in params.items()}
    state: Any = (zeros, {k: jnp.zeros_like(p) for k, p in params.items()}, jnp.zeros((), jnp.float32))
    x, y = _inputs(work, layout)
    held = [params, state if work.optimizer == "adam" else ()]

    def once() -> float:
        held[0], held[1], loss = run(held[0], held[1], x, y)
        jax.block_until_ready(held)
        return float(loss)

    return once


def _inputs(work: Workload, layout: str) -> tuple[jax.Array, jax.Array]:
    images = work.images if layout == "NCHW" else work.images.transpose(0, 2, 3, 1)
    return jnp.array(images), jnp.array(work.labels)


def _inference(work: Workload, layout: str) -> Step:
    network, params = NETWORKS[work.model], parameters(work, layout)
    run = jax.jit(lambda x, p: network(x, p, layout))
    x, _ = _inputs(work, layout)
    return lambda: run(x, params).block_until_ready()


def make(work: Workload, compiled: bool = False) -> dict[str, Step]:
    """Configurations by name; JAX always compiles, so `compiled` adds nothing.

    The number of threads was fixed by `harness.pin`, before JAX was imported."""
    one = _training if work.mode == "train" else _inference
    steps = {"jax": one(work, "NCHW")}
    if any(w.ndim == 4 for w in work.weights.values()):
        steps["jax NHWC"] = one(work, "NHWC")
    return steps
