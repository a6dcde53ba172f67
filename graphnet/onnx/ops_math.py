"""Elementwise ops: arithmetic, comparison, logic, activations, casts."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import graphnet as gn

from ..node import Node
from ..types import broadcast_shapes
from .call import Call
from .dtypes import dtype_of, name_of
from .table import Converter, converts

Unary = Callable[[Node], Node]
Binary = Callable[[Node, Node], Node]


# -------------------------------------------------------------------------------------- one input


def _unary(function: Unary) -> Converter:
    return lambda c: function(c[0])


UNARY: dict[str, Unary] = {
    "Abs": lambda x: abs(x),
    "Acos": gn.acos,
    "Acosh": gn.acosh,
    "Asin": gn.asin,
    "Asinh": gn.asinh,
    "Atan": gn.atan,
    "Atanh": gn.atanh,
    "Ceil": gn.ceil,
    "Cos": gn.cos,
    "Cosh": gn.cosh,
    "Erf": gn.erf,
    "Exp": gn.exp,
    "Floor": gn.floor,
    "Identity": lambda x: x,
    "Log": gn.log,
    "Neg": lambda x: -x,
    "Not": lambda x: ~x,
    "Reciprocal": gn.reciprocal,
    "Round": gn.round,
    "Sigmoid": gn.sigmoid,
    "Sign": gn.sign,
    "Sin": gn.sin,
    "Sinh": gn.sinh,
    "Softplus": gn.softplus,
    "Softsign": lambda x: x / (1.0 + abs(x)),
    "Sqrt": gn.sqrt,
    "Tan": gn.tan,
    "Tanh": gn.tanh,
}

for _name, _function in UNARY.items():
    converts(_name)(_unary(_function))


converts("IsNaN", since=9)(_unary(gn.isnan))
converts("BitwiseNot", since=18)(_unary(gn.bitwise_not))


@converts("IsInf", since=10)
def isinf(c: Call) -> Node:
    x, below, above = c[0], c.attribute("detect_negative"), c.attribute("detect_positive")
    infinite = gn.isinf(x)
    if below and above:
        return infinite
    return gn.logical_and(infinite, x < 0 if below else x > 0 if above else gn.zeros(x.shape, "bool"))


@converts("Relu")
def relu(c: Call) -> Node:
    x = c[0]
    return gn.relu(x) if x.type.is_float else gn.maximum(x, 0)


@converts("LeakyRelu")
def leaky_relu(c: Call) -> Node:
    return gn.leaky_relu(c[0], c.attribute("alpha"))


@converts("Elu")
def elu(c: Call) -> Node:
    x = c[0]
    return gn.where(x > 0.0, x, c.attribute("alpha") * gn.expm1(gn.minimum(x, 0.0)))


@converts("Selu")
def selu(c: Call) -> Node:
    x, alpha, gamma = c[0], c.attribute("alpha"), c.attribute("gamma")
    return gamma * gn.where(x > 0.0, x, alpha * gn.expm1(gn.minimum(x, 0.0)))


@converts("Celu")
def celu(c: Call) -> Node:
    x, alpha = c[0], c.attribute("alpha")
    return gn.maximum(x, 0.0) + gn.minimum(alpha * gn.expm1(x / alpha), 0.0)


@converts("ThresholdedRelu")
def thresholded_relu(c: Call) -> Node:
    return gn.where(c[0] > c.attribute("alpha"), c[0], 0.0)


@converts("Shrink")
def shrink(c: Call) -> Node:
    x, bias, lambd = c[0], c.attribute("bias"), c.attribute("lambd")
    if x.type.is_float:
        return gn.where(x < -lambd, x + bias, gn.where(x > lambd, x - bias, 0.0))
    wide = gn.cast(x, "float64")
    return gn.cast(gn.where(wide < -lambd, wide + bias, gn.where(wide > lambd, wide - bias, 0.0)), x.dtype)


@converts("HardSigmoid")
def hard_sigmoid(c: Call) -> Node:
    return gn.maximum(gn.minimum(c[0] * c.attribute("alpha") + c.attribute("beta"), 1.0), 0.0)


@converts("HardSwish")
def hard_swish(c: Call) -> Node:
    return c[0] * gn.maximum(gn.minimum(c[0] * (1 / 6) + 0.5, 1.0), 0.0)


@converts("Mish")
def mish(c: Call) -> Node:
    return c[0] * gn.tanh(gn.softplus(c[0]))


@converts("Swish")
def swish(c: Call) -> Node:
    return c[0] * gn.sigmoid(c[0] * c.attribute("alpha"))


@converts("PRelu")
@converts("PRelu", since=7)
def prelu(c: Call) -> Node:
    x, slope = c[0], c[1]
    if c.version < 7 and slope.rank == 1 and slope.shape != (1,) and x.rank > 1:
        slope = gn.reshape(slope, (*slope.shape, *[1] * (x.rank - 2)))  # one a channel
    return gn.where(x < 0, x * slope, x)


@converts("Clip")
def clip_attributes(c: Call) -> Node:
    return gn.minimum(gn.maximum(c[0], c.attribute("min")), c.attribute("max"))


@converts("Clip", since=11)
def clip(c: Call) -> Node:
    x, low, high = c[0], c.get(1), c.get(2)
    x = x if low is None else gn.maximum(x, low)
    return x if high is None else gn.minimum(x, high)


# ------------------------------------------------------------------------------------- two inputs


def _aligned(c: Call, function: Binary) -> Node:
    """Before version 7, only the second input broadcasts, and only if asked: its axes are those of the first from
    `axis` on, by default the last ones."""
    a, b = c[0], c[1]
    if not c.attribute("broadcast", 0):
        c.refuse_unless(a.shape == b.shape, f"shapes {a.shape} and {b.shape} differ, and broadcast is 0")
        return function(a, b)
    if c.has("axis"):
        axis = c.attribute("axis")
        axis = axis + a.rank if axis < 0 else axis
        trailing = a.rank - axis - b.rank
        c.refuse_unless(trailing >= 0, f"axis {axis} leaves no place for {b.type}")
        b = gn.reshape(b, (*b.shape, *[1] * trailing))
    return function(a, b)


def _before_7(function: Binary) -> Converter:
    return lambda c: _aligned(c, function)


def _since_7(function: Binary) -> Converter:
    return lambda c: function(c[0], c[1])


def _quotient(a: Node, b: Node) -> Node:
    """Integers are rounded toward zero."""
    return a / b if a.type.is_float else gn.trunc_divide(a, b)


BINARY: dict[str, Binary] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "Div": _quotient,
    "And": gn.logical_and,
    "Or": gn.logical_or,
    "Xor": gn.logical_xor,
    "Equal": gn.eq,
    "Less": gn.lt,
    "Greater": gn.gt,
}

for _name, _binary in BINARY.items():
    converts(_name)(_before_7(_binary))
    converts(_name, since=7)(_since_7(_binary))

converts("LessOrEqual", since=12)(_since_7(gn.le))
converts("GreaterOrEqual", since=12)(_since_7(gn.ge))


converts("BitwiseAnd", since=18)(_since_7(gn.bitwise_and))
converts("BitwiseOr", since=18)(_since_7(gn.bitwise_or))
converts("BitwiseXor", since=18)(_since_7(gn.bitwise_xor))


def _power(c: Call, base: Node, exponent: Node) -> Node:
    """In the type of the base. A single exponent that is known is an attribute."""
    known = c.known_or_none(1)
    if known is not None and known.size == 1 and (base.type.is_float or known.dtype.kind in "iu"):
        wanted = broadcast_shapes(base.shape, exponent.shape)
        return gn.broadcast_to(gn.power(base, known.reshape(-1)[0].item()), wanted)
    if not base.type.is_float and not exponent.type.is_float:
        return gn.integer_power(base, gn.cast(exponent, base.dtype))
    if base.type.is_float:
        return gn.power(base, gn.cast(exponent, base.dtype))
    return gn.cast(gn.power(gn.cast(base, "float64"), gn.cast(exponent, "float64")), base.dtype)


@converts("Pow")
def power_before_7(c: Call) -> Node:
    return _aligned(c, lambda a, b: _power(c, a, b))


@converts("Pow", since=7)
def power(c: Call) -> Node:
    return _power(c, c[0], c[1])


@converts("Mod", since=10)
def mod(c: Call) -> Node:
    """With the sign of the divisor, or of the dividend for fmod=1."""
    return (gn.fmod if c.attribute("fmod") else gn.remainder)(c[0], c[1])


@converts("BitShift", since=11)
def bit_shift(c: Call) -> Node:
    return (gn.left_shift if c.attribute("direction") == "LEFT" else gn.right_shift)(c[0], c[1])


@converts("Where", since=9)
def where(c: Call) -> Node:
    return gn.where(c[0], c[1], c[2])


# ------------------------------------------------------------------------------------ many inputs


@converts("Max")
def maximum(c: Call) -> Node:
    return reduce(gn.maximum, c.nodes)


@converts("Min")
def minimum(c: Call) -> Node:
    return reduce(gn.minimum, c.nodes)


@converts("Sum")
def total(c: Call) -> Node:
    return reduce(gn.add, c.nodes)


@converts("Mean")
def mean(c: Call) -> Node:
    return reduce(gn.add, c.nodes) * (1.0 / len(c))


# ------------------------------------------------------------------------------------------ casts


@converts("Cast", since=6)
def cast(c: Call) -> Node:
    to = dtype_of(c.attribute("to"))
    if to is None:
        c.refuse(f"{name_of(c.attribute('to'))} is not supported")
    return gn.cast(c[0], to)


@converts("CastLike", since=15)
def cast_like(c: Call) -> Node:
    return gn.cast(c[0], c[1].dtype)
