"""Resizing against PyTorch's interpolate and ONNX's reference."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import graphnet as gn
from graphnet.errors import GraphnetError
from graphnet.node import toposort

from .layers import against_torch

RNG = np.random.default_rng(9)


@pytest.mark.parametrize(
    ("mode", "shape", "options"),
    [
        ("nearest", (2, 3, 4, 5), {"size": (8, 15)}),
        ("nearest", (2, 3, 8, 6), {"size": (4, 2)}),
        ("nearest", (2, 3, 7, 5), {"size": (4, 9)}),
        ("nearest", (1, 2, 5), {"scale_factor": 1.7}),
        ("nearest-exact", (2, 3, 7, 5), {"size": (4, 10)}),
        ("linear", (2, 3, 7), {"size": 4}),
        ("bilinear", (2, 3, 7, 5), {"size": (4, 11)}),
        ("bilinear", (2, 3, 7, 5), {"size": (4, 11), "align_corners": True}),
        ("bilinear", (2, 3, 7, 5), {"scale_factor": (0.6, 2.3)}),
        ("bilinear", (2, 3, 7, 5), {"scale_factor": 1.5, "align_corners": True}),
        ("bilinear", (2, 3, 9, 5), {"size": (4, 11), "antialias": True}),
        ("trilinear", (1, 2, 3, 4, 5), {"size": (5, 2, 7)}),
        ("bicubic", (2, 3, 7, 5), {"size": (4, 11)}),
        ("bicubic", (2, 3, 7, 5), {"size": (4, 11), "align_corners": True}),
        ("bicubic", (2, 3, 9, 5), {"size": (4, 7), "antialias": True}),
        ("area", (2, 3, 7, 6), {"size": (4, 3)}),
    ],
)
def test_interpolate(mode: str, shape: tuple[int, ...], options: dict[str, object]) -> None:
    torch = pytest.importorskip("torch")
    against_torch(
        lambda x: gn.interpolate(x, mode=mode, **options),
        lambda x: torch.nn.functional.interpolate(
            x, mode=mode, **({"align_corners": False} if "linear" in mode or mode == "bicubic" else {}) | options
        ),
        {"x": RNG.normal(size=shape)},
    )


COORDINATES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


def onnx_resize(x: np.ndarray, sizes: object, scales: object, **attributes: object) -> np.ndarray:
    """By the reference implementation of the onnx package."""
    onnx = pytest.importorskip("onnx")
    evaluator = pytest.importorskip("onnx.reference").ReferenceEvaluator
    helper, kind = onnx.helper, onnx.TensorProto
    names = ["x", "roi" if "roi" in attributes else "", "scales" if scales else "", "sizes" if sizes else ""]
    feeds = {"x": x, "roi": np.array(attributes.pop("roi", []), "d")}
    feeds["scales"], feeds["sizes"] = np.array(scales or [], "f"), np.array(sizes or [], np.int64)
    feeds = {k: v for k, v in feeds.items() if k in names}
    node = helper.make_node("Resize", names, ["y"], **attributes)
    types = {"x": kind.DOUBLE, "roi": kind.DOUBLE, "scales": kind.FLOAT, "sizes": kind.INT64}
    inputs = [helper.make_tensor_value_info(k, types[k], v.shape) for k, v in feeds.items()]
    outputs = [helper.make_tensor_value_info("y", kind.DOUBLE, None)]
    graph = helper.make_graph([node], "g", inputs, outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)])
    return evaluator(model).run(None, feeds)[0]


def same(x: np.ndarray, want: np.ndarray, **options: object) -> None:
    n = gn.input("x", x.shape, "float64")
    (got,) = gn.evaluate(gn.resize(n, **options), {n: x})
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)  # its factors are float32


@pytest.mark.parametrize(("coordinates", "mode"), list(itertools.product(COORDINATES, ["linear", "cubic"])))
def test_coordinates_as_in_onnx(coordinates: str, mode: str) -> None:
    x = RNG.normal(size=(4, 5))
    for sizes, scales in (((7, 3), None), (None, (0.625, 1.75))):
        for outside in (0, 1) if mode == "cubic" else (0,):
            for antialias in (0, 1):
                attributes = {"exclude_outside": outside, "antialias": antialias, "cubic_coeff_a": -0.5}
                want = onnx_resize(
                    x, sizes, scales, mode=mode, coordinate_transformation_mode=coordinates, **attributes
                )
                same(x, want, sizes=sizes, scales=scales, mode=mode, coordinates=coordinates, **attributes)


@pytest.mark.parametrize(("coordinates", "rounding"), list(itertools.product(COORDINATES, ROUNDINGS)))
def test_roundings_as_in_onnx(coordinates: str, rounding: str) -> None:
    x = RNG.normal(size=(4, 6))
    for scales in ((2.0, 0.5), (1.75, 0.625), (0.5, 3.0)):
        want = onnx_resize(x, None, scales, coordinate_transformation_mode=coordinates, nearest_mode=rounding)
        same(x, want, scales=scales, coordinates=coordinates, rounding=rounding)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_crops_and_policies_as_in_onnx(mode: str) -> None:
    x = RNG.normal(size=(4, 6))
    for roi in ([0.2, 0.1, 0.7, 0.9], [0.4, -0.2, 1.3, 0.8]):
        want = onnx_resize(
            x, (3, 4), None, mode=mode, roi=roi, coordinate_transformation_mode="tf_crop_and_resize",
            extrapolation_value=9.0,
        )  # fmt: skip
        same(x, want, sizes=(3, 4), mode=mode, roi=roi, coordinates="tf_crop_and_resize", extrapolation_value=9.0)
    for policy in ("not_larger", "not_smaller"):
        want = onnx_resize(x, (7, 8), None, mode=mode, keep_aspect_ratio_policy=policy, axes=[0, 1])
        same(x, want, sizes=(7, 8), mode=mode, keep_aspect_ratio=policy)


def test_integers_half_precision_and_whole_factors() -> None:
    x = gn.input("x", ("N", 2, 3), "uint8")
    values = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    y = gn.resize(x, (4, 5), axes=(1, 2))
    assert gn.compile(y, [x])(values).dtype == np.uint8
    twice = gn.resize(x, scales=(2, 3), axes=(1, 2), coordinates="asymmetric", rounding="floor")
    np.testing.assert_array_equal(gn.compile(twice, [x])(values), values.repeat(2, 1).repeat(3, 2))
    assert {n.op.name for n in toposort([twice])} == {"input", "reshape", "broadcast_to"}
    h = gn.input("h", (1, 4), "float16")
    assert gn.resize(h, (1, 7), mode="linear").dtype == "float16"


def test_refusals() -> None:
    x = gn.input("x", ("N", 2, 3, 4))
    for wrong in (
        lambda: gn.resize(x, (1, 2)),
        lambda: gn.resize(x, (5, 2, 3, 4)),
        lambda: gn.resize(x, scales=(1, 1, 0.1, 1)),
        lambda: gn.resize(x, (2, 2), axes=(2, 3), mode="lanczos"),
        lambda: gn.resize(gn.cast(x, "int32"), (2, 2), axes=(2, 3), mode="linear"),
        lambda: gn.interpolate(x),
        lambda: gn.interpolate(x, 2, mode="nearest", align_corners=True),
    ):
        with pytest.raises(GraphnetError):
            wrong()
