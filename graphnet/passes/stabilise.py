"""Formulas that overflow or lose digits, by ones that do not.

These rules keep the real function, not the bits: where they change a value, the new one is closer to it. That
is why they are not `exact` in the sense of `rewrite`, and why they run by default all the same.

Composite ops must still be whole. Exact algebra runs along, so that each formula is met in one form: left
sides are written in that form.
"""

from __future__ import annotations

from .. import ops  # noqa: F401  (the rules below name them)
from ..module import Module
from ..rewrite import Rule, RuleSet, decisions, rewrite
from .simplify import ALGEBRA, fold

RULES = (
    # Softmax and its logarithm, written out.
    Rule("log(softmax(x, axis=a))", "log_softmax(x, axis=a)", exact=False),
    Rule("exp(log_softmax(x, axis=a))", "softmax(x, axis=a)", exact=False),
    Rule(
        "div(exp(x), sum(exp(x), axes=a, keepdims=True))",
        "softmax(x, axis=only(a))",
        exact=False,
        when="is_single(a)",
    ),
    Rule(
        "log(sum(exp(x), axes=a, keepdims=k))",
        "logsumexp(x, axis=only(a), keepdims=k)",
        exact=False,
        when="is_single(a)",
    ),
    # The gradient of log P, P = softmax x: P (w/P - sum(w/P P)), which is 0/0 where P rounds to 0.
    Rule("mul(div(w, softmax(x, axis=a)), softmax(x, axis=a))", "w", exact=False),
    Rule(
        "mul(softmax(x, axis=a), sub(div(w, softmax(x, axis=a)), t))",
        "sub(w, mul(t, softmax(x, axis=a)))",
        exact=False,
    ),
    Rule(
        "mul(softmax(x, axis=a), add(div(w, softmax(x, axis=a)), t))",
        "add(w, mul(t, softmax(x, axis=a)))",
        exact=False,
    ),
    # Gradients of softmax and logsumexp that were written out: with S = sum(exp x), what is divided by S is
    # gathered into one quotient, so that exp(x) / S appears.
    Rule(
        "sum(div(w, sum(exp(x), axes=a, keepdims=True)), axes=a, keepdims=True)",
        "div(sum(w, axes=a, keepdims=True), sum(exp(x), axes=a, keepdims=True))",
        exact=False,
    ),
    Rule(
        "add(div(v, sum(exp(x), axes=a, keepdims=True)), div(w, sum(exp(x), axes=a, keepdims=True)))",
        "div(add(v, w), sum(exp(x), axes=a, keepdims=True))",
        exact=False,
    ),
    Rule(
        "mul(div(g, sum(exp(x), axes=a, keepdims=True)), exp(x))",
        "mul(g, softmax(x, axis=only(a)))",
        exact=False,
        when="is_single(a)",
    ),
    Rule(
        "mul(reshape(div(g, sum(exp(x), axes=a, keepdims=False)), shape=s), exp(x))",
        "mul(reshape(g, shape=s), softmax(x, axis=only(a)))",
        exact=False,
        when="is_single(a)",
    ),
    # Sigmoid, written out.
    Rule("reciprocal(add(1, exp(neg(x))))", "sigmoid(x)", exact=False),
    Rule("div(a, add(1, exp(neg(x))))", "mul(a, sigmoid(x))", exact=False),
    Rule("div(exp(x), add(1, exp(x)))", "sigmoid(x)", exact=False),
    # Softplus: log(1 + exp x) = max(x, 0) + log(1 + exp -|x|), and its derivative.
    Rule("log1p(exp(x))", "add(relu(x), log1p(exp(neg(abs(x)))))", exact=False, when="may_be_positive(x)"),
    Rule("log(add(1, exp(x)))", "add(relu(x), log1p(exp(neg(abs(x)))))", exact=False),
    Rule("mul(div(g, add(1, exp(x))), exp(x))", "mul(g, sigmoid(x))", exact=False),
    Rule("log(add(1, x))", "log1p(x)", exact=False),
    Rule("sub(exp(x), 1)", "expm1(x)", exact=False),
    # Cross-entropy of S = sigmoid z: log S = min(z, 0) - log(1 + exp -|z|) and log(1 - S) = -softplus z.
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
    Rule("sub(mul(mul(h, neg(y)), sub(1, s)), mul(mul(neg(h), sub(1, y)), s))", "mul(h, sub(s, y))", exact=False),
    # The loss as one op, whose gradient is held away from 0/0 by a bound on S (1 - S).
    Rule("binary_cross_entropy(sigmoid(z), y)", "bce_with_logits(z, y)", exact=False),
    Rule(
        "mul(mul(h, div(d, maximum(mul(sigmoid(z), sub(1, sigmoid(z))), 1e-12))), "
        "mul(sigmoid(z), sub(1, sigmoid(z))))",
        "mul(h, d)",
        exact=False,
    ),
)

_STABLER = RuleSet(RULES)


def stabilise(m: Module) -> Module:
    graph, firings = rewrite(m.graph, _STABLER.step(approximate=True), ALGEBRA.step(), fold)
    return m.with_graph(graph).decided(*decisions("stabilise", firings))
