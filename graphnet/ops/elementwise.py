"""What all elementwise ops share, with NumPy's broadcasting of missing axes and extents of 1.

An op gives `evaluate` on arrays, `scalar` on one element of each input, and `gradient` on nodes. All
operands have one dtype; numbers and arrays written by the user are lifted to it by `pair`, with `cast`,
which stands here for that reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from codegen.dtypes import DTYPES, FROM_NUMPY, limits
from codegen.expr import Expr, const, ne, select
from codegen.expr import cast as cast_expr

from ..errors import DTypeError, GraphnetError
from ..node import Node, apply, constant
from ..op import Op, Operand, Sample
from ..site import located
from ..types import FLOATS, INTEGERS, Type, broadcast_shapes, check_dtype
from .broadcast import at, sum_to

NUMBERS = (*FLOATS, *INTEGERS)
ACCEPTED = {
    "float": FLOATS,
    "integer": INTEGERS,
    "number": NUMBERS,
    "bool": ("bool",),
    "bits": (*INTEGERS, "bool"),
    "any": (*NUMBERS, "bool"),
}


def check_accepts(op: str, accepts: str, inputs: Sequence[Type]) -> None:
    """Raises DTypeError unless the inputs have one dtype, which the op takes."""
    dtypes = [t.dtype for t in inputs]
    if len(set(dtypes)) > 1:
        given = " and ".join(dtypes)
        raise DTypeError(f"operands of different dtypes, {given}; convert one, as in gn.cast(x, {dtypes[0]!r})")
    if dtypes and dtypes[0] not in ACCEPTED[accepts]:
        raise DTypeError(f"{op} takes {', '.join(ACCEPTED[accepts])}, not {dtypes[0]}; convert with gn.cast")


@dataclass(frozen=True)
class Elementwise(Op):
    """Base: subclasses give `scalar`, and say how many inputs of which dtypes they take."""

    kind = "elementwise"
    arity: ClassVar[int] = 1
    accepts: ClassVar[str] = "float"  # a key of ACCEPTED
    result: ClassVar[str] = ""  # the output's dtype, where it is not the inputs'

    def infer(self, *inputs: Type) -> Type:
        if len(inputs) != self.arity:
            raise GraphnetError(f"{self.name} takes {self.arity} inputs, not {len(inputs)}")
        check_accepts(self.name, self.accepts, inputs)
        return Type(self.result or inputs[0].dtype, broadcast_shapes(*(t.shape for t in inputs)))

    def scalar(self, *values: Expr) -> Expr:
        raise NotImplementedError(f"op {self.name} has no scalar")

    def body(self, index: tuple[Expr, ...], *inputs: Operand) -> Expr:
        return self.scalar(*(at(x, index) for x in inputs))


@dataclass(frozen=True)
class Binary(Elementwise):
    """Base of the ops with two inputs. `partials` are the cotangents before broadcasting is undone."""

    arity = 2
    accepts = "number"

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        return None, None

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        x, y = node.inputs
        dx, dy = self.partials(node, cotangent, x, y)
        return (None if dx is None else sum_to(dx, x.shape), None if dy is None else sum_to(dy, y.shape))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        smooth = cls.result != "bool"
        yield Sample(cls(), ((2, 3), (2, 3)), differentiable=smooth)
        yield Sample(cls(), ((2, 3), (3,)), differentiable=smooth)
        yield Sample(cls(), ((2, 1, 2), ()), differentiable=smooth)
        if cls.accepts != "float":
            yield Sample(cls(), ((2, 3), (2, 1)), dtypes=("int32", "int32"), low=-3, high=4, differentiable=False)


@dataclass(frozen=True)
class Unary(Elementwise):
    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),))
        yield Sample(cls(), ((),))


# --------------------------------------------------------------------------------- casts and lifting


@dataclass(frozen=True)
class Cast(Elementwise):
    """x as another dtype: integers wrap, floats are rounded to nearest even, anything but 0 becomes True (NaN too).

    Floats lose their fraction on the way to integers; what is out of range becomes the nearest integer that is not, and
    NaN becomes 0 (NumPy and C leave both undefined)."""

    name = "cast"
    accepts = "any"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", check_dtype(self.dtype))

    def infer(self, *inputs: Type) -> Type:
        return super().infer(*inputs).with_dtype(self.dtype)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        if self.dtype not in INTEGERS or x.dtype.kind != "f":
            return x.astype(self.dtype)
        low, high = limits(FROM_NUMPY[self.dtype])
        inside = (x > float(low - 1)) & (x < float(high + 1))
        out = np.where(inside, x, 0).astype(self.dtype)
        out[~inside & (x < 0)] = low
        out[~inside & (x > 0)] = high
        return out

    def scalar(self, x: Expr) -> Expr:
        to = FROM_NUMPY[self.dtype]
        if self.dtype not in INTEGERS or DTYPES[x.dtype].kind != "float":
            return cast_expr(x, to)
        low, high = limits(to)
        # Where float32 rounds a bound, the last number inside is the bound itself.
        inside = (const(float(low - 1), x.dtype) < x) & (x < const(float(high + 1), x.dtype))
        outside = select(x < 0.0, low, const(high, to))
        return select(inside, cast_expr(x, to), select(ne(x, x), 0, outside))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        (x,) = node.inputs
        return (cast(cotangent, x.dtype) if x.type.is_float and node.type.is_float else None,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls("float64"), ((3, 4),))
        yield Sample(cls("int32"), ((3, 4),), low=-9.0, high=9.0, differentiable=False)
        yield Sample(cls("float32"), ((3, 4),), dtypes=("int32",), low=-9, high=9, differentiable=False)
        yield Sample(cls("float32"), ((3, 4),), dtypes=("bool",), low=0, high=2, differentiable=False)
        yield Sample(cls("bool"), ((3, 4),), dtypes=("int32",), low=-1, high=2, differentiable=False)


@located
def cast(x: Node, dtype: str) -> Node:
    """x as another dtype."""
    dtype = check_dtype(dtype)
    return x if x.dtype == dtype else apply(Cast(dtype), x)


@located
def pair(x: Any, y: Any) -> tuple[Node, Node]:
    """Two operands as nodes: numbers and arrays become constants of the other's dtype, except that a
    float with an integer node makes both float32."""
    if isinstance(x, Node) and isinstance(y, Node):
        return x, y
    if isinstance(x, Node):
        return _lifted(x, y)
    if isinstance(y, Node):
        b, a = _lifted(y, x)
        return a, b
    raise GraphnetError(f"neither {x!r} nor {y!r} is a graph node; make one with gn.constant")


def _lifted(node: Node, value: Any) -> tuple[Node, Node]:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" and array.dtype.name not in FLOATS:
        raise GraphnetError(f"cannot use {type(value).__name__} {value!r} with {node!r}; numbers and arrays are lifted")
    fractional = array.dtype.name in FLOATS
    if node.dtype == "bool" and array.dtype.kind != "b":
        # Left to the op, which names both dtypes.
        return node, constant(value, "float32" if fractional else "int32")
    if fractional and not node.type.is_float:
        node = cast(node, "float32")
    with np.errstate(over="ignore"):
        lifted = array.astype(node.dtype)
    if array.dtype.kind in "iu" and not node.type.is_float and not np.array_equal(lifted, array):
        raise DTypeError(f"{value!r} does not fit {node.dtype} of {node!r}")
    return node, constant(lifted)
