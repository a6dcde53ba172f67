"""Fourier transforms against NumPy, their gradients against PyTorch, spectra of frames against SciPy and PyTorch."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn
from graphnet.errors import GraphnetError
from graphnet.node import toposort

from .layers import against_torch
from .targets import run

RNG = np.random.default_rng(4)
LENGTHS = [1, 2, 3, 7, 11, 12, 22, 32, 33, 36, 48, 64, 66, 67, 97, 105, 143, 256, 1000]


def pairs(z: np.ndarray) -> np.ndarray:
    return np.stack([z.real, z.imag], -1)


def draw(*shape: int) -> np.ndarray:
    return RNG.normal(size=shape) + 1j * RNG.normal(size=shape)


def value(f: object, x: np.ndarray, target: str = "cpu") -> np.ndarray:
    n = gn.input("x", x.shape, x.dtype)
    return run([f(n)], {n: x}, target)[0]  # type: ignore[operator]


def close(got: np.ndarray, want: np.ndarray) -> None:
    assert got.shape == want.shape
    tolerance = 1e-12 if got.dtype == np.float64 else 3e-6
    np.testing.assert_allclose(got, want, atol=tolerance * max(1.0, float(np.abs(want).max(initial=0.0))))


@pytest.mark.parametrize("n", LENGTHS)
def test_any_length(n: int) -> None:
    z = draw(2, n)
    x = RNG.normal(size=(2, n))
    m = n // 2 + 1
    half = draw(2, m)
    nodes = [gn.input("z", (2, n, 2), "float64"), gn.input("x", (2, n), "float64"), gn.input("h", (2, m, 2), "float64")]
    outputs = [gn.fft(nodes[0]), gn.ifft(nodes[0]), gn.rfft(nodes[1]), gn.irfft(nodes[2], n)]
    found = gn.compile(outputs, nodes, threads=1)(pairs(z), x, pairs(half))
    wanted = [pairs(np.fft.fft(z)), pairs(np.fft.ifft(z)), pairs(np.fft.rfft(x)), np.fft.irfft(half, n)]
    for got, want in zip(found, wanted, strict=True):
        close(got, want)


@pytest.mark.parametrize("target", ["body", "emulator"])
def test_on_other_targets(target: str) -> None:
    for n in (12, 66, 67):
        z = draw(2, n)
        close(value(gn.fft, pairs(z), target), pairs(np.fft.fft(z)))
    x = RNG.normal(size=(2, 36)).astype(np.float32)
    close(value(gn.rfft, x, target), pairs(np.fft.rfft(x)))


@pytest.mark.parametrize("norm", ["backward", "ortho", "forward"])
def test_axes_lengths_and_norms(norm: str) -> None:
    z, x = draw(3, 5, 4), RNG.normal(size=(3, 5, 4))
    p = pairs(z)
    close(value(lambda n: gn.fft(n, 7, 0, norm), p), pairs(np.fft.fft(z, 7, 0, norm)))
    close(value(lambda n: gn.ifft(n, 3, 1, norm), p), pairs(np.fft.ifft(z, 3, 1, norm)))
    close(value(lambda n: gn.rfft(n, 40, 1, norm), x), pairs(np.fft.rfft(x, 40, 1, norm)))
    close(value(lambda n: gn.irfft(n, None, 0, norm), p), np.fft.irfft(z, None, 0, norm))
    close(value(lambda n: gn.irfft(n, 9, 1, norm), p), np.fft.irfft(z, 9, 1, norm))
    close(value(lambda n: gn.fft2(n, norm=norm), p), pairs(np.fft.fft2(z, norm=norm)))
    close(value(lambda n: gn.ifft2(n, (2, 6), (0, 2), norm), p), pairs(np.fft.ifft2(z, (2, 6), (0, 2), norm)))
    close(value(lambda n: gn.rfft2(n, norm=norm), x), pairs(np.fft.rfft2(x, norm=norm)))
    close(value(lambda n: gn.irfft2(n, norm=norm), p), np.fft.irfft2(z, norm=norm))
    close(value(lambda n: gn.fftn(n, norm=norm), p), pairs(np.fft.fftn(z, norm=norm)))
    close(value(lambda n: gn.irfftn(gn.rfftn(n, norm=norm), (3, 5, 4), (0, 1, 2), norm), x), x)
    close(value(lambda n: gn.ifftn(gn.fftn(n, norm=norm), norm=norm), p), p)


def test_real_parts_alone_and_empty_batches() -> None:
    x = RNG.normal(size=(2, 6, 1))
    close(value(gn.fft, x), pairs(np.fft.fft(x[..., 0])))
    assert value(gn.fft, np.zeros((0, 40, 2))).shape == (0, 40, 2)


@pytest.mark.parametrize("n", [6, 9, 11, 40, 67])
def test_gradients_are_pytorch_s(n: int) -> None:
    torch = pytest.importorskip("torch")
    c, r = torch.view_as_complex, torch.view_as_real
    against_torch(
        lambda x: gn.fft(x, axis=1) ** 3, lambda x: r(torch.fft.fft(c(x), dim=1)) ** 3, {"x": pairs(draw(2, n, 2))}
    )
    against_torch(lambda x: gn.rfft(x) ** 3, lambda x: r(torch.fft.rfft(x)) ** 3, {"x": RNG.normal(size=(2, n))})
    against_torch(
        lambda x: gn.irfft(x, n) ** 3, lambda x: torch.fft.irfft(c(x), n) ** 3, {"x": pairs(draw(2, n // 2 + 1))}
    )


def test_long_transforms_take_few_steps() -> None:
    for n, steps in ((1024, 2), (32768, 3)):
        nodes = toposort([gn.fft(gn.input("x", ("N", n, 2)))])
        assert [m.op.kind for m in nodes].count("transform") == steps


def test_short_time_spectra_and_windows() -> None:
    torch = pytest.importorskip("torch")
    signal = pytest.importorskip("scipy.signal")
    for ours, name in ((gn.hann_window, "hann"), (gn.hamming_window, "hamming"), (gn.blackman_window, "blackman")):
        for n in (1, 2, 7, 8):
            for periodic in (True, False):
                window = gn.evaluate(ours(n, periodic, dtype="float64"))[0]
                close(window, signal.get_window(name, n, periodic))
    x = RNG.normal(size=(2, 50))

    def theirs(x: object) -> object:
        window = torch.hann_window(16, dtype=x.dtype)
        return torch.view_as_real(torch.stft(x, 16, 6, window=window, center=False, return_complex=True).mT)

    against_torch(lambda x: gn.stft(x, 6, gn.hann_window(16, dtype=x.dtype)), theirs, {"x": x}, dtypes=("float64",))
    full = value(lambda n: gn.stft(n, 6, frame_length=16, onesided=False), x)
    close(full[:, 1], pairs(np.fft.fft(x[:, 6:22])))


def test_refusals() -> None:
    x = gn.input("x", (3, "N", 2))
    for wrong in (
        lambda: gn.fft(x),
        lambda: gn.fft(gn.input("y", (3, 4, 3))),
        lambda: gn.fft(gn.input("y", (3, 4, 2)), norm="half"),
        lambda: gn.fft(gn.input("y", (3, 4, 2)), 0),
        lambda: gn.rfft(gn.input("y", (3, 4), "int32")),
        lambda: gn.fft(gn.input("y", (3, 4, 2)), axis=2),
        lambda: gn.stft(gn.input("y", (3, 4)), 2, frame_length=5),
    ):
        with pytest.raises(GraphnetError):
            wrong()
