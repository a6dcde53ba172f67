"""PyTorch through torch.compile and its inductor, which needs a C++ compiler: both memory formats; for inference
with the weights frozen, so that they are packed once."""

from __future__ import annotations

from functools import partial

import torch
import torch._inductor.config as inductor

from .harness import Configurations, Step, Workload
from .torch_peer import Network, formats, inferring, parameters, tensors, training


def _inference(work: Workload, channels_last: bool) -> Step:
    module = torch.compile(Network(work.model, parameters(work, channels_last)).eval(), dynamic=False)
    x, _ = tensors(work.images, work.labels, channels_last)
    return inferring(module, x)


def make(work: Workload) -> Configurations:
    torch.set_num_threads(work.threads)
    inductor.compile_threads = 1  # in this process: others' threads do not survive a fork
    inductor.freezing = work.mode == "infer"
    return formats(work, "torch.compile", partial(training, compiled=True) if work.mode == "train" else _inference)
