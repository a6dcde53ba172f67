"""Code on disk: used again when nothing that decides it has changed, never when it is damaged or not ours."""

import os
from dataclasses import dataclass

import numpy as np
import pytest

import graphnet as gn
from codegen import cache
from codegen.machine import machine
from graphnet.op import OPS
from graphnet.ops.elementwise import Unary


@pytest.fixture
def folder(tmp_path, monkeypatch):
    run()  # what every process needs is loaded by now
    monkeypatch.setenv("GRAPHNET_CACHE", str(tmp_path))
    return tmp_path / "objects"


def run(*scales):
    """(the result, how many kernels had to be made)."""
    x = gn.input("x", ("N", 3))
    y = gn.tanh(x)
    for scale in scales or (2.0,):
        y = gn.sum(gn.tanh(y * scale), axis=0, keepdims=True) + y
    f = gn.compile(y, [x])
    result = f(np.ones((2, 3), "f"))
    return result, f.specializations[0].kernels.made


def test_the_second_time_nothing_is_compiled(folder):
    first, made = run()
    assert made == len(list(folder.iterdir())) - 1 > 0  # one entry is the program's: see test_artifact.py
    second, made = run()
    assert made == 0
    np.testing.assert_array_equal(first, second)


def test_what_another_graph_has_in_common_is_not_compiled_again(folder):
    _, both = run(2.0, 3.0)
    _, made = run(2.0, 4.0)
    assert 0 < made < both


def test_everything_that_decides_the_code_is_in_the_name(folder):
    names = {cache.key(text, machine(e)) for text in ("a", "b") for e in ("", "simd128")}
    assert len(names) == 4


@pytest.mark.parametrize("damage", [b"", b"short", lambda d: d[:-1], lambda d: d[:40] + b"\xcc" * 8 + d[48:]])
def test_a_damaged_entry_is_made_again(folder, damage):
    first, made = run()
    for entry in sorted(folder.iterdir()):
        good = entry.read_bytes()
        entry.write_bytes(damage(good) if callable(damage) else damage)
        second, again = run()
        made -= again
        assert entry.read_bytes() == good
        np.testing.assert_array_equal(first, second)
    assert made == 0  # each kernel once


@pytest.mark.skipif(os.name != "posix", reason="permission bits")
def test_a_folder_that_others_may_write_is_not_used(folder):
    run()
    folder.chmod(0o777)
    assert run()[1]


def test_a_folder_that_cannot_be_made_costs_only_time(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("GRAPHNET_CACHE", str(tmp_path / "file" / "under"))
    assert run()[1]


def test_it_can_be_turned_off(monkeypatch):
    monkeypatch.setenv("GRAPHNET_CACHE", "off")
    run()
    assert run()[1]


def test_the_oldest_entries_go_when_there_are_too_many(folder, monkeypatch):
    monkeypatch.setattr(cache, "LIMIT", 3000)
    for k in range(5):
        cache.save({f"entry{k}": bytes(900)})
        os.utime(folder / f"entry{k}", (k, k))
    last = f"{cache.SOMETIMES}last"  # not every name has the folder looked through
    cache.save({last: bytes(900)})
    assert {f.name for f in folder.iterdir()} == {"entry3", "entry4", last}


def test_ops_of_the_users_own_are_known_by_what_they_compute(folder):
    def result(amount):
        @dataclass(frozen=True)
        class Own(Unary):
            """Whatever its author says today."""

            name = "own"

            def evaluate(self, x):
                return x + amount

            def scalar(self, x):
                return x + amount

        try:
            x = gn.input("x", (3,))
            return gn.compile(gn.apply(Own(), x), [x])(np.zeros(3, "f"))[0]
        finally:
            del OPS["own"]

    assert [result(1.0), result(2.0), result(1.0)] == [1, 2, 1]
