"""The engine: what patterns match, when rules fire, and that it ends in linear time."""

from __future__ import annotations

import re
import time

import numpy as np
import pytest

from graphnet import ops
from graphnet.errors import GraphnetError, VerifyError
from graphnet.module import Module
from graphnet.node import Constant, Node, apply, constant, input, make_graph
from graphnet.op import OPS
from graphnet.passes.simplify import simplify
from graphnet.rewrite import Rule, RuleSet, compile_rule, rewrite, rewritten

assert ops  # its import is what fills OPS


def n(op: str, *inputs: Node, **attributes: object) -> Node:
    return apply(OPS[op](**attributes), *inputs)


def fires(left: str, right: str, node: Node, **kw: str) -> Node | None:
    return rewritten(compile_rule(Rule(left, right, **kw)), node)  # type: ignore[arg-type]


def simplified(node: Node, approximate: bool = False) -> Node:
    (result,) = simplify(Module(make_graph([node], make_inputs())), approximate).graph.outputs
    return result


def make_inputs() -> list[Node]:
    return [input("x", ("N", 3)), input("y", ("N", 3)), input("z", (3,)), input("c", ("N", 3), dtype="bool")]


X, Y, Z, C = make_inputs()
ONE, ZERO = constant(1.0), constant(0.0)


def test_a_repeated_wildcard_is_one_node() -> None:
    assert fires("sub(x, x)", "neg(x)", n("sub", X, X)) is n("neg", X)
    assert fires("sub(x, x)", "neg(x)", n("sub", X, Y)) is None


def test_commutative_operands_match_in_either_order_and_others_do_not() -> None:
    assert fires("mul(x, 1)", "x", n("mul", ONE, X)) is X
    assert fires("sub(x, 0)", "x", n("sub", ZERO, X)) is None
    # Whichever order the first operand took, the second must agree.
    assert fires("add(mul(x, y), mul(x, z))", "x", n("add", n("mul", Y, X), n("mul", Z, X))) is X


@pytest.mark.parametrize("value", [np.ones((1, 3), np.float32), np.float32(1), np.ones((3,), np.float32)])
def test_a_number_matches_any_constant_that_is_all_of_it(value: np.ndarray) -> None:
    assert fires("mul(x, 1)", "x", n("mul", X, constant(value))) is X
    spread = n("broadcast_to", n("reshape", constant(value), shape=value.shape), shape=(4, *value.shape[1:], 3))
    assert fires("square(1)", "1", n("square", spread)) is not None


def test_numbers_that_are_not_the_number() -> None:
    assert fires("mul(x, 1)", "x", n("mul", X, constant(np.array([1, 1, 2], np.float32)))) is None
    assert fires("sub(x, 0)", "x", n("sub", X, constant(-0.0))) is None, "-0.0 is another number than 0"
    assert fires("add(x, -0.0)", "x", n("add", X, constant(-0.0))) is X
    assert fires("where(True, x, y)", "x", n("where", constant(False), X, Y)) is None


def test_a_rule_that_would_change_the_type_does_not_fire() -> None:
    larger = constant(np.ones((5, 1, 3), np.float32))
    assert fires("mul(x, 1)", "x", n("mul", Z, larger)) is None
    assert fires("mul(x, 1)", "x", n("mul", X, constant(np.ones((1, 3), np.float32)))) is X


def test_attributes_bind_match_and_are_computed() -> None:
    square = input("s", (2, 3, 4))
    twice = n("transpose", n("transpose", square, perm=(1, 2, 0)), perm=(0, 2, 1))
    both = fires("transpose(transpose(x, perm=a), perm=b)", "transpose(x, perm=compose(a, b))", twice)
    assert both is n("transpose", square, perm=(1, 0, 2))
    assert fires("transpose(transpose(x, perm=a), perm=a)", "x", twice) is None
    assert fires("transpose(x, perm=(1, 2, 0))", "x", twice) is None
    assert fires("transpose(x, perm=a)", "x", n("transpose", X, perm=(0, 1)), when="is_identity(a)") is X


@pytest.mark.parametrize(
    ("left", "right", "says"),
    [
        ("mul(x, 1", "x", "was never closed"),
        ("multiply(x, 1)", "x", "no op 'multiply'"),
        ("mul(x, 1)", "y", "y not bound on the left"),
        ("x", "x", "the left side must be an op"),
        ("sum(x)", "x", "sum must name its attribute axes, keepdims"),
        ("sum(x, axis=a, keepdims=k)", "x", "no attribute 'axis'"),
        ("mul(x, 'one')", "x", "not a name, a number or an op"),
        ("reshape(x, shape=a + b)", "x", "attribute 'a + b' is not of the grammar"),
    ],
)
def test_rules_that_mean_nothing_are_refused(left: str, right: str, says: str) -> None:
    with pytest.raises(GraphnetError, match=re.escape(says)):
        compile_rule(Rule(left, right))


def test_rules_that_undo_each_other_or_never_end_are_reported() -> None:
    graph = make_graph([n("add", X, Y)], [X, Y])
    for table in (
        [Rule("add(x, y)", "sub(x, neg(y))"), Rule("sub(x, neg(y))", "add(x, y)")],
        [Rule("add(x, y)", "neg(add(x, y))")],
        [Rule("add(x, y)", "add(x, neg(y))")],
    ):
        with pytest.raises(VerifyError, match=r"does not end; the last rules were: .*add"):
            rewrite(graph, RuleSet(table).step())


def test_approximate_rules_wait_to_be_asked_for() -> None:
    node = n("add", n("sub", X, X), Y)
    assert simplified(node) is node
    assert simplified(node, approximate=True).type == node.type
    assert simplified(node, approximate=True) is not node


def test_replacements_point_at_the_lines_of_what_they_replace() -> None:
    node = n("sub", n("sign", X), n("neg", n("sign", Y)))
    new = simplified(node)
    assert new.op.name == "add" and new.sites == node.sites and new.sites[0].file == __file__


def test_every_firing_is_a_decision() -> None:
    m = simplify(Module(make_graph([n("mul", n("neg", n("neg", X)), ONE)], [X])))
    assert m.graph.outputs == (X,)
    assert [(d.pass_name, d.choice, d.reason) for d in m.decisions] == [
        ("simplify", "neg(neg(x)) -> x", "replaces neg"),
        ("simplify", "mul(x, 1) -> x", "replaces mul"),
    ]


def test_constants_fold_unless_they_grow() -> None:
    assert simplified(n("add", X, n("exp", ZERO))) is n("add", X, ONE)
    table = constant(np.arange(3, dtype=np.float32))
    folded = simplified(n("mul", X, n("add", table, ONE)))
    assert isinstance(folded.inputs[1].op, Constant)
    np.testing.assert_array_equal(folded.inputs[1].op.array, [1, 2, 3])
    grown = n("broadcast_to", table, shape=(100, 3))
    assert simplified(grown) is grown
    assert simplified(n("size", dim=7)) is constant(7.0)
    symbolic = n("size", dim=X.shape[0])
    assert simplified(symbolic) is symbolic


def test_updates_are_rewritten_and_parameters_stay() -> None:
    p = apply(OPS["parameter"]("p", X.type, None))
    m = simplify(Module(make_graph([], [X], {p: n("mul", n("sub", p, X), ONE)})))
    assert m.graph.updates == ((p, n("sub", p, X)),)


@pytest.mark.parametrize("kind", ["rules fire", "nothing fires"])
def test_time_is_linear_in_the_number_of_nodes(kind: str) -> None:
    def chain(length: int) -> Node:
        x = X
        for i in range(length // 4):
            if kind == "rules fire":
                x = n("mul", n("add", x, n("neg", Y)), ONE)
            else:
                x = n("exp", n("mul", x, constant(2.0 + i)))
        return x

    def seconds_a_node(length: int) -> float:
        best = []
        for _ in range(3):
            graph = make_graph([chain(length)], [X, Y])
            nodes = len(graph.nodes())
            start = time.perf_counter()
            simplify(Module(graph))
            best.append((time.perf_counter() - start) / nodes)
        return min(best)

    small, middle, large = (seconds_a_node(k) for k in (100, 1_000, 10_000))
    assert middle < 4 * small and large < 4 * middle, (small, middle, large)
    assert large < 1e-3
