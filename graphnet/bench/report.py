"""What a comparison says: as a dictionary for JSON, and as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from .harness import Timing

OURS = "graphnet"
WIDTH = 120


def compared(timings: Mapping[str, Timing], flops: float, peak: float, left_out: Mapping[str, str]) -> dict[str, Any]:
    """Milliseconds, and ratios to the median of graphnet's best (above 1, graphnet is faster). flops: of one step, as
    direct sums count them, for everyone; peak: GFLOP/s that these cores can do. Of graphnet, too, there may be several
    configurations."""
    ours = [name for name in timings if name.split()[0] == OURS]
    own = min(timings[name].median for name in ours)
    peers = {name: t.median for name, t in timings.items() if name not in ours}
    best = min(peers, key=lambda name: peers[name], default=None)

    def row(t: Timing) -> dict[str, Any]:
        gflops = flops / t.median / 1e9
        rates = {"gflops": round(gflops, 1), "percent_of_peak": round(100 * gflops / peak, 1)}
        return {**t.milliseconds(), "steps": t.count, "ratio": round(t.median / own, 3), **rates}

    return {
        "results": {name: row(t) for name, t in timings.items()},
        "best_peer": best,
        "ratio_to_best_peer": None if best is None else round(peers[best] / own, 3),
        "left_out": dict(left_out),
        "mflop": round(flops / 1e6, 3),
        "peak_gflops": round(peak, 1),
    }


COLUMNS = {  # of results: heading, format
    "median": ("ms", "{:.3f}"),
    "quartiles": ("quartiles", "{}"),
    "ratio": ("of graphnet", "{:.2f}x"),
    "gflops": ("GFLOP/s", "{:.1f}"),
    "percent_of_peak": ("of FMA peak", "{:.0f}%"),
    "gbytes": ("GB/s", "{:.1f}"),
    "percent_of_bandwidth": ("of copying", "{:.0f}%"),
    "mib": ("peak MiB", "{:.2f}"),
}


def table(title: str, found: Mapping[str, Any]) -> str:
    """The results, the fastest first; then who was left out, and why."""
    rows = {
        name: {
            **row,
            "quartiles": f"{row['lower']:.3f} - {row['upper']:.3f}",
            **({"mib": row["memory_bytes"] / 2**20} if "memory_bytes" in row else {}),
        }
        for name, row in sorted(found["results"].items(), key=lambda item: item[1]["median"])
    }
    shown = [c for c in COLUMNS if any(row.get(c) for row in rows.values())]
    t = Table(box=SIMPLE_HEAD, header_style="")
    t.add_column("")
    for c in shown:
        t.add_column(COLUMNS[c][0], justify="right")
    for name, row in rows.items():
        t.add_row(name, *(COLUMNS[c][1].format(row[c]) if row.get(c) is not None else "" for c in shown))
    lines = [title, rendered(t)]
    lines += [f"left out: {name}: {why}" for name, why in found["left_out"].items()]
    if found["best_peer"] is not None:
        ratio = found["ratio_to_best_peer"]
        verdict = f"{ratio:.2f} times as fast as" if ratio >= 1 else f"{1 / ratio:.2f} times as slow as"
        lines.append(f"graphnet is {verdict} {found['best_peer']}")
    return "\n".join(lines)


def rendered(t: Table) -> str:
    """A table as plain text, whatever the terminal."""
    console = Console(width=WIDTH, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(t)
    return "\n".join(line.rstrip() for line in captured.get().strip("\n").splitlines())
