"""The command line: `graphnet train | bench | draw | emit | explain | profile | compile | ops`.

One module a command, imported only when it is asked for, so that help comes quickly and a missing extra
disturbs nobody else. Each has

    DESCRIPTION, EXAMPLES       what `graphnet COMMAND --help` says before and after the options
    declare(parser)             adds its options
    run(arguments)              does it; the exit code is 0 unless it raises

Exit codes: 0, 1 for an error, 2 for a command that could not be understood, 130 for Ctrl-C.
"""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Sequence

from codegen.errors import CodegenError

from .. import __version__
from ..errors import GraphnetError
from .common import Parser, UsageError

# Command: what it is for. The module has the command's name.
COMMANDS = {
    "train": "train a network on handwritten digits",
    "bench": "time a network, beside PyTorch and JAX if wanted",
    "draw": "draw a network, its gradient or its kernels",
    "emit": "write the generated code: PTX, or LLVM IR and assembly",
    "explain": "list the kernels: whose lines, what cost, why so",
    "profile": "time each kernel, beside what this machine can do",
    "compile": "compile an ONNX model, and say what became of it",
    "ops": "list the ops, or describe some",
}

DESCRIPTION = """\
A compiler for neural networks. It derives the backward graph of a network, optimises it, and compiles the whole
training step for this computer's CPU or for NVIDIA GPUs."""

EXAMPLES = """\
examples:
  graphnet train lenet                       learn scikit-learn's digits, in a few seconds
  graphnet explain lenet                     see what the training step was compiled to
  graphnet draw lenet --stage gradient       see the backward graph

`graphnet COMMAND --help` explains a command and its options."""


def parser(asked: str | None = None) -> Parser:
    """The parser of everything, with the options of the command that was asked for."""
    top = Parser(prog="graphnet", description=DESCRIPTION, epilog=EXAMPLES)
    top.add_argument("--version", action="version", version=f"graphnet {__version__}")
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND", parser_class=Parser)
    for name, purpose in COMMANDS.items():
        if name != asked:
            commands.add_parser(name, help=purpose)
            continue
        module = importlib.import_module(f"{__name__}.{name}")
        p = commands.add_parser(name, help=purpose, description=module.DESCRIPTION, epilog=module.EXAMPLES)
        module.declare(p)
        p.add_argument("--debug", action="store_true", help="show the traceback of an error")
        p.set_defaults(run=module.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line (without the program's name); returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    asked = next((w for w in words if not w.startswith("-")), None)
    try:
        top = parser(asked)
        arguments = top.parse_args(words)
        if arguments.command is None:
            top.print_help()
            return 2
        arguments.run(arguments)
        sys.stdout.flush()
        return 0
    except KeyboardInterrupt:
        return _fail("interrupted", 130)
    except BrokenPipeError:  # the reader has seen enough, as in `graphnet explain lenet | head`
        _discard_output()
        return 141
    except Exception as e:
        if "--debug" in words:
            traceback.print_exc()
        _discard_output()
        return _fail(_message(e), 2 if isinstance(e, UsageError) else 1)


def _message(e: Exception) -> str:
    if isinstance(e, (UsageError, GraphnetError, CodegenError)):
        return str(e)
    if isinstance(e, OSError) and e.strerror:
        return f"{e.filename}: {e.strerror}" if e.filename is not None else e.strerror
    if isinstance(e, MemoryError):
        return "there is not enough memory; a smaller --batch needs less"
    return f"internal error, please report it: {type(e).__name__}: {e} (--debug shows where)"


def _fail(message: str, code: int) -> int:
    """One line, whatever the message."""
    print("graphnet: error:", " ".join(message.split()), file=sys.stderr)
    return code


def _discard_output() -> None:
    """Nobody can take what is still buffered; without this, the interpreter's last flush would complain."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
