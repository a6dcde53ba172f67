"""The shape of the project: which file may import which, how long files are, and that the docs know them all."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

# Who may import whom: a module imports only from rows above its own. "ops.*" stands for a package and all
# modules in it, which may import each other, though never in a circle.
CODEGEN = (
    ("errors", "dtypes", "affine"),
    ("expr",),
    ("traverse", "mathlib.*", "half"),
    ("loops",),
    ("text", "interpret", "compute", "machine"),
    ("verify", "program", "emulator", "cache", "canonical"),
    ("kernels.*",),
    ("checks", "emit.*"),
    ("cpu", "nvptx"),
    ("measure", "runtime.*"),
)
GRAPHNET = (
    ("errors", "files"),
    ("site", "types", "data"),
    ("init", "winograd", "fourier", "taps"),
    ("op",),
    ("node",),
    ("body", "tree"),
    ("text", "digest", "verify", "evaluate", "export", "module", "pattern"),
    ("rewrite",),
    ("ops.*",),
    ("gradient", "optim.*", "state", "signature", "convolution"),
    ("winograd_conv", "fft_conv", "scan", "custom_gradient", "pooled"),
    ("derivatives", "recurrent"),
    ("passes.*",),
    ("pipeline", "lower"),
    ("targets",),
    ("artifact",),
    ("specialization",),
    ("explain", "source"),
    ("profile", "tune"),
    ("function",),
    ("show.*",),
    ("graphnet",),
    ("models.*",),
    ("bench.*", "reference"),
    ("onnx.*",),
    ("training",),
    ("cli.*",),
)

# Imports at run time, each of something that may be missing or that a command line should not wait for.
LATE = {
    "graphnet/reference.py": "the converters of graphnet.onnx, where the extra [onnx] is installed",
    "graphnet/__init__.py": "graphnet.onnx, of the extra [onnx]",
    "graphnet/cli/__init__.py": "the module of the command that was asked for",
    "graphnet/data.py": "scikit-learn, of the extra [demo]",
    "graphnet/bench/harness.py": "what needs the extra [bench]: the peers, pictures",
}


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


@cache
def modules() -> set[str]:
    return {module_name(p) for package in ("codegen", "graphnet") for p in files(package)}


@cache
def imports(path: Path) -> set[str]:
    """The modules of the two packages that a file imports."""
    known = modules()
    hidden = {id(n) for block in ast.walk(tree(path)) if for_type_checkers(block) for n in ast.walk(block)}
    here = module_name(path).split(".") if path.name == "__init__.py" else module_name(path).split(".")[:-1]
    found = set()
    for n in ast.walk(tree(path)):
        if isinstance(n, ast.Import):
            found |= {a.name for a in n.names}
        elif isinstance(n, ast.ImportFrom) and id(n) not in hidden:
            base = [*here[: len(here) - n.level + 1], *([n.module] if n.module else [])] if n.level else [n.module]
            start = ".".join(map(str, base))
            found |= {f"{start}.{a.name}" if f"{start}.{a.name}" in known else start for a in n.names}
    return (found & known) - {module_name(path)}


def row(layers: tuple[tuple[str, ...], ...], package: str, module: str) -> int:
    """The number of the row that a module stands in."""
    name = module.removeprefix(package + ".")
    for number, names in enumerate(layers):
        if name in names or any(n.endswith(".*") and f"{name}.".startswith(n[:-1]) for n in names):
            return number
    raise AssertionError(f"{module} is in no row of the import order; say where it belongs")


@pytest.mark.parametrize(("package", "layers"), [("codegen", CODEGEN), ("graphnet", GRAPHNET)])
def test_imports_follow_the_order(package, layers):
    wrong = []
    for path in files(package):
        module = module_name(path)
        if module == "codegen":
            assert not imports(path)
            continue
        mine = row(layers, package, module)
        for other in imports(path):
            if other.split(".")[0] == package and other.split(".")[:2] != module.split(".")[:2]:
                theirs = row(layers, package, other)
                if theirs >= mine:
                    wrong.append(f"{module} (row {mine}) imports {other} (row {theirs})")
    assert not wrong, "\n".join(wrong)


def test_codegen_knows_nothing_of_graphnet():
    for path in files("codegen"):
        assert not [m for m in imports(path) if m.split(".")[0] == "graphnet"], path


def test_no_module_imports_itself_through_others():
    needs = {module_name(p): imports(p) for package in ("codegen", "graphnet") for p in files(package)}
    while free := [m for m, others in needs.items() if not others & needs.keys()]:
        for m in free:
            del needs[m]
    assert not needs, f"in a circle, or above one: {sorted(needs)}"


def test_imports_stand_at_the_top():
    late = set()
    for path in [*files("codegen"), *files("graphnet"), *files("examples"), *files("benchmarks")]:
        for function in ast.walk(tree(path)):
            if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for n in ast.walk(function):
                    called = ast.unparse(n.func) if isinstance(n, ast.Call) else ""
                    if isinstance(n, (ast.Import, ast.ImportFrom)) or called.endswith(("import_module", "__import__")):
                        late.add(path.relative_to(ROOT).as_posix())
    assert late == set(LATE)


@pytest.mark.parametrize("package", ["codegen", "graphnet"])
def test_files_say_what_they_are_and_are_short(package):
    for path in files(package):
        assert ast.get_docstring(tree(path)), f"{path} has no docstring"
        assert len(path.read_text().splitlines()) <= 500, f"{path} is too long: split it by ideas"


def test_the_architecture_page_lists_every_file():
    page = (ROOT / "docs" / "architecture.md").read_text()
    listed = {line.split("`")[1] for line in page.splitlines() if line.startswith("- `")}
    there = {p.relative_to(ROOT).as_posix() for package in ("codegen", "graphnet") for p in files(package)}
    there = {p for p in there if not p.endswith("/__init__.py")} | {"codegen/__init__.py", "graphnet/__init__.py"}
    assert there - listed == set(), "say in docs/architecture.md what these are for"
    assert listed - there == set(), "docs/architecture.md lists files that are gone"
