"""PyTorch's chains of small ops, fused by torch.compile, which needs a C++ compiler."""

from __future__ import annotations

import torch
import torch._inductor.config as inductor

from .cases import Case, Pass
from .harness import Configurations, Step
from .torch_ops import PASSES, formats, inferring, tensors


def _compiled(case: Case, channels_last: bool) -> Step:
    assert isinstance(case, Pass)
    return inferring(torch.compile(PASSES[case.op], dynamic=False), *tensors(case, channels_last).values())


def make(case: Case, threads: int) -> Configurations:
    """Single convolutions and products are the library's, compiled or not."""
    torch.set_num_threads(threads)
    inductor.compile_threads = 1  # in this process: others' threads do not survive a fork
    return formats(case, "torch.compile", _compiled) if isinstance(case, Pass) else {}
