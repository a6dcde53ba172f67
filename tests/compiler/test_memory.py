"""Where values live, and in which order kernels run so that few do at once."""

import numpy as np
import pytest

import graphnet as gn
from graphnet import training
from graphnet.models import MODELS
from graphnet.passes.arena import Life, live, place
from graphnet.passes.order import early


def random_lives(seed, count=60):
    rng = np.random.default_rng(seed)
    first = rng.integers(0, 40, count)
    return [Life(int(b) * 64, int(f), int(f + d)) for b, f, d in zip(
        rng.integers(1, 50, count), first, rng.integers(0, 15, count), strict=True
    )]  # fmt: skip


@pytest.mark.parametrize("seed", range(10))
def test_values_that_live_at_once_do_not_overlap(seed):
    lives = random_lives(seed)
    offsets, size = place(lives)
    for k, (a, at) in enumerate(zip(lives, offsets, strict=True)):
        assert at >= 0 and at % 64 == 0 and at + a.nbytes <= size
        for b, bt in zip(lives[:k], offsets[:k], strict=True):
            together = a.first <= b.last and b.first <= a.last
            assert not together or at + a.nbytes <= bt or bt + b.nbytes <= at


@pytest.mark.parametrize("seed", range(10))
def test_the_arena_is_little_larger_than_what_lives_at_once(seed):
    lives = random_lives(seed)
    most = max(sum(v.nbytes for v in lives if v.first <= step <= v.last) for step in range(60))
    assert live(lives) == most
    assert most <= place(lives)[1] <= 1.15 * most


def test_no_values_need_no_memory():
    assert live([]) == 0 and place([]) == ([], 0)


def test_what_leads_to_one_result_runs_as_soon_as_it_can():
    # 0 -> 1 -> 2 -> 3 is the network back and forth; 4 and 5 make a result of 1; 6 and 7 make one of 3 each
    before = [set(), {0}, {1}, {2}, {1}, {4}, {3}, {3}]
    assert early(before, {5, 6, 7}) == [0, 1, 4, 5, 2, 3, 6, 7]
    assert early(before, {5, 6, 7}, wait=1) == [0, 1, 2, 4, 5, 3, 6, 7]


@pytest.mark.parametrize("wait", [0, 1, 3])
@pytest.mark.parametrize("seed", range(20))
def test_an_order_keeps_what_comes_before(seed, wait):
    rng = np.random.default_rng(seed)
    before = [set(rng.integers(0, k, min(k, 2)).tolist()) if k else set() for k in range(40)]
    ends = set(range(40)).difference(*before)
    order = early(before, ends, wait)
    assert sorted(order) == list(range(40))
    at = {k: place for place, k in enumerate(order)}
    assert all(at[j] < at[k] for k, needed in enumerate(before) for j in needed)


def plan(step, n):
    return step.specialise({"N": n}).memory


def test_updates_do_not_wait_for_the_whole_backward_pass():
    """An activation and its cotangent die when the weight's gradient has been computed, not at the end of the step."""
    step = training.training_step(MODELS["mlp"](), "adam")
    spec = step.specialise({"N": 64})
    updated = {new for _, new in spec.module.graph.updates}
    where = [k for k, g in enumerate(spec.module.groups) if updated & set(g.stored)]
    backward = [k for k, g in enumerate(spec.module.groups) if "where" in [n.op.name for n in g.nodes]]
    assert min(where[1:]) < max(backward)


@pytest.mark.parametrize(("model", "batch", "mib"), [("lenet", 64, 2.5), ("mlp", 64, 0.5)])
def test_the_arena_of_a_training_step(model, batch, mib):
    assert plan(training.training_step(MODELS[model](), "adam"), batch).arena <= mib * 2**20


def test_parameters_that_swap_their_values_do():
    """Updates in place come after everybody who reads the old value, in whatever order kernels run."""
    a, b = gn.parameter("a", (8,), gn.init.ones()), gn.parameter("b", (8,), gn.init.zeros())
    x = gn.input("x", (8,))
    step = gn.compile(gn.sum(a * b * x), [x], {a: b * x, b: a * x})
    one = np.full(8, 2.0, "f")
    for _ in range(2):
        old = {k: step.state[k].copy() for k in ("a", "b")} if "a" in step.state else {"a": one / 2, "b": 0 * one}
        np.testing.assert_allclose(step(one), (old["a"] * old["b"] * one).sum())
        np.testing.assert_array_equal(step.state["a"], old["b"] * one)
        np.testing.assert_array_equal(step.state["b"], old["a"] * one)
