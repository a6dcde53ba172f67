"""A transformer over tokens: pre-normalised blocks of self-attention and a dense layer of four times the width.

A. Vaswani and others: Attention is all you need. NeurIPS 2017, arXiv:1706.03762; normalisation before each part as in
R. Xiong and others: On layer normalization in the transformer architecture. ICML 2020, arXiv:2002.04745.
"""

from __future__ import annotations

import graphnet as gn
from graphnet.node import Node

from .layers import Declaration


def transformer(
    tokens: Node, vocabulary: int, width: int = 64, heads: int = 4, blocks: int = 2, dtype: str = "float32"
) -> tuple[Node, dict[str, Node]]:
    """Logits (N, T, vocabulary) of the next token, of integer tokens (N, T), and the parameters by name."""
    d = Declaration(training=True)
    table = d.parameter("tokens", (vocabulary, width), gn.init.normal(0.02), dtype)
    place = d.parameter("places", (tokens.shape[1], width), gn.init.normal(0.02), dtype)
    h = gn.take(table, tokens, axis=0) + place  # (N, T) -> (N, T, W)
    for k in range(1, blocks + 1):
        h = block(d, f"block{k}", h, heads)
    return d.linear("logits", _normalised(d, "last", h), vocabulary), d.p


def block(d: Declaration, name: str, h: Node, heads: int) -> Node:
    """h (N, T, W) plus attention over the places before each, then plus a dense layer of each place."""
    h = h + _attention(d, f"{name}.attention", _normalised(d, f"{name}.first", h), heads)
    wide = gn.gelu(d.linear(f"{name}.up", _normalised(d, f"{name}.second", h), 4 * h.shape[2]))
    return h + d.linear(f"{name}.down", wide, h.shape[2])


def _attention(d: Declaration, name: str, h: Node, heads: int) -> Node:
    n, t, width = h.shape
    # A bias of the keys would add the same to all scores of a query, which softmax does not see.
    keys = h @ d.parameter(f"{name}.key.w", (width, width), gn.init.he_normal(), h.dtype)
    parts = (d.linear(f"{name}.query", h, width), keys, d.linear(f"{name}.value", h, width))
    q, k, v = (
        gn.transpose(gn.reshape(x, (n, t, heads, width // heads)), (0, 2, 1, 3)) for x in parts
    )  # (N, T, W) -> (N, heads, T, W / heads)
    mixed = gn.scaled_dot_product_attention(q, k, v, is_causal=True)
    return d.linear(f"{name}.output", gn.reshape(gn.transpose(mixed, (0, 2, 1, 3)), (n, t, width)), width)


def _normalised(d: Declaration, name: str, h: Node) -> Node:
    scale = d.parameter(f"{name}.scale", h.shape[-1:], gn.init.ones(), h.dtype)
    return gn.layer_norm(h, scale, d.parameter(f"{name}.shift", h.shape[-1:], gn.init.zeros(), h.dtype))
