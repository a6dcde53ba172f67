"""Short-time spectra, and the windows that they use."""

from __future__ import annotations

import math

import numpy as np

from ..errors import ShapeError
from ..node import Node, apply, constant
from ..site import located
from .broadcast import reshape
from .fft import fft, rfft
from .gather import Take


def _cosines(n: int, periodic: bool, dtype: str, *weights: float) -> Node:
    """sum_k weights[k] cos(2 pi k i / d), with d = n for a window of a period, else n - 1."""
    if n < 0:
        raise ShapeError(f"a window has {n} points")
    angle = 2 * math.pi * np.arange(n) / ((n if periodic else n - 1) or 1)
    total = np.zeros(n) if n != 1 else np.ones(1)
    for k, w in enumerate(weights if n != 1 else ()):
        total += w * np.cos(k * angle)
    return constant(total, dtype)


@located
def hann_window(n: int, periodic: bool = True, dtype: str = "float32") -> Node:
    """(1 - cos(2 pi i / n)) / 2, a constant (n,); or symmetric, with n - 1 for n."""
    return _cosines(n, periodic, dtype, 0.5, -0.5)


@located
def hamming_window(
    n: int, periodic: bool = True, alpha: float = 0.54, beta: float = 0.46, dtype: str = "float32"
) -> Node:
    """alpha - beta cos(2 pi i / n), a constant (n,); or symmetric, with n - 1 for n. (ONNX: 25/46 and 21/46.)"""
    return _cosines(n, periodic, dtype, alpha, -beta)


@located
def blackman_window(n: int, periodic: bool = True, dtype: str = "float32") -> Node:
    """0.42 - 0.5 cos(2 pi i / n) + 0.08 cos(4 pi i / n), a constant (n,); or symmetric, with n - 1 for n."""
    return _cosines(n, periodic, dtype, 0.42, -0.5, 0.08)


@located
def stft(x: Node, frame_step: int, window: Node | None = None, frame_length: int = 0, onesided: bool = True) -> Node:
    """x (..., L) -> (..., frames, numbers, 2): the transform of each frame of frame_length values (the window's length
    unless given), one every frame_step, times the window: frame_length // 2 + 1 numbers, or all if not onesided. Only
    whole frames count. ONNX's STFT of real signals; torch.stft with center=False, but for the order of axes."""
    if not frame_length and window is not None and isinstance(window.shape[0], int):
        frame_length = window.shape[0]
    length = x.shape[-1] if x.rank else 0
    if not isinstance(length, int) or not 1 <= frame_length <= length or frame_step < 1:
        raise ShapeError(f"stft: frames of {frame_length} every {frame_step} of {x!r}")
    if window is not None and window.shape != (frame_length,):
        raise ShapeError(f"stft: the window must have {frame_length} points, not {window!r}")
    starts = np.arange(0, length - frame_length + 1, frame_step, dtype=np.int32)
    frames = apply(Take(x.rank - 1), x, constant(starts[:, None] + np.arange(frame_length, dtype=np.int32)))
    frames = frames if window is None else frames * window
    if onesided:
        return rfft(frames)
    return fft(reshape(frames, (*frames.shape, 1)))
