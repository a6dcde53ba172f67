"""Learning rates as graphs of a step counter, which is state like any other:

    t = gn.optim.counter()
    rate = gn.optim.schedule.warmup(t, gn.optim.schedule.cosine(t, 0.1, steps=10_000), steps=500)
    gn.compile(loss, inputs=[x, y], updates=gn.optim.sgd(params, grads, rate) | gn.optim.count(t))

t is 0 in the first step. Rates are float64 scalars; optimisers cast them to the dtypes of their parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from .. import init
from ..errors import GraphnetError, ShapeError
from ..node import Node, apply, constant, parameter
from ..ops.arithmetic import minimum
from ..ops.compare import where
from ..ops.elementwise import cast
from ..ops.power import Exp, power
from ..ops.trigonometric import Cos
from ..site import located
from .common import Updates, check_not_negative, check_positive

LAST = 2**31 - 1  # step of the counter


def counter(name: str = "step") -> Node:
    """The number of steps done so far: an int32 parameter, which `count` counts."""
    return parameter(name, (), init.zeros(), "int32")


def count(t: Node) -> Updates:
    """The update that counts a step."""
    return {t: t + 1}


@located
def exponential(t: Node, rate: float, factor: float, every: int = 1) -> Node:
    """rate * factor^(t / every)."""
    return _power(factor, _time(t, "exponential", rate, every)) * float(rate)


@located
def step(t: Node, rate: float, factor: float, every: int) -> Node:
    """rate * factor^floor(t / every)."""
    whole = cast(_time(t, "step", rate, every), "int32")
    return _power(factor, cast(whole, "float64")) * float(rate)


@located
def piecewise(t: Node, rates: Sequence[float], boundaries: Sequence[int]) -> Node:
    """rates[k] from step boundaries[k - 1] on, rates[0] before the first boundary."""
    if len(rates) != len(boundaries) + 1 or list(boundaries) != sorted(set(boundaries)):
        raise GraphnetError("piecewise: boundaries rise, and there is one rate more than boundaries")
    result = constant(float(rates[0]), "float64")
    for boundary, rate in zip(boundaries, rates[1:], strict=True):
        result = where(t >= boundary, float(rate), result)
    return result


@located
def polynomial(t: Node, rate: float, steps: int, exponent: float = 1.0, last: float = 0.0) -> Node:
    """From rate to last in so many steps, as last + (rate - last) * (1 - t / steps)^exponent; then last."""
    check_not_negative("polynomial: last", last)
    left = 1.0 - minimum(_time(t, "polynomial", rate, steps), 1.0)
    return power(left, exponent) * (rate - last) + last


@located
def cosine(t: Node, rate: float, steps: int, last: float = 0.0, restarts: int = 0) -> Node:
    """last + (rate - last) / 2 * (1 + cos(pi * t / steps)), then last.

    restarts: after so many steps it starts again, with cycles that are each `restarts` times as long as the one before:
    1 for equal cycles (Loshchilov and Hutter 2017, whose T_0 is steps, and T_mult restarts)."""
    check_not_negative("cosine: last", last)
    if not isinstance(restarts, int) or restarts < 0:
        raise GraphnetError(f"cosine: restarts is 0 or the factor between the lengths of cycles, not {restarts!r}")
    time = _time(t, "cosine", rate, steps)
    if restarts == 0:
        time = minimum(time, 1.0)
    elif restarts == 1:
        time = time - cast(cast(time, "int32"), "float64")
    else:
        start, length = steps, steps * restarts  # of each further cycle
        while start <= LAST:
            time = where(t >= start, cast(t - start, "float64") / float(length), time)
            start, length = start + length, length * restarts
    return (apply(Cos(), time * math.pi) + 1.0) * ((rate - last) / 2) + last


@located
def warmup(t: Node, rate: float | Node, steps: int, first: float = 0.0) -> Node:
    """rate, which may be another schedule, times a factor that rises from first to 1 in so many steps and stays."""
    check_not_negative("warmup: first", first)
    factor = minimum(_time(t, "warmup", 1.0, steps), 1.0) * (1.0 - first) + first
    if isinstance(rate, Node):
        return factor * cast(rate, "float64")
    check_not_negative("warmup: rate", rate)
    return factor * float(rate)


def _time(t: Node, what: str, rate: float, steps: int) -> Node:
    """t / steps."""
    if not isinstance(t, Node) or t.shape != () or t.type.is_float:
        raise ShapeError(f"{what}: the counter must be an integer scalar such as gn.optim.counter(), not {t!r}")
    check_not_negative(f"{what}: the rate", rate)
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < 1:
        raise GraphnetError(f"{what}: a number of steps is an integer >= 1, not {steps!r}")
    return cast(t, "float64") / float(steps)


def _power(factor: float, exponent: Node) -> Node:
    check_positive("a factor of the learning rate", factor)
    return apply(Exp(), exponent * math.log(factor))
