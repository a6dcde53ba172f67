"""Products under their usual names, and Einstein's notation, against NumPy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn
from graphnet.errors import GraphnetError, ShapeError
from graphnet.node import toposort

from .layers import against_torch

RNG = np.random.default_rng(5)
EXTENTS = {"i": 2, "j": 3, "k": 4, "l": 5, "b": 2, "h": 3, "q": 4, "d": 2}


def nodes(*arrays: np.ndarray) -> list[gn.Node]:
    return [gn.input(f"x{k}", a.shape, a.dtype) for k, a in enumerate(arrays)]


def same(node: gn.Node, xs: list[gn.Node], arrays: list[np.ndarray], want: np.ndarray) -> None:
    (got,) = gn.evaluate(node, dict(zip(xs, arrays, strict=True)))
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


EQUATIONS = [
    "ij,jk->ik", "ij,jk", "ji,jk->ki", "bij,bjk->bik", "bqhd,bkhd->bhqk", "i,j->ij", "i,i->", "i,i", "ij->ji", "ji",
    "ij->", "ij->j", "ii->i", "ii", "iij->ij", "iji->j", "iijj->ij", "iii->i", "ij,ij->ij", "ij,ij->i", "ij,kl->ijkl",
    "ij,kl->lkji", "i,ij,j->", "ij,jk,kl->il", "ij,jk,kl,l->i", "ij,ik,il->jkl", "b,bi,bj->bij", "ij,j->i", "j,ij->i",
    ",ij->ij", "bij,kl->bk", "ijk,jil->kl", "ab,cd->", "Ab,bA", "...ij,...jk->...ik", "...ij,jk", "i...->...",
    "...->...", "i...j,j...->...i", "...,...", "...ii->...i",
]  # fmt: skip


@pytest.mark.parametrize("equation", EQUATIONS)
def test_einsum(equation: str) -> None:
    extents = EXTENTS | {"a": 2, "c": 3, "A": 4}
    arrays = []
    for k, term in enumerate(equation.partition("->")[0].split(",")):
        before, dots, after = term.partition("...")
        middle = ((2, 3), (3,))[k % 2] if dots else ()
        shape = (*(extents[a] for a in before), *middle, *(extents[a] for a in after))
        arrays.append(RNG.normal(size=shape))
    xs = nodes(*arrays)
    same(gn.einsum(equation, *xs), xs, arrays, np.einsum(equation, *arrays))


def test_einsum_repeats_extents_of_one() -> None:
    arrays = [RNG.normal(size=s) for s in ((3, 1, 4), (1, 5, 4))]
    xs = nodes(*arrays)
    for equation in ("ijk,ijk->ij", "ijk,ijk->", "ijk,ijl->jk"):
        same(gn.einsum(equation, *xs), xs, arrays, np.einsum(equation, *arrays))


@pytest.mark.parametrize("equation", ["bqhd,bkhd->bhqk", "iij,jk->ki", "i,ij,j->", "...ij,jk"])
def test_einsum_has_pytorch_s_gradients(equation: str) -> None:
    torch = pytest.importorskip("torch")
    shapes = {
        "bqhd,bkhd->bhqk": ((2, 4, 3, 2), (2, 5, 3, 2)),
        "iij,jk->ki": ((2, 2, 3), (3, 4)),
        "i,ij,j->": ((2,), (2, 3), (3,)),
        "...ij,jk": ((2, 3, 2, 4), (4, 5)),
    }[equation]
    arrays = {f"x{k}": RNG.normal(size=s) for k, s in enumerate(shapes)}
    against_torch(lambda *xs: gn.einsum(equation, *xs), lambda *xs: torch.einsum(equation, *xs), arrays)


def test_einsum_is_one_matrix_product() -> None:
    x, y = gn.input("x", ("N", 7, 5)), gn.input("y", (5, 7, 3))
    found = [n for n in toposort([gn.einsum("nij,jik->nk", x, y)]) if n.op.kind == "contract"]
    assert len(found) == 1 and str(found[0].type) == "float32[N, 3]"


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        ("ij", "1 terms for 2 operands"),
        ("ijk,jk->i", "names 3 axes"),
        ("ij,jk->iz", "'z' is in no operand"),
        ("ij,jk->ii", "names an axis twice"),
        ("i1,jk->i", "is not letters"),
        ("ij,jk->i->", "is not letters"),
        ("ij,ik->jk", "extents 2 and 3"),
    ],
)
def test_einsum_refuses(equation: str, message: str) -> None:
    with pytest.raises(GraphnetError, match=message):
        gn.einsum(equation, gn.input("x", (2, 3)), gn.input("y", (3, 4)))


@pytest.mark.parametrize(
    ("a", "b"), [((4,), (4,)), ((3, 4), (4,)), ((4,), (4, 2)), ((2, 3, 4), (4,)), ((4,), (3, 4, 2)),
                 ((5, 1, 3, 4), (2, 4, 2)), ((0, 4), (4, 3)), ((2, 0), (0, 3))]
)  # fmt: skip
def test_matmul_of_any_ranks_and_dtypes(a: tuple[int, ...], b: tuple[int, ...]) -> None:
    for dtype in ("float64", "int32", "int64"):
        arrays = [RNG.integers(-9, 9, s).astype(dtype) for s in (a, b)]
        xs = nodes(*arrays)
        got = gn.compile(gn.matmul(*xs), xs)(*arrays)
        want = np.matmul(*arrays)
        assert got.dtype == want.dtype and got.shape == want.shape
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", ["outer", "inner", "dot", "kron", "tensordot", "vecdot"])
def test_products_as_in_numpy(name: str) -> None:
    shapes = {
        "outer": [((3,), (4,)), ((2, 3), (2,))],
        "inner": [((3,), (3,)), ((2, 3), (4, 3)), ((), (2,))],
        "dot": [((3,), (3,)), ((2, 3), (3,)), ((2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((), (2,))],
        "kron": [((2,), (3,)), ((2, 3), (3, 2)), ((2,), (2, 3)), ((2, 1, 2), (3, 2))],
        "tensordot": [((2, 3, 4), (3, 4, 5))],
        "vecdot": [((2, 3), (2, 3)), ((2, 1, 3), (4, 3))],
    }[name]
    for pair in shapes:
        arrays = [RNG.normal(size=s) for s in pair]
        xs = nodes(*arrays)
        want = (arrays[0] * arrays[1]).sum(-1) if name == "vecdot" else getattr(np, name)(*arrays)
        same(getattr(gn, name)(*xs), xs, arrays, np.asarray(want))


@pytest.mark.parametrize("axes", [0, 1, ([1, 0], [0, 2]), (-1, 0)])
def test_tensordot_over_any_axes(axes: object) -> None:
    shapes = {"0": ((2, 3), (4,)), "1": ((2, 3), (3, 4)), "([1, 0], [0, 2])": ((2, 3, 4), (3, 5, 2))}
    arrays = [RNG.normal(size=s) for s in shapes.get(str(axes), ((2, 3), (3, 4)))]
    xs = nodes(*arrays)
    same(gn.tensordot(*xs, axes), xs, arrays, np.tensordot(*arrays, axes))


def test_linear_and_gemm() -> None:
    torch = pytest.importorskip("torch")
    arrays = {"x": RNG.normal(size=(2, 3, 4)), "w": RNG.normal(size=(5, 4)), "b": RNG.normal(size=5)}
    against_torch(gn.linear, torch.nn.functional.linear, arrays)
    arrays = {"a": RNG.normal(size=(4, 3)), "b": RNG.normal(size=(5, 4)), "c": RNG.normal(size=(3, 1))}
    against_torch(
        lambda a, b, c: gn.gemm(a, b, c, 0.5, 2.0, True, True), lambda a, b, c: 0.5 * (a.T @ b.T) + 2 * c, arrays
    )


@pytest.mark.parametrize("ord", ["fro", 1, -1, float("inf"), -float("inf")])
def test_matrix_norm(ord: str | float) -> None:
    torch = pytest.importorskip("torch")
    arrays = {"x": RNG.normal(size=(2, 3, 4))}
    for keep in (False, True):
        against_torch(
            lambda x, k=keep: gn.matrix_norm(x, ord, k),
            lambda x, k=keep: torch.linalg.matrix_norm(x, ord, keepdim=k),
            arrays,
        )


@pytest.mark.parametrize("n", range(1, 7))
def test_small_determinants_and_inverses(n: int) -> None:
    torch = pytest.importorskip("torch")
    arrays = {"x": RNG.normal(size=(3, n, n)) + 2 * np.eye(n)}
    against_torch(gn.det, torch.linalg.det, arrays, dtypes=("float64",))
    against_torch(gn.inv, torch.linalg.inv, arrays, dtypes=("float64",))


def test_refusals() -> None:
    x, y = gn.input("x", (2, 3)), gn.input("y", (4, 5))
    with pytest.raises(ShapeError, match="axis 1 of"):
        gn.tensordot(x, y, 1)
    with pytest.raises(ShapeError, match="square"):
        gn.det(x)
    with pytest.raises(ShapeError, match="up to 6 rows, not 7"):
        gn.inv(gn.input("z", (7, 7)))
    with pytest.raises(GraphnetError, match="ord must be"):
        gn.matrix_norm(x, "nuc")
