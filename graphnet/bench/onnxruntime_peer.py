"""ONNX Runtime's best ways to infer: every graph optimisation, its own threads, outputs bound or allocated."""

from __future__ import annotations

from functools import partial

import onnxruntime

from .harness import Configuration, Configurations, Step, Workload
from .onnx_model import INPUT, OUTPUT, serialized


def _session(work: Workload) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = work.threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(serialized(work), options, providers=["CPUExecutionProvider"])


def _plain(work: Workload) -> Step:
    session, feed = _session(work), {INPUT: work.images}
    return lambda: session.run([OUTPUT], feed)[0]


def _bound(work: Workload) -> Step:
    session = _session(work)
    binding = session.io_binding()
    binding.bind_cpu_input(INPUT, work.images)
    binding.bind_output(OUTPUT, "cpu")

    def step() -> object:
        session.run_with_iobinding(binding)
        return binding.get_outputs()[0].numpy()

    return step


def make(work: Workload) -> Configurations:
    if work.mode == "train":
        return {}
    return {
        "onnxruntime": Configuration(partial(_plain, work)),
        "onnxruntime bound": Configuration(partial(_bound, work)),
    }
