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
    monkeypatch.setenv("GRAPHNET_CACHE", str(tmp_path))
    return tmp_path / "objects"


def run(scale=2.0):
    """(the result, whether loops had to be made)."""
    x = gn.input("x", ("N", 3))
    f = gn.compile(gn.tanh(x) * scale, [x])
    made = []
    result = f(np.ones((2, 3), "f"))
    spec = f.specializations[0]
    made = spec.schedules.cache_info().currsize > 0
    return result, made


def test_the_second_time_nothing_is_compiled(folder):
    first, made = run()
    assert made and len(list(folder.iterdir())) == 1
    second, made = run()
    assert not made
    np.testing.assert_array_equal(first, second)


def test_another_graph_is_another_entry(folder):
    run(2.0)
    assert run(3.0)[1] and len(list(folder.iterdir())) == 2


def test_everything_that_decides_the_code_is_in_the_name(folder):
    names = {cache.key(text, machine(e)) for text in ("a", "b") for e in ("", "simd128")}
    assert len(names) == 4


@pytest.mark.parametrize("damage", [b"", b"short", lambda d: d[:-1], lambda d: d[:40] + b"\xcc" * 8 + d[48:]])
def test_a_damaged_entry_is_made_again(folder, damage):
    first, _ = run()
    (entry,) = folder.iterdir()
    good = entry.read_bytes()
    entry.write_bytes(damage(good) if callable(damage) else damage)
    second, made = run()
    assert made and entry.read_bytes() == good
    np.testing.assert_array_equal(first, second)


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
        cache.save(f"entry{k}", bytes(900))
        os.utime(folder / f"entry{k}", (k, k))
    cache.save("last", bytes(900))
    assert {f.name for f in folder.iterdir()} == {"entry3", "entry4", "last"}


def test_ops_of_the_users_own_are_never_cached(folder):
    @dataclass(frozen=True)
    class Own(Unary):
        """Whatever its author says today."""

        name = "own"

        def evaluate(self, x):
            return x + 1

        def scalar(self, x):
            return x + 1.0

    try:
        x = gn.input("x", (3,))
        gn.compile(gn.apply(Own(), x), [x])(np.zeros(3, "f"))
        assert not folder.exists() or not list(folder.iterdir())
    finally:
        del OPS["own"]
