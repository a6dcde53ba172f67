"""Expressions as trees: their operands, rebuilding them over others, substitution."""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter

from .expr import Binary, Bitcast, Cast, Const, Expr, Fma, Load, Select, Unary, Var, binary, cast, select, unary

_CHILDREN: dict[type, Callable[..., tuple[Expr, ...]]] = {
    Const: lambda e: (),
    Var: lambda e: (),
    Unary: lambda e: (e.a,),
    Cast: lambda e: (e.a,),
    Bitcast: lambda e: (e.a,),
    Binary: attrgetter("a", "b"),
    Select: attrgetter("cond", "a", "b"),
    Fma: attrgetter("a", "b", "c"),
    Load: attrgetter("index"),
}


def children(e: Expr) -> tuple[Expr, ...]:
    """The operands of an expression."""
    return _CHILDREN[type(e)](e)


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
    Shared subexpressions are visited once and stay shared. A `memo` for several goes by id: they must outlive it."""
    memo = {} if memo is None else memo
    found = memo.get(id(e))
    if found is not None:
        return found
    new = leaf(e)
    if new is None:
        new = e
        old = children(e)
        args = tuple([transform(c, leaf, memo) for c in old])
        for x, y in zip(args, old, strict=True):
            if x is not y:
                new = with_children(e, args)
                break
    memo[id(e)] = new
    return new


def substitute(e: Expr, values: dict[str, Expr], memo: dict[int, Expr] | None = None) -> Expr:
    """`e` with variables replaced by name. With one `memo`, what several expressions share stays shared: whoever reads
    the results visits it once."""
    return transform(e, lambda x: values.get(x.name) if isinstance(x, Var) else None, memo)


def walk(*roots: Expr, seen: set[int] | None = None) -> list[Expr]:
    """Every distinct subexpression of these once, operands first; none of those `seen`, which get them by id."""
    found: list[Expr] = []
    seen = set() if seen is None else seen
    for e in roots:
        if id(e) not in seen:
            _walk(e, seen, found)
    return found


def _walk(e: Expr, seen: set[int], found: list[Expr]) -> None:
    seen.add(id(e))
    for c in _CHILDREN[type(e)](e):
        if id(c) not in seen:
            _walk(c, seen, found)
    found.append(e)


def loads(*roots: Expr) -> list[Load]:
    """Every distinct load in these."""
    return [x for x in walk(*roots) if isinstance(x, Load)]


def variables(*roots: Expr) -> set[str]:
    return {x.name for x in walk(*roots) if isinstance(x, Var)}
