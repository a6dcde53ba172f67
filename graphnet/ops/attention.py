"""Attention, and positions as rotations.

A. Vaswani et al.: Attention is all you need. NeurIPS 2017. J. Ainslie et al.: GQA, training generalized multi-query
transformer models. EMNLP 2023. J. Su et al.: RoFormer, enhanced transformer with rotary position embedding. 2021.
"""

from __future__ import annotations

import math

from ..errors import DTypeError, GraphnetError, ShapeError
from ..node import Node
from ..site import located
from ..types import broadcast_shapes
from .broadcast import reshape
from .compare import where
from .matmul import matmul, matrix_transpose
from .move import concatenate, slice
from .positions import arange
from .softmax import softmax

LOWEST = -1e30  # a score whose exponential is 0 beside any other


@located
def scaled_dot_product_attention(
    query: Node,
    key: Node,
    value: Node,
    mask: Node | None = None,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Node:
    """softmax(scale * query @ key^T + mask) @ value: query (..., H, L, E), key (..., H, S, E), value (..., H, S, V) ->
    (..., H, L, V); scale is 1 / sqrt(E) by default.

    mask, broadcast to (..., H, L, S): bools, True where a position may be seen, or floats that are added. is_causal:
    position i sees positions 0 to i. A position that sees nothing gets 0. enable_gqa: key and value have fewer heads,
    each of which serves H / heads neighbours among those of the query. As PyTorch; dropout is left to the caller."""
    for name, x in (("query", query), ("key", key), ("value", value)):
        if x.rank < (3 if enable_gqa else 2) or not x.type.is_float or x.dtype != query.dtype:
            raise ShapeError(f"attention: {name} must be floats (..., L, E) of one dtype, not {x!r}")
    width = query.shape[-1]
    if scale is None:
        if not isinstance(width, int) or width < 1:
            raise ShapeError(f"attention: the width {width} of {query!r} must be known, or scale given")
        scale = 1 / math.sqrt(width)
    heads = query.shape[:-2]
    if enable_gqa:
        ours, theirs = query.shape[-3], key.shape[-3]
        if not (isinstance(ours, int) and isinstance(theirs, int)) or theirs < 1 or ours % theirs:
            raise ShapeError(f"attention: {ours} heads of the query cannot share {theirs} of the key")
        grouped = (*query.shape[:-3], theirs, ours // theirs)
        query = reshape(query, (*grouped, *query.shape[-2:]))
        key, value = (reshape(x, (*x.shape[:-2], 1, *x.shape[-2:])) for x in (key, value))
    scores = matmul(query * scale, matrix_transpose(key))
    shape = scores.shape
    if enable_gqa:
        scores = reshape(scores, (*heads, *shape[-2:]))
    seen = None
    if is_causal:
        seen = reshape(arange(shape[-2]), (shape[-2], 1)) >= arange(shape[-1])
    if mask is not None:
        if broadcast_shapes(mask.shape, scores.shape) != scores.shape:
            raise ShapeError(f"attention: mask {mask!r} does not broadcast to the scores {list(scores.shape)}")
        if mask.dtype not in ("bool", query.dtype):
            raise DTypeError(f"attention: the mask must be bool or {query.dtype}, not {mask.dtype}")
        allowed = mask if mask.dtype == "bool" else mask > -math.inf
        scores = scores if mask.dtype == "bool" else scores + where(allowed, mask, 0.0)
        seen = allowed if seen is None else seen & allowed
    weights = softmax(scores if seen is None else where(seen, scores, LOWEST), -1)
    weights = weights if seen is None else where(seen, weights, 0.0)
    found = matmul(reshape(weights, shape), value)
    return reshape(found, (*heads, *found.shape[-2:])) if enable_gqa else found


@located
def rotary_embedding(x: Node, cos: Node, sin: Node, interleaved: bool = False) -> Node:
    """Pairs (a, b) of the last axis (..., E) turned by the angles of cos and sin, which broadcast to (..., E/2):
    (a cos - b sin, a sin + b cos). A pair is one element of each half, or two neighbours if `interleaved`."""
    width = x.shape[-1] if x.rank else 0
    if not isinstance(width, int) or width % 2 or not width:
        raise GraphnetError(f"rotary_embedding needs (..., E) with an even number E, not {x!r}")
    half = width // 2
    lead = x.shape[:-1]
    pairs = reshape(x, (*lead, half, 2) if interleaved else (*lead, 2, half))
    at = x.rank if interleaved else x.rank - 1

    def part(k: int) -> Node:
        starts = tuple(k if axis == at else 0 for axis in range(pairs.rank))
        stops = tuple(k + 1 if axis == at else e for axis, e in enumerate(pairs.shape))
        return reshape(slice(pairs, starts, stops), (*lead, half))

    a, b = part(0), part(1)
    one = (*lead, half, 1) if interleaved else (*lead, 1, half)
    turned = [reshape(v, one) for v in (a * cos - b * sin, a * sin + b * cos)]
    return reshape(concatenate(turned, at), x.shape)
