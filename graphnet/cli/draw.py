"""`graphnet draw`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..show import draw
from .common import add_batch, add_mode, add_model, add_optimizer, arbitrary_batch, call, declared, model_of, written

STAGES = {
    "graph": "the network as it was declared",
    "gradient": "with the backward graph that was derived from it, and the updates",
    "optimised": "after the rewrites",
    "kernels": "what was fused into which kernel, with its cost",
}

DESCRIPTION = "Draws a network at a stage of its compilation:\n\n" + "\n".join(
    f"  {name:<10} {what}" for name, what in STAGES.items()
)

EXAMPLES = """\
examples:
  graphnet draw lenet                                   writes lenet-graph.svg
  graphnet draw lenet --stage gradient --output backward.svg
  graphnet draw mlp --stage kernels --batch 32 --output mlp.pdf
  graphnet draw resnet18 --mode infer

The suffix of the file chooses the format: .svg, .png, .pdf, or .dot for the text that graphviz draws from. The
others need the program `dot` of graphviz."""


def declare(p: argparse.ArgumentParser) -> None:
    add_model(p)
    p.add_argument("--stage", choices=STAGES, default="graph", help="how far compiled (default: graph)")
    add_mode(p)
    add_batch(p)
    add_optimizer(p)
    p.add_argument("--output", metavar="FILE", help="default: MODEL-STAGE.svg")


def run(a: argparse.Namespace) -> None:
    model = model_of(a)
    function = declared(model, a.mode, a.optimizer)
    if a.stage == "kernels":
        images, labels = arbitrary_batch(model, a.batch)
        for _ in range(10):  # the drawing shows the time of the last run
            call(function, images, labels)
    drawing = draw(function, stage=a.stage, sizes={"N": a.batch})
    path = Path(a.output or f"{a.model}-{a.stage}.svg")
    drawing.save(path)
    print(written([path]))
