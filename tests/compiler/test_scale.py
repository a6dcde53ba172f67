"""Large graphs: the time of all passes grows with the number of nodes, no faster, and nothing recurses."""

import cProfile
import pstats
import time

import numpy as np
import pytest

import graphnet as gn
from graphnet.bench.compile_time import deep, dense, elementwise, recurrent
from graphnet.lower import lower
from graphnet.passes.fuse import LARGEST


def chain(n):
    x = gn.input("x", ("N", 16))
    y = x
    for k in range(n):
        y = gn.tanh(y * 1.01) if k % 3 else gn.transpose(gn.transpose(y) + float(k))
    return x, y


def seconds_a_node(n):
    x, y = chain(n)
    f = gn.compile(gn.gradient(gn.mean(y), x), [x])
    start = time.process_time()
    m = f.module({"N": 8})
    lower(m)
    return (time.process_time() - start) / len(m.graph.nodes())


def test_passes_and_lowering_are_linear_in_the_nodes():
    seconds_a_node(50)
    small, large = min(seconds_a_node(100) for _ in range(3)), seconds_a_node(3000)
    print(f"{small * 1e6:.0f} us a node of 100 layers, {large * 1e6:.0f} us of 3,000")
    assert large < 4 * small


def calls_a_node(function):
    """Of functions, by passes and lowering: unlike time the same on every machine."""
    counter = cProfile.Profile()
    counter.enable()
    m = function.module({"N": 8})
    lower(m)
    counter.disable()
    return pstats.Stats(counter).total_calls / len(m.graph.nodes())


@pytest.mark.parametrize(("declare", "few", "many"), [(elementwise, 50, 400), (dense, 30, 240), (recurrent, 12, 72)])
def test_calls_grow_with_the_nodes_and_no_faster(declare, few, many):
    small, large = calls_a_node(declare(few)), calls_a_node(declare(many))
    assert large < 1.2 * small, (small, large)


def test_a_training_step_of_164_layers_passes_in_ten_seconds():
    function = deep("resnet164")
    start = time.process_time()
    function.module({"N": 8})
    assert time.process_time() - start < 10


def test_a_kernel_has_a_limit():
    """Chains are not compiled as a single function, whose compilation would take more than linear time."""
    m = elementwise(1000).module({"N": 8})
    assert max(len(g.nodes) for g in m.groups) <= LARGEST


@pytest.mark.parametrize("target", ["cpu", "emulator"])
def test_a_long_chain_of_views_and_arithmetic_runs(target):
    x, y = chain(90)
    a = np.random.default_rng(0).standard_normal((4, 16)).astype("f")
    want = gn.evaluate(y, {x: a})[0]
    np.testing.assert_allclose(gn.compile(y, [x], target=target)(a), want, rtol=0, atol=1e-5)
