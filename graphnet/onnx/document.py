"""docs/onnx.md, made from the table of converters: `python -m graphnet.onnx.document > docs/onnx.md`."""

from __future__ import annotations

import inspect

import onnx

from .functions import is_defined
from .table import MAIN, NEWEST, rows

HEAD = """\
# ONNX

Made by `python -m graphnet.onnx.document`; do not edit. Needs the extra `[onnx]`.

```python
model = gn.onnx.load("resnet50.onnx", sizes={"N": 8})    # or bytes, or a ModelProto
f = model.compile()                                      # f(images): NumPy in, NumPy out
loss = gn.cross_entropy(model.outputs[0], labels)
gradients = gn.gradient(loss, model.parameters)          # trains on from model.state
```

- **A model is a graph.** Its inputs are inputs; initializers that are floats are parameters of the same names, with
  values in `model.state`; other initializers are constants. It can be drawn, compiled for every target,
  differentiated, and trained further. Every node points at the node of the model that it comes from, in `explain()`,
  drawings and errors.
- **Sizes.** Extents that the model only names stay symbolic, where the ops allow that, and the compiled function takes
  any; `sizes={"N": 8}` gives numbers, `shapes={"x": (8, 3, 224, 224)}` whole shapes. What exporters compute from shapes
  (Shape, Gather, Concat, Reshape, ...) is computed when the model is loaded, with named sizes too.
- **Values that decide shapes** (the shape of a Reshape, the k of a TopK, ...) may be initializers, constants, or
  computed from those; they are taken as the model has them. Inputs among them must be given:
  `constants={"shape": array}`. A branch whose condition is known is taken, else both are computed; loops and scans
  are unrolled, up to 1,000 steps; sequences of tensors may occur within a model.
- **What is not supported is one error**, `UnsupportedError`, that lists all of it with the nodes that ask for it:
  ops, operator sets newer than those below, strings, optional values, complex numbers, floats of 8 bits and less,
  integers of 4 bits and less.
- **Damaged models are one error**, `ModelError`: truncated files, cycles, repeated names, data that is not of the
  declared size, types and shapes that are not those that are computed. External data is read from the model's folder
  only, not through links.
- **`graphnet.onnx.backend`** is onnx's interface to engines (`prepare`, `run_model`, `run_node`). A prepared model
  compiles for the shapes it is run with, once for each; inputs whose values decide shapes are found at the first run,
  and it compiles for each of their values, too.
- **`graphnet compile model.onnx`** says what becomes of a model.
- **`python -m graphnet.onnx.suite`** runs the backend tests of the installed onnx package: every case passes, is
  refused by name, or is wrong, and nothing may be wrong. `--filter REGEX` chooses cases, `--json FILE` writes them.
"""


def markdown() -> str:
    """docs/onnx.md."""
    newest = ", ".join(f"{domain or 'ai.onnx'} {version}" for domain, version in NEWEST.items())
    parts = [HEAD, f"## Ops\n\nOperator sets up to {newest}. `graphnet ops` says which ops they become.\n"]
    parts.append("| op | from version | |\n|---|---|---|")
    found: dict[tuple[str, str], list[tuple[int, str]]] = {}
    history = onnx.defs.get_all_schemas_with_history()
    for r in rows():
        doc = " ".join((inspect.getdoc(r.convert) or "").split())
        first = min(s.since_version for s in history if (s.domain, s.name) == (r.domain, r.op))
        found.setdefault((r.domain, r.op), []).append((max(r.since, first), doc))
    for (domain, op), versions in found.items():
        notes = list(dict.fromkeys(doc for _, doc in versions if doc))
        since = ", ".join(str(v) for v, _ in versions)
        name = f"{domain}.{op}" if domain else op
        parts.append(f"| {name} | {since} | {' '.join(notes)} |")
    defined = [s.name for s in _schemas() if is_defined(s.domain, s.name, NEWEST.get(s.domain, 0))]
    parts.append("\nThese are written out as the standard defines them by others, as far as those are supported:\n")
    parts.append(", ".join(sorted(defined)) + ".")
    known = {(d, o) for d, o in found} | {(s.domain, s.name) for s in _schemas() if s.name in defined}
    missing = sorted(s.name for s in _schemas() if s.domain == MAIN and (s.domain, s.name) not in known)
    parts.append("\nThese ops of ai.onnx are not supported (those of ai.onnx.ml neither):\n")
    parts.append(", ".join(missing) + ".")
    return "\n".join(parts) + "\n"


def _schemas() -> list[onnx.defs.OpSchema]:
    return [s for s in onnx.defs.get_all_schemas() if not s.deprecated]


if __name__ == "__main__":
    print(markdown(), end="")
