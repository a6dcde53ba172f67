"""The ground of the emitter: values, blocks and scopes; numbering of pure instructions."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from ..affine import Affine
from ..dtypes import DTYPES, is_storage, numpy_dtype
from ..errors import CodegenError
from ..expr import Expr
from ..loops import Kernel


@dataclass(frozen=True, slots=True)
class Value:
    """An LLVM value: its text, element dtype, and lanes (1 is a scalar)."""

    text: str
    dtype: str
    lanes: int = 1

    @property
    def type(self) -> str:
        return type_text(self.dtype, self.lanes)

    def __str__(self) -> str:
        return f"{type_text(self.dtype, self.lanes)} {self.text}"


@cache
def type_text(dtype: str, lanes: int) -> str:
    """LLVM's spelling of a type."""
    t = DTYPES[dtype].llvm
    return t if lanes == 1 else f"<{lanes} x {t}>"


Operand = Value | Affine


@dataclass(slots=True)
class Block:
    label: str
    lines: list[str] = field(default_factory=list)
    end: str = ""


@dataclass(slots=True)
class Scope:
    """A region of straight-line code: where to append, and what has been computed there."""

    block: Block
    known: dict[str, Value] = field(default_factory=dict)  # pure instructions
    expressions: list[int] = field(default_factory=list)  # keys of the builder's `values`


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs between targets."""

    name: str
    addrspace: dict[str, int]
    parallel_kinds: tuple[str, ...]
    attributes: str = "nounwind"


CPU = Dialect("cpu", {}, ("parallel",), 'nounwind "prefer-vector-width"="512" "no-trapping-math"="true"')


def float_text(value: float, dtype: str) -> str:
    """LLVM's exact spelling: the bits of the value as a double; those of its own type where registers hold bits."""
    if is_storage(dtype):
        return str(int(np.asarray(value, numpy_dtype(dtype)).view(np.uint16)))
    if dtype == "f32":
        value = struct.unpack("f", struct.pack("f", value))[0]
    return f"0x{struct.unpack('Q', struct.pack('d', value))[0]:016X}"


class Builder:
    """Appends instructions to blocks. See the package's docstring for the ideas."""

    def __init__(self, kernel: Kernel, dialect: Dialect = CPU) -> None:
        self.kernel = kernel
        self.dialect = dialect
        self.declarations: set[str] = set()
        self.counter = 0
        self.entry = Block("entry")
        self.blocks = [self.entry]
        self.scopes = [Scope(self.entry)]
        self.depth: dict[str, int] = {}  # SSA name -> number of the scope that defines it
        self.env: dict[str, Operand] = {}
        self.pointers = {b.name: f"%p.{b.name}" for b in kernel.params}
        self.spaces = {b.name: b.space for b in kernel.params}
        self.lanes = 1
        self.lane_var = ""
        self.mask: Value | None = None
        self.expanded: dict[tuple[str, int], tuple[Expr, Expr]] = {}
        # What is known of expressions, by their ids: their values in the scopes that are open, the expressions that
        # load from a buffer, and the buffers that an expression loads from (which keeps alive whose id is a key).
        self.values: dict[int, Operand] = {}
        self.readers: dict[str, set[int]] = {}
        self.read_by: dict[int, tuple[Expr, frozenset[str]]] = {}

    # ------------------------------------------------------------------------------- bookkeeping

    def fresh(self) -> str:
        self.counter += 1
        return f"%v{self.counter}"

    def new_block(self, hint: str) -> Block:
        self.counter += 1
        block = Block(f"{hint}{self.counter}")
        self.blocks.append(block)
        return block

    def new(self, instruction: str, dtype: str, lanes: int = 1) -> Value:
        """An instruction in the current block."""
        name = self.fresh()
        self.scopes[-1].block.lines.append(f"{name} = {instruction}")
        self.depth[name] = len(self.scopes) - 1
        return Value(name, dtype, lanes)

    def do(self, instruction: str) -> None:
        self.scopes[-1].block.lines.append(instruction)

    def pure(self, instruction: str, operands: tuple[str, ...], dtype: str, lanes: int = 1) -> Value:
        """A pure instruction: numbered, and placed in the outermost block where it can stand."""
        depth = 0
        for o in operands:
            depth = max(depth, self.depth.get(o, 0))
        # What a scope without a block of its own computed (under a mask) outlives it.
        depth = min(depth, len(self.scopes) - 1)
        scope = self.scopes[depth]
        found = scope.known.get(instruction)
        if found is not None:
            return found
        name = self.fresh()
        scope.block.lines.append(f"{name} = {instruction}")
        self.depth[name] = depth
        value = Value(name, dtype, lanes)
        scope.known[instruction] = value
        return value

    @contextmanager
    def scope(self, block: Block | None = None) -> Iterator[None]:
        """A nested region; without a block it continues the current one (for masks)."""
        self.scopes.append(Scope(block if block is not None else self.scopes[-1].block))
        env = dict(self.env)
        yield
        self.env = env
        inner = self.scopes.pop()
        for key in inner.expressions:
            self.values.pop(key, None)
        if block is None:
            self.scopes[-1].block = inner.block

    @contextmanager
    def branch(self, cond: Value) -> Iterator[None]:
        """Code that runs only if the scalar cond holds."""
        then, done = self.new_block("then"), Block("")
        self.scopes[-1].block.end = f"br i1 {cond.text}, label %{then.label}, label %"
        before = self.scopes[-1].block
        with self.scope(then):
            yield
            last = self.scopes[-1].block
        done = self.new_block("done")
        before.end += done.label
        last.end = f"br label %{done.label}"
        self.continue_in(done)

    def continue_in(self, block: Block) -> None:
        self.scopes[-1].block = block

    def error(self, what: str) -> CodegenError:
        return CodegenError(f"kernel {self.kernel.name}: {what}")

    def forget(self, buffer: str) -> None:
        """After a store, expressions that load from the buffer must load again."""
        for key in self.readers.pop(buffer, ()):
            self.values.pop(key, None)
