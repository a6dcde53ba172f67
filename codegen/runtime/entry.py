"""Calls that native code takes: it looks at the arrays of a call itself, binds them and runs the program.

Of a small network's call most was Python's: asking each array for its dtype, shape and flags and writing its address
into the table took longer than the arithmetic. Here a call passes the tuple of its arguments, and 30 instructions an
argument see that they are the arrays that the program was compiled for; any other call is refused, and Python then
says what is wrong with it or finds the program for it.

The fields of an array are those of NumPy's C API (numpy/ndarraytypes.h, `PyArrayObject_fields`); they are looked at
once, on arrays that are known, before they are relied on.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np

from ..cpu import Code, compile_once

WORD = 8
HEAD = object.__basicsize__  # bytes of Python's header, the last word of which is the type
# Bytes from an object's start: of an array
DATA, RANK, SHAPE, DTYPE, FLAGS = HEAD, HEAD + WORD, HEAD + 2 * WORD, HEAD + 5 * WORD, HEAD + 6 * WORD
# and of a tuple.
LENGTH, ITEMS = HEAD, tuple.__basicsize__
ROW_MAJOR = 1  # the flag NPY_ARRAY_C_CONTIGUOUS

# A plan, in words; then for each input its slot, dtype, rank and shape, and then the slots of the outputs.
START, POOL, PROGRAM, JOB, THREADS, TABLE, ARRAY, INPUTS, OUTPUTS, FIRST = range(10)


def _word(name: str, base: str, at: int | str, kind: str = "i64") -> str:
    """name = the word of that number from base."""
    return f"  %{name}.at = getelementptr i64, ptr %{base}, i64 {at}\n  %{name} = load {kind}, ptr %{name}.at"


def _field(name: str, base: str, offset: int, kind: str = "i64") -> str:
    """name = what lies so many bytes after base."""
    return f"  %{name}.at = getelementptr i8, ptr %{base}, i64 {offset}\n  %{name} = load {kind}, ptr %{name}.at"


# 1 when it has run; 0, and nothing has run, where the arguments are not those expected.
ENTRY_IR = f"""
define i64 @enter(ptr %plan, ptr %arguments, ptr %results) nounwind {{
entry:
{_word("inputs", "plan", INPUTS)}
{_word("outputs", "plan", OUTPUTS)}
{_word("table", "plan", TABLE, "ptr")}
{_word("array.type", "plan", ARRAY)}
{_field("given", "arguments", LENGTH)}
  %items = getelementptr i8, ptr %arguments, i64 {ITEMS}
  %first = getelementptr i64, ptr %plan, i64 {FIRST}
  %as.many = icmp eq i64 %given, %inputs
  br i1 %as.many, label %input, label %refuse
input:
  %n = phi i64 [ 0, %entry ], [ %n.next, %bind ]
  %wanted = phi ptr [ %first, %entry ], [ %extent.at, %bind ]
  %more = icmp ult i64 %n, %inputs
  br i1 %more, label %type, label %outs
type:
{_word("array", "items", "%n", "ptr")}
{_field("its.type", "array", HEAD - WORD)}
  %is.array = icmp eq i64 %its.type, %array.type
  br i1 %is.array, label %kind, label %refuse
kind:
{_word("dtype", "wanted", 1)}
{_field("its.dtype", "array", DTYPE)}
  %same.dtype = icmp eq i64 %its.dtype, %dtype
{_field("its.flags", "array", FLAGS, "i32")}
  %row.major = trunc i32 %its.flags to i1
{_word("rank", "wanted", 2)}
{_field("its.rank.32", "array", RANK, "i32")}
  %its.rank = zext i32 %its.rank.32 to i64
  %same.rank = icmp eq i64 %its.rank, %rank
  %row.major.too = and i1 %same.dtype, %row.major
  %alike = and i1 %row.major.too, %same.rank
{_field("its.shape", "array", SHAPE, "ptr")}
  %shape = getelementptr i64, ptr %wanted, i64 3
  br i1 %alike, label %axis, label %refuse
axis:
  %k = phi i64 [ 0, %kind ], [ %k.next, %compare ]
  %extent.at = getelementptr i64, ptr %shape, i64 %k
  %inner = icmp ult i64 %k, %rank
  br i1 %inner, label %compare, label %bind
compare:
  %extent = load i64, ptr %extent.at
{_word("its.extent", "its.shape", "%k")}
  %k.next = add i64 %k, 1
  %same.extent = icmp eq i64 %its.extent, %extent
  br i1 %same.extent, label %axis, label %refuse
bind:
  %slot = load i64, ptr %wanted
{_field("data", "array", DATA)}
  %place = getelementptr i64, ptr %table, i64 %slot
  store i64 %data, ptr %place
  %n.next = add i64 %n, 1
  br label %input
outs:
  %made = getelementptr i8, ptr %results, i64 {ITEMS}
  br label %output
output:
  %m = phi i64 [ 0, %outs ], [ %m.next, %write ]
  %left = icmp ult i64 %m, %outputs
  br i1 %left, label %write, label %run
write:
{_word("result", "made", "%m", "ptr")}
{_field("result.data", "result", DATA)}
{_word("result.slot", "wanted", "%m")}
  %result.place = getelementptr i64, ptr %table, i64 %result.slot
  store i64 %result.data, ptr %result.place
  %m.next = add i64 %m, 1
  br label %output
run:
{_word("start", "plan", START, "ptr")}
{_word("pool", "plan", POOL, "ptr")}
{_word("program", "plan", PROGRAM, "ptr")}
{_word("job", "plan", JOB, "ptr")}
{_word("threads", "plan", THREADS)}
  call void %start(ptr %pool, ptr %program, ptr %job, i64 %threads)
  ret i64 1
refuse:
  ret i64 0
}}
"""

Input = tuple[int, np.dtype, tuple[int, ...]]  # a slot, and the array expected for it
Enter = Callable[[tuple[Any, ...], tuple[np.ndarray, ...]], int]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """enter(arguments, results) binds the slots of a program to these arrays and runs it; it says 0, and nothing has
    run, where an argument is not a row-major array of the dtype and shape expected. Results are not looked at."""

    enter: Enter
    words: np.ndarray
    inputs: tuple[Input, ...]  # kept: the words have the addresses of their dtypes


def entry(run: Sequence[int], inputs: Iterable[Input], outputs: Iterable[int]) -> Entry | None:
    """run: what to call, start(pool, program, job, threads), with these arguments; and the address of the slots.

    None where Python's or NumPy's objects are not laid out as described above."""
    if not _known():
        return None
    expected, slots = tuple(inputs), tuple(outputs)
    words = [*run, id(np.ndarray), len(expected), len(slots)]
    for slot, dtype, shape in expected:
        words += [slot, id(dtype), len(shape), *shape]
    plan = np.array([*words, *slots], np.uintp)
    return Entry(partial(_native()[1], plan.ctypes.data), plan, expected)


@cache
def _native() -> tuple[Code, Callable[..., int]]:
    """Never freed, since a thread may be within it."""
    code = compile_once(ENTRY_IR)
    kind = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.py_object, ctypes.py_object)
    return code, kind(code.address("enter"))


@cache
def _known() -> bool:
    """Whether arrays and tuples have their fields where this page says."""
    if ctypes.sizeof(ctypes.c_void_p) != WORD:
        return False
    for array in (np.empty((2, 3, 5), np.float32), np.empty((7, 4), np.int64).T):
        at, dtype = id(array), id(array.dtype)
        read = ctypes.c_int64.from_address
        shape = (ctypes.c_int64 * array.ndim).from_address(read(at + SHAPE).value)
        flags = ctypes.c_int32.from_address(at + FLAGS).value
        rank = ctypes.c_int32.from_address(at + RANK).value
        fields = (read(at + HEAD - WORD).value, read(at + DATA).value, rank, read(at + DTYPE).value, flags & ROW_MAJOR)
        expected = (id(np.ndarray), array.ctypes.data, array.ndim, dtype, int(array.flags.c_contiguous))
        pair = (array, dtype)
        items = (read(id(pair) + LENGTH).value, read(id(pair) + ITEMS).value, read(id(pair) + ITEMS + WORD).value)
        if fields != expected or tuple(shape) != array.shape or items != (2, at, id(dtype)):
            return False
    return True
