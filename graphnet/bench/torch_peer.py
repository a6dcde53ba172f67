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


def lenet(x: torch.Tensor, p: Params, training: bool = False) -> torch.Tensor:
    h = F.max_pool2d(F.relu(F.conv2d(x, p["w1"], p["b1"], padding=2)), 2)
    h = F.max_pool2d(F.relu(F.conv2d(h, p["w2"], p["b2"])), 2)
    h = F.relu(F.linear(h.flatten(1), p["w3"], p["b3"]))
    h = F.relu(F.linear(h, p["w4"], p["b4"]))
    return F.linear(h, p["w5"], p["b5"])


def mlp(x: torch.Tensor, p: Params, training: bool = False) -> torch.Tensor:
    h = F.relu(F.linear(x.flatten(1), p["w1"], p["b1"]))
    h = F.relu(F.linear(h, p["w2"], p["b2"]))
    return F.linear(h, p["w3"], p["b3"])


def alexnet(x: torch.Tensor, p: Params, training: bool = False) -> torch.Tensor:
    h = F.max_pool2d(F.relu(F.conv2d(x, p["w1"], p["b1"], stride=4, padding=2)), 3, 2)
    h = F.max_pool2d(F.relu(F.conv2d(h, p["w2"], p["b2"], padding=2)), 3, 2)
    for k in (3, 4, 5):
        h = F.relu(F.conv2d(h, p[f"w{k}"], p[f"b{k}"], padding=1))
    return _dense(F.max_pool2d(h, 3, 2), p, 6)


def vgg16(x: torch.Tensor, p: Params, training: bool = False) -> torch.Tensor:
    h, k = x, 0
    for convolutions in (2, 2, 3, 3, 3):
        for _ in range(convolutions):
            k += 1
            h = F.relu(F.conv2d(h, p[f"w{k}"], p[f"b{k}"], padding=1))
        h = F.max_pool2d(h, 2)
    return _dense(h, p, k + 1)


def _dense(h: torch.Tensor, p: Params, first: int) -> torch.Tensor:
    h = F.relu(F.linear(h.flatten(1), p[f"w{first}"], p[f"b{first}"]))
    h = F.relu(F.linear(h, p[f"w{first + 1}"], p[f"b{first + 1}"]))
    return F.linear(h, p[f"w{first + 2}"], p[f"b{first + 2}"])


def resnet18(x: torch.Tensor, p: Params, training: bool = False) -> torch.Tensor:
    """In training, the running statistics among the parameters are updated in place."""

    def convolution(name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
        w, scale, shift, mean, variance = (p[f"{name}.{k}"] for k in ("w", "scale", "shift", "mean", "variance"))
        h = F.conv2d(x, w, stride=stride, padding=w.shape[2] // 2)
        return F.batch_norm(h, mean, variance, scale, shift, training)

    def block(name: str, x: torch.Tensor, stride: int) -> torch.Tensor:
        h = convolution(f"{name}.second", F.relu(convolution(f"{name}.first", x, stride)), 1)
        return F.relu(h + (convolution(f"{name}.shortcut", x, stride) if f"{name}.shortcut.w" in p else x))

    h = F.max_pool2d(F.relu(convolution("stem", x, 2)), 3, 2, 1)
    for stage in (1, 2, 3, 4):
        h = block(f"stage{stage}.2", block(f"stage{stage}.1", h, 1 if stage == 1 else 2), 1)
    return F.linear(F.adaptive_avg_pool2d(h, 1).flatten(1), p["dense.w"], p["dense.b"])


NETWORKS: dict[str, Callable[[torch.Tensor, Params, bool], torch.Tensor]] = {
    "lenet": lenet,
    "mlp": mlp,
    "alexnet": alexnet,
    "vgg16": vgg16,
    "resnet18": resnet18,
}


def parameters(work: Workload, channels_last: bool = False) -> Params:
    """PyTorch keeps dense weights as (out, in), graphnet as (in, out). Running statistics need no gradient."""
    params = {}
    for name, value in work.weights.items():
        t = torch.from_numpy(np.array(value.T if value.ndim == 2 else value, order="C"))
        if channels_last and t.ndim == 4:
            t = t.contiguous(memory_format=torch.channels_last)
        params[name] = t.requires_grad_(work.mode == "train")
    return params | {name: torch.from_numpy(value.copy()) for name, value in work.statistics.items()}


def optimizer(work: Workload, params: Params) -> Any:
    learned = [params[name] for name in work.weights]
    if work.optimizer == "adam":
        return torch.optim.Adam(learned, lr=work.learning_rate, fused=True)
    momentum = 0.9 if work.optimizer == "momentum" else 0.0
    return torch.optim.SGD(learned, lr=work.learning_rate, momentum=momentum, fused=True)


def trainer(work: Workload, channels_last: bool = False, compiled: bool = False) -> Callable[[Any, Any], float]:
    """One step of training on (images, labels): NumPy arrays, or tensors ready to use. Returns the loss."""
    params = parameters(work, channels_last)
    update = optimizer(work, params)
    network = NETWORKS[work.model]

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(network(x, params, True), y)

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
            return network(x, params, False)

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
