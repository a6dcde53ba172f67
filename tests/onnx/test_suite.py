"""A part of onnx's backend tests, compiled; the whole is `python -m graphnet.onnx.suite`."""

from __future__ import annotations

import pytest

pytest.importorskip("onnx.defs")

from graphnet.onnx import suite

CASES = suite.cases(("node", "simple", "pytorch-operator", "pytorch-converted"))
SOME = [c for number, c in enumerate(CASES.values()) if number % 29 == 0]


@pytest.mark.parametrize("case", SOME, ids=lambda c: c.name)
def test_a_case_passes_or_is_refused_by_name(case):
    outcome = suite.run_case(case, threads=1)
    assert outcome.status != suite.WRONG, outcome.reasons
    assert outcome.status == suite.PASSED or all(outcome.reasons)


def test_the_report_counts():
    outcomes = [
        suite.Outcome("node", "a", suite.PASSED),
        suite.Outcome("node", "b", suite.REFUSED, ("Unique-17: no such op is supported",)),
        suite.Outcome("light", "c", suite.WRONG, ("AssertionError: 1 is not 2",)),
    ]
    text = suite.report(outcomes)
    assert "     1  Unique: no such op is supported" in text and "light/c: AssertionError" in text
    assert text.splitlines()[3].split() == ["all", "1", "1", "1", "3"]
