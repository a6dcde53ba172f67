"""PyTorch's best ways to do single ops: contiguous and channels_last tensors, each gradient alone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F

from .cases import Case, Conv, Gemm, Pass
from .harness import Configuration, Configurations, Step

Tensors = dict[str, torch.Tensor]


def _conv(case: Conv, t: Tensors) -> Callable[[], Any]:
    if case.part == "forward":
        return lambda: F.conv2d(t["x"], t["w"], None, 1, case.padding)
    wanted = [case.part == "input-gradient", case.part == "weight-gradient", False]
    # Of the tensor whose gradient is wanted, only the shape is used.
    x = t["x"] if "x" in t else torch.empty(case.n, case.c, *case.size).to(memory_format=_format(t["dy"]))
    w = t["w"] if "w" in t else torch.empty(case.k, case.c, *case.window).to(memory_format=_format(t["dy"]))

    def backward() -> Any:
        settings = ([1, 1], list(case.padding), [1, 1], False, [0, 0], 1, wanted)
        return torch.ops.aten.convolution_backward(t["dy"], x, w, None, *settings)[0 if wanted[0] else 1]

    return backward


def _format(t: torch.Tensor) -> Any:
    return torch.contiguous_format if t.is_contiguous() else torch.channels_last


def _gemm(case: Gemm, t: Tensors) -> Callable[[], Any]:
    a, b = (v.T if name == case.transposed else v for name, v in t.items())
    return lambda: torch.mm(a, b)


def _batch_norm_train(x: Any, dy: Any, scale: Any, shift: Any) -> Any:
    y, mean, inverse = torch.ops.aten.native_batch_norm(x, scale, shift, None, None, True, 0.1, 1e-5)
    wanted = [True, True, True]
    backward = torch.ops.aten.native_batch_norm_backward
    return y, *backward(dy, x, scale, None, None, mean, inverse, True, 1e-5, wanted)


PASSES: dict[str, Callable[..., Any]] = {
    "negate": torch.neg,
    "chain": lambda x, y, z: F.relu(torch.addcmul(z, x, y)),
    "swish": lambda x, y: F.silu(x) + y,
    "softmax": lambda x: F.softmax(x, -1),
    "max-pool": lambda x: F.max_pool2d(x, 2),
    "max-pool-3": lambda x: F.max_pool2d(x, 3, 2, 1),
    "avg-pool": lambda x: F.avg_pool2d(x, 2),
    "batch-norm": lambda x, scale, shift: F.batch_norm(x, None, None, scale, shift, True),
    "batch-norm-train": _batch_norm_train,
}


def tensors(case: Case, channels_last: bool) -> Tensors:
    memory = torch.channels_last if channels_last else torch.contiguous_format
    found = {name: torch.from_numpy(a) for name, a in case.arrays().items()}
    return {name: t.contiguous(memory_format=memory) if t.ndim == 4 else t for name, t in found.items()}


def eager(case: Case, channels_last: bool) -> Step:
    t = tensors(case, channels_last)
    if isinstance(case, Pass):
        return inferring(PASSES[case.op], *t.values())
    return inferring(_conv(case, t) if isinstance(case, Conv) else _gemm(case, t))


def inferring(f: Callable[..., Any], *arguments: torch.Tensor) -> Step:
    def step() -> Any:
        with torch.inference_mode():
            return f(*arguments)

    return step


def formats(case: Case, name: str, make: Callable[[Case, bool], Step]) -> Configurations:
    """In both memory formats, where there are images."""
    found = {name: Configuration(partial(make, case, False))}
    if any(a.ndim == 4 for a in case.arrays().values()):
        found[f"{name} channels_last"] = Configuration(partial(make, case, True))
    return found


def make(case: Case, threads: int) -> Configurations:
    torch.set_num_threads(threads)
    found = formats(case, "torch", eager)
    if isinstance(case, Conv) and case.size[0] == 1:
        found["torch conv1d"] = Configuration(partial(_conv1d, case), lambda y: y.unsqueeze(2).numpy())
    return found


def _conv1d(case: Conv) -> Step:
    """The same over one axis, which PyTorch computes otherwise."""
    t = {name: v.squeeze(2) for name, v in tensors(case, False).items()}
    if case.part == "forward":
        return inferring(lambda: F.conv1d(t["x"], t["w"], None, 1, case.padding[1]))
    wanted = [case.part == "input-gradient", case.part == "weight-gradient", False]
    x = t.get("x", torch.empty(case.n, case.c, case.size[1]))
    w = t.get("w", torch.empty(case.k, case.c, case.window[1]))
    settings = ([1], [case.padding[1]], [1], False, [0], 1, wanted)
    backward = torch.ops.aten.convolution_backward
    return inferring(lambda: backward(t["dy"], x, w, None, *settings)[0 if wanted[0] else 1])


def copying(nbytes: int) -> Step:
    """Reads half of so many bytes and writes the other half."""
    source = torch.ones(nbytes // 8)
    target = torch.empty_like(source)
    return lambda: target.copy_(source)
