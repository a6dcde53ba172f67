"""What optimisers share: parameters with their gradients, state, checks of hyperparameters."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from .. import init
from ..errors import GraphnetError, ShapeError
from ..node import Node, Parameter, parameter
from ..ops.elementwise import cast

Updates = dict[Node, Node]


def state(p: Node, role: str, first: float = 0.0) -> Node:
    """A value that the optimiser keeps for a parameter, and what all its elements are at first."""
    return parameter(f"{p.name}.{role}", p.shape, init.constant(first) if first else init.zeros(), p.dtype)


def pairs(op: str, params: Any, grads: Any) -> Iterator[tuple[Node, Node]]:
    """Parameters with their gradients, checked before any is yielded."""
    if isinstance(params, Node):
        params, grads = [params], [grads]
    if isinstance(params, Mapping):
        if not isinstance(grads, Mapping) or set(grads) != set(params):
            raise GraphnetError(f"{op}: params is a dict, so grads must be one with the same keys")
        pairs = [(params[k], grads[k]) for k in params]
    else:
        params, grads = list(params), list(grads)
        if len(params) != len(grads):
            raise GraphnetError(f"{op}: {len(params)} parameters but {len(grads)} gradients")
        pairs = list(zip(params, grads, strict=True))
    for p, g in pairs:
        if not isinstance(p, Node) or not isinstance(p.op, Parameter):
            raise GraphnetError(f"{op}: {p!r} is not a parameter; declare it with gn.parameter")
        if not isinstance(g, Node) or g.type != p.type:
            raise ShapeError(f"{op}: the gradient of parameter {p.name!r}, {p.type}, is {g!r}")
    if len({p for p, _ in pairs}) != len(pairs):
        raise GraphnetError(f"{op}: a parameter is listed twice")
    return iter(pairs)


def check_rate(op: str, learning_rate: Any) -> None:
    if isinstance(learning_rate, Node):
        if learning_rate.shape != () or not learning_rate.type.is_float:
            raise ShapeError(f"{op}: the learning rate must be a float scalar, not {learning_rate!r}")
    else:
        check_not_negative(f"{op}: the learning rate", learning_rate)


def check_fraction(what: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1:
        raise GraphnetError(f"{what} must be in [0, 1), not {value!r}")


def like(rate: float | Node, p: Node) -> Any:
    """A learning rate in a parameter's dtype."""
    return cast(rate, p.dtype) if isinstance(rate, Node) else float(rate)


def check_positive(what: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise GraphnetError(f"{what} must be a finite number > 0, not {value!r}")


def check_not_negative(what: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
        raise GraphnetError(f"{what} must be a finite number >= 0, not {value!r}")
