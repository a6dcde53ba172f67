"""PyTorch's best ways to do a workload: both memory formats, fused optimisers, torch.compile on request.

The networks are written with torch.nn.functional, which is what nn.Module calls: nothing is lost, and the
weights are those of graphnet by name.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from .harness import Step, Workload

Params = dict[str, torch.Tensor]


def lenet(x: torch.Tensor, p: Params) -> torch.Tensor:
    h = F.max_pool2d(F.relu(F.conv2d(x, p["w1"], p["b1"], padding=2)), 2)
    h = F.max_pool2d(F.relu(F.conv2d(h, p["w2"], p["b2"])), 2)
    h = F.relu(F.linear(h.flatten(1), p["w3"], p["b3"]))
    h = F.relu(F.linear(h, p["w4"], p["b4"]))
    return F.linear(h, p["w5"], p["b5"])


def mlp(x: torch.Tensor, p: Params) -> torch.Tensor:
    h = F.relu(F.linear(x.flatten(1), p["w1"], p["b1"]))
    h = F.relu(F.linear(h, p["w2"], p["b2"]))
    return F.linear(h, p["w3"], p["b3"])


NETWORKS: dict[str, Callable[[torch.Tensor, Params], torch.Tensor]] = {"lenet": lenet, "mlp": mlp}


def parameters(work: Workload, channels_last: bool = False) -> Params:
    """PyTorch keeps dense weights as (out, in), graphnet as (in, out)."""
    params = {}
    for name, value in work.weights.items():
        t = torch.from_numpy(np.array(value.T if value.ndim == 2 else value, order="C"))
        if channels_last and t.ndim == 4:
            t = t.contiguous(memory_format=torch.channels_last)
        params[name] = t.requires_grad_(work.mode == "train")
    return params


def optimizer(work: Workload, params: Params) -> Any:
    if work.optimizer == "adam":
        return torch.optim.Adam(params.values(), lr=work.learning_rate, fused=True)
    return torch.optim.SGD(params.values(), lr=work.learning_rate, fused=True)


def trainer(work: Workload, channels_last: bool = False, compiled: bool = False) -> Callable[[Any, Any], float]:
    """One step of training on (images, labels): NumPy arrays, or tensors ready to use. Returns the loss."""
    params = parameters(work, channels_last)
    update = optimizer(work, params)
    network = NETWORKS[work.model]

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(network(x, params), y)

    forward = torch.compile(loss_of) if compiled else loss_of

    def step(images: Any, labels: Any) -> float:
        loss = forward(*_tensors(images, labels, channels_last))
        update.zero_grad(set_to_none=True)
        loss.backward()
        update.step()
        return float(loss.item())

    return step


def _tensors(images: Any, labels: Any, channels_last: bool) -> tuple[torch.Tensor, torch.Tensor]:
    if isinstance(images, torch.Tensor):
        return images, labels
    x, y = torch.from_numpy(images), torch.from_numpy(labels).long()
    return (x.contiguous(memory_format=torch.channels_last) if channels_last else x), y


def _inference(work: Workload, channels_last: bool, compiled: bool) -> Step:
    params = parameters(work, channels_last)
    x, _ = _tensors(work.images, work.labels, channels_last)
    network = torch.compile(NETWORKS[work.model]) if compiled else NETWORKS[work.model]

    def step() -> torch.Tensor:
        with torch.inference_mode():
            return network(x, params)

    return step


def _training(work: Workload, channels_last: bool, compiled: bool) -> Step:
    train = trainer(work, channels_last, compiled)
    x, y = _tensors(work.images, work.labels, channels_last)
    return lambda: train(x, y)


def make(work: Workload, compiled: bool = False) -> dict[str, Step]:
    """Configurations by name. CPU tensors are computed eagerly: a step is done when it returns."""
    torch.set_num_threads(work.threads)
    one = _training if work.mode == "train" else _inference
    steps = {"torch": one(work, False, False)}
    if work.images.ndim == 4 and any(w.ndim == 4 for w in work.weights.values()):
        steps["torch channels_last"] = one(work, True, False)
    if compiled:
        steps["torch compile"] = one(work, False, True)
    return steps
