"""Rewriting by tables of rules: pattern on the left, mathematics on the right.

    Rule("mul(x, 1)", "x")
    Rule("transpose(transpose(x, perm=a), perm=b)", "transpose(x, perm=compose(a, b))")

The grammar is that of `pattern`. A number on the right is a scalar of the root's dtype; where it is the
whole right side, it is spread over the root's shape.
A rule fires only where the replacement has the type of what it replaces: `add(x, 0) -> x` leaves
`x + zeros` alone where the zeros broadcast x to a larger shape, and `reshape(x, shape=s) -> x` says all
there is to say about reshapes that do nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields

from .errors import GraphnetError, ShapeError, VerifyError
from .module import Decision
from .node import Graph, Node, apply, make_graph
from .op import OPS
from .pattern import (
    Call,
    Literal,
    Number,
    Pattern,
    Wild,
    attribute,
    build,
    match_node,
    names,
    parse_attribute,
    parse_pattern,
)
from .site import derived


@dataclass(frozen=True, slots=True)
class Rule:
    """left -> right, where `when` holds.

    exact: the same values for all inputs, NaN, infinities and the sign of zero included. Rules that are
    not exact change rounding, range or special values, and run only when asked for."""

    left: str
    right: str
    exact: bool = True
    when: str = ""

    def __str__(self) -> str:
        return f"{self.left} -> {self.right}" + (f" when {self.when}" if self.when else "")


@dataclass(frozen=True, slots=True)
class Compiled:
    """A rule, parsed and checked."""

    rule: Rule
    left: Call
    right: Pattern
    when: Wild | Call | Literal


def compile_rule(rule: Rule) -> Compiled:
    """Raises GraphnetError for a rule that could not mean what it says."""
    left, right = parse_pattern(rule.left), parse_pattern(rule.right)
    when = parse_attribute(ast.parse(rule.when or "True", mode="eval").body, rule.when)
    if not isinstance(left, Call):
        raise GraphnetError(f"rule {rule}: the left side must be an op")
    unbound = (names(right) | names(when)) - names(left)
    if unbound:
        raise GraphnetError(f"rule {rule}: {', '.join(sorted(unbound))} not bound on the left")
    _check_attributes_named(left, rule)
    return Compiled(rule, left, right, when)


def _check_attributes_named(pattern: Pattern | Literal, rule: Rule) -> None:
    if isinstance(pattern, Call):
        missing = {f.name for f in fields(OPS[pattern.name])} - {k for k, _ in pattern.attributes}
        if missing:
            raise GraphnetError(f"rule {rule}: {pattern.name} must name its attribute {', '.join(sorted(missing))}")
        for a in pattern.args:
            _check_attributes_named(a, rule)


def rewritten(rule: Compiled, node: Node) -> Node | None:
    """The replacement of a node by one rule, of the same type; None where the rule does not fire."""
    for bound in match_node(rule.left, node, {}):
        if not attribute(rule.when, bound):
            continue
        try:
            with derived(node.sites):
                new = build(rule.right, bound, node.dtype)
                if isinstance(rule.right, Number) and node.shape:
                    new = apply(OPS["broadcast_to"](**{"shape": node.shape}), new)
        except ShapeError:  # a wildcard was smaller than the rule thought, and broadcasts
            continue
        if new.type == node.type and new is not node:
            return new
    return None


# ----------------------------------------------------------------------------------------- rewriting


# A step replaces one node, and says by what name: a rule, or whatever a pass calls it.
Step = Callable[[Node], tuple[Node, str] | None]


class RuleSet:
    """Rules by the op at their head, so that a node meets only those that could match it."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.by_head: dict[str, list[Compiled]] = {}
        for rule in rules:
            compiled = compile_rule(rule)
            self.by_head.setdefault(compiled.left.name, []).append(compiled)

    def step(self, approximate: bool = False) -> Step:
        def first_that_fires(node: Node) -> tuple[Node, str] | None:
            for compiled in self.by_head.get(node.op.name, ()):
                if compiled.rule.exact or approximate:
                    new = rewritten(compiled, node)
                    if new is not None:
                        return new, str(compiled.rule)
            return None

        return first_that_fires


@dataclass(frozen=True, slots=True)
class Firing:
    """What happened at one node: the node as it was, its replacement, the rule."""

    old: Node
    new: Node
    by: str


def decisions(pass_name: str, firings: Iterable[Firing]) -> tuple[Decision, ...]:
    """The firings as `explain()` shows them."""
    return tuple(Decision(pass_name, f.new, f.by, f"replaces {f.old.op.name}") for f in firings)


def rewrite(graph: Graph, *steps: Step, growth: int = 64) -> tuple[Graph, list[Firing]]:
    """The graph in normal form: no step applies to any node of it; and what was done to get there.

    A node is looked at once its inputs are in normal form, so each is looked at once for every time that it
    is made: linear in nodes and firings. `growth` bounds the firings for each node of the graph.
    Raises VerifyError where rules undo each other or never end."""
    normal: dict[Node, Node] = {}  # of every node that is finished
    becomes: dict[Node, Node] = {}  # a node that was replaced, by one whose normal form is its own
    firings: list[Firing] = []
    bound = growth * (len(graph.nodes()) + 1)
    stack = list(reversed(graph.results))
    while stack:
        node = stack[-1]
        if node in normal:
            stack.pop()
            continue
        target = becomes.get(node)
        if target is None:
            waiting = [i for i in node.inputs if i not in normal]
            if any(i in becomes for i in waiting):  # it waits, further down the stack, for this very node
                raise _endless(node, firings)
            if waiting:
                stack.extend(reversed(waiting))
                continue
            target = _replacement(node, tuple(normal[i] for i in node.inputs), steps, firings)
            if target is None:
                normal[node] = node
                continue
            becomes[node] = target
            if (target in becomes and target not in normal) or len(firings) > bound:
                raise _endless(node, firings)
        if target in normal:
            normal[node] = normal[target]
        else:
            stack.append(target)
    return make_graph(
        tuple(normal[n] for n in graph.outputs), graph.inputs, tuple((p, normal[v]) for p, v in graph.updates)
    ), firings


def _endless(node: Node, firings: list[Firing]) -> VerifyError:
    last = "; ".join(dict.fromkeys(f.by for f in firings[-8:]))
    return VerifyError(f"rewriting {node!r} does not end; the last rules were: {last}")


def _replacement(node: Node, inputs: tuple[Node, ...], steps: tuple[Step, ...], firings: list[Firing]) -> Node | None:
    """What the node becomes next: itself on new inputs, or what a step makes of it; None when it stays."""
    if inputs != node.inputs:
        with derived(node.sites):
            return apply(node.op, *inputs)
    for step in steps:
        found = step(node)
        if found is not None and found[0] is not node:
            new, by = found
            if new.type != node.type:
                raise VerifyError(f"{by} turned {node!r} into {new!r}: another type")
            firings.append(Firing(node, new, by))
            return new
    return None
