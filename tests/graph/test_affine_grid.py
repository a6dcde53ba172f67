"""Grids of affine maps against PyTorch; places that are no numbers."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn

from .layers import against_torch

RNG = np.random.default_rng(6)


def test_grid_sample_of_volumes_and_affine_grids() -> None:
    torch = pytest.importorskip("torch")
    f = torch.nn.functional
    for shape in ((2, 3, 4, 5), (2, 1, 2, 3, 4)):
        d = len(shape) - 2
        given = {"x": RNG.normal(size=shape), "t": np.eye(d, d + 1) + 0.2 * RNG.normal(size=(2, d, d + 1))}
        for corners in (False, True):
            against_torch(
                lambda x, t, s=shape, c=corners: gn.grid_sample(x, gn.affine_grid(t, s, c), align_corners=c),
                lambda x, t, s=shape, c=corners: f.grid_sample(x, f.affine_grid(t, s, c), align_corners=c),
                given,
                second=False,
                dtypes=("float64",),
            )


def test_places_that_are_no_numbers_stay_inside() -> None:
    x, g = gn.input("x", (1, 1, 2, 2)), gn.input("g", (1, 1, 3, 2))
    places = np.array([[[[np.nan, 0], [np.inf, 0], [-1e30, 1e30]]]], np.float32)
    for mode in ("nearest", "linear", "cubic"):
        y = gn.compile(gn.grid_sample(x, g, mode), [x, g])(np.ones((1, 1, 2, 2), np.float32), places)
        assert y.shape == (1, 1, 1, 3)
