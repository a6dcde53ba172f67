"""A profile counts what the kernels do, and only those of every call."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn
from graphnet.errors import GraphnetError


def test_rates_are_operations_and_bytes_over_time() -> None:
    x, w = gn.input("x", ("N", 32)), gn.input("w", (32, 48))
    f = gn.compile(gn.relu(x @ w), [x, w], threads=1)
    p = f.profile(np.ones((8, 32), "f"), np.ones((32, 48), "f"), runs=7)
    assert f.specializations[0].calls == 1 + 5 + 7 and p.runs == 7 and p.threads == 1
    (k,) = [k for k in p.kernels if "matmul" in k.ops]
    assert k.gflops * k.seconds * 1e9 == pytest.approx(2 * 8 * 32 * 48, rel=0.1)  # and relu's
    assert k.of_peak == pytest.approx(k.gflops / p.peak_gflops)
    assert k.gbytes * k.seconds * 1e9 == pytest.approx(4 * (8 * 32 + 32 * 48 + 8 * 48))
    assert k.lines and "test_profile.py" in k.lines[0]
    assert str(p).splitlines()[-1].startswith(f"{len(p.kernels)} kernels: ")


def test_what_is_prepared_once_is_not_part_of_a_call() -> None:
    x, w = gn.input("x", (4, 64, 12, 12)), gn.parameter("w", (64, 64, 3, 3))
    f = gn.compile(gn.conv2d(x, w, padding=1, algorithm="winograd"), [x], threads=1)
    p = f.profile(np.ones((4, 64, 12, 12), "f"), runs=2)
    prepared = {k.number for k in f.explain().kernels if k.prepared}
    assert prepared and not prepared & {k.number for k in p.kernels}
    assert sum(k.share for k in p.kernels) == pytest.approx(1)


def test_only_kernels_of_cpus_are_timed() -> None:
    x = gn.input("x", (4,))
    f = gn.compile(x + 1, [x], target="interpret")
    with pytest.raises(GraphnetError, match=r"profiles are of the target .cpu.; this function is .* for interpret"):
        f.profile(np.ones(4, "f"))
