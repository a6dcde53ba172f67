"""`graphnet ops`."""

from __future__ import annotations

import argparse
import difflib

from ..errors import GraphnetError
from ..op import OPS
from ..reference import entry, markdown, signature

DESCRIPTION = """\
Lists the ops and how they are called; with names, all that is known of those: formula, shapes, gradient, ONNX names.
What it says is made from the ops themselves."""

EXAMPLES = """\
examples:
  graphnet ops relu
  graphnet ops conv2d softmax
  graphnet ops --markdown > docs/ops.md"""


def declare(p: argparse.ArgumentParser) -> None:
    p.add_argument("names", nargs="*", metavar="NAME", help="ops to describe (default: list all)")
    p.add_argument("--markdown", action="store_true", help="the whole reference, as docs/ops.md has it")


def run(a: argparse.Namespace) -> None:
    if a.markdown:
        print(markdown(), end="")
        return
    known = {n: op for n, op in OPS.items() if op.kind != "leaf"}
    for name in a.names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3)
            raise GraphnetError(f"no op {name!r}" + (f"; did you mean {', '.join(near)}?" if near else ""))
    if a.names:
        print("\n".join(entry(known[n]) for n in a.names), end="")
        return
    for name in sorted(known):
        print(signature(known[name]))
