"""Values computed again instead of kept: fewer bytes, the same bits, and the least number that works."""

import re

import numpy as np
import pytest

import graphnet as gn
from graphnet import training
from graphnet.models import MODELS
from graphnet.models.model import classifier
from graphnet.models.resnet import resnet18, resnet18_training
from graphnet.passes.arena import live
from graphnet.passes.rematerialise import WORTH, Problem, Work, by_time, cost, lives, needed, shrink


def simulate(p, runs):
    """The most bytes held at once, every read checked, every version freed after its last reader."""
    held, newest, most = {}, {}, 0
    reads = [set(p.works[r.work].reads) for r in runs] + [set(p.last)]
    readers = {}  # of (value, run that made it)
    for k, read in enumerate(reads):
        for v in read:
            assert v in newest, f"run {k} reads a value that was not made"
            readers[v, newest[v]] = k
        if k < len(runs):
            newest |= dict.fromkeys(runs[k].makes, k)
    newest = {}
    for k, run in enumerate(runs):
        for v in run.makes:
            held[v, k] = p.nbytes[v]
        most = max(most, sum(held.values()))
        held = {key: size for key, size in held.items() if readers.get(key, key[1]) > k}
    return most


def chain(layers):
    """Forward through `layers`, and back: each step back reads one value of the forward pass."""
    works = [Work((k - 1,) if k else (), (k,), 1.0) for k in range(layers)]
    for k in range(layers):
        forward = layers - 1 - k
        works.append(Work((layers + k - 1, forward) if k else (forward,), (layers + k,), 1.0))
    return Problem(tuple(works), (1,) * (2 * layers), frozenset((2 * layers - 1,)))


def random_problem(seed, count=40):
    rng = np.random.default_rng(seed)
    works = []
    for k in range(count):
        reads = tuple(sorted(set(rng.integers(max(0, 2 * k - 60), 2 * k, 3).tolist()))) if k else ()
        later = tuple(x for x in rng.integers(0, count, 1).tolist() if x > k + 5)
        able = bool(rng.random() < 0.8)
        works.append(Work(reads, (2 * k, 2 * k + 1), float(rng.integers(1, 9)), later, able, k % 3 == 0))
    nbytes = tuple(int(b) for b in rng.integers(0, 20, 2 * count))
    return Problem(tuple(works), nbytes, frozenset(rng.integers(0, 2 * count, 3).tolist()))


@pytest.mark.parametrize("worth", WORTH)
@pytest.mark.parametrize("seed", range(10))
def test_runs_are_in_order_and_need_less_and_less(seed, worth):
    p = random_problem(seed)
    least = simulate(p, p.as_it_is())
    for runs in shrink(p, worth):
        assert [r.work for r in runs if not r.again] == list(range(len(p.works)))
        assert simulate(p, runs) == live(lives(p, runs)) <= least
        least = simulate(p, runs)
        place = {r.work: k for k, r in enumerate(runs) if not r.again}
        for k, run in enumerate(runs):
            work = p.works[run.work]
            assert not run.again or (work.again and all(place[o] > k for o in work.overwritten))
            assert set(run.makes) <= set(work.makes) and (not work.whole or run.makes == work.makes)
        assert cost(p, runs) <= sum(w.cost for w in p.works)


def test_a_chain_is_cut_into_segments():
    """Of 64 values 64 are kept; with each computed again at most once, twice the root of that would do."""
    p = chain(64)
    assert live(lives(p, p.as_it_is())) == 65
    *_, runs = shrink(p, by_time)
    assert live(lives(p, runs)) <= 20 and cost(p, runs) <= 128


def test_repetitions_that_became_superfluous_are_left_out():
    p = chain(16)
    *_, runs = shrink(p, by_time)
    assert needed(p, runs, lambda r: True) == p.as_it_is()
    few = needed(p, runs, lambda r: live(lives(p, r)) <= 10)
    assert live(lives(p, few)) <= 10 and cost(p, few) <= cost(p, runs)


def small_resnet():
    def network(x):
        return resnet18(x, classes=10, width=16)

    def trained(x):
        return resnet18_training(x, classes=10, width=16)

    return classifier("resnet", network, (3, 32, 32), trained)


NETWORKS = {"lenet": (MODELS["lenet"], "adam", 16), "resnet": (small_resnet, "momentum", 4)}


def least_of(step, sizes):
    """The number that the error names."""
    with pytest.raises(gn.GraphnetError, match="the least that was found") as e:
        step(max_bytes=1).specialise(sizes)
    return int(re.search(r"sizes is ([\d,]+) bytes", str(e.value))[1].replace(",", ""))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_training_step_in_fewer_bytes_has_the_same_bits(name):
    make, optimiser, n = NETWORKS[name]
    model = make()

    def step(**settings):
        return training.training_step(model, optimiser, **settings)

    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, *model.x.shape[1:])).astype("f")
    y = rng.integers(0, 10, n).astype("int32")
    whole = step(threads=1)
    want = [whole(x, y) for _ in range(3)]
    total = whole.memory().total
    least = least_of(step, {"N": n})
    assert least < total
    for most, threads in ((total, 1), (least, 3)):
        f = step(max_bytes=most, threads=threads)
        assert [f(x, y) for _ in range(3)] == want
        assert f.memory().total <= most
        for p in whole.state:
            np.testing.assert_array_equal(f.state[p], whole.state[p])
    explanation = f.explain()
    repeated = [k for k in explanation.kernels if any("computed again" in r for r in k.reasons)]
    assert repeated and f"{len(repeated)} kernels run again" in str(explanation)


@pytest.mark.parametrize("target", ["cpu:simd128", "emulator"])
def test_other_targets(target):
    x = gn.input("x", (64, 32))
    h = x
    for k in range(8):
        h = gn.tanh(h @ gn.parameter(f"w{k}", (32, 32)))
    loss = gn.sum(h)
    ps = gn.make_graph([loss], [x]).parameters
    updates = {p: p - 0.01 * g for p, g in zip(ps, gn.gradient(loss, ps), strict=True)}

    def step(**settings):
        return gn.compile(loss, [x], updates, target=target, **settings)

    a = np.random.default_rng(0).standard_normal((64, 32)).astype("f")
    least = least_of(step, {})
    with pytest.raises(gn.GraphnetError, match=f"least that was found for these sizes is {least:,} bytes"):
        step(max_bytes=least - 1).specialise({})
    f, g = step(), step(max_bytes=least)
    assert [f(a) for _ in range(3)] == [g(a) for _ in range(3)]
    assert g.memory().total < f.memory().total


def test_what_is_no_number_of_bytes():
    x = gn.input("x", (3,))
    for wrong in (0, -5, 2.5, "1 MiB"):
        with pytest.raises(gn.GraphnetError, match="max_bytes"):
            gn.compile(x + 1.0, [x], max_bytes=wrong)
