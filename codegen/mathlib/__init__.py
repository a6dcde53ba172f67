"""Elementary functions as expressions of the loop language.

They need no libm, hold no table in memory and no branch other than `select`, so they vectorise, and every target
computes the same bits. The polynomials are our own minimax fits (tests/codegen/minimax.py); the literature of each
method is named in its file. docs/numerics.md has the measured errors of all of them.

NaN gives NaN (but for pow's cases), subnormal arguments and results are exact to the same bounds as all others,
odd functions are odd bit by bit and keep the sign of 0, and other special values are those of IEEE 754-2019 (9.2.1)
and NumPy. Integer arithmetic here wraps, as everywhere in the language. Subexpressions that are used twice are one
Python object: an emitter that memoises by `id` computes them once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from ..errors import CodegenError
from ..expr import Expr, Var
from . import error_function, exponential, hyperbolic, inverse_trigonometric, logarithm, power, trigonometric
from .format import FORMATS

FUNCTIONS: dict[str, Callable[..., Expr]] = {
    **{name: getattr(exponential, name) for name in ("exp", "exp2", "expm1", "sigmoid")},
    **{name: getattr(logarithm, name) for name in ("log", "log2", "log10", "log1p")},
    **{name: getattr(trigonometric, name) for name in ("sin", "cos", "tan")},
    **{name: getattr(inverse_trigonometric, name) for name in ("asin", "acos", "atan", "atan2")},
    **{name: getattr(hyperbolic, name) for name in ("sinh", "cosh", "tanh", "tanh_shrink", "asinh", "acosh", "atanh")},
    **{name: getattr(error_function, name) for name in ("erf", "erfc", "ndtr")},
    **{name: getattr(power, name) for name in ("pow", "cbrt")},
}


def expand(op: str, *args: Expr) -> Expr:
    """`op(*args)`, op one of FUNCTIONS, in arithmetic that every target has."""
    dtype = args[0].dtype
    if op not in FUNCTIONS or dtype not in FORMATS:
        raise CodegenError(f"no expansion of {op} in {dtype}: there are {', '.join(FUNCTIONS)} in {', '.join(FORMATS)}")
    return FUNCTIONS[op](FORMATS[dtype], *args)


@cache
def expansion(op: str, dtype: str) -> Expr:
    """`op(x)`, or `op(x, y)`, of variables of those names."""
    names = "xy" if op in ("pow", "atan2") else "x"
    return expand(op, *(Var(name, dtype) for name in names))
