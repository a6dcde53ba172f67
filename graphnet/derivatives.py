"""More derivatives, all made of `vjp`: along a direction, second ones, whole matrices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .body import placeholder, substitute
from .errors import GradientError, ShapeError
from .gradient import check_float, gradient, like, named_nodes, vjp, zeros
from .node import Node, constant, toposort
from .ops.broadcast import reshape
from .ops.move import transpose
from .scan import scan
from .site import located, where
from .types import Dim, elements


@located
def jvp(outputs: Sequence[Node], wrt: Sequence[Node], tangents: Sequence[Node]) -> list[Node | None]:
    """For each output, the sum over the nodes of `wrt` of d output / d node * tangent, which has the node's type;
    None where an output does not depend on any.

    It is the transpose of the transpose: vjp(c) = J^T c is linear in the cotangents c, so its own vjp by c is J. What
    the first pass computed is needed by nothing and gone; what remains is forward mode."""
    for node, tangent in zip(wrt, tangents, strict=True):
        if node.type != tangent.type:
            raise ShapeError(f"jvp: the tangent {tangent!r} has not the type of {node!r}")
    for out in outputs:
        check_float("jvp", out)
    probes = [placeholder(out.type) for out in outputs]
    pairs = [(b, t) for b, t in zip(vjp(outputs, wrt, probes), tangents, strict=True) if b is not None]
    found = vjp([b for b, _ in pairs], probes, [t for _, t in pairs])
    made = [n for n in found if n is not None]
    if set(toposort(made)) & set(probes):  # a gradient of a user's that is not linear in its cotangent
        made = substitute(made, {p: zeros(p.type) for p in probes})
    rest = iter(made)
    return [None if n is None else next(rest) for n in found]


@located
def hessian_vector_product(loss: Node, wrt: Any, v: Any) -> Any:
    """H v, where H is the matrix of second derivatives of a scalar `loss` by all nodes of `wrt` together: a node, or a
    list, tuple or dict of nodes. `v` and the result have the structure of `wrt`.

    H is symmetric, so H v is the vjp of the gradient with cotangents v."""
    nodes = [node for _, node in named_nodes("hessian_vector_product", wrt)]
    vectors = [node for _, node in named_nodes("hessian_vector_product: v", v)]
    if type(v) is not type(wrt) or len(vectors) != len(nodes) or (isinstance(wrt, dict) and list(v) != list(wrt)):
        raise GradientError("hessian_vector_product: v must have the structure of wrt")
    for node, vector in zip(nodes, vectors, strict=True):
        if node.type != vector.type:
            raise ShapeError(f"hessian_vector_product: the vector {vector!r} has not the type of {node!r}")
    found = vjp(gradient(loss, nodes), nodes, vectors)
    return like(wrt, [zeros(node.type) if h is None else h for node, h in zip(nodes, found, strict=True)])


@located
def jacobian(output: Node, wrt: Any) -> Any:
    """For each node of `wrt` the derivatives of every element of `output` by every element of the node: a node of
    shape (*output.shape, *node.shape), in the structure of `wrt`.

    A loop over the elements of the output (vjp), or over those of the node (jvp) where they are fewer.
    Raises ShapeError where both have symbolic extents, GradientError where there is no derivative."""
    check_float("jacobian", output)
    named = named_nodes("jacobian", wrt)
    rows = None if _symbols(output) else elements(output.type)
    found: dict[Node, Node] = {}
    by_rows = []
    for name, x in named:
        if _symbols(x) and rows is None:
            names = ", ".join(sorted({*_symbols(output), *_symbols(x)}))
            raise ShapeError(
                f"jacobian: {output!r} and {name}, {x!r}, both have symbolic extents ({names}); one of the two must "
                f"be known to loop over{where(output.sites)}"
            )
        if rows is None or (not _symbols(x) and elements(x.type) < rows):
            found[x] = _columns(name, output, x)
        else:
            by_rows.append((name, x))
    if by_rows:
        found |= _rows(output, by_rows)
    return like(wrt, [found[x] for _, x in named])


@located
def hessian(loss: Node, wrt: Node) -> Node:
    """The second derivatives of a scalar `loss` by all pairs of elements of `wrt`: (*wrt.shape, *wrt.shape)."""
    if not isinstance(wrt, Node):
        raise GradientError(f"hessian: wrt must be a node, not {type(wrt).__name__}")
    return jacobian(gradient(loss, wrt), wrt)


def _symbols(x: Node) -> set[str]:
    return {name for e in x.shape if isinstance(e, Dim) for name in e.names}


def _rows(output: Node, named: Sequence[tuple[str, Node]]) -> dict[Node, Node]:
    """The Jacobians by vjps of one-hot cotangents, all in one loop."""
    nodes = [x for _, x in named]

    def row(_: tuple[()], one_hot: Node) -> tuple[tuple[()], list[Node]]:
        found = vjp([output], nodes, [reshape(one_hot, output.shape)])
        for (name, x), g in zip(named, found, strict=True):
            if g is None:
                raise GradientError(f"jacobian: {output!r} has no derivative by {name}, {x!r}{where(output.sites)}")
        return (), [g for g in found if g is not None]

    n = elements(output.type)
    _, stacked = scan(row, (), constant(np.eye(n), output.dtype))
    return {x: reshape(s, (*output.shape, *x.shape)) for x, s in zip(nodes, stacked, strict=True)}


def _columns(name: str, output: Node, x: Node) -> Node:
    """The Jacobian by jvps of one-hot tangents."""

    def column(_: tuple[()], one_hot: Node) -> tuple[tuple[()], Node]:
        (found,) = jvp([output], [x], [reshape(one_hot, x.shape)])
        if found is None:
            raise GradientError(f"jacobian: {output!r} has no derivative by {name}, {x!r}{where(output.sites)}")
        return (), found

    _, stacked = scan(column, (), constant(np.eye(elements(x.type)), x.dtype))  # (elements of x, *output)
    last = transpose(stacked, (*range(1, stacked.rank), 0))
    return reshape(last, (*output.shape, *x.shape))
