"""`python -m graphnet.onnx.suite`: the backend tests of the installed onnx package.

Each case is a model with inputs and the outputs that are expected. It has passed if all outputs agree in shape, in
dtype, and in value within the case's own tolerances; it was refused if it was named what is not supported (an
`UnsupportedError`); everything else is wrong. The exit code is 1 if anything is wrong.
"""

from __future__ import annotations

import argparse
import collections
import json
import multiprocessing
import re
import sys
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.numpy_helper
from onnx.backend.test.loader import DATA_DIR, load_model_tests
from onnx.backend.test.runner import Runner

from .backend import prepare
from .errors import UnsupportedError

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted", "light")
# Cases whose expected values are further from the exact ones than the case allows: onnx makes them when it is asked
# for them, and NumPy from version 2 on transforms float32 in float32 (2e-7 where 0 is exact, of values up to 54).
INEXACT = {"test_dft_inverse": 1e-6, "test_dft_inverse_opset19": 1e-6}  # the absolute tolerance instead
PASSED, REFUSED, WRONG = "passed", "refused", "wrong"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a case. reasons: of a refusal, "op: why"; the error, if it is wrong."""

    kind: str
    name: str
    status: str
    reasons: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Case:
    kind: str
    name: str
    case: Any  # onnx's TestCase

    @property
    def key(self) -> tuple[str, str]:
        return self.kind, self.name

    def model(self) -> Any:
        """The model, or the path of its file."""
        if self.case.model is not None:
            return self.case.model
        if self.kind == "light":
            return Path(DATA_DIR) / "light" / Path(self.case.url).name
        return Path(self.case.model_dir) / "model.onnx"

    def data_sets(self) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
        """(Inputs, outputs), each time."""
        if self.case.data_sets is not None:
            for inputs, outputs in self.case.data_sets:
                yield [_array(v) for v in inputs], [_array(v) for v in outputs]
        elif self.kind == "light":
            yield self._light()
        else:
            for folder in sorted(Path(self.case.model_dir).glob("test_data_set*")):
                yield _stored(folder, "input"), _stored(folder, "output")

    def _light(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Those models have stored outputs for inputs that onnx's runner makes."""
        path = self.model()
        graph = onnx.load(path).graph
        initializers = {t.name for t in graph.initializer}
        inputs = [Runner.generate_dummy_data(v) for v in graph.input if v.name not in initializers]
        files = [path.with_name(f"{path.stem}_output_{i}.pb") for i in range(len(graph.output))]
        return inputs, [_tensor(f) for f in files]


def _array(value: Any) -> Any:
    return onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else value


def _stored(folder: Path, what: str) -> list[np.ndarray]:
    count = len(list(folder.glob(f"{what}_*.pb")))
    return [_tensor(folder / f"{what}_{i}.pb") for i in range(count)]


def _tensor(path: Path) -> np.ndarray:
    tensor = onnx.TensorProto()
    tensor.ParseFromString(path.read_bytes())
    return onnx.numpy_helper.to_array(tensor)


@cache
def cases(kinds: tuple[str, ...] = KINDS) -> dict[tuple[str, str], Case]:
    """All cases by kind and name."""
    found = {}
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        for kind in kinds:
            for case in load_model_tests(kind="real" if kind == "light" else kind):
                found[kind, case.name] = Case(kind, case.name, case)
    return found


def run_case(case: Case, **settings: Any) -> Outcome:
    """Runs one case. settings: those of `gn.compile`."""
    start = time.perf_counter()

    def outcome(status: str, *reasons: str) -> Outcome:
        return Outcome(case.kind, case.name, status, reasons, time.perf_counter() - start)

    try:
        model = prepare(case.model(), **settings)
        for inputs, wanted in case.data_sets():
            atol = max(case.case.atol, INEXACT.get(case.name, 0.0))
            Runner.assert_similar_outputs(wanted, model.run(inputs), case.case.rtol, atol)
    except UnsupportedError as e:
        return outcome(REFUSED, *(f"{p.op}: {p.reason}" if p.op else p.reason for p in e.problems))
    except Exception as e:  # whatever it is, it is what the case found
        return outcome(WRONG, f"{type(e).__name__}: {' '.join(str(e).split())[:300]}")
    return outcome(PASSED)


def _run_named(job: tuple[tuple[str, ...], tuple[str, str], dict[str, Any]]) -> Outcome:
    kinds, key, settings = job
    return run_case(cases(kinds)[key], **settings)


def run(chosen: Sequence[Case], kinds: tuple[str, ...], jobs: int, settings: dict[str, Any]) -> Iterator[Outcome]:
    """The outcomes, as they come."""
    work = [(kinds, c.key, settings) for c in chosen]
    if jobs == 1:
        yield from map(_run_named, work)
        return
    with multiprocessing.get_context("spawn").Pool(jobs) as pool:
        yield from pool.imap_unordered(_run_named, work, chunksize=4)


# ------------------------------------------------------------------------------------------- report


def report(outcomes: Iterable[Outcome]) -> str:
    """Counts by kind, the reasons of refusals by how many cases have them, and all that is wrong."""
    done = sorted(outcomes, key=lambda o: (KINDS.index(o.kind), o.name))
    lines = [f"{'':18} {PASSED:>8} {REFUSED:>8} {WRONG:>8} {'cases':>8}"]
    for kind in (*KINDS, "all"):
        of_kind = [o for o in done if kind in (o.kind, "all")]
        if of_kind:
            counts = collections.Counter(o.status for o in of_kind)
            row = " ".join(f"{counts[s]:>8}" for s in (PASSED, REFUSED, WRONG))
            lines.append(f"{kind:18} {row} {len(of_kind):>8}")
    refusals = [{_short(r) for r in o.reasons} for o in done if o.status == REFUSED]
    reasons = collections.Counter(r for found in refusals for r in sorted(found))
    if reasons:
        lines.append("\nrefused, by reason (a case may have several)")
        lines += [f"{count:>6}  {reason}" for reason, count in reasons.most_common()]
    loose = [f"{o.name} ({INEXACT[o.name]:g})" for o in done if o.name in INEXACT]
    if loose:
        lines.append(f"\ncompared with a wider tolerance, see INEXACT in the source: {', '.join(loose)}")
    wrong = [o for o in done if o.status == WRONG]
    if wrong:
        lines.append("\nwrong")
        lines += [f"  {o.kind}/{o.name}: {'; '.join(o.reasons)}" for o in wrong]
    return "\n".join(lines)


def _short(reason: str) -> str:
    """Without the version of the operator set, and without the user's line."""
    return re.sub(r" \(at .*\)$", "", re.sub(r"^([\w.]+)-\d+: ", r"\1: ", reason))[:140]


def main(argv: Sequence[str] | None = None) -> int:
    p = argparse.ArgumentParser(prog="python -m graphnet.onnx.suite", description=__doc__)
    p.add_argument("--filter", default="", metavar="REGEX", help="only the cases whose kind/name this is found in")
    p.add_argument("--jobs", type=int, default=2, metavar="N", help="processes (default: 2)")
    p.add_argument("--target", default="cpu", help="of gn.compile (default: cpu)")
    p.add_argument("--json", type=Path, metavar="FILE", help="writes every outcome there")
    a = p.parse_args(argv)
    kinds = tuple(k for k in KINDS if not a.filter or any(re.search(a.filter, f"{k}/{n}") for n in _names(k)))
    chosen = [c for c in cases(kinds).values() if re.search(a.filter, f"{c.kind}/{c.name}")]
    settings = {"target": a.target, "threads": 1}
    done = []
    for outcome in run(chosen, kinds, a.jobs, settings):
        done.append(outcome)
        if sys.stderr.isatty():
            print(f"\r{len(done)} of {len(chosen)}", end="", file=sys.stderr, flush=True)
    print(report(done))
    if a.json:
        a.json.write_text(json.dumps([asdict(o) for o in done], indent=1) + "\n")
    return 1 if any(o.status == WRONG for o in done) else 0


def _names(kind: str) -> list[str]:
    return [name for _, name in cases((kind,))]


if __name__ == "__main__":
    sys.exit(main())
