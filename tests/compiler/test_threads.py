"""How work is divided among threads, and what threads do that have none."""

import time

import numpy as np
import pytest

import graphnet as gn
from graphnet import lower
from graphnet.models import MODELS


@pytest.fixture
def waits_cost(monkeypatch):
    """The rule by which small programs run on one thread, which tests otherwise turn off."""
    monkeypatch.setattr(lower, "START", 16e-6)
    monkeypatch.setattr(lower, "BARRIER", 1.5e-6)


@pytest.mark.parametrize(("batch", "threads"), [(1, 1), (64, 2)])
def test_a_program_too_small_to_pay_for_waits_runs_on_one_thread(waits_cost, batch, threads):
    m = MODELS["lenet"]()
    f = gn.compile(m.logits, [m.x], threads=2)
    spec = f.specialise({"N": batch})
    assert spec.threads == threads
    assert any(c.startswith(f"threads: {threads} of 2: ") for c in f.explain().choices)


def test_idle_threads_sleep():
    """After the last call they spin for a moment, and then use no processor time."""
    x = gn.input("x", (256, 256))
    f = gn.compile(gn.tanh(x @ x), [x], threads=4)
    f(np.ones((256, 256), "f"))
    assert f.specializations[0].threads == 4
    time.sleep(0.1)
    before = time.process_time()
    time.sleep(0.5)
    assert time.process_time() - before < 0.05
