"""Guards are left out exactly where they hold for every lane."""

from codegen.expr import Buffer, Expr, Var, lift, select
from codegen.kernels.guards import columns, unguarded, within
from codegen.loops import For, Let, Stmt, Store, expressions, statements
from codegen.traverse import walk

X, Y = Buffer("x", "f32", (9,)), Buffer("y", "f32", (6, 2))
INDEX, LANE = Var("i"), Var("lane")
RANGES = {"i": (0, 6), "lane": (0, 2)}


def body() -> tuple[Store, ...]:
    """y[i, lane] = x[2 i + lane - 3], of 9 elements, or 0."""
    at: Expr = INDEX * 2 + LANE - 3
    inside = (lift(0, "i64") <= at) & (at < 9)
    return (Store(Y, (INDEX, LANE), select(inside, X[at], 0.0)),)


def compared(block: tuple[Stmt, ...]) -> bool:
    return any(
        getattr(x, "op", "") in ("lt", "le")
        for s in statements(block)
        for e in expressions(s)
        for x in walk(e)
    )


def test_the_values_for_which_every_lane_is_inside() -> None:
    inside = [i for i in range(6) if all(0 <= 2 * i + lane - 3 < 9 for lane in range(2))]
    assert within(body(), "i", RANGES) == (inside[0], inside[-1] + 1) == (2, 6)


def test_within_them_nothing_is_compared() -> None:
    assert not compared(unguarded(body(), {**RANGES, "i": (2, 6)}))
    assert compared(unguarded(body(), {**RANGES, "i": (1, 6)}))
    never = {"i": (0, 1), "lane": (0, 2)}
    assert unguarded(body(), never) == (Store(Y, (INDEX, LANE), lift(0.0, "f32")),)


def test_comparisons_that_are_not_affine_stay() -> None:
    odd = (Let(Var("v", "f32"), select(INDEX % 2 < 1, X[INDEX], 0.0)),)
    assert unguarded(odd, RANGES) == odd and within(odd, "i", RANGES) == (0, 6)


def test_columns_run_in_parts_that_cover_all() -> None:
    parts = columns(INDEX, 6, body(), RANGES)
    found = [(p.start, p.stop, compared((p,))) for p in parts if isinstance(p, For)]
    zero, two, six = (lift(n, "i64") for n in (0, 2, 6))
    assert found == [(zero, two, True), (two, six, False)] and len(parts) == 2
