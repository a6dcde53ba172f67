"""OpenVINO's best way to infer one batch at a time, in float32 throughout."""

from __future__ import annotations

from functools import partial

import openvino

from .harness import Configuration, Configurations, Step, Workload
from .onnx_model import serialized


def _inference(work: Workload) -> Step:
    settings = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": work.threads,
        "INFERENCE_PRECISION_HINT": "f32",  # it would take bfloat16 where the CPU has it
    }
    core = openvino.Core()
    request = core.compile_model(core.read_model(serialized(work)), "CPU", settings).create_infer_request()
    request.set_input_tensor(openvino.Tensor(work.images, shared_memory=True))

    def step() -> object:
        request.infer()
        return request.get_output_tensor().data

    return step


def make(work: Workload) -> Configurations:
    return {} if work.mode == "train" else {"openvino": Configuration(partial(_inference, work))}
