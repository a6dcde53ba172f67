"""PyTorch's best ways to do a workload: both memory formats, fused optimisers, traced and frozen for inference.

The layers are those of torch.nn.functional, which is what nn.Module calls: nothing is lost, and the weights are
those of graphnet by name.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler, silent; read when torch is loaded

import torch
import torch.nn.functional as F
from torch.profiler import ProfilerActivity, profile

from .harness import Configuration, Configurations, Step, Workload
from .networks import NETWORKS

Params = dict[str, torch.Tensor]


class Layers:
    """See `networks.Layers`. In training, batch normalisation updates the running statistics in place."""

    def __init__(self, params: Params, training: bool) -> None:
        self.p = params
        self.training = training

    def has(self, name: str) -> bool:
        return name in self.p

    def conv(self, x: Any, w: str, b: str | None = None, stride: int = 1, padding: int = 0) -> Any:
        return F.conv2d(x, self.p[w], self.p[b] if b else None, stride, padding)

    def dense(self, x: Any, w: str, b: str) -> Any:
        return F.linear(x, self.p[w], self.p[b])

    def relu(self, x: Any) -> Any:
        return F.relu(x)

    def add(self, x: Any, y: Any) -> Any:
        return x + y

    def max_pool(self, x: Any, window: int, stride: int, padding: int = 0) -> Any:
        return F.max_pool2d(x, window, stride, padding)

    def batch_norm(self, x: Any, name: str) -> Any:
        scale, shift, mean, variance = (self.p[f"{name}.{k}"] for k in ("scale", "shift", "mean", "variance"))
        return F.batch_norm(x, mean, variance, scale, shift, self.training)

    def mean(self, x: Any) -> Any:
        return F.adaptive_avg_pool2d(x, 1).flatten(1)

    def flat(self, x: Any) -> Any:
        return x.flatten(1)


class Network(torch.nn.Module):
    """A network as a module, whose weights compilers may take for constants."""

    def __init__(self, model: str, params: Params) -> None:
        super().__init__()
        self.model = model
        self.names = {name: name.replace(".", "_") for name in params}
        for name, value in params.items():
            self.register_buffer(self.names[name], value)

    def forward(self, x: torch.Tensor) -> Any:
        return logits(self.model, x, {name: getattr(self, own) for name, own in self.names.items()})


def logits(model: str, x: torch.Tensor, params: Params, training: bool = False) -> Any:
    return NETWORKS[model](x, Layers(params, training))


def parameters(work: Workload, channels_last: bool = False) -> Params:
    """PyTorch keeps dense weights as (out, in), graphnet as (in, out). Running statistics need no gradient."""
    params = {}
    for name, value in work.weights.items():
        t = torch.from_numpy(value.T if value.ndim == 2 else value).clone(memory_format=torch.contiguous_format)
        if channels_last and t.ndim == 4:
            t = t.contiguous(memory_format=torch.channels_last)
        params[name] = t.requires_grad_(work.mode == "train")
    return params | {name: torch.from_numpy(value).clone() for name, value in work.statistics.items()}


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

    def loss_of(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(logits(work.model, x, params, True), y)

    forward = torch.compile(loss_of, dynamic=False) if compiled else loss_of

    def step(images: Any, labels: Any) -> float:
        loss = forward(*tensors(images, labels, channels_last))
        update.zero_grad(set_to_none=True)
        loss.backward()
        update.step()
        return float(loss.item())

    return step


def tensors(images: Any, labels: Any, channels_last: bool) -> tuple[torch.Tensor, torch.Tensor]:
    if isinstance(images, torch.Tensor):
        return images, labels
    x, y = torch.from_numpy(images), torch.from_numpy(labels).long()
    return (x.contiguous(memory_format=torch.channels_last) if channels_last else x), y


def eager(work: Workload, channels_last: bool) -> Step:
    if work.mode == "train":
        return training(work, channels_last)
    params = parameters(work, channels_last)
    x, _ = tensors(work.images, work.labels, channels_last)
    return inferring(lambda x: logits(work.model, x, params), x)


def training(work: Workload, channels_last: bool, compiled: bool = False) -> Step:
    train = trainer(work, channels_last, compiled)
    x, y = tensors(work.images, work.labels, channels_last)
    return lambda: train(x, y)


def inferring(network: Callable[[torch.Tensor], Any], x: torch.Tensor) -> Step:
    def step() -> Any:
        with torch.inference_mode():
            return network(x)

    return step


def traced(work: Workload, channels_last: bool) -> Step:
    """Traced, frozen and optimised for inference: convolutions take their activations along, in oneDNN's layouts."""
    module = Network(work.model, parameters(work, channels_last)).eval()
    x, _ = tensors(work.images, work.labels, channels_last)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated, and still the fastest at times
        frozen = torch.jit.optimize_for_inference(torch.jit.freeze(torch.jit.trace(module, x)))
    return inferring(frozen, x)


def formats(work: Workload, name: str, make: Callable[[Workload, bool], Step]) -> Configurations:
    """In both memory formats, where there are images to convolve."""
    found = {name: Configuration(partial(make, work, False))}
    if any(w.ndim == 4 for w in work.weights.values()):
        found[f"{name} channels_last"] = Configuration(partial(make, work, True))
    return found


def make(work: Workload) -> Configurations:
    """Configurations by name. CPU tensors are computed eagerly: a step is done when it returns."""
    torch.set_num_threads(work.threads)
    found = formats(work, "torch", eager)
    return found if work.mode == "train" else found | formats(work, "torch jit", traced)


def peak_bytes(work: Workload, steps: int = 2) -> int:
    """The most bytes that PyTorch's CPU allocator held at once in eager mode, contiguous: parameters, the optimiser's
    state, inputs, activations, gradients and oneDNN's workspaces; not its code, nor Python's memory."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step = eager(work, False)
        for _ in range(steps):
            step()
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    changes = [e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())]
    return int(np.cumsum(changes).max()) + work.images.nbytes + work.labels.nbytes
