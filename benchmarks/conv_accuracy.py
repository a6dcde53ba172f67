"""The error of every convolution algorithm against float64, relative to the largest result, beside PyTorch's: the
table of docs/convolution.md. Forward, input gradient, weight gradient, of normally distributed values."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

import graphnet as gn
from graphnet.gradient import vjp

CASES = ((8, 64, 56, 3), (8, 64, 56, 5), (8, 64, 56, 7), (2, 64, 56, 13), (1, 64, 64, 31))  # images, channels, size, r
ALGORITHMS = ("direct", "winograd", "fft")


def ours(algorithm: str, x: np.ndarray, w: np.ndarray, dy: np.ndarray) -> tuple[str, list[np.ndarray]] | None:
    """The name of the algorithm, and its three results; None where it does not apply."""
    nodes = gn.input("x", x.shape), gn.parameter("w", w.shape, init=w), gn.input("dy", dy.shape)
    y = gn.conv2d(nodes[0], nodes[1], padding="same", algorithm=algorithm)
    dx, dw = vjp([y], nodes[:2], [nodes[2]])
    f = gn.compile([y, dx, dw], [nodes[0], nodes[2]])
    try:
        results = list(f(x, dy))
    except gn.GraphnetError:
        return None
    chosen = [d.choice for d in f.specializations[0].module.decisions if d.pass_name == "choose_conv"]
    return chosen[0], results


def theirs(x: np.ndarray, w: np.ndarray, dy: np.ndarray, dtype: torch.dtype) -> list[np.ndarray]:
    a, b = (torch.from_numpy(v).to(dtype).requires_grad_() for v in (x, w))
    y = F.conv2d(a, b, padding=w.shape[2] // 2)
    y.backward(torch.from_numpy(dy).to(dtype))
    return [y.detach().numpy(), a.grad.numpy(), b.grad.numpy()]  # type: ignore[union-attr]


def main() -> None:
    rng = np.random.default_rng(0)
    print("| convolution | algorithm | forward | input gradient | weight gradient |\n|---|---|---|---|---|")
    for n, c, size, r in CASES:
        x, dy = (rng.standard_normal((n, c, size, size), dtype=np.float32) for _ in range(2))
        w = rng.standard_normal((c, c, r, r), dtype=np.float32)
        want = theirs(x, w, dy, torch.float64)
        found = [ours(a, x, w, dy) for a in ALGORITHMS]
        rows = [f for f in found if f is not None] + [("PyTorch", theirs(x, w, dy, torch.float32))]
        for name, results in rows:
            errors = (np.abs(g - v).max() / np.abs(v).max() for g, v in zip(results, want, strict=True))
            print(
                f"| {c} -> {c}, {size}x{size}, {r}x{r}, batch {n} | {name} | " + " | ".join(f"{e:.1e}" for e in errors),
                "|",
            )


if __name__ == "__main__":
    main()
