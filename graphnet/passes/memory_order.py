"""Which axis of the activations lies innermost, for a whole graph: see `layout`."""

from __future__ import annotations

from ..module import Module
from ..ops.conv import Convolution, Forward, WeightGradient
from ..types import concrete, elements

FEWEST_CHANNELS = 8  # images of fewer stay row-major: the first convolution reads single numbers anyway


def memory_order(m: Module) -> str:
    """ "channels" or "batch": which fills vectors in most of the arithmetic of the convolutions."""
    lanes, votes = m.settings.lanes, 0
    for n in m.graph.nodes():
        if n.op.kind == "transform":  # of Winograd and the like, whose products have channels innermost
            votes += elements(n.type) * lanes
        if not isinstance(n.op, Convolution):
            continue
        kernel = n if isinstance(n.op, WeightGradient) else n.inputs[isinstance(n.op, Forward)]
        outputs, inputs, *_ = concrete(kernel.shape)
        if inputs > 1 or n.op.groups == 1:  # else depthwise: vectors run across groups
            outputs //= n.op.groups
        batch = concrete(n.inputs[0].shape if isinstance(n.op, Forward) else n.inputs[1].shape)[0]
        enough = 2 * lanes if 2 * batch >= lanes else lanes // 2
        flops = n.op.flops(n.type, *(i.type for i in n.inputs))
        votes += flops if outputs >= enough else -flops
    return "channels" if votes > 0 else "batch"
