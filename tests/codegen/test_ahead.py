"""What kernels ask memory for: each line once, by the loop that has far to go, and only of large arrays."""

from __future__ import annotations

import graphnet as gn
from codegen.expr import Buffer, Const, Expr, Var, const
from codegen.kernels.ahead import AHEAD, Tile
from codegen.traverse import substitute

i, j, e, r, s = (Var(n) for n in "ijers")
ZERO = const(0, "i64")
ELEMENTS = AHEAD // 4


def asked(tile: Tile, *values: Expr) -> list[int]:
    """Places, in elements, that are asked for where all loops are at 0."""
    found = []
    for x in tile.asks(values):
        at = [substitute(k, dict.fromkeys("ije", ZERO)) for k in x.index]
        assert all(isinstance(k, Const) for k in at)
        found.append(sum(int(k.value) * n for k, n in zip(at, x.buffer.strides, strict=True)))  # type: ignore[attr-defined]
    return found


def test_a_flat_walk_asks_for_each_line_once() -> None:
    x, small = Buffer("x", "f32", (1 << 20,)), Buffer("small", "f32", (1 << 18,))
    tile = Tile({"e": (j * 64, 64)}, [(j, 1 << 14)])
    assert asked(tile, x[e] + x[e], small[e]) == [ELEMENTS + n for n in (0, 16, 32, 48)]


def test_windows_ask_for_rows_that_no_window_before_has_read() -> None:
    x = Buffer("x", "f32", (2048, 80, 80))
    tile = Tile({"e": (j * 32, 32), "r": (ZERO, 3), "s": (ZERO, 2)}, [(i, 2048), (Var("p"), 40), (j, 1)])
    value = x[i, Var("p") * 2 + r, e * 2 + s]
    (first, *_) = asks = tile.asks([value])
    assert len(asks) == 2 * 4  # rows 1 and 2 of three: 0 is row 2 of the window above
    assert "p" in repr(first.index[1])


def test_what_does_not_go_on_is_asked_for_by_the_loop_around_it() -> None:
    """Sums over images and pixels for each channel: after the pixels comes the next image, not what lies next."""
    x = Buffer("x", "f32", (16, 64, 6400))
    tile = Tile({"e": (j * 64, 64)}, [(Var("c"), 64), (i, 16), (j, 100)])
    (image, *_), *_ = (a.index for a in tile.asks([x[i, Var("c"), e]]))
    assert substitute(image, {"i": ZERO}) == const(1, "i64")


def test_nothing_is_asked_for_twice_far_apart_or_unknown() -> None:
    x, k = Buffer("x", "f32", (1 << 21,)), Buffer("k", "i64", (1 << 10,))
    loops = [(i, 1 << 14), (j, 8)]
    assert not asked(Tile({"e": (i * 64, 64)}, loops), x[e])  # the same for every j
    assert not asked(Tile({"e": (j * 64, 64)}, loops), x[e * 32])  # each element in another line
    assert not asked(Tile({"e": (j * 64, 64)}, loops), x[k[e]])


def test_stages_of_a_row_ask_once() -> None:
    """Softmax reads a row for its maximum, which waits for memory, and again for exp, which does not."""
    x = gn.input("x", (512, 2048))
    f = gn.compile(gn.softmax(x), [x], target="cpu")
    f.specialise({})
    before, _, after = f.source("loops").partition("exp(")
    assert "prefetch" in before[before.rindex("for task") :] and "prefetch" not in before[: before.rindex("for task")]
    assert "prefetch" not in after
