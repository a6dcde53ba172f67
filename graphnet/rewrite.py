"""Rewriting by tables of rules: pattern on the left, mathematics on the right.

    Rule("mul(x, 1)", "x")
    Rule("transpose(transpose(x, perm=a), perm=b)", "transpose(x, perm=compose(a, b))")

Grammar, in Python's syntax:

    p ::= name                      any node; the same name again must be the same node
        | number | True | False     a constant all of whose elements are that number
        | op(p, ..., attribute=a)   a node of that op; every attribute must be named on the left
    a ::= name                      any value; the same name again must be the same value
        | literal                   that value
        | function(a, ...)          on the right and in `when`: a function of FUNCTIONS, of nodes too

Operands of commutative ops match in either order. A number on the right is a scalar of the root's dtype;
where it is the whole right side, it is spread over the root's shape.
A rule fires only where the replacement has the type of what it replaces: `add(x, 0) -> x` leaves
`x + zeros` alone where the zeros broadcast x to a larger shape, and `reshape(x, shape=s) -> x` says all
there is to say about reshapes that do nothing.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from .errors import GraphnetError, ShapeError, VerifyError
from .module import Decision
from .node import Constant, Graph, Node, apply, constant, make_graph
from .op import OPS
from .site import derived
from .types import FLOATS

COMMUTATIVE = frozenset({"add", "mul", "maximum", "minimum", "eq", "ne", "logical_and", "logical_or"})

# Ops that rearrange or repeat elements: a constant seen through them is still all one number.
_TRANSPARENT = frozenset({"broadcast_to", "reshape", "transpose"})

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "compose": lambda a, b: tuple(a[i] for i in b),  # the axes of a transpose by a, then by b
    "is_identity": lambda a: tuple(a) == tuple(range(len(a))),
    "is_single": lambda axes: len(axes) == 1,
    "only": lambda axes: axes[0],
    "ones": lambda shape: (1,) * len(shape),
    "is_scalar": lambda x: x.shape == (),
    "only_first_is_scalar": lambda x, y: x.shape == () and y.shape != (),
    "has_one_element": lambda x: all(e == 1 for e in x.shape),
    "may_be_positive": lambda x: not (x.op.name == "neg" and x.inputs[0].op.name == "abs"),
    "is_integer": lambda x: not x.type.is_float and x.dtype != "bool",
}


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


# --------------------------------------------------------------------------------------- patterns


@dataclass(frozen=True, slots=True)
class Wild:
    name: str


@dataclass(frozen=True, slots=True)
class Number:
    value: bool | int | float


@dataclass(frozen=True, slots=True)
class Call:
    """An op on the graph, or a function of attributes."""

    name: str
    args: tuple[Pattern | Literal, ...]
    attributes: tuple[tuple[str, Pattern | Literal], ...] = ()


@dataclass(frozen=True, slots=True)
class Literal:
    """A fixed attribute."""

    value: Any


Pattern = Wild | Number | Call
Bindings = dict[str, Any]


def parse_pattern(text: str) -> Pattern:
    """Raises GraphnetError where the text is not of the grammar, or names an op or attribute that is not there."""
    try:
        tree = ast.parse(text, mode="eval").body
    except SyntaxError as e:
        raise GraphnetError(f"pattern {text!r}: {e.msg}") from None
    return _pattern(tree, text)


def _pattern(tree: ast.expr, text: str) -> Pattern:
    match tree:
        case ast.Name(id=name):
            return Wild(name)
        case ast.Constant(value=bool() | int() | float() as value):
            return Number(value)
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
            return Number(-value)
        case ast.Call(func=ast.Name(id=name), args=args, keywords=keywords):
            if name not in OPS:
                raise GraphnetError(f"pattern {text!r}: there is no op {name!r}")
            known = {f.name for f in fields(OPS[name])}
            for k in keywords:
                if k.arg not in known:
                    raise GraphnetError(f"pattern {text!r}: op {name} has no attribute {k.arg!r}")
            return Call(
                name,
                tuple(_pattern(a, text) for a in args),
                tuple((str(k.arg), parse_attribute(k.value, text)) for k in keywords),
            )
    raise GraphnetError(f"pattern {text!r}: {ast.unparse(tree)!r} is not a name, a number or an op")


def parse_attribute(tree: ast.expr, text: str) -> Wild | Call | Literal:
    match tree:
        case ast.Name(id=name):
            return Wild(name)
        case ast.Call(func=ast.Name(id=name), args=args) if name in FUNCTIONS:
            return Call(name, tuple(parse_attribute(a, text) for a in args))
    try:
        return Literal(ast.literal_eval(tree))
    except ValueError:
        raise GraphnetError(f"pattern {text!r}: attribute {ast.unparse(tree)!r} is not of the grammar") from None


def names(pattern: Pattern | Literal) -> set[str]:
    """The wildcards of a pattern, of nodes and of attributes."""
    match pattern:
        case Wild(name):
            return {name}
        case Call(_, args, attributes):
            return set().union(*(names(a) for a in args), *(names(a) for _, a in attributes))
    return set()


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


# --------------------------------------------------------------------------------------- matching


def uniform_value(node: Node) -> bool | int | float | None:
    """The number that every element of a constant is, seen through broadcasts and reshapes; else None."""
    while node.op.name in _TRANSPARENT:
        node = node.inputs[0]
    if not isinstance(node.op, Constant):
        return None
    data, width = node.op.data, np.dtype(node.dtype).itemsize
    # On bytes, so that 0.0 and -0.0 are two numbers; the ends first, which settles most tables at once.
    first = data[:width]
    if not data or data[-width:] != first or data != first * (len(data) // width):
        return None
    value: bool | int | float = node.op.array.reshape(-1)[0].item()
    return value


def same_number(found: bool | int | float, wanted: bool | int | float, dtype: str) -> bool:
    """Whether a constant's value is the number of a pattern, once that is rounded to the constant's dtype."""
    if dtype in FLOATS:
        wanted = np.dtype(dtype).type(wanted).item()
    elif isinstance(found, bool) != isinstance(wanted, bool):
        return False
    return found == wanted and bool(np.signbit(found) == np.signbit(wanted))


def match_node(pattern: Pattern | Literal, node: Node, bound: Bindings) -> Iterator[Bindings]:
    """Every way in which the node is of the pattern, given what is bound already."""
    match pattern:
        case Wild(name):
            if name not in bound:
                yield {**bound, name: node}
            elif bound[name] is node:
                yield bound
        case Number(value):
            found = uniform_value(node)
            if found is not None and same_number(found, value, node.dtype):
                yield bound
        case Call(name, args, attributes):
            if node.op.name != name or len(node.inputs) != len(args):
                return
            after = _match_attributes(attributes, node, bound)
            if after is None:
                return
            yield from _match_all(args, node.inputs, after)
            if name in COMMUTATIVE and node.inputs[0] is not node.inputs[1]:
                yield from _match_all(args, node.inputs[::-1], after)


def _match_all(patterns: tuple[Pattern | Literal, ...], nodes: tuple[Node, ...], bound: Bindings) -> Iterator[Bindings]:
    if not patterns:
        yield bound
        return
    for b in match_node(patterns[0], nodes[0], bound):
        yield from _match_all(patterns[1:], nodes[1:], b)


def _match_attributes(
    attributes: tuple[tuple[str, Pattern | Literal], ...], node: Node, bound: Bindings
) -> Bindings | None:
    for key, a in attributes:
        value = getattr(node.op, key)
        match a:
            case Literal(wanted) if value != wanted:
                return None
            case Wild(name) if name not in bound:
                bound = {**bound, name: value}
            case Wild(name) if bound[name] != value:
                return None
    return bound


def attribute(a: Pattern | Literal, bound: Bindings) -> Any:
    match a:
        case Literal(value) | Number(value):
            return value
        case Wild(name):
            return bound[name]
        case Call(name, args, _):
            return FUNCTIONS[name](*(attribute(x, bound) for x in args))


def build(pattern: Pattern | Literal, bound: Bindings, dtype: str) -> Node:
    """The node that a pattern describes; numbers become scalars of that dtype."""
    match pattern:
        case Wild(name):
            node: Node = bound[name]
            return node
        case Number(value):
            return constant(value, "bool" if isinstance(value, bool) else dtype)
        case Call(name, args, attributes):
            op = OPS[name](**{k: attribute(a, bound) for k, a in attributes})
            return apply(op, *(build(a, bound, dtype) for a in args))
    raise GraphnetError(f"not a pattern of nodes: {pattern!r}")


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


# -------------------------------------------------------------------------------------- rewriting

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
