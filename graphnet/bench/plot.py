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


def crossover(path: Path, found: Mapping[str, Any]) -> None:
    """Of each kind of algorithm the fastest, and the peers: milliseconds, and modelled operations, over the size of the
    kernel. Rings show what is chosen."""
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    measured, modelled = figure.subplots(1, 2)
    rows = found["kernels"]
    for axes, key, label in ((measured, "milliseconds", "ms"), (modelled, "modelled_gop", "modelled Gop")):
        kinds = sorted({name.split()[0] for row in rows for name in row[key]})
        for kind in kinds:
            points = [
                (row["window"][0], min(v for name, v in row[key].items() if name.split()[0] == kind))
                for row in rows
                if any(name.split()[0] == kind for name in row[key])
            ]
            axes.plot(*zip(*points, strict=True), marker=".", label=kind)
        chosen = [(row["window"][0], row[key][row["chosen"]]) for row in rows if row["chosen"] in row[key]]
        if chosen:
            axes.plot(*zip(*chosen, strict=True), "o", markersize=10, fillstyle="none", color="black", label="chosen")
        axes.set(yscale="log", xlabel="kernel", ylabel=label)
    for peer in sorted({peer for row in rows for peer in row["peers"]}):
        points = [(row["window"][0], row["peers"][peer]) for row in rows if peer in row["peers"]]
        measured.plot(*zip(*points, strict=True), "--", marker=".", label=peer)
    for axes in (measured, modelled):
        axes.legend()
    figure.savefig(path, dpi=150)
