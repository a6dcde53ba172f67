"""All elementary functions in one compiled kernel, at special values and arguments of any size."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn
from codegen.dtypes import FROM_NUMPY
from codegen.expr import MATH, MATH2

from ..codegen.test_mathlib import SPECIAL
from ..codegen.ulp import computed, points


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("target", ["cpu", "cpu:simd128", "emulator"])
def test_compiled_code_computes_what_the_expressions_say(target: str, dtype: str) -> None:
    count = 20 if target == "emulator" else 200
    sets = [points(name, FROM_NUMPY[dtype], count) for name in (*MATH, *MATH2)]
    with np.errstate(all="ignore"):
        special = np.array(SPECIAL, dtype)
    x = np.concatenate([special, np.tile(special, special.size), *(s[0] for s in sets)])
    y = np.concatenate([special, np.repeat(special, special.size), *(s[-1] for s in sets)])
    a, b = gn.input("x", x.shape, dtype), gn.input("y", x.shape, dtype)
    outputs = [getattr(gn, name)(a) for name in MATH] + [getattr(gn, name)(a, b) for name in MATH2]
    results = gn.compile(outputs, [a, b], target=target, threads=1)(x, y)
    for name, got in zip((*MATH, *MATH2), results, strict=True):
        want = computed(name, (x, y) if name in MATH2 else (x,))
        # The expressions' value by NumPy, whose fma rounds twice.
        with np.errstate(all="ignore"):
            near = np.abs(got - want) <= 6 * np.spacing(np.abs(want))
        same = (np.isnan(got) & np.isnan(want)) | ((near | (got == want)) & (np.signbit(got) == np.signbit(want)))
        assert same.all(), (name, x[~same], y[~same], got[~same], want[~same])
