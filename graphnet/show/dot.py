"""The DOT text of a picture.

The forward side is a column that runs down, the backward side one beside it that runs up, so that a layer and its
gradient stand side by side. `dot` gets the rows from `rows`, and every arrow from its upper end to its lower one.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from html import escape

import graphviz

from .layers import Layer
from .picture import Arrow, Box, Picture
from .rows import rows

# Fill and border by kind of op; the kinds are those of `op.KINDS`.
COLOURS = {
    "leaf": ("#fff6d6", "#c9a227"),
    "elementwise": ("#deebf8", "#5b8fc4"),
    "move": ("#f1f1f1", "#a8a8a8"),
    "reduce": ("#e2f2da", "#62a04a"),
    "contract": ("#fadbd3", "#c8553a"),
    "window": ("#e9def6", "#8259b8"),
    "transform": ("#fbe6c8", "#c07f2a"),
    "serial": ("#f3e3d9", "#9c6b4a"),
    "random": ("#fcdff0", "#c24f93"),
    "composite": ("#d5f1ee", "#2f9086"),
    "update": ("#e6e6f2", "#6d6da8"),
}
MEANINGS = {
    "leaf": "input, parameter",
    "elementwise": "elementwise",
    "move": "movement",
    "reduce": "reduction",
    "contract": "matmul, convolution",
    "window": "pooling",
    "transform": "Winograd, Fourier",
    "serial": "scatter, scan, sort",
    "random": "random",
    "composite": "composite",
    "update": "update of parameters",
}
FONT = "Helvetica,Arial,sans-serif"
GREY = "#6b6b6b"
TIMES = "\N{MULTIPLICATION SIGN}"
SIDES = ("forward", "backward")
DASHED = {"saved": {"style": "dashed", "color": "#9db0c2"}, "back": {"style": "dashed", "color": "#c29d9d"}}
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def text(s: str) -> str:
    """Any text, safe inside an HTML-like label."""
    return escape(_UNPRINTABLE.sub("\ufffd", s))


# Ends a run of text before another. Viewers drop plain spaces there, and their fonts may be a little wider than
# what dot measured.
GAP = "&#160;&#160;"


def small(s: str, colour: str = GREY) -> str:
    return f'<font point-size="8" color="{colour}">{text(s)}</font>'


def source(p: Picture) -> str:
    """The DOT text."""
    g = graphviz.Digraph("graphnet", strict=False)
    # newrank: rows go through the clusters.
    g.attr(rankdir="TB", newrank="true", nodesep="0.13", ranksep="0.15", fontname=FONT, fontsize="11")
    g.attr(label=_legend(p), labelloc="t", labeljust="l", pad="0.1", tooltip=graphviz.escape(p.title))
    g.attr("node", shape="box", style="rounded,filled", fontname=FONT, fontsize="10", height="0.22")
    g.attr("node", width="0.3", margin="0.09,0.025", penwidth="0.8")
    g.attr("edge", fontname=FONT, fontsize="8", fontcolor="#333333", arrowsize="0.55", penwidth="0.9")
    row = rows(p)
    for side in SIDES:
        mine = [b for b in p.boxes if b.side == side]
        if mine:
            with g.subgraph(name=f"cluster_{side}") as sub:
                sub.attr(style="invis", label="")
                _side(sub, side, mine)
    port = {x.name: f"{b.name}:{x.name}" for b in p.boxes if b.beside for x in (b, *b.beside)}
    for a in p.arrows:
        _arrow(g, p, a, port, row)
    _spines(g, p, row)
    return str(g.source)


def _spines(g: graphviz.Digraph, p: Picture, row: dict[str, int]) -> None:
    """The rows, and two columns of invisible points that keep them apart and the forward side at the left.

    Nothing in DOT says that one cluster is to the left of another, and mirrored, a drawing has as many crossings. But
    the order of two nodes of a row that are in no cluster can be given: so there are two such nodes in each row, and
    a side that went to the wrong one would cross the other."""
    members: dict[int, list[Box]] = {}
    for b in p.boxes:
        members.setdefault(row[b.name], []).append(b)
    for k in sorted(members):
        names = "; ".join((f"left{k}", f"right{k}", *(b.name for b in members[k])))
        g.body.append(f"\t{{rank=same; {names}}}\n")
        for spine, side in (("left", "forward"), ("right", "backward")):
            g.node(f"{spine}{k}", shape="point", style="invis", width="0", height="0", label="")
            if k:
                g.edge(f"{spine}{k - 1}", f"{spine}{k}", style="invis", weight="0")
                for b in members[k]:
                    if b.side == side:
                        g.edge(f"{spine}{k - 1}", b.name, style="invis", weight="0")
        g.edge(f"left{k}", f"right{k}", style="invis")


def _side(g: graphviz.Digraph, side: str, boxes: list[Box]) -> None:
    clusters: dict[Layer | None, list[Box]] = {}
    for b in boxes:
        clusters.setdefault(b.layer, []).append(b)
    for number, (layer, inside) in enumerate(clusters.items()):
        if layer is None:
            for b in inside:
                _box(g, b)
            continue
        with g.subgraph(name=f"cluster_{side}_{number}") as sub:
            what = text(layer.source) if side == "forward" else side
            label = f'<<font point-size="9"><b>{text(layer.place)}{GAP}</b>{what}</font>>'
            sub.attr(label=label, labeljust="l", style="rounded", color="#b5b5b5", margin="4", penwidth="0.8")
            sub.attr(fontcolor="#333333", tooltip=f"{layer.file}:{layer.line}", bgcolor="#fcfcfc")
            for b in inside:
                _box(sub, b)


def _box(g: graphviz.Digraph, b: Box) -> None:
    fill, border = COLOURS[b.kind]
    width = "1.8" if b.bold else "0.8"
    if not b.beside:
        more = {"height": "0.17", "margin": "0.06,0.015"} if b.little else {}
        g.node(b.name, f"<{b.label}>", fillcolor=fill, color=border, tooltip=_tip(b.tooltip), penwidth=width, **more)
        return
    # One node, so that nothing comes between an operand and its user.
    tips = "\n".join(x.tooltip for x in (*b.beside, b))
    g.node(b.name, f"<{_row(b)}>", shape="plain", style="solid", tooltip=graphviz.escape(tips or " "))


def _arrow(g: graphviz.Digraph, p: Picture, a: Arrow, port: dict[str, str], row: dict[str, int]) -> None:
    more = {"tooltip": _tip(a.tooltip)} | DASHED.get(a.how, {})
    tail, head = port.get(a.tail, a.tail), port.get(a.head, a.head)
    if a.how == "saved":
        tail, head = f"{tail}:e", f"{head}:w"
    upwards = row[a.tail] > row[a.head]
    if a.label and p.roomy:
        more["label"] = f"<{text(a.label)}>"
    elif a.label:
        # Beside the arrow: a label of dot's own would take a row for itself.
        across, along = 2.3 * len(a.label) + 3, 6.0
        angle = math.degrees(math.atan2(-across if upwards else across, along))
        more["headlabel" if upwards else "taillabel"] = f"<{text(a.label)}>"
        more |= {"labeldistance": f"{math.hypot(across, along) / 10:.2f}", "labelangle": f"{angle:.0f}"}
    weight = str(a.weight) if a.how == "flow" else "1"
    if upwards:
        g.edge(head, tail, dir="back", weight=weight, **more)
    else:
        g.edge(tail, head, weight=weight, **more)


def _legend(p: Picture) -> str:
    present = {b.kind for b in p.boxes}
    cells = "".join(
        f'<td bgcolor="{COLOURS[k][0]}" color="{COLOURS[k][1]}" border="1">'
        f'<font point-size="8">{MEANINGS[k]}</font></td>'
        for k in COLOURS
        if k in present
    )
    notes = f'<tr><td align="left">{small(" · ".join(p.notes))}</td></tr>' if p.notes else ""
    title = f'<td><font point-size="12"><b>{text(p.title)}{GAP}</b></font></td>'
    kinds = f'<table border="0" cellspacing="3" cellpadding="1"><tr>{title}{cells}</tr></table>'
    return f'<<table border="0" cellspacing="0" cellpadding="0"><tr><td align="left">{kinds}</td></tr>{notes}</table>>'


def _tip(s: str) -> str:
    """A tooltip: what the box or the value is, in full."""
    return "\\n".join(graphviz.escape(line) for line in s.splitlines()) or " "


def _row(b: Box) -> str:
    """A box and those beside it as an HTML-like table: the operands stacked at the left."""
    pad = 1 if b.kind == "leaf" or b.little else 2
    fill, border = COLOURS[b.kind]
    cell = (
        f'<td port="{b.name}"><table border="{2 if b.bold else 1}" style="rounded" cellborder="0" cellspacing="0" '
        f'cellpadding="{pad}" bgcolor="{fill}" color="{border}"><tr><td>{b.label}&#8201;</td></tr></table></td>'
    )
    if b.beside:
        inner = "".join(f"<tr><td>{_row(x)}</td></tr>" for x in b.beside)
        left = f'<td><table border="0" cellspacing="1" cellpadding="0">{inner}</table></td>'
        cell = f'{left}<td><font point-size="9" color="#8a8a8a">→</font></td>{cell}'
    return f'<table border="0" cellspacing="0" cellpadding="0"><tr>{cell}</tr></table>'


def shape_text(shape: Iterable[object]) -> str:
    """The extents of `float32[N, 6, 28, 28]`, with multiplication signs between them."""
    return TIMES.join(f"({e})" if any(c in str(e) for c in "+-/*") else str(e) for e in shape) or "scalar"


def bytes_text(n: float) -> str:
    return quantity(n, "B")


def quantity(n: float, unit: str) -> str:
    """Such as `1.5 MFLOP`."""
    for prefix in ("", "k", "M", "G"):
        if n < 999.5:
            return f"{n:.3g} {prefix}{unit}"
        n /= 1000
    return f"{n:.4g} T{unit}"


def seconds_text(s: float) -> str:
    if s >= 1e-3:
        return f"{s * 1e3:.3g} ms"
    return f"{s * 1e6:.3g} µs" if s >= 1e-7 else "< 0.1 µs"
