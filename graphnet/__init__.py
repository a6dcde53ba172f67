"""graphnet: a symbolic computation-graph compiler for neural networks.

    import graphnet as gn
    x = gn.input("x", ("N", 3))
    w = gn.parameter("w", (3, 2), init=gn.init.he_normal())
    f = gn.compile(gn.tanh(x @ w), inputs=[x])

Data flows down this list of modules: types, node, op, ops/ declare graphs; gradient differentiates them;
pipeline and passes/ optimise them; lower turns them into codegen's index notation; function runs them.
"""

from __future__ import annotations

import importlib
from dataclasses import fields
from itertools import takewhile
from typing import Any

from . import init, optim
from .custom_gradient import custom_gradient
from .derivatives import hessian, hessian_vector_product, jacobian, jvp
from .errors import DataError, DTypeError, GradientError, GraphnetError, ShapeError
from .evaluate import evaluate
from .function import Function, compile
from .gradient import gradient, vjp
from .node import Graph, Node, apply, constant, input, make_graph, parameter
from .op import OPS, Op, Operand, Sample
from .ops.arithmetic import add, div, maximum, minimum, mul, sub
from .ops.attention import rotary_embedding, scaled_dot_product_attention
from .ops.avg_pool import avg_pool, avg_pool1d, avg_pool2d, avg_pool3d
from .ops.bitcast import bitcast
from .ops.bitwise import bitwise_and, bitwise_or, bitwise_xor, left_shift, right_shift
from .ops.broadcast import broadcast_to, reshape, sum
from .ops.compare import eq, ge, gt, le, logical_and, logical_or, logical_xor, lt, ne, where
from .ops.conv1d import conv1d
from .ops.conv2d import conv2d
from .ops.conv3d import conv3d
from .ops.conv_integer import conv_integer, conv_quantized
from .ops.conv_transpose import conv_transpose1d, conv_transpose2d, conv_transpose3d
from .ops.cumulative import cumprod, cumsum, linear_recurrence
from .ops.deform_conv import deform_conv2d
from .ops.distance import (
    cosine_similarity,
    hinge_embedding_loss,
    hinge_loss,
    huber_loss,
    kl_div,
    l1_loss,
    mse,
    smooth_l1_loss,
)
from .ops.division import floor_divide, fmod, remainder, trunc_divide
from .ops.einsum import einsum
from .ops.elementwise import cast
from .ops.fft import fft, fft2, fftn, ifft, ifft2, ifftn, irfft, irfft2, irfftn, rfft, rfft2, rfftn
from .ops.grid_sample import affine_grid, grid_sample
from .ops.index import expand_dims, flatten, squeeze
from .ops.integer_power import integer_power
from .ops.linalg import det, dot, gemm, inner, inv, kron, linear, matrix_norm, outer, tensordot, vecdot
from .ops.logical_reduce import all, any
from .ops.loss import (
    accuracy,
    bce_with_logits,
    binary_cross_entropy,
    binary_cross_entropy_with_logits,
    cross_entropy,
    nll_loss,
)
from .ops.matmul import matmul, matrix_transpose
from .ops.max_pool import max_pool, max_pool1d, max_pool2d, max_pool3d
from .ops.move import concatenate, flip, slice, transpose
from .ops.norm import batch_norm, batch_norm_inference, batch_norm_updates, global_avg_pool2d
from .ops.normalise import (
    group_norm,
    instance_norm,
    layer_norm,
    lp_normalize,
    mean_variance_normalization,
    rms_norm,
)
from .ops.other_pool import (
    adaptive_avg_pool,
    adaptive_max_pool,
    global_avg_pool,
    global_lp_pool,
    global_max_pool,
    lp_pool,
)
from .ops.pad import pad
from .ops.positions import (
    arange,
    eye,
    full,
    full_like,
    linspace,
    meshgrid,
    one_hot,
    ones,
    ones_like,
    tril,
    triu,
    zeros,
    zeros_like,
)
from .ops.power import pow, power
from .ops.random import bernoulli, categorical, dropout, fold_in, key, normal, randint, uniform
from .ops.rearrange import (
    broadcast_arrays,
    depth_to_space,
    diagonal,
    moveaxis,
    repeat,
    roll,
    space_to_depth,
    split,
    stack,
    swapaxes,
    tile,
    trace,
    unstack,
)
from .ops.rectifier import clip, hard_shrink, prelu, relu6, soft_shrink
from .ops.reduce import argmax, argmin, max, mean, min, prod
from .ops.resize import interpolate, resize
from .ops.response import local_response_norm
from .ops.rounding import copysign
from .ops.softmax import log_softmax, logsumexp, softmax
from .ops.sort import (
    argsort,
    compress,
    histogram,
    kth_value,
    median,
    nonzero,
    searchsorted,
    sort,
    top_k,
    unique,
)
from .ops.spectrogram import blackman_window, hamming_window, hann_window, stft
from .ops.statistics import log_sum, std, sum_square, var, vector_norm
from .ops.take import (
    bincount,
    embedding,
    gather_elements,
    gather_nd,
    index_add,
    index_update,
    put_along_axis,
    scatter_elements,
    scatter_nd,
    take,
    take_along_axis,
)
from .ops.trigonometric import atan2
from .ops.unfold import fold, unfold
from .ops.unpool import max_pool_with_indices, max_unpool
from .recurrent import gru, lstm, rnn
from .scan import scan
from .show import Drawing, draw
from .site import located
from .state import State
from .text import parse, to_text

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Every registered op without a function of its own: `gn.relu(x)` is `apply(Relu(), x)`; keyword arguments are
    the op's attributes, and so is what follows the nodes: `gn.elu(x, 0.5)` is `gn.elu(x, alpha=0.5)`. And `gn.onnx`,
    which needs the extra [onnx]."""
    if name == "onnx":
        try:
            return importlib.import_module(".onnx", __name__)
        except ModuleNotFoundError as e:
            raise GraphnetError(f"gn.onnx needs the extra: pip install 'graphnet[onnx]' ({e})") from None
    op = OPS.get(name)
    if op is None or op.kind == "leaf":
        raise AttributeError(f"module 'graphnet' has no attribute {name!r}")

    @located
    def function(*inputs: Any, **attributes: Any) -> Node:
        nodes = tuple(takewhile(lambda i: isinstance(i, Node), inputs))
        further = inputs[len(nodes) :]
        if nodes and len(further) <= len(fields(op)):
            return apply(op(*further, **attributes), *nodes)
        return apply(op(**attributes), *inputs)

    function.__name__ = function.__qualname__ = name
    function.__doc__ = op.__doc__
    return function


def __dir__() -> list[str]:
    return sorted({*globals(), *(n for n, op in OPS.items() if op.kind != "leaf")})


__all__ = [
    "OPS",
    "DTypeError",
    "DataError",
    "Drawing",
    "Function",
    "GradientError",
    "Graph",
    "GraphnetError",
    "Node",
    "Op",
    "Operand",
    "Sample",
    "ShapeError",
    "State",
    "accuracy",
    "adaptive_avg_pool",
    "adaptive_max_pool",
    "add",
    "affine_grid",
    "all",
    "any",
    "apply",
    "arange",
    "argmax",
    "argmin",
    "argsort",
    "atan2",
    "avg_pool",
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "batch_norm",
    "batch_norm_inference",
    "batch_norm_updates",
    "bce_with_logits",
    "bernoulli",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "bincount",
    "bitcast",
    "bitwise_and",
    "bitwise_or",
    "bitwise_xor",
    "blackman_window",
    "broadcast_arrays",
    "broadcast_to",
    "cast",
    "categorical",
    "clip",
    "compile",
    "compress",
    "concatenate",
    "constant",
    "conv1d",
    "conv2d",
    "conv3d",
    "conv_integer",
    "conv_quantized",
    "conv_transpose1d",
    "conv_transpose2d",
    "conv_transpose3d",
    "copysign",
    "cosine_similarity",
    "cross_entropy",
    "cumprod",
    "cumsum",
    "custom_gradient",
    "deform_conv2d",
    "depth_to_space",
    "det",
    "diagonal",
    "div",
    "dot",
    "draw",
    "dropout",
    "einsum",
    "embedding",
    "eq",
    "evaluate",
    "expand_dims",
    "eye",
    "fft",
    "fft2",
    "fftn",
    "flatten",
    "flip",
    "floor_divide",
    "fmod",
    "fold",
    "fold_in",
    "full",
    "full_like",
    "gather_elements",
    "gather_nd",
    "ge",
    "gemm",
    "global_avg_pool",
    "global_avg_pool2d",
    "global_lp_pool",
    "global_max_pool",
    "gradient",
    "grid_sample",
    "group_norm",
    "gru",
    "gt",
    "hamming_window",
    "hann_window",
    "hard_shrink",
    "hessian",
    "hessian_vector_product",
    "hinge_embedding_loss",
    "hinge_loss",
    "histogram",
    "huber_loss",
    "ifft",
    "ifft2",
    "ifftn",
    "index_add",
    "index_update",
    "init",
    "inner",
    "input",
    "instance_norm",
    "integer_power",
    "interpolate",
    "inv",
    "irfft",
    "irfft2",
    "irfftn",
    "jacobian",
    "jvp",
    "key",
    "kl_div",
    "kron",
    "kth_value",
    "l1_loss",
    "layer_norm",
    "le",
    "left_shift",
    "linear",
    "linear_recurrence",
    "linspace",
    "local_response_norm",
    "log_softmax",
    "log_sum",
    "logical_and",
    "logical_or",
    "logical_xor",
    "logsumexp",
    "lp_normalize",
    "lp_pool",
    "lstm",
    "lt",
    "make_graph",
    "matmul",
    "matrix_norm",
    "matrix_transpose",
    "max",
    "max_pool",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
    "max_pool_with_indices",
    "max_unpool",
    "maximum",
    "mean",
    "mean_variance_normalization",
    "median",
    "meshgrid",
    "min",
    "minimum",
    "moveaxis",
    "mse",
    "mul",
    "ne",
    "nll_loss",
    "nonzero",
    "normal",
    "one_hot",
    "ones",
    "ones_like",
    "optim",
    "outer",
    "pad",
    "parameter",
    "parse",
    "pow",
    "power",
    "prelu",
    "prod",
    "put_along_axis",
    "randint",
    "relu6",
    "remainder",
    "repeat",
    "reshape",
    "resize",
    "rfft",
    "rfft2",
    "rfftn",
    "right_shift",
    "rms_norm",
    "rnn",
    "roll",
    "rotary_embedding",
    "scaled_dot_product_attention",
    "scan",
    "scatter_elements",
    "scatter_nd",
    "searchsorted",
    "slice",
    "smooth_l1_loss",
    "soft_shrink",
    "softmax",
    "sort",
    "space_to_depth",
    "split",
    "squeeze",
    "stack",
    "std",
    "stft",
    "sub",
    "sum",
    "sum_square",
    "swapaxes",
    "take",
    "take_along_axis",
    "tensordot",
    "tile",
    "to_text",
    "top_k",
    "trace",
    "transpose",
    "tril",
    "triu",
    "trunc_divide",
    "unfold",
    "uniform",
    "unique",
    "unstack",
    "var",
    "vecdot",
    "vector_norm",
    "vjp",
    "where",
    "zeros",
    "zeros_like",
]
