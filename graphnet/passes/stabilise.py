"""Formulas that overflow or lose digits, by ones that do not.

These rules keep the real function, not the bits: where they change a value, the new one is closer to it. That
is why they are not `exact` in the sense of `rewrite`, and why they run by default all the same.
"""

from __future__ import annotations

from .. import ops  # noqa: F401  (the rules below name them)
from ..module import Module
from ..rewrite import Rule, RuleSet, decisions, rewrite

# S is sigmoid(z), and S (1 - S) its derivative, as `gradient` writes it.
RULES = (
    # Sigmoid, written out.
    Rule("reciprocal(add(1, exp(neg(x))))", "sigmoid(x)", exact=False),
    Rule("div(a, add(1, exp(neg(x))))", "mul(a, sigmoid(x))", exact=False),
    Rule("div(exp(x), add(1, exp(x)))", "sigmoid(x)", exact=False),
    # Softplus: log(1 + exp x) = max(x, 0) + log(1 + exp -|x|), and its derivative.
    Rule("log1p(exp(x))", "add(relu(x), log1p(exp(neg(abs(x)))))", exact=False, when="may_be_positive(x)"),
    Rule("log(add(1, exp(x)))", "add(relu(x), log1p(exp(neg(abs(x)))))", exact=False),
    Rule("mul(div(g, add(1, exp(x))), exp(x))", "mul(g, sigmoid(x))", exact=False),
    Rule("log(add(1, x))", "log1p(x)", exact=False),
    # Cross-entropy of a sigmoid: log S = min(z, 0) - log(1 + exp -|z|) and log(1 - S) = -softplus z.
    Rule("log(sigmoid(z))", "sub(minimum(z, 0), log1p(exp(neg(abs(z)))))", exact=False),
    Rule("log(sub(1, sigmoid(z)))", "neg(add(relu(z), log1p(exp(neg(abs(z))))))", exact=False),
    # ... whose gradient divides by S and by 1 - S, only to multiply by S (1 - S): 0/0 where S rounds to 0 or 1.
    Rule("mul(div(a, sigmoid(z)), mul(sigmoid(z), sub(1, sigmoid(z))))", "mul(a, sub(1, sigmoid(z)))", exact=False),
    Rule("mul(div(a, sub(1, sigmoid(z))), mul(sigmoid(z), sub(1, sigmoid(z))))", "mul(a, sigmoid(z))", exact=False),
    Rule(
        "mul(neg(div(a, sub(1, sigmoid(z)))), mul(sigmoid(z), sub(1, sigmoid(z))))",
        "neg(mul(a, sigmoid(z)))",
        exact=False,
    ),
    Rule(
        "mul(sub(div(a, sigmoid(z)), div(b, sub(1, sigmoid(z)))), mul(sigmoid(z), sub(1, sigmoid(z))))",
        "sub(mul(a, sub(1, sigmoid(z))), mul(b, sigmoid(z)))",
        exact=False,
    ),
    Rule(
        "mul(sub(div(b, sub(1, sigmoid(z))), div(a, sigmoid(z))), mul(sigmoid(z), sub(1, sigmoid(z))))",
        "sub(mul(b, sigmoid(z)), mul(a, sub(1, sigmoid(z))))",
        exact=False,
    ),
    Rule(
        "mul(add(div(a, sigmoid(z)), div(b, sub(1, sigmoid(z)))), mul(sigmoid(z), sub(1, sigmoid(z))))",
        "add(mul(a, sub(1, sigmoid(z))), mul(b, sigmoid(z)))",
        exact=False,
    ),
    # ... and with labels y, where a = h y and b = h (1 - y), is h (y - S).
    Rule("sub(mul(mul(h, y), sub(1, s)), mul(mul(h, sub(1, y)), s))", "mul(h, sub(y, s))", exact=False),
    Rule("sub(mul(mul(h, sub(1, y)), s), mul(mul(h, y), sub(1, s)))", "mul(h, sub(s, y))", exact=False),
)

_RULE_SET = RuleSet(RULES)


def stabilise(m: Module) -> Module:
    graph, firings = rewrite(m.graph, _RULE_SET.step(approximate=True))
    return m.with_graph(graph).decided(*decisions("stabilise", firings))
