"""NumPy's and SciPy's ways: products by BLAS, convolutions over one axis by SciPy's FFT."""

from __future__ import annotations

from functools import partial

import numpy as np
import scipy.fft
from scipy.signal import oaconvolve

from .cases import Arrays, Case, Conv, Gemm, Pass
from .harness import Configuration, Configurations, Step


def _whole(case: Conv, arrays: Arrays, threads: int) -> Step:
    """One transform of the whole length; sums over channels are products of matrices at each frequency."""
    length, taps, low = case.size[1], case.window[1], case.padding[1]
    size = scipy.fft.next_fast_len(length + taps - 1, real=True)

    def spectrum(a: np.ndarray) -> np.ndarray:
        """(i, j, 1, length) -> (frequencies, i, j)."""
        return np.moveaxis(scipy.fft.rfft(a[:, :, 0], size, workers=threads), 2, 0)

    def back(f: np.ndarray) -> np.ndarray:
        """(frequencies, i, j) -> (i, j, size)."""
        return np.asarray(scipy.fft.irfft(np.moveaxis(f, 0, 2), size, workers=threads))

    def forward() -> np.ndarray:
        # y[t] = sum of x[t + s - low] w[s]: the correlation, from -low on.
        y = back(spectrum(arrays["x"]) @ spectrum(arrays["w"]).conj().transpose(0, 2, 1))
        return np.roll(y, low, 2)[:, :, None, :length]

    def input_gradient() -> np.ndarray:
        # dx[t] = sum of dy[t - s + low] w[s]: the convolution, from low on.
        return back(spectrum(arrays["dy"]) @ spectrum(arrays["w"]))[:, :, None, low : low + length]

    def weight_gradient() -> np.ndarray:
        # dw[s] = sum of x[t + s - low] dy[t].
        dw = back(spectrum(arrays["dy"]).conj().transpose(0, 2, 1) @ spectrum(arrays["x"]))
        return np.roll(dw, low, 2)[:, :, None, :taps]

    return {"forward": forward, "input-gradient": input_gradient, "weight-gradient": weight_gradient}[case.part]


def _overlapped(case: Conv, arrays: Arrays) -> Step:
    """Overlap-add by SciPy's own function, channel by channel."""
    turned = arrays["w"][None, :, :, 0, ::-1]  # (1, k, c, s)
    x = arrays["x"][:, None, :, 0]  # (n, 1, c, t)
    first = case.window[1] - 1 - case.padding[1]
    return lambda: oaconvolve(x, turned, axes=-1).sum(2)[:, :, None, first : first + case.size[1]]


def make(case: Case, threads: int) -> Configurations:
    if isinstance(case, Gemm):
        a, b = (v.T if name == case.transposed else v for name, v in case.arrays().items())
        return {"numpy": Configuration(lambda: partial(np.matmul, a, b))}
    if isinstance(case, Pass) or case.size[0] != 1:
        return {}
    arrays = case.arrays()
    found = {"scipy fft": Configuration(lambda: _whole(case, arrays, threads))}
    if case.part == "forward":
        found["scipy oaconvolve"] = Configuration(lambda: _overlapped(case, arrays))
    return found
