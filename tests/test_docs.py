"""What the documentation shows is what happens."""

from __future__ import annotations

import linecache

import numpy as np

import graphnet as gn
from graphnet.data import digits

from .docs import blocks, shown_in


def run(source: str, name: str, **values: object) -> dict[str, object]:
    """Runs a page's code under the name of a file, which creation sites will show."""
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    namespace = {"__name__": name, **values}
    exec(compile(source, name, "exec"), namespace)
    return namespace


def test_the_example_of_the_readme_learns():
    (source,) = blocks("README.md", "python")
    assert len(source.splitlines()) <= 12
    data = digits()
    images = data.train_images[:64].reshape(64, -1)
    labels = data.train_labels[:64]
    step = run(source, "readme.py", images=images, labels=labels)["step"]
    assert isinstance(step, gn.Function)
    losses = [float(np.squeeze(step(images, labels))) for _ in range(30)]
    assert losses[-1] < 0.8 * losses[0]


def test_the_walk_through_the_levels_is_real():
    (source,) = blocks("docs/architecture.md", "python")
    f = run(source, "layer.py")["f"]
    assert isinstance(f, gn.Function)
    x = np.random.default_rng(0).normal(size=(8, 24)).astype("f")
    values = {name: f.state[name] for name in ("w", "b")}
    np.testing.assert_allclose(f(x), np.maximum(x @ values["w"] + values["b"], 0), rtol=1e-5, atol=1e-5)
    texts = {"graph": f.source("graph"), "explain": str(f.explain()), "loops": f.source("loops")}
    for language, text in texts.items():
        for block in blocks("docs/architecture.md", language):
            assert shown_in(block, text), f"docs/architecture.md shows other {language} than\n{text}"
