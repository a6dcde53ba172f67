"""Elementwise ops, with NumPy's broadcasting of missing axes and extents of 1.

An op gives `evaluate` on arrays, `scalar` on one element of each input, and `gradient` on nodes. All
operands have one dtype; numbers and arrays written by the user are lifted to it by `pair`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from codegen.dtypes import FROM_NUMPY, is_float
from codegen.expr import Expr, binary, const, select, unary
from codegen.expr import cast as cast_expr
from codegen.expr import eq as eq_expr
from codegen.expr import ne as ne_expr

from ..errors import DTypeError, GraphnetError
from ..node import Node, apply, constant
from ..op import Op, Operand, Sample
from ..site import located
from ..types import FLOATS, Type, broadcast_shapes, check_dtype
from .broadcast import at, sum_to

NUMBERS = ("float32", "float64", "int32", "int64", "uint8")
ACCEPTED = {"float": FLOATS, "number": NUMBERS, "bool": ("bool",), "any": (*NUMBERS, "bool")}


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


# --------------------------------------------------------------------------------------- arithmetic


@dataclass(frozen=True)
class Add(Binary):
    """x + y."""

    name = "add"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.add(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x + y

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        return g, g


@dataclass(frozen=True)
class Sub(Binary):
    """x - y."""

    name = "sub"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.subtract(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x - y

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        return g, -g


@dataclass(frozen=True)
class Mul(Binary):
    """x * y."""

    name = "mul"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.multiply(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x * y

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        return g * y, g * x


@dataclass(frozen=True)
class Div(Binary):
    """x / y of floats; d/dx = 1/y, d/dy = -(x/y)/y."""

    name = "div"
    accepts = "float"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.divide(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x / y

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        return g / y, -(g * node) / y

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3), (2, 3)), low=0.5)
        yield Sample(cls(), ((2, 3), ()), low=0.5)


@dataclass(frozen=True)
class Maximum(Binary):
    """The greater of two, NaN if either is; a tie sends half of the cotangent to each, as PyTorch."""

    name = "maximum"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.maximum(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return select(_or_nan(y < x, x), x, y)

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        half = where(eq(x, y), g * 0.5, 0.0)
        return where(x > y, g, half), where(y > x, g, half)


@dataclass(frozen=True)
class Minimum(Binary):
    """The lesser of two, NaN if either is; a tie sends half of the cotangent to each, as PyTorch."""

    name = "minimum"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.minimum(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return select(_or_nan(x < y, x), x, y)

    def partials(self, node: Node, g: Node, x: Node, y: Node) -> Sequence[Node | None]:
        half = where(eq(x, y), g * 0.5, 0.0)
        return where(x < y, g, half), where(y < x, g, half)


def _or_nan(cond: Expr, x: Expr) -> Expr:
    return cond | ne_expr(x, x) if is_float(x.dtype) else cond


@dataclass(frozen=True)
class Neg(Unary):
    """-x."""

    name = "neg"
    accepts = "number"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.negative(x)

    def scalar(self, x: Expr) -> Expr:
        return -x

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (-cotangent,)


@dataclass(frozen=True)
class Abs(Unary):
    """|x|; derivative sign(x), so 0 at 0."""

    name = "abs"
    accepts = "number"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.abs(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("abs", x) if is_float(x.dtype) else select(x < 0, -x, x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * apply(Sign(), node.inputs[0]),)


@dataclass(frozen=True)
class Sign(Unary):
    """-1, 0 or 1; NaN for NaN."""

    name = "sign"
    accepts = "number"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.sign(x)

    def scalar(self, x: Expr) -> Expr:
        return select(x < 0, -1, select(x > 0, 1, x))

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (None,)


@dataclass(frozen=True)
class Square(Unary):
    """x * x."""

    name = "square"
    accepts = "number"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.square(x)

    def scalar(self, x: Expr) -> Expr:
        return x * x

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * (node.inputs[0] * 2.0),)


@dataclass(frozen=True)
class Reciprocal(Unary):
    """1 / x."""

    name = "reciprocal"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.reciprocal(x)

    def scalar(self, x: Expr) -> Expr:
        return 1.0 / x

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (-(cotangent * (node * node)),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=0.5)


@dataclass(frozen=True)
class Sqrt(Unary):
    """The square root; derivative 1 / (2 sqrt(x))."""

    name = "sqrt"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.sqrt(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("sqrt", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * 0.5 / node,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=0.5)


@dataclass(frozen=True)
class Power(Unary):
    """x ** exponent for a number `exponent`; derivative exponent * x ** (exponent - 1).

    Whole exponents up to 64 are products by squaring; others are exp(exponent * log|x|), whose
    relative error grows with the size of that product."""

    name = "power"
    accepts = "number"
    exponent: int | float = 2

    def __post_init__(self) -> None:
        e = self.exponent
        if isinstance(e, bool) or not isinstance(e, (int, float)) or not math.isfinite(e):
            raise GraphnetError(f"power: the exponent must be a finite number, not {e!r}")
        if isinstance(e, float) and e.is_integer():
            object.__setattr__(self, "exponent", int(e))

    def infer(self, *inputs: Type) -> Type:
        t = super().infer(*inputs)
        if not t.is_float and (isinstance(self.exponent, float) or self.exponent < 0):
            raise DTypeError(f"integers have no power {self.exponent}; convert with gn.cast(x, 'float32')")
        return t

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.power(x, np.asarray(self.exponent, dtype=x.dtype))

    def scalar(self, x: Expr) -> Expr:
        e = self.exponent
        if isinstance(e, int) and abs(e) <= 64:
            whole = _whole_power(x, abs(e))
            return whole if e >= 0 else 1.0 / whole
        if not is_float(x.dtype):
            return _whole_power(x, int(e))
        size = unary("exp", float(e) * unary("log", unary("abs", x)))
        if isinstance(e, float):
            return select(x < 0, math.nan, size)
        return select(x < 0, -size, size) if e % 2 else size

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        if self.exponent == 0:
            return (None,)
        return (cotangent * (power(node.inputs[0], self.exponent - 1) * float(self.exponent)),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(3), ((3, 4),))
        yield Sample(cls(-3), ((3, 4),), low=0.5)
        yield Sample(cls(1.7), ((3, 4),), low=0.5)
        yield Sample(cls(5), ((3, 4),), dtypes=("int32",), low=-4, high=5, differentiable=False)


def _whole_power(x: Expr, e: int) -> Expr:
    """x ** e by squaring."""
    result: Expr | None = None
    while e:
        if e & 1:
            result = x if result is None else result * x
        x = x * x
        e >>= 1
    return const(1, x.dtype) if result is None else result


# ------------------------------------------------------------------------------- smooth functions


@dataclass(frozen=True)
class Exp(Unary):
    """e to the x."""

    name = "exp"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.exp(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("exp", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * node,)


@dataclass(frozen=True)
class Log(Unary):
    """The natural logarithm; -inf at 0, NaN below."""

    name = "log"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.log(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("log", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent / node.inputs[0],)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=0.5)


@dataclass(frozen=True)
class Log1p(Unary):
    """log(1 + x), accurate near 0: log(u) + (x - (u - 1)) / u with u = 1 + x rounded."""

    name = "log1p"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.log1p(x)

    def scalar(self, x: Expr) -> Expr:
        u = 1.0 + x
        return select(u < math.inf, unary("log", u) + (x - (u - 1.0)) / u, u)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent / (node.inputs[0] + 1.0),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), low=-0.5)
        yield Sample(cls(), ((3, 4),), low=1e-9, high=2e-9, differentiable=False)


@dataclass(frozen=True)
class Tanh(Unary):
    """The hyperbolic tangent; derivative 1 - tanh(x)^2."""

    name = "tanh"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.tanh(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("tanh", x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * (1.0 - node * node),)


@dataclass(frozen=True)
class Sigmoid(Unary):
    """1 / (1 + exp(-x)), accurate and finite at both ends: with e = exp(-|x|) it is 1/(1+e) or e/(1+e).
    Derivative s (1 - s)."""

    name = "sigmoid"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.exp(-np.logaddexp(0, -x.astype(np.float64))).astype(x.dtype)

    def scalar(self, x: Expr) -> Expr:
        e = unary("exp", -unary("abs", x))
        r = 1.0 / (1.0 + e)
        return select(x < 0, e * r, r)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (cotangent * (node * (1.0 - node)),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),))
        yield Sample(cls(), ((3, 4),), low=-80.0, high=80.0)


@dataclass(frozen=True)
class Relu(Unary):
    """max(x, 0), NaN for NaN; derivative 0 at 0. The mask is read off the output, so that a
    backward pass need not keep x."""

    name = "relu"
    accepts = "number"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.where(x < 0, np.zeros_like(x), x)

    def scalar(self, x: Expr) -> Expr:
        return select(x < 0, 0, x)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (where(node > 0, cotangent, 0.0),)


@dataclass(frozen=True)
class StopGradient(Unary):
    """x, through which no derivative passes."""

    name = "stop_gradient"
    accepts = "any"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return x

    def scalar(self, x: Expr) -> Expr:
        return x

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        return (None,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((3, 4),), differentiable=False)


# ------------------------------------------------------------------------------ comparison, choice


@dataclass(frozen=True)
class Lt(Binary):
    """x < y; False where either is NaN."""

    name = "lt"
    result = "bool"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.less(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x < y


@dataclass(frozen=True)
class Le(Binary):
    """x <= y; False where either is NaN."""

    name = "le"
    result = "bool"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.less_equal(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return x <= y


@dataclass(frozen=True)
class Gt(Binary):
    """x > y; False where either is NaN."""

    name = "gt"
    result = "bool"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.greater(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return y < x


@dataclass(frozen=True)
class Ge(Binary):
    """x >= y; False where either is NaN."""

    name = "ge"
    result = "bool"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.greater_equal(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return y <= x


@dataclass(frozen=True)
class Eq(Binary):
    """x == y elementwise (Python's own == compares nodes as objects); False where either is NaN."""

    name = "eq"
    result = "bool"
    accepts = "any"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.equal(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return eq_expr(x, y)


@dataclass(frozen=True)
class Ne(Binary):
    """x != y elementwise (Python's own != compares nodes as objects); True where either is NaN."""

    name = "ne"
    result = "bool"
    accepts = "any"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.not_equal(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return ne_expr(x, y)


@dataclass(frozen=True)
class LogicalAnd(Binary):
    """x and y, of bools."""

    name = "logical_and"
    accepts = "bool"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.logical_and(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return binary("and", x, y)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3), (3,)), dtypes=("bool", "bool"), low=0, high=2, differentiable=False)


@dataclass(frozen=True)
class LogicalOr(Binary):
    """x or y, of bools."""

    name = "logical_or"
    accepts = "bool"

    def evaluate(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.logical_or(x, y)

    def scalar(self, x: Expr, y: Expr) -> Expr:
        return binary("or", x, y)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3), (3,)), dtypes=("bool", "bool"), low=0, high=2, differentiable=False)


@dataclass(frozen=True)
class LogicalNot(Unary):
    """not x, of bools."""

    name = "logical_not"
    accepts = "bool"

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return np.logical_not(x)

    def scalar(self, x: Expr) -> Expr:
        return unary("not", x)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3),), dtypes=("bool",), low=0, high=2, differentiable=False)


@dataclass(frozen=True)
class Where(Elementwise):
    """x where the bool cond holds, else y; all three broadcast. Only the side taken is evaluated."""

    name = "where"
    arity = 3
    accepts = "any"

    def infer(self, *inputs: Type) -> Type:
        if len(inputs) != 3:
            raise GraphnetError(f"where takes a condition and two values, not {len(inputs)} inputs")
        cond, x, y = inputs
        if cond.dtype != "bool":
            raise DTypeError(f"the condition of where must be bool, not {cond.dtype}; compare it, or use gn.cast")
        check_accepts("where", "any", (x, y))
        return Type(x.dtype, broadcast_shapes(cond.shape, x.shape, y.shape))

    def evaluate(self, cond: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.where(cond, x, y)

    def scalar(self, cond: Expr, x: Expr, y: Expr) -> Expr:
        return select(cond, x, y)

    def gradient(self, node: Node, cotangent: Node) -> Sequence[Node | None]:
        cond, x, y = node.inputs
        dx, dy = where(cond, cotangent, 0.0), where(cond, 0.0, cotangent)
        return None, sum_to(dx, x.shape), sum_to(dy, y.shape)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield Sample(cls(), ((2, 3), (2, 3), (2, 3)), dtypes=("bool", "float", "float"))
        yield Sample(cls(), ((2, 1), (3,), ()), dtypes=("bool", "float", "float"))


@dataclass(frozen=True)
class Cast(Elementwise):
    """x as another dtype. Floats lose their fraction on the way to integers (values out of range are
    undefined); anything but 0 becomes True."""

    name = "cast"
    accepts = "any"
    dtype: str = "float32"

    def __post_init__(self) -> None:
        object.__setattr__(self, "dtype", check_dtype(self.dtype))

    def infer(self, *inputs: Type) -> Type:
        return super().infer(*inputs).with_dtype(self.dtype)

    def evaluate(self, x: np.ndarray) -> np.ndarray:
        return x.astype(self.dtype)

    def scalar(self, x: Expr) -> Expr:
        return cast_expr(x, FROM_NUMPY[self.dtype])

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


# ---------------------------------------------------------------------------------- user functions


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
    if array.dtype.kind not in "fiub":
        raise GraphnetError(f"cannot use {type(value).__name__} {value!r} with {node!r}; numbers and arrays are lifted")
    if node.dtype == "bool" and array.dtype.kind != "b":
        # Left to the op, which names both dtypes.
        return node, constant(value, "float32" if array.dtype.kind == "f" else "int32")
    if array.dtype.kind == "f" and not node.type.is_float:
        node = cast(node, "float32")
    with np.errstate(over="ignore"):
        lifted = array.astype(node.dtype)
    if array.dtype.kind in "iu" and not node.type.is_float and not np.array_equal(lifted, array):
        raise DTypeError(f"{value!r} does not fit {node.dtype} of {node!r}")
    return node, constant(lifted)


def add(x: Any, y: Any) -> Node:
    return apply(Add(), *pair(x, y))


def sub(x: Any, y: Any) -> Node:
    return apply(Sub(), *pair(x, y))


def mul(x: Any, y: Any) -> Node:
    return apply(Mul(), *pair(x, y))


def div(x: Any, y: Any) -> Node:
    return apply(Div(), *pair(x, y))


def maximum(x: Any, y: Any) -> Node:
    """The greater of two, elementwise."""
    return apply(Maximum(), *pair(x, y))


def minimum(x: Any, y: Any) -> Node:
    """The lesser of two, elementwise."""
    return apply(Minimum(), *pair(x, y))


def lt(x: Any, y: Any) -> Node:
    return apply(Lt(), *pair(x, y))


def le(x: Any, y: Any) -> Node:
    return apply(Le(), *pair(x, y))


def gt(x: Any, y: Any) -> Node:
    return apply(Gt(), *pair(x, y))


def ge(x: Any, y: Any) -> Node:
    return apply(Ge(), *pair(x, y))


def eq(x: Any, y: Any) -> Node:
    """x == y elementwise."""
    return apply(Eq(), *pair(x, y))


def ne(x: Any, y: Any) -> Node:
    """x != y elementwise."""
    return apply(Ne(), *pair(x, y))


def logical_and(x: Any, y: Any) -> Node:
    return apply(LogicalAnd(), *pair(x, y))


def logical_or(x: Any, y: Any) -> Node:
    return apply(LogicalOr(), *pair(x, y))


def where(cond: Node, x: Any, y: Any) -> Node:
    """x where `cond` holds, else y."""
    return apply(Where(), cond, *pair(x, y))


@located
def cast(x: Node, dtype: str) -> Node:
    """x as another dtype."""
    dtype = check_dtype(dtype)
    return x if x.dtype == dtype else apply(Cast(dtype), x)


@located
def power(x: Any, exponent: Any) -> Node:
    """x ** exponent; where both are nodes, or only the exponent is, exp(exponent * log(x))."""
    if isinstance(exponent, Node):
        if not isinstance(x, Node):
            if not (isinstance(x, (int, float)) and x > 0):
                raise GraphnetError(f"power: the base of a node exponent must be a positive number, not {x!r}")
            return apply(Exp(), exponent * math.log(x))
        return apply(Exp(), exponent * apply(Log(), x))
    if isinstance(exponent, (np.integer, np.floating)):
        exponent = exponent.item()
    if isinstance(exponent, (int, float)) and not isinstance(exponent, bool):
        if exponent == 1:
            return x
        if exponent == 2:
            return apply(Square(), x)
        if exponent == 0.5:
            return apply(Sqrt(), x)
        if exponent == -1:
            return apply(Reciprocal(), x)
    return apply(Power(exponent), x)


@located
def leaky_relu(x: Node, slope: float = 0.01) -> Node:
    """x where it is positive, else slope * x. (PyTorch's default slope is 0.01, Keras' 0.3.)"""
    if not (isinstance(slope, (int, float)) and math.isfinite(slope)):
        raise GraphnetError(f"leaky_relu: the slope must be a finite number, not {slope!r}")
    return where(x > 0, x, x * float(slope))


def softplus(x: Node) -> Node:
    """log(1 + exp(x)) without overflow: max(x, 0) + log1p(exp(-|x|))."""
    return apply(Relu(), x) + apply(Log1p(), apply(Exp(), -apply(Abs(), x)))
