"""Symbolic extents and broadcasting."""

from __future__ import annotations

import numpy as np
import pytest

from graphnet.errors import DTypeError, ShapeError
from graphnet.types import Dim, Type, broadcast_shapes, check_dtype, divide_exactly, extent, normalise_axes, size

N, M = Dim.named("N"), Dim.named("M")


def test_normal_form() -> None:
    assert N * 400 == 400 * N
    assert (N + 1) * (N - 1) == N * N - 1
    assert N - N == 0
    assert (2 * N + 4) // 2 == N + 2
    assert (N + 1) // 2 != N // 2
    assert N + M == M + N


@pytest.mark.parametrize("n", range(1, 12))
def test_substitution_is_arithmetic(n: int) -> None:
    for e, want in [
        ((N + 1) // 2 * 3, (n + 1) // 2 * 3),
        (2 * N * N - 1, 2 * n * n - 1),
        ((N * 3 - 1) // 4, (n * 3 - 1) // 4),
    ]:
        assert e.substitute({"N": n}) == want


def test_printing() -> None:
    assert str(2 * N + 1) == "2*N+1"
    assert str(2 * ((N + 1) // 2)) == "2*((N+1)//2)"
    assert str(Type("float32", (N, 1, 28, 28))) == "float32[N, 1, 28, 28]"


def test_division() -> None:
    assert divide_exactly(400 * N, N) == 400
    assert divide_exactly(400 * N, 20) == 20 * N
    assert divide_exactly(400 * N, M) is None
    assert divide_exactly(10, 4) is None
    assert size((N, 2, 3)) == 6 * N


def test_broadcasting() -> None:
    assert broadcast_shapes((N, 1, 3), (2, 1), ()) == (N, 2, 3)
    with pytest.raises(ShapeError, match="do not broadcast: N against 3 on axis -1"):
        broadcast_shapes((N,), (3,))


def test_users_extents() -> None:
    assert extent("N") == N and extent(np.int64(3)) == 3
    for wrong in (-1, 2.0, True, "1x", None):
        with pytest.raises(ShapeError):
            extent(wrong)
    assert check_dtype(np.float32) == "float32"
    with pytest.raises(DTypeError, match="float8"):
        check_dtype("float8")


def test_axes() -> None:
    assert normalise_axes(None, 3) == (0, 1, 2)
    assert normalise_axes((-1, 0), 3) == (0, 2)
    with pytest.raises(ShapeError, match="out of range"):
        normalise_axes(3, 3)
    with pytest.raises(ShapeError, match="twice"):
        normalise_axes((0, -3), 3)
