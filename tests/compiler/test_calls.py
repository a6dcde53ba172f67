"""The second call and those after it are taken by native code, which must refuse whatever the first would not take."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import graphnet as gn
from codegen.runtime import entry
from graphnet.errors import DTypeError, GraphnetError, ShapeError


class Subclass(np.ndarray):
    pass


@pytest.fixture
def twice():
    """A function of two arrays that has been called before."""
    x, y = gn.input("x", ("N", 3)), gn.input("y", ("N", 3))
    f = gn.compile(2.0 * x + y, [x, y], threads=1)
    f(np.ones((4, 3), "f"), np.ones((4, 3), "f"))
    assert f._entered is f.specializations[0]
    return f


def arrays(n: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(n)
    return rng.random((n, 3), dtype=np.float32), rng.random((n, 3), dtype=np.float32)


def test_a_call_like_the_last_runs_no_python_for_its_arguments(twice, monkeypatch):
    monkeypatch.setattr(twice, "_call", None)
    x, y = arrays()
    np.testing.assert_array_equal(twice(x, y), 2 * x + y)
    assert twice.specializations[0].calls == 2


def test_other_sizes_find_their_own_program(twice):
    for n in (4, 7, 7, 4, 1, 4):
        x, y = arrays(n)
        np.testing.assert_array_equal(twice(x, y), 2 * x + y)
    assert [s.calls for s in twice.specializations] == [4, 2, 1]


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a[::2],
        lambda a: np.asfortranarray(a),
        lambda a: a.view(Subclass),
        lambda a: a.tolist() and np.ascontiguousarray(a[::-1])[::-1],
    ],
    ids=["rows apart", "column-major", "a subclass", "backwards"],
)
def test_arrays_of_another_kind_are_converted(twice, change):
    x, y = arrays(8)
    x, y = change(x), np.ascontiguousarray(change(y))
    np.testing.assert_array_equal(twice(x, y), 2 * x + y)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (lambda x, y: (x.astype(np.float64), y), DTypeError),
        (lambda x, y: (x.view(np.int32), y), DTypeError),
        (lambda x, y: (x[:, :2].copy(), y), ShapeError),
        (lambda x, y: (x.reshape(2, 2, 3), y), ShapeError),
        (lambda x, y: (x[:2], y), ShapeError),
        (lambda x, y: (x,), GraphnetError),
        (lambda x, y: (x, y, y), GraphnetError),
        (lambda x, y: (), GraphnetError),
        (lambda x, y: (None, y), GraphnetError),
        (lambda x, y: ("x", y), DTypeError),
    ],
)
def test_what_the_first_call_refuses_every_call_refuses(twice, given, error):
    before = twice.specializations[0].calls
    with pytest.raises(error):
        twice(*given(*arrays()))
    assert twice.specializations[0].calls == before
    x, y = arrays()
    np.testing.assert_array_equal(twice(x, y), 2 * x + y)


def test_names_numbers_and_several_results():
    x, s = gn.input("x", (5,)), gn.input("s", ())
    f = gn.compile([x * s, gn.sum(x), s + 1.0], [x, s])
    v = np.arange(5, dtype="f")
    for _ in range(3):
        a, b, c = f(v, 3.0)
        assert isinstance(b, np.float32) and (b, c) == (10, 4)
        np.testing.assert_array_equal(a, 3 * v)
        a, b, c = f(v, np.array(2.0, "f"))
        assert isinstance(c, np.float32) and (b, c) == (10, 3)
        np.testing.assert_array_equal(f(s=np.array(4.0, "f"), x=v)[0], 4 * v)


def test_updates_and_writes_are_seen_by_the_next_call():
    w, x = gn.parameter("w", (3,), init=gn.init.constant(1.0)), gn.input("x", (3,))
    step = gn.compile(w * x, [x], {w: w + x})
    ones = np.ones(3, "f")
    assert [float(step(ones)[0]) for _ in range(3)] == [1, 2, 3]
    step.state["w"] = np.full(3, 10, "f")
    assert [float(step(ones)[0]) for _ in range(2)] == [10, 11]
    np.testing.assert_array_equal(step.state["w"], 12)


@pytest.mark.parametrize("threads", [1, 2])
def test_threads_of_python_may_call_one_function(threads):
    """Functions that share their worker threads, and each one's table of pointers, take turns."""
    x = gn.input("x", ("N", 64))
    functions = [gn.compile(gn.tanh(x @ gn.transpose(x)) + float(k), [x], threads=threads) for k in range(2)]
    values = [np.random.default_rng(k).random((64, 64), dtype=np.float32) for k in range(4)]
    expected = [[f(v).copy() for v in values] for f in functions]
    wrong: list[tuple[int, int]] = []

    def work(k: int) -> None:
        for n in range(200):
            which = (n + k) % 2
            if not np.array_equal(functions[which](values[k]), expected[which][k]):
                wrong.append((k, n))

    workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in workers:
        t.start()
    for t in workers:
        t.join()
    assert not wrong


def test_objects_laid_out_otherwise_are_left_to_python(monkeypatch):
    monkeypatch.setattr(entry, "_known", lambda: False)
    x = gn.input("x", (3,))
    f = gn.compile(x + 1.0, [x])
    for n in range(3):
        np.testing.assert_array_equal(f(np.full(3, n, "f")), n + 1)
    assert f._entered is None


def test_the_layout_of_objects_is_looked_at(monkeypatch):
    assert entry._known()
    for name in ("DATA", "RANK", "DTYPE", "FLAGS", "ITEMS", "LENGTH"):
        with monkeypatch.context() as m:
            m.setattr(entry, name, getattr(entry, name) + 4)
            assert not entry._known.__wrapped__(), name
