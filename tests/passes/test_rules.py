"""Every rule of every table against values: both sides are built and evaluated, for all shapes, dtypes and
attributes of a small menu for which the rule fires."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from graphnet.errors import GraphnetError
from graphnet.node import Node, input, toposort
from graphnet.passes import simplify, stabilise
from graphnet.pattern import Call, Literal, Number, Pattern, Wild, build
from graphnet.rewrite import Compiled, Rule, compile_rule, rewritten

ROWS, COLUMNS = 12, 50
SHAPES = ((ROWS, COLUMNS), (ROWS, 1), (COLUMNS,), (), (ROWS,))
DTYPES = ("float64", "int64", "bool")
ATTRIBUTES: dict[str, tuple[Any, ...]] = {
    "axes": ((1,), (0, 1), (1, 0), ()),
    "axis": (1, 0),
    "perm": ((1, 0), (0, 1), (0,)),
    "keepdims": (True, False),
    "shape": ((ROWS, COLUMNS), (COLUMNS, ROWS), (ROWS * COLUMNS,), (ROWS, 1), (1, 1)),
    "starts": ((0, 0), (1, 0)),
    "stops": ((None, None), (ROWS, COLUMNS)),
    "steps": ((1, 1), (2, 1)),
    "low": ((0, 0), (1, 0)),
    "high": ((0, 0), (1, 0)),
    "interior": ((0, 0), (1, 0)),
    "value": (0,),
    "dtype": ("float64", "float32"),
}
POOLED_SHAPES = ((2, 1, 6, 8), (2, 1, 3, 4), (2, 1, 4, 6))  # a window of 2x2, or 3x3 with overlap
ATTRIBUTES |= {
    "window": ((2, 2), (3, 3)),
    "stride": ((2, 2), (1, 1)),
    "padding": (((0, 0), (0, 0)),),
    "dilation": ((1, 1),),
    "ceil_mode": (False,),
    "size": ((6, 8),),
}
SPECIAL = (0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 1e300, -1e300, 1e-310)
ENOUGH = 24  # instances of one rule that are evaluated


def wildcards(pattern: Pattern | Literal) -> tuple[dict[str, None], dict[str, str]]:
    """Wildcards of nodes, in order; wildcards of attributes, with the attribute that each is."""
    nodes: dict[str, None] = {}
    attributes: dict[str, str] = {}
    match pattern:
        case Wild(name):
            nodes[name] = None
        case Call(_, args, given):
            for a in args:
                n, b = wildcards(a)
                nodes |= n
                attributes |= b
            attributes |= {a.name: key for key, a in given if isinstance(a, Wild)}
    return nodes, attributes


def numbers(pattern: Any) -> set[Any]:
    match pattern:
        case Number(value):
            return {value}
        case Call():
            return set().union(*(numbers(a) for a in pattern.args))
    return set()


def instances(rule: Compiled) -> Iterator[Node]:
    """Nodes that the rule may fire on."""
    from_text = wildcards(rule.left)
    nodes, attributes = list(from_text[0]), from_text[1]
    values = [ATTRIBUTES[key] for key in attributes.values()]
    menu = POOLED_SHAPES if "window" in attributes.values() else SHAPES
    for number_type, shapes, dtypes in itertools.product(
        ("float64", "int64"), itertools.product(menu, repeat=len(nodes)), itertools.product(DTYPES, repeat=len(nodes))
    ):
        if number_type == "int64" and not numbers(rule.left):
            continue
        leaves = {n: input(n, s, dtype=d) for n, s, d in zip(nodes, shapes, dtypes, strict=True)}
        for chosen in itertools.product(*values):
            try:
                yield build(rule.left, leaves | dict(zip(attributes, chosen, strict=True)), number_type)
            except (GraphnetError, ValueError, IndexError, OverflowError):
                continue  # not of a type that the ops take


def evaluate(node: Node, values: dict[Node, np.ndarray]) -> np.ndarray:
    done = dict(values)
    with np.errstate(all="ignore"):
        for n in toposort([node]):
            if n not in done:
                done[n] = np.asarray(n.op.evaluate(*(done[i] for i in n.inputs)), dtype=n.dtype)
    return done[node]


def random_values(leaf: Node, rng: np.random.Generator, special: bool) -> np.ndarray:
    shape = tuple(int(e) for e in leaf.shape)  # type: ignore[arg-type]
    if leaf.dtype == "bool":
        return rng.random(shape) < 0.5
    if leaf.dtype == "int64":
        return rng.integers(-5, 6, shape)
    if not special:
        return rng.uniform(0.05, 0.95, shape)
    return np.where(rng.random(shape) < 0.5, rng.choice(SPECIAL, shape), rng.standard_normal(shape))


TABLES = {"simplify": simplify.RULES, "stabilise": stabilise.RULES}
CASES = [pytest.param(table, rule, id=f"{table}: {rule}") for table, rules in TABLES.items() for rule in rules]


@pytest.mark.parametrize(("table", "rule"), CASES)
def test_both_sides_of_every_rule_have_the_same_value(table: str, rule: Rule) -> None:
    compiled, rng, evaluated = compile_rule(rule), np.random.default_rng(0), 0
    for old in instances(compiled):
        new = rewritten(compiled, old)
        if new is None:
            continue
        assert new.type == old.type
        leaves = [n for n in toposort([old, new]) if n.op.name == "input"]
        values = {n: random_values(n, rng, special=rule.exact) for n in leaves}
        left, right = evaluate(old, values), evaluate(new, values)
        if rule.exact:
            np.testing.assert_array_equal(left, right)
            if old.type.is_float:
                numbers_only = ~np.isnan(left)
                np.testing.assert_array_equal(np.signbit(left[numbers_only]), np.signbit(right[numbers_only]))
        else:
            np.testing.assert_allclose(left, right, rtol=1e-9, atol=1e-12)
        evaluated += 1
        if evaluated == ENOUGH:
            break
    assert evaluated > 0, "the rule fires on nothing of the menu"


@pytest.mark.parametrize("table", TABLES)
def test_no_rule_is_written_twice(table: str) -> None:
    lefts = [(r.left, r.when) for r in TABLES[table] if r.exact]
    assert len(lefts) == len(set(lefts))
