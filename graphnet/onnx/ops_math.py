"""Elementwise ops: arithmetic, comparison, logic, activations, casts."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce

import graphnet as gn

from ..node import Node
from ..types import broadcast_shapes
from .call import Call
from .dtypes import NAMES, dtype_of, name_of
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
    "Relu": gn.relu,
    "Round": gn.round,
    "Sigmoid": gn.sigmoid,
    "Sign": gn.sign,
    "Sin": gn.sin,
    "Sinh": gn.sinh,
    "Softplus": gn.softplus,
    "Softsign": gn.softsign,
    "Sqrt": gn.sqrt,
    "Tan": gn.tan,
    "Tanh": gn.tanh,
}

UNARY_SINCE: dict[tuple[str, int], Unary] = {
    ("BitwiseNot", 18): gn.bitwise_not,
    ("HardSwish", 14): gn.hard_swish,
    ("IsNaN", 9): gn.isnan,
    ("Mish", 18): gn.mish,
}

for (_name, _since), _function in UNARY_SINCE.items():
    converts(_name, _since)(_unary(_function))
for _name, _function in UNARY.items():
    converts(_name)(_unary(_function))


@converts("IsInf", since=10)
def isinf(c: Call) -> Node:
    return gn.isinf(
        c[0],
        detect_negative=bool(c.attribute("detect_negative")),
        detect_positive=bool(c.attribute("detect_positive")),
    )


@converts("LeakyRelu")
def leaky_relu(c: Call) -> Node:
    return gn.leaky_relu(c[0], c.attribute("alpha"))


@converts("Elu")
def elu(c: Call) -> Node:
    return gn.elu(c[0], alpha=c.attribute("alpha"))


@converts("Selu")
def selu(c: Call) -> Node:
    return gn.selu(c[0], alpha=c.attribute("alpha"), gamma=c.attribute("gamma"))


@converts("Celu", since=12)
def celu(c: Call) -> Node:
    return gn.celu(c[0], alpha=c.attribute("alpha"))


@converts("Gelu", since=20)
def gelu(c: Call) -> Node:
    return gn.gelu(c[0], approximate=c.attribute("approximate"))


@converts("ThresholdedRelu")
def thresholded_relu(c: Call) -> Node:
    return gn.thresholded_relu(c[0], alpha=c.attribute("alpha"))


@converts("Shrink", since=9)
def shrink(c: Call) -> Node:
    """Integers are computed with as float64."""
    x = c[0] if c[0].type.is_float else gn.cast(c[0], "float64")
    return gn.cast(gn.shrink(x, lambd=c.attribute("lambd"), bias=c.attribute("bias")), c[0].dtype)


@converts("HardSigmoid")
def hard_sigmoid(c: Call) -> Node:
    return gn.hard_sigmoid(c[0], alpha=c.attribute("alpha"), beta=c.attribute("beta"))


@converts("Swish", since=24)
def swish(c: Call) -> Node:
    return gn.silu(c[0], alpha=c.attribute("alpha"))


@converts("PRelu")
@converts("PRelu", since=7)
def prelu(c: Call) -> Node:
    x, slope = c[0], c[1]
    if c.version < 7 and slope.rank == 1 and slope.shape != (1,) and x.rank > 1:
        slope = gn.reshape(slope, (*slope.shape, *[1] * (x.rank - 2)))  # one a channel
    return gn.prelu(x, slope) if x.type.is_float else gn.where(x < 0, x * slope, x)


@converts("Clip")
def clip_attributes(c: Call) -> Node:
    return gn.clip(c[0], c.attribute("min"), c.attribute("max"))


@converts("Clip", since=11)
def clip(c: Call) -> Node:
    return gn.clip(c[0], c.get(1), c.get(2))


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


@converts("Cast")
def cast_by_name(c: Call) -> Node:
    """Version 1 has the type's name as text."""
    number = {name: number for number, name in NAMES.items()}.get(c.attribute("to").upper(), 0)
    to = dtype_of(number)
    if to is None:
        c.refuse(f"{c.attribute('to')} is not supported")
    return gn.cast(c[0], to)


@converts("Cast", since=6)
def cast(c: Call) -> Node:
    to = dtype_of(c.attribute("to"))
    if to is None:
        c.refuse(f"{name_of(c.attribute('to'))} is not supported")
    return gn.cast(c[0], to)


@converts("BitCast", since=26)
def bitcast(c: Call) -> Node:
    to = dtype_of(c.attribute("to"))
    if to is None:
        c.refuse(f"{name_of(c.attribute('to'))} is not supported")
    return gn.bitcast(c[0], to)


@converts("CastLike", since=15)
def cast_like(c: Call) -> Node:
    return gn.cast(c[0], c[1].dtype)
