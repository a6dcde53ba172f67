"""Layers: products, normalisation, dropout."""

from __future__ import annotations

import graphnet as gn

from ..node import Node
from .call import Call
from .table import converts

# --------------------------------------------------------------------------------------- products


@converts("MatMul")
def matmul(c: Call) -> Node:
    return gn.matmul(c[0], c[1])


@converts("Gemm")
def gemm(c: Call) -> Node:
    """alpha * A' B' + beta * C, with A' and B' transposed if asked. C broadcasts."""
    a = gn.transpose(c[0]) if c.attribute("transA") else c[0]
    b = gn.transpose(c[1]) if c.attribute("transB") else c[1]
    alpha, beta, bias = c.attribute("alpha"), c.attribute("beta"), c.get(2)
    y = gn.matmul(a, b)
    y = y if alpha == 1 else _scaled(c, y, alpha)
    if bias is None or beta == 0:
        return y
    return y + (bias if beta == 1 else _scaled(c, bias, beta))


def _scaled(c: Call, x: Node, by: float) -> Node:
    c.refuse_unless(x.type.is_float or by == int(by), f"{x.dtype} times {by}")
    return x * (by if x.type.is_float else int(by))


@converts("Einsum", since=12)
def einsum(c: Call) -> Node:
    return gn.einsum(c.attribute("equation"), *c.nodes)


@converts("Det", since=11)
def det(c: Call) -> Node:
    return gn.det(c[0])


# ---------------------------------------------------------------------------------- normalisation


@converts("BatchNormalization")
def batch_norm_before_7(c: Call) -> Node:
    """For inference (is_test), with one number a channel (spatial)."""
    c.refuse_unless(bool(c.attribute("is_test", 0)), "training is not supported before version 14")
    return batch_norm_before_14(c)


@converts("BatchNormalization", since=7)
def batch_norm_before_14(c: Call) -> Node:
    """For inference, as long as the first output alone is used."""
    c.refuse_unless(bool(c.attribute("spatial", 1)), "statistics of every pixel (spatial=0) are not supported")
    c.refuse_unless(not any(c.wants(i) for i in range(1, 5)), "training is not supported before version 14")
    return _normalised(c)


@converts("BatchNormalization", since=14)
def batch_norm(c: Call) -> Node | list[Node]:
    if not c.attribute("training_mode", 0):
        return _normalised(c)
    x, scale, shift, mean, variance = (c[i] for i in range(5))
    axes, momentum = (0, *range(2, x.rank)), c.attribute("momentum")
    batch_mean = gn.mean(x, axes, keepdims=True)
    batch_variance = gn.mean(gn.square(x - batch_mean), axes)
    y = _affine(x, scale, shift, gn.reshape(batch_mean, mean.shape), batch_variance, c.attribute("epsilon"))
    running = [
        old * momentum + gn.reshape(new, old.shape) * (1.0 - momentum)
        for old, new in ((mean, batch_mean), (variance, batch_variance))
    ]
    return [y, *running]


def _normalised(c: Call) -> Node:
    return _affine(c[0], c[1], c[2], c[3], c[4], c.attribute("epsilon"))


def _affine(x: Node, scale: Node, shift: Node, mean: Node, variance: Node, epsilon: float) -> Node:
    if scale.dtype == mean.dtype == x.dtype:
        return gn.batch_norm_inference(x, scale, shift, mean, variance, epsilon)
    wide = mean.dtype  # from version 15 on each group of inputs has a type of its own
    a, b, m, v = (gn.cast(t, wide) for t in (scale, shift, mean, variance))
    return gn.cast(gn.batch_norm_inference(gn.cast(x, wide), a, b, m, v, epsilon), x.dtype)


@converts("InstanceNormalization")
def instance_norm(c: Call) -> Node:
    return gn.instance_norm(c[0], c[1], c[2], c.attribute("epsilon"))


@converts("MeanVarianceNormalization", since=9)
def mean_variance_normalization(c: Call) -> Node:
    return gn.mean_variance_normalization(c[0], tuple(c.attribute("axes")))


@converts("LayerNormalization", since=17)
def layer_norm(c: Call) -> list[Node]:
    """Also the mean and 1 / the standard deviation, where they are used. In float32 unless x is wider."""
    x, axis = c[0], c.attribute("axis") % c[0].rank
    epsilon, wide = c.attribute("epsilon"), "float64" if x.dtype == "float64" else "float32"
    scale, shift = (None if c.get(i) is None else gn.cast(c[i], wide) for i in (1, 2))
    values = gn.cast(x, wide)
    scale = None if scale is None else gn.broadcast_to(scale, x.shape[axis:])
    shift = None if shift is None else gn.broadcast_to(shift, x.shape[axis:])
    out = [gn.cast(gn.layer_norm(values, scale, shift, epsilon, axis), x.dtype)]
    if c.wants(1) or c.wants(2):
        axes = tuple(range(axis, x.rank))
        mean = gn.mean(values, axes, keepdims=True)
        variance = gn.mean(gn.square(values - mean), axes, keepdims=True)
        out += [mean, gn.reciprocal(gn.sqrt(variance + epsilon))]
    return out


@converts("RMSNormalization", since=23)
def rms_norm(c: Call) -> Node:
    x, axis = c[0], c.attribute("axis") % c[0].rank
    wide = "float64" if x.dtype == "float64" else "float32"
    y = gn.rms_norm(gn.cast(x, wide), None, c.attribute("epsilon"), axis)
    return gn.cast(y, c[1].dtype) * c[1]


@converts("GroupNormalization", since=18)
def group_norm_before_21(c: Call) -> Node:
    """scale and bias have one number a group."""
    x, groups = c[0], c.attribute("num_groups")
    (channels,) = c.sizes_of(x.shape[1:2])
    scale, shift = (gn.repeat(c[i], channels // groups, 0) for i in (1, 2))
    return gn.group_norm(x, groups, scale, shift, c.attribute("epsilon"))


@converts("GroupNormalization", since=21)
def group_norm(c: Call) -> Node:
    return gn.group_norm(c[0], c.attribute("num_groups"), c[1], c[2], c.attribute("epsilon"))


@converts("LpNormalization")
def lp_normalization(c: Call) -> Node:
    """x / norm along an axis; 0 where the norm is 0."""
    x, axis, p = c[0], c.attribute("axis", -1), c.attribute("p", 2)
    size = gn.sum(abs(x), axis, True) if p == 1 else gn.sqrt(gn.sum(gn.square(x), axis, True))
    return gn.where(size > 0.0, x / gn.where(size > 0.0, size, 1.0), 0.0)


@converts("LRN")
def local_response_norm(c: Call) -> Node:
    settings = (c.attribute(k) for k in ("size", "alpha", "beta", "bias"))
    return gn.local_response_norm(c[0], *settings)


# ---------------------------------------------------------------------------------------- dropout


@converts("Dropout")
def dropout_before_7(c: Call) -> list[Node]:
    random = not c.attribute("is_test", 0) and c.attribute("ratio") > 0
    c.refuse_unless(not random, "training draws random numbers that no definition fixes")
    return _kept(c)


@converts("Dropout", since=7)
def dropout_before_12(c: Call) -> list[Node]:
    """Such models are for inference, where nothing is dropped."""
    return _kept(c)


@converts("Dropout", since=12)
def dropout(c: Call) -> list[Node]:
    if c.get(2) is not None and bool(c.scalar(2)):
        rate = c.scalar(1) if c.get(1) is not None else 0.5
        c.refuse_unless(rate == 0, "training draws random numbers that no definition fixes")
    return _kept(c)


def _kept(c: Call) -> list[Node]:
    mask = "bool" if c.version >= 10 else c[0].dtype
    return [c[0], gn.broadcast_to(gn.cast(gn.constant(True), mask), c[0].shape)]
