"""Algebra by tables, folding of constants. What no result needs is dropped on the way: graphs are rooted.

Only exact rules run by default. What floating point forbids them: `x + 0` turns -0.0 into 0.0, `x * 0` and
`x - x` are NaN for infinities, `0 - x` is not -x for x = 0, and any change of the order of additions rounds
differently.
"""

from __future__ import annotations

import numpy as np

from .. import ops  # noqa: F401  (the rules below name them)
from ..evaluate import reference
from ..module import Module
from ..node import Constant, Node, constant
from ..rewrite import Rule, RuleSet, decisions, rewrite
from ..site import derived
from ..types import elements

LARGEST_CONSTANT = 4096  # elements

RULES = (
    # Neutral elements and signs.
    Rule("mul(x, 1)", "x"),
    Rule("div(x, 1)", "x"),
    Rule("sub(x, 0)", "x"),
    Rule("add(x, 0)", "x", when="is_integer(x)"),
    Rule("add(x, -0.0)", "x"),
    Rule("mul(x, -1)", "neg(x)"),
    Rule("div(x, -1)", "neg(x)"),
    Rule("div(1, x)", "reciprocal(x)"),
    Rule("neg(neg(x))", "x"),
    Rule("add(x, neg(y))", "sub(x, y)"),
    Rule("sub(x, neg(y))", "add(x, y)"),
    Rule("mul(neg(x), neg(y))", "mul(x, y)"),
    Rule("div(neg(x), neg(y))", "div(x, y)"),
    # Squares and absolute values.
    Rule("mul(x, x)", "square(x)"),
    Rule("power(x, exponent=1)", "x"),
    Rule("power(x, exponent=2)", "square(x)"),
    Rule("square(neg(x))", "square(x)"),
    Rule("square(abs(x))", "square(x)"),
    Rule("abs(neg(x))", "abs(x)"),
    Rule("abs(abs(x))", "abs(x)"),
    Rule("abs(exp(x))", "exp(x)"),
    Rule("sign(sign(x))", "sign(x)"),
    # Bounds.
    Rule("relu(relu(x))", "relu(x)"),
    Rule("relu(exp(x))", "exp(x)"),
    Rule("relu(sigmoid(x))", "sigmoid(x)"),
    Rule("maximum(x, x)", "x"),
    Rule("minimum(x, x)", "x"),
    # Logic and choice.
    Rule("logical_not(logical_not(x))", "x"),
    Rule("logical_not(eq(x, y))", "ne(x, y)"),
    Rule("logical_not(ne(x, y))", "eq(x, y)"),
    Rule("logical_and(x, x)", "x"),
    Rule("logical_or(x, x)", "x"),
    Rule("logical_and(x, True)", "x"),
    Rule("logical_or(x, False)", "x"),
    Rule("where(True, x, y)", "x"),
    Rule("where(False, x, y)", "y"),
    Rule("where(c, x, x)", "x"),
    Rule("where(logical_not(c), x, y)", "where(c, y, x)"),
    Rule("where(c, where(c, x, y), z)", "where(c, x, z)"),
    Rule("where(c, x, where(c, y, z))", "where(c, x, z)"),
    # Moves. Several hold for any attribute, where the type stays.
    Rule("cast(x, dtype=d)", "x"),
    Rule("stop_gradient(x)", "x"),
    Rule("reshape(x, shape=s)", "x"),
    Rule("reshape(reshape(x, shape=r), shape=s)", "reshape(x, shape=s)"),
    Rule("broadcast_to(x, shape=s)", "x"),
    Rule("broadcast_to(broadcast_to(x, shape=r), shape=s)", "broadcast_to(x, shape=s)"),
    Rule("transpose(x, perm=a)", "x", when="is_identity(a)"),
    Rule("transpose(transpose(x, perm=a), perm=b)", "transpose(x, perm=compose(a, b))"),
    Rule("flip(flip(x, axes=a), axes=a)", "x"),
    Rule("flip(x, axes=())", "x"),
    Rule("slice(x, starts=a, stops=b, steps=s)", "x"),
    Rule("pad(x, low=a, high=b, interior=i, value=v)", "x"),
    Rule("concatenate(x, axis=a)", "x"),
    Rule("neg(broadcast_to(x, shape=s))", "broadcast_to(neg(x), shape=s)"),
    Rule(
        "reshape(broadcast_to(x, shape=r), shape=s)",
        "broadcast_to(reshape(x, shape=ones(s)), shape=s)",
        when="has_one_element(x)",
    ),
    Rule("reshape(sum(x, axes=a, keepdims=False), shape=s)", "sum(x, axes=a, keepdims=True)"),
    Rule("reshape(div(x, y), shape=s)", "div(x, reshape(y, shape=s))", when="only_first_is_scalar(x, y)"),
    # Elementwise ops broadcast by themselves.
    Rule("broadcast_to(reshape(x, shape=r), shape=s)", "broadcast_to(x, shape=s)", when="is_scalar(x)"),
    Rule("add(reshape(x, shape=s), y)", "add(x, y)", when="is_scalar(x)"),
    Rule("mul(reshape(x, shape=s), y)", "mul(x, y)", when="is_scalar(x)"),
    Rule("sub(reshape(x, shape=s), y)", "sub(x, y)", when="is_scalar(x)"),
    Rule("sub(x, reshape(y, shape=s))", "sub(x, y)", when="is_scalar(y)"),
    Rule("div(reshape(x, shape=s), y)", "div(x, y)", when="is_scalar(x)"),
    Rule("div(x, reshape(y, shape=s))", "div(x, y)", when="is_scalar(y)"),
    Rule("where(c, reshape(x, shape=s), y)", "where(c, x, y)", when="is_scalar(x)"),
    Rule("where(c, x, reshape(y, shape=s))", "where(c, x, y)", when="is_scalar(y)"),
    Rule("add(broadcast_to(x, shape=s), y)", "add(x, y)"),
    Rule("mul(broadcast_to(x, shape=s), y)", "mul(x, y)"),
    Rule("sub(broadcast_to(x, shape=s), y)", "sub(x, y)"),
    Rule("sub(x, broadcast_to(y, shape=s))", "sub(x, y)"),
    Rule("div(broadcast_to(x, shape=s), y)", "div(x, y)"),
    Rule("div(x, broadcast_to(y, shape=s))", "div(x, y)"),
    Rule("where(c, broadcast_to(x, shape=s), y)", "where(c, x, y)"),
    Rule("where(c, x, broadcast_to(y, shape=s))", "where(c, x, y)"),
    # Reductions of nothing, and of axes of extent 1. (A sum starts from 0: of -0.0 it is 0.0.)
    Rule("sum(x, axes=a, keepdims=True)", "add(x, 0)"),
    Rule("sum(x, axes=(), keepdims=k)", "add(x, 0)"),
    Rule("max(x, axes=a, keepdims=True)", "x"),
    Rule("max(x, axes=(), keepdims=k)", "x"),
    Rule("min(x, axes=a, keepdims=True)", "x"),
    Rule("min(x, axes=(), keepdims=k)", "x"),
    Rule("prod(x, axes=a, keepdims=True)", "x"),
    Rule("prod(x, axes=(), keepdims=k)", "x"),
    # The gradient of max_pool(relu(x)): relu's mask at the places that a window chose is the mask of the
    # pooled values, so that the backward pass need neither keep nor read the larger relu(x).
    Rule(
        "where(gt(relu(x), 0), max_pool_scatter("
        "max_pool_index(relu(x), window=w, stride=t, padding=p, dilation=d, ceil_mode=m), g, "
        "window=w, stride=t, padding=p, dilation=d, ceil_mode=m, size=s), 0)",
        "max_pool_scatter(max_pool_index(relu(x), window=w, stride=t, padding=p, dilation=d, ceil_mode=m), "
        "where(gt(max_pool(relu(x), window=w, stride=t, padding=p, dilation=d, ceil_mode=m), 0), g, 0), "
        "window=w, stride=t, padding=p, dilation=d, ceil_mode=m, size=s)",
    ),
    # From here on only when asked for.
    Rule("add(x, 0)", "x", exact=False),
    Rule("sub(0, x)", "neg(x)", exact=False),
    Rule("sub(x, x)", "0", exact=False),
    Rule("mul(x, 0)", "0", exact=False),
    Rule("div(x, x)", "1", exact=False),
    Rule("neg(sub(x, y))", "sub(y, x)", exact=False),
    Rule("add(mul(x, y), mul(x, z))", "mul(x, add(y, z))", exact=False),
    Rule("mul(x, reciprocal(y))", "div(x, y)", exact=False),
    Rule("reciprocal(reciprocal(x))", "x", exact=False),
    Rule("exp(log(x))", "x", exact=False),
    Rule("log(exp(x))", "x", exact=False),
    Rule("mul(exp(x), exp(y))", "exp(add(x, y))", exact=False),
    Rule("sqrt(square(x))", "abs(x)", exact=False),
    Rule("square(sqrt(x))", "x", exact=False),
)

ALGEBRA = RuleSet(RULES)


def simplify(m: Module, approximate: bool = False) -> Module:
    graph, firings = rewrite(m.graph, ALGEBRA.step(approximate), fold)
    return m.with_graph(graph).decided(*decisions("simplify", firings))


def fold(node: Node) -> tuple[Node, str] | None:
    """A node of constants, as the constant that it is.

    Not where the constant would be larger than what it comes from: a broadcast costs nothing in a kernel,
    where an array must be read."""
    op = node.op
    if not node.inputs and op.name != "size":
        return None
    arrays = [i.op.array for i in node.inputs if isinstance(i.op, Constant)]
    if len(arrays) < len(node.inputs) or op.kind == "random":
        return None
    if not all(isinstance(e, int) for e in (*node.shape, *_size_of(node))):
        return None
    if elements(node.type) > min(LARGEST_CONSTANT, max((a.size for a in arrays), default=1)):
        return None
    with np.errstate(all="ignore"):
        value = np.asarray(reference(op, node.type, arrays), dtype=node.dtype)
    with derived(node.sites):
        return constant(value), "constant folding"


def _size_of(node: Node) -> tuple[object, ...]:
    """The extent that a `size` node stands for, which may still be symbolic."""
    return (getattr(node.op, "dim", 1),) if not node.inputs else ()
