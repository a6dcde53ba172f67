"""Pictures of comparisons, by matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from .report import OURS


def bars(path: Path, title: str, found: Mapping[str, Any]) -> None:
    """Milliseconds of everyone, the fastest on top, with quartiles; beside each, its ratio to graphnet's."""
    rows = sorted(found["results"].items(), key=lambda item: item[1]["median"])
    figure = Figure(figsize=(8, 1.2 + 0.35 * len(rows)), layout="constrained")
    axes = figure.subplots()
    names = [name for name, _ in rows]
    medians = [r["median"] for _, r in rows]
    errors = [[r["median"] - r["lower"] for _, r in rows], [r["upper"] - r["median"] for _, r in rows]]
    colours = ["tab:orange" if name.split()[0] == OURS else "tab:blue" for name in names]
    drawn = axes.barh(names, medians, xerr=errors, color=colours, capsize=2)
    axes.bar_label(drawn, [f" {r['ratio']:.2f}x" for _, r in rows], padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("ms a step: median, quartiles")
    axes.set_title(title)
    figure.savefig(path, dpi=150)
