"""Expressions as trees: their operands, rebuilding them over others, substitution."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from .expr import Binary, Bitcast, Cast, Const, Expr, Fma, Load, Select, Unary, Var, binary, cast, select, unary


def children(e: Expr) -> tuple[Expr, ...]:
    match e:
        case Const() | Var():
            return ()
        case Unary(_, a) | Cast(a, _) | Bitcast(a, _):
            return (a,)
        case Binary(_, a, b):
            return (a, b)
        case Select(a, b, c) | Fma(a, b, c):
            return (a, b, c)
        case Load(_, index):
            return index
    raise TypeError(f"not an expression: {e!r}")


def with_children(e: Expr, new: tuple[Expr, ...]) -> Expr:
    """`e` rebuilt over other operands, through the folding constructors."""
    match e:
        case Const() | Var():
            return e
        case Unary(op, _):
            return unary(op, new[0])
        case Cast(_, t):
            return cast(new[0], t)
        case Bitcast(_, t):
            return Bitcast(new[0], t)
        case Binary(op, _, _):
            return binary(op, *new)
        case Select():
            return select(*new)
        case Fma():
            return Fma(*new)
        case Load(buffer, _):
            return Load(buffer, new)
    raise TypeError(f"not an expression: {e!r}")


def transform(e: Expr, leaf: Callable[[Expr], Expr | None], memo: dict[int, Expr] | None = None) -> Expr:
    """`e` with every subexpression for which `leaf` answers replaced by its answer, outermost first.
    Shared subexpressions are visited once and stay shared."""
    memo = {} if memo is None else memo
    if id(e) in memo:
        return memo[id(e)]
    new = leaf(e)
    if new is None:
        old = children(e)
        args = tuple(transform(c, leaf, memo) for c in old)
        new = e if all(x is y for x, y in zip(args, old, strict=True)) else with_children(e, args)
    memo[id(e)] = new
    return new


def substitute(e: Expr, values: dict[str, Expr]) -> Expr:
    """`e` with variables replaced by name."""
    return transform(e, lambda x: values.get(x.name) if isinstance(x, Var) else None)


def walk(e: Expr) -> Iterator[Expr]:
    """Every distinct subexpression once, operands first."""
    seen: set[int] = set()

    def visit(x: Expr) -> Iterator[Expr]:
        if id(x) in seen:
            return
        seen.add(id(x))
        for c in children(x):
            yield from visit(c)
        yield x

    return visit(e)


def variables(e: Expr) -> set[str]:
    return {x.name for x in walk(e) if isinstance(x, Var)}
