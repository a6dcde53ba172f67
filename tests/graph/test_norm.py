"""Batch normalisation and the global average: against PyTorch where it is installed, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn
from graphnet.errors import DTypeError, GraphnetError, ShapeError


def arrays(shape: tuple[int, ...], seed: int = 0) -> dict[str, np.ndarray]:
    """x, and values for every channel."""
    rng = np.random.default_rng(seed)
    found = {"x": rng.normal(3.0, 2.0, shape)}
    found |= {name: rng.normal(size=shape[1]) for name in ("scale", "shift", "mean")}
    return found | {"variance": rng.uniform(0.5, 2.0, shape[1])}


def nodes(shape: tuple[int, ...], dtype: str = "float64", batch: int | str = "N") -> dict[str, gn.Node]:
    vectors = {name: gn.input(name, (shape[1],), dtype) for name in ("scale", "shift", "mean", "variance")}
    return {"x": gn.input("x", (batch, *shape[1:]), dtype), **vectors}


@pytest.mark.parametrize("shape", [(5, 3, 4, 2), (6, 4)])
def test_training_is_as_in_pytorch(shape: tuple[int, ...]) -> None:
    """Value, gradients and the running statistics, at a batch size that is known only when called."""
    torch = pytest.importorskip("torch")
    given, n = arrays(shape), nodes(shape)
    t = {k: torch.tensor(v, requires_grad=k in ("x", "scale", "shift")) for k, v in given.items()}
    theirs = torch.nn.functional.batch_norm(t["x"], t["mean"], t["variance"], t["scale"], t["shift"], True)
    (theirs**3).sum().backward()

    y = gn.batch_norm(n["x"], n["scale"], n["shift"])
    grads = gn.gradient(gn.sum(y**3), [n["x"], n["scale"], n["shift"]])
    running = {k: gn.parameter(k, (shape[1],), given[k], "float64") for k in ("mean", "variance")}
    updates = gn.batch_norm_updates(n["x"], running["mean"], running["variance"])
    assert set(updates) == set(running.values())
    f = gn.compile([y, *grads], [n["x"], n["scale"], n["shift"]], updates)
    value, *found = f(given["x"], given["scale"], given["shift"])
    np.testing.assert_allclose(value, theirs.detach(), rtol=1e-12, atol=1e-12)
    for k, g in zip(("x", "scale", "shift"), found, strict=True):
        want = t[k].grad.numpy()
        np.testing.assert_allclose(g, want, atol=1e-11 * np.abs(want).max(), err_msg=k)
    for k, p in running.items():
        np.testing.assert_allclose(f.state.array(p), t[k], rtol=1e-13, err_msg=k)


@pytest.mark.parametrize("shape", [(5, 3, 4, 2), (6, 4)])
def test_inference_is_as_in_pytorch(shape: tuple[int, ...]) -> None:
    torch = pytest.importorskip("torch")
    given, n = arrays(shape), nodes(shape)
    t = {k: torch.tensor(v) for k, v in given.items()}
    order = ("x", "mean", "variance", "scale", "shift")
    theirs = torch.nn.functional.batch_norm(*(t[k] for k in order), False, 0.1, 1e-3)
    y = gn.batch_norm_inference(n["x"], n["scale"], n["shift"], n["mean"], n["variance"], epsilon=1e-3)
    got = gn.compile(y, [n[k] for k in order])(*(given[k] for k in order))
    np.testing.assert_allclose(got, theirs, rtol=1e-13, atol=1e-13)


def test_a_large_mean_costs_no_more_than_its_rounding() -> None:
    """The mean of squares less the square of the mean would be noise here: 1e6 has an ulp of 1/16 in float32."""
    n = nodes((64, 2, 8, 8), "float32")
    x = np.random.default_rng(0).normal(1000.0, 1.0, (64, 2, 8, 8)).astype("f")
    got = gn.compile(gn.batch_norm(n["x"], n["scale"], n["shift"]), [n["x"], n["scale"], n["shift"]])(
        x, np.ones(2, "f"), np.zeros(2, "f")
    )
    wide = x.astype("d")
    want = (wide - wide.mean((0, 2, 3), keepdims=True)) / wide.std((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(got, want, atol=1e-3)


def test_statistics_are_computed_once() -> None:
    """The op's graph, its gradient and the running statistics share their nodes."""
    n = nodes((4, 3, 5, 5))
    y = gn.batch_norm(n["x"], n["scale"], n["shift"])
    grads = gn.gradient(gn.sum(y * y), [n["x"], n["scale"], n["shift"]])
    running = [gn.parameter(k, (3,), dtype="float64") for k in ("m", "v")]
    f = gn.compile([y, *grads], [n["x"], n["scale"], n["shift"]], gn.batch_norm_updates(n["x"], *running))
    names = [m.op.name for m in f.module({"N": 4}, "layout").graph.nodes()]
    folds = [name for name in names if name in ("centred_squares", "sum")]
    # of x, of its squares about the mean, of the cotangent, and of that times x
    assert sorted(folds) == ["centred_squares", "sum", "sum", "sum"]


def test_one_element_has_no_variance() -> None:
    n = nodes((1, 2))
    running = [gn.parameter(k, (2,), value, "float64") for k, value in (("m", 0.0), ("v", 1.0))]
    for batch in (1, "N"):
        x = nodes((1, 2), batch=batch)["x"]
        y = gn.batch_norm(x, n["scale"], n["shift"])
        f = gn.compile(y, [x, n["scale"], n["shift"]], gn.batch_norm_updates(x, *running))
        got = f(np.array([[5.0, 7.0]]), np.ones(2), np.full(2, 0.25))
        np.testing.assert_array_equal(got, [[0.25, 0.25]])
        np.testing.assert_allclose(f.state.array(running[0]), [0.5, 0.7])
        np.testing.assert_allclose(f.state.array(running[1]), [0.9, 0.9])


def test_global_average() -> None:
    x = gn.input("x", ("N", 3, 4, 5), "float64")
    a = np.random.default_rng(0).normal(size=(2, 3, 4, 5))
    got, slope = gn.compile([gn.global_avg_pool2d(x), gn.gradient(gn.sum(gn.global_avg_pool2d(x) ** 2), x)], [x])(a)
    np.testing.assert_allclose(got, a.mean((2, 3)), rtol=1e-13)
    np.testing.assert_allclose(slope, np.broadcast_to(got[..., None, None] / 10, a.shape), rtol=1e-13)


def test_what_is_refused() -> None:
    n = nodes((4, 3, 5, 5))
    x, c = n["x"], n["scale"]
    with pytest.raises(ShapeError, match=r"has 3 channels, shift is float64\[4\].*test_norm.py"):
        gn.batch_norm(x, c, gn.input("d", (4,), "float64"))
    with pytest.raises(DTypeError, match="scale float32"):
        gn.batch_norm(x, gn.input("d", (3,)), c)
    with pytest.raises(ShapeError, match="a batch with channels"):
        gn.apply(gn.OPS["batch_norm"](axis=7), x, c, c)
    with pytest.raises(GraphnetError, match="epsilon must be a finite number > 0, not 0"):
        gn.batch_norm(x, c, c, epsilon=0)
    with pytest.raises(GraphnetError, match="epsilon must be"):
        gn.batch_norm_inference(x, c, c, c, c, epsilon=-1.0)
    with pytest.raises(ShapeError, match="mean is float64"):
        gn.batch_norm_inference(x, c, c, gn.input("d", (4,), "float64"), c)
    with pytest.raises(GraphnetError, match=r"momentum must be in \[0, 1\], not 2"):
        gn.batch_norm_updates(x, c, c, momentum=2)
    with pytest.raises(DTypeError, match="int32"):
        gn.batch_norm(gn.input("i", (4, 3), "int32"), c, c)
    with pytest.raises(ShapeError, match=r"global_avg_pool2d needs \(N,C,H,W\)"):
        gn.global_avg_pool2d(c)


@pytest.mark.parametrize("shape", [(16, 32, 24, 24), (64, 40), (3, 2, 96, 96), (2048, 2, 5, 5)])
@pytest.mark.parametrize("first", [0.0, 1e3])
def test_one_pass_over_x_gives_its_variance(shape: tuple[int, ...], first: float) -> None:
    """Sums shifted by the first number of each part: neither a mean of 1e3 nor a first number far from it matters."""
    x = np.random.default_rng(0).normal(1000.0, 1.0, shape).astype("f")
    x[0, :, ...] += first
    axes = tuple(a for a in range(len(shape)) if a != 1)
    n = gn.input("x", shape)
    got = gn.compile(gn.apply(gn.OPS["centred_squares"](axes), n), [n])(x)
    wide = x.astype("d")
    want = np.square(wide - wide.mean(axes, keepdims=True)).sum(axes)
    np.testing.assert_allclose(got, want, rtol=2e-6 if not first else 5e-5)


def test_statistics_have_the_same_bits_for_any_number_of_threads() -> None:
    n = nodes((16, 24, 30, 30), "float32", 16)
    y = gn.batch_norm(n["x"], n["scale"], n["shift"])
    given = [n["x"], n["scale"], n["shift"]]
    outputs = [y, *gn.gradient(gn.sum(y**3), given)]
    arrays_ = [np.random.default_rng(k).normal(size=v.shape).astype("f") for k, v in enumerate(given)]
    one = gn.compile(outputs, given, threads=1)(*arrays_)
    for threads in (2, 3):
        for a, b in zip(one, gn.compile(outputs, given, threads=threads)(*arrays_), strict=True):
            np.testing.assert_array_equal(a, b)
