"""What the tests of layers share: a function of ours against one of PyTorch's, with gradients of both orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

import graphnet as gn


def against_torch(
    ours: Callable[..., gn.Node],
    theirs: Callable[..., Any],
    arrays: Mapping[str, np.ndarray],
    smooth: tuple[str, ...] | None = None,
    second: bool = True,
    target: str = "cpu",
    dtypes: tuple[str, ...] = ("float64", "float32"),
) -> None:
    """Value, gradient of a weighted sum, and the derivative of that gradient's weighted sum: by `smooth` inputs, all
    floats by default. Within 1e-9 in float64 and 1e-5 in float32, relative to the largest element; second
    derivatives in float64 alone, by the reference."""
    torch = __import__("torch")
    rng = np.random.default_rng(7)
    floats = [k for k, a in arrays.items() if a.dtype.kind == "f"] if smooth is None else list(smooth)
    given = {k: torch.tensor(a, requires_grad=k in floats) for k, a in arrays.items()}
    y = theirs(*given.values())
    weights = rng.uniform(0.5, 1.5, tuple(y.shape))
    directions = {k: rng.uniform(-1, 1, arrays[k].shape) for k in floats}
    loss = (y * torch.tensor(weights)).sum()
    want = [y]
    if floats:
        first = torch.autograd.grad(loss, [given[k] for k in floats], create_graph=second)
        want += first
        if second:
            along = sum((g * torch.tensor(directions[k])).sum() for g, k in zip(first, floats, strict=True))
            if along.requires_grad:
                found = torch.autograd.grad(along, [given[k] for k in floats], allow_unused=True)
                want += [torch.zeros_like(given[k]) if g is None else g for g, k in zip(found, floats, strict=True)]
            else:
                want += [torch.zeros_like(given[k]) for k in floats]
    for dtype in dtypes:
        nodes = {k: gn.input(k, a.shape, dtype if a.dtype.kind == "f" else a.dtype) for k, a in arrays.items()}
        node = ours(*nodes.values())
        outputs = [node]
        if floats:
            one = gn.sum(node * gn.constant(weights, dtype))
            grads = gn.gradient(one, [nodes[k] for k in floats])
            outputs += grads
            if second and dtype == "float64":
                pairs = zip(grads, floats, strict=True)
                total = gn.constant(0.0, dtype)
                for g, k in pairs:
                    total = total + gn.sum(g * gn.constant(directions[k], dtype))
                found = gn.vjp([total], [nodes[k] for k in floats], [gn.constant(1.0, dtype)])
                zero = {k: gn.constant(np.zeros(arrays[k].shape), dtype) for k in floats}
                outputs += [zero[k] if g is None else g for g, k in zip(found, floats, strict=True)]
        values = [a.astype(dtype) if a.dtype.kind == "f" else a for a in arrays.values()]
        got = gn.compile(outputs, list(nodes.values()), target=target, threads=1)(*values)
        got = got if isinstance(got, tuple) else (got,)
        tolerance = 1e-9 if dtype == "float64" else 1e-5
        for k, (g, t) in enumerate(zip(got, want, strict=False)):
            w = t.detach().numpy(force=True)
            assert g.shape == w.shape
            scale = float(np.max(np.abs(w), initial=0.0))
            np.testing.assert_allclose(
                g, w, rtol=tolerance, atol=tolerance * max(scale, 1e-3), err_msg=f"{dtype} result {k}"
            )
