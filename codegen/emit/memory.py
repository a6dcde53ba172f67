"""Addresses, loads and stores: contiguous, uniform, strided; under masks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..affine import Affine, number, ssa
from ..dtypes import DTYPES, is_float, is_storage
from ..expr import Buffer, Expr
from ..loops import LINE, Prefetch, Store
from .arithmetic import Arithmetic
from .builder import Operand, Value

SPACED = 16  # elements between those of neighbouring lanes, up to which whole vectors are loaded and shuffled


class Memory(Arithmetic):
    """Access to buffers."""

    def value(self, e: Expr) -> Value:
        """An expression as an LLVM value."""
        return self.materialise(self.operand(e))

    @contextmanager
    def masked(self, cond: Value) -> Iterator[None]:
        outer = self.mask
        self.mask = cond if outer is None else self.logic("and", outer, cond)
        with self.scope():
            yield
        self.mask = outer

    def offset(self, buffer: Buffer, index: tuple[Expr, ...]) -> Operand:
        """The linear offset in elements."""
        terms: dict[str, int] = {}
        lane = constant = 0
        others: list[tuple[Value, int]] = []  # not affine: they differ between lanes
        for e, stride in zip(index, buffer.strides, strict=True):
            v = self.operand(e)
            if isinstance(v, Affine):
                lane += v.lane * stride
                constant += v.constant * stride
                for name, c in v.terms:
                    terms[name] = terms.get(name, 0) + c * stride
            else:
                others.append((v, stride))
        total: Operand = Affine(tuple(sorted([t for t in terms.items() if t[1]])), lane, constant)
        for v, stride in others:
            wide = self.splat(v)
            t = wide.type
            wide = self.pure(f"mul nsw {t} {wide.text}, splat (i64 {stride})", (wide.text,), "i64", self.lanes)
            base = self.splat(self.materialise(total))
            total = self.pure(f"add nsw {t} {base.text}, {wide.text}", (base.text, wide.text), "i64", self.lanes)
        return total

    def address(self, buffer: Buffer, at: Affine) -> str:
        """A pointer to the element (of lane 0): variable part first, so that it is shared."""
        cell = self.cell(buffer)
        space = self.pointer_type(buffer)
        pointer = self.pointers[buffer.name]
        if at.terms:
            base = self.scalar(Affine(at.terms))
            pointer = self.pure(
                f"getelementptr inbounds {cell}, {space} {pointer}, i64 {base.text}", (pointer, base.text), "i64"
            ).text
        if at.constant:
            pointer = self.pure(
                f"getelementptr inbounds {cell}, {space} {pointer}, i64 {at.constant}", (pointer,), "i64"
            ).text
        return pointer

    def cell(self, buffer: Buffer) -> str:
        return "i8" if buffer.dtype == "bool" else DTYPES[buffer.dtype].llvm

    def pointer_type(self, buffer: Buffer) -> str:
        space = self.dialect.addrspace.get(buffer.space, 0)
        return f"ptr addrspace({space})" if space else "ptr"

    def pointers_of_lanes(self, buffer: Buffer, at: Operand) -> str:
        """A vector of addresses, for gathers and scatters."""
        index = self.materialise(at)
        t = self.pointer_type(buffer)
        return self.pure(
            f"getelementptr inbounds {self.cell(buffer)}, {t} {self.pointers[buffer.name]}, {index}",
            (index.text,),
            "i64",
        ).text

    def full_mask(self) -> Value:
        if self.mask is not None:
            return self.splat(self.mask)
        return Value("splat (i1 true)", "bool", self.lanes)

    def load(self, buffer: Buffer, index: tuple[Expr, ...]) -> Operand:
        at = self.offset(buffer, index)
        cell, t = self.cell(buffer), self.pointer_type(buffer)
        memory = "u8" if buffer.dtype == "bool" else buffer.dtype
        align = DTYPES[memory].bytes
        if isinstance(at, Affine) and not at.lane:
            v = self.load_one(buffer, at, cell, t, memory, align)
        elif self.is_permutation(buffer, at):
            assert isinstance(at, Affine)
            v = self.permutation(buffer, at, memory)
        elif isinstance(at, Affine) and at.lane == 1:
            wide = f"<{self.lanes} x {cell}>"
            pointer = self.address(buffer, at)
            if self.mask is None or self.is_register(buffer, at):
                v = self.new(f"load {wide}, {t} {pointer}, align {align}", memory, self.lanes)
            else:
                v = self.masked_load(wide, t, pointer, memory, align, self.lanes, self.full_mask())
        elif isinstance(at, Affine) and abs(at.lane) <= SPACED and self.mask is None:
            v = self.spaced(buffer, at, memory)
        elif isinstance(at, Affine) and self.mask is None:
            v = self.collected(buffer, at, memory)
        else:
            wide = f"<{self.lanes} x {cell}>"
            pointers = self.pointers_of_lanes(buffer, at)
            mask = self.full_mask()
            name = f"@llvm.masked.gather.{self.overload(memory, self.lanes)}.v{self.lanes}p{self.space(buffer)}"
            self.declarations.add(f"declare {wide} {name}(<{self.lanes} x {t}>, {mask.type}, {wide})")
            v = self.new(
                f"call {wide} {name}(<{self.lanes} x {t}> align {align} {pointers}, {mask}, {wide} zeroinitializer)",
                memory,
                self.lanes,
            )
        if buffer.dtype == "bool":
            v = self.new(f"trunc {v} to {Value('', 'bool', v.lanes).type}", "bool", v.lanes)
        return ssa(v.text) if v.dtype == "i64" and v.lanes == 1 else v

    def is_register(self, buffer: Buffer, at: Affine) -> bool:
        """Whether the lanes are a whole vector of a register buffer, at a place that is known here. It is there to be
        read and written whole whatever the mask: with masked access LLVM would keep the buffer in memory."""
        return buffer.space == "register" and not at.terms and 0 <= at.constant <= buffer.size - self.lanes

    def is_permutation(self, buffer: Buffer, at: Operand) -> bool:
        """Whether all lanes read places of a register buffer that are known here, and not neighbours."""
        known = isinstance(at, Affine) and at.lane != 1 and not at.terms
        return known and buffer.space == "register" and buffer.dtype != "bool" and buffer.size % self.lanes == 0

    def permutation(self, buffer: Buffer, at: Affine, memory: str) -> Value:
        """Elements of a register buffer that are not neighbours: its vectors, shuffled two at a time."""
        n = self.lanes
        places = [at.constant + i * at.lane for i in range(n)]
        t = Value("", memory, n).type
        result: Value | None = None
        chosen: list[str] = ["poison"] * n  # for each lane, where in the result it is
        for k in sorted({p // n for p in places}):
            pointer = self.address(buffer, number(k * n))
            vector = self.new(f"load {t}, ptr {pointer}, align {DTYPES[memory].bytes}", memory, n)
            if result is None:
                result, chosen = vector, [str(p % n) if p // n == k else c for p, c in zip(places, chosen, strict=True)]
                continue
            chosen = [str(n + p % n) if p // n == k else c for p, c in zip(places, chosen, strict=True)]
            result = self.shuffle(result, vector, chosen)
            chosen = ["poison" if c == "poison" else str(i) for i, c in enumerate(chosen)]
        assert result is not None
        return result if chosen == [str(i) for i in range(n)] else self.shuffle(result, result, chosen)

    def spaced(self, buffer: Buffer, at: Affine, memory: str) -> Value:
        """Elements a few places apart, or backwards: vectors of all between the first and the last, shuffled. A line
        at a time, as vectors of several are cut into registers anyway."""
        chunk = min(self.lanes, LINE // DTYPES[memory].bytes)
        result: Value | None = None
        for start in range(0, self.lanes, chunk):
            places = [i * at.lane for i in range(start, min(start + chunk, self.lanes))]
            n, least, reach = len(places), min(places), max(places) - min(places) + 1
            offsets = [*range(0, reach - n, n), reach - n]
            part: Value | None = None
            chosen: list[str] = []
            for offset in offsets:
                pointer = self.address(buffer, Affine(at.terms, 0, at.constant + least + offset))
                t = Value("", memory, n).type
                align = DTYPES[memory].bytes
                vector = self.new(f"load {t}, {self.pointer_type(buffer)} {pointer}, align {align}", memory, n)
                here = [p - least - offset for p in places]
                if part is None:
                    part, chosen = vector, [str(p) if 0 <= p < n else "poison" for p in here]
                    continue
                both = [
                    c if c != "poison" else str(n + p) if 0 <= p < n else c for p, c in zip(here, chosen, strict=True)
                ]
                part = self.shuffle(part, vector, both)
                chosen = ["poison" if c == "poison" else str(i) for i, c in enumerate(both)]
            assert part is not None
            if chosen != [str(i) for i in range(n)]:
                part = self.shuffle(part, part, chosen)
            result = part if result is None else self.joined(result, part)
        assert result is not None
        return result

    def collected(self, buffer: Buffer, at: Affine, memory: str) -> Value:
        """Elements far apart, one by one: the instructions that gather lanes take longer on many CPUs."""
        cell, t, align = self.cell(buffer), self.pointer_type(buffer), DTYPES[memory].bytes
        result = Value("poison", memory, self.lanes)
        for lane in range(self.lanes):
            pointer = self.address(buffer, Affine(at.terms, 0, at.constant + lane * at.lane))
            one = self.new(f"load {cell}, {t} {pointer}, align {align}", memory)
            result = self.new(f"insertelement {result}, {one}, i64 {lane}", memory, self.lanes)
        return result

    def joined(self, a: Value, b: Value) -> Value:
        """Two vectors one after the other, the first no shorter."""
        if b.lanes < a.lanes:
            filled = [str(i) if i < b.lanes else "poison" for i in range(a.lanes)]
            mask = ", ".join(f"i32 {c}" for c in filled)
            text = f"shufflevector {b}, {b}, <{a.lanes} x i32> <{mask}>"
            return self.joined_to(a, self.new(text, a.dtype, a.lanes), b.lanes)
        return self.joined_to(a, b, b.lanes)

    def joined_to(self, a: Value, b: Value, count: int) -> Value:
        """a, and the first `count` elements of b, which is as long."""
        lanes = a.lanes + count
        mask = ", ".join(f"i32 {i}" for i in range(lanes))
        return self.new(f"shufflevector {a}, {b}, <{lanes} x i32> <{mask}>", a.dtype, lanes)

    def shuffle(self, a: Value, b: Value, chosen: list[str]) -> Value:
        mask = ", ".join(f"i32 {c}" for c in chosen)
        return self.new(f"shufflevector {a}, {b}, <{len(chosen)} x i32> <{mask}>", a.dtype, a.lanes)

    def load_one(self, buffer: Buffer, at: Affine, cell: str, t: str, memory: str, align: int) -> Value:
        """One element for all lanes; under a mask that may be empty, only if some lane wants it."""
        pointer = self.address(buffer, at)
        if self.mask is None or self.mask.lanes == 1 or "true" in self.mask.text:
            return self.new(f"load {cell}, {t} {pointer}, align {align}", memory)
        self.declarations.add(f"declare i1 @llvm.vector.reduce.or.v{self.lanes}i1(<{self.lanes} x i1>)")
        some = self.new(f"call i1 @llvm.vector.reduce.or.v{self.lanes}i1({self.mask})", "bool")
        one = self.new(f"insertelement <1 x i1> poison, i1 {some.text}, i64 0", "bool")
        v = self.masked_load(f"<1 x {cell}>", t, pointer, memory, align, 1, Value(one.text, "bool"))
        return self.new(f"extractelement <1 x {cell}> {v.text}, i64 0", memory)

    def masked_load(self, wide: str, t: str, pointer: str, memory: str, align: int, lanes: int, mask: Value) -> Value:
        name = f"@llvm.masked.load.{self.overload(memory, lanes)}.p{self.address_space(t)}"
        mask_type = f"<{lanes} x i1>"
        self.declarations.add(f"declare {wide} {name}({t}, {mask_type}, {wide})")
        return self.new(
            f"call {wide} {name}({t} align {align} {pointer}, {mask_type} {mask.text}, {wide} zeroinitializer)",
            memory,
            lanes,
        )

    def overload(self, dtype: str, lanes: int) -> str:
        kind = "f" if is_float(dtype) and not is_storage(dtype) else "i"
        return f"v{lanes}{kind}{8 * DTYPES[dtype].bytes}"

    def space(self, buffer: Buffer) -> int:
        return self.dialect.addrspace.get(buffer.space, 0)

    def address_space(self, pointer_type: str) -> str:
        return pointer_type.partition("(")[2].rstrip(")") or "0"

    def interleave(self, buffer: Buffer, at: Affine, v: Value) -> None:
        """Stores elements to places of a register buffer that are not neighbours: its vectors, shuffled."""
        n, align = self.lanes, DTYPES[v.dtype].bytes
        source = {at.constant + i * at.lane: i for i in range(n)}
        for k in sorted({p // n for p in source}):
            pointer = self.address(buffer, number(k * n))
            old = self.new(f"load {v.type}, ptr {pointer}, align {align}", v.dtype, n)
            chosen = [str(n + source[p]) if p in source else str(p - k * n) for p in range(k * n, (k + 1) * n)]
            self.do(f"store {self.shuffle(old, v, chosen)}, ptr {pointer}, align {align}")

    def prefetch(self, s: Prefetch) -> None:
        """Asks for the line of an element, to be kept in all caches. It is an address and no access: the element
        may lie outside of the buffer."""
        at = self.offset(s.buffer, s.index)
        assert isinstance(at, Affine)
        t, base = self.pointer_type(s.buffer), self.scalar(Affine(at.terms))
        pointer = self.pointers[s.buffer.name]
        for offset in (base.text, str(at.constant)):
            if offset != "0":
                step = f"getelementptr {self.cell(s.buffer)}, {t} {pointer}, i64 {offset}"
                pointer = self.pure(step, (pointer, offset), "i64").text
        name = f"@llvm.prefetch.p{self.space(s.buffer)}"
        self.declarations.add(f"declare void {name}({t}, i32, i32, i32)")
        self.do(f"call void {name}({t} {pointer}, i32 0, i32 3, i32 1)")

    def stream(self, v: Value, t: str, pointer: str, part: int, align: int) -> None:
        """A vector past the caches, where it starts at a multiple of so many bytes: hardware has no other such stores,
        but joins parts of a line. They are not ordered with others: the kernel ends with a fence."""
        if v.lanes * DTYPES[v.dtype].bytes % part:
            self.do(f"store {v}, {t} {pointer}, align {align}")
            return
        address = self.pure(f"ptrtoint {t} {pointer} to i64", (pointer,), "i64")
        low = self.pure(f"and i64 {address.text}, {part - 1}", (address.text,), "i64")
        whole = self.pure(f"icmp eq i64 {low.text}, 0", (low.text,), "bool")
        with self.branch(whole):
            self.do(f"store {v}, {t} {pointer}, align {part}, !nontemporal !{{i32 1}}")
        with self.branch(self.invert(whole)):
            self.do(f"store {v}, {t} {pointer}, align {align}")

    def store(self, s: Store) -> None:
        buffer = s.buffer
        at = self.offset(buffer, s.index)
        v = self.value(s.value)
        if buffer.dtype == "bool":
            v = self.pure(f"zext {v} to {Value('', 'u8', v.lanes).type}", (v.text,), "u8", v.lanes)
        t = self.pointer_type(buffer)
        align = DTYPES[v.dtype].bytes
        if self.lanes == 1 or (isinstance(at, Affine) and not at.lane and v.lanes == 1 and self.mask is None):
            assert isinstance(at, Affine)
            self.do(f"store {v}, {t} {self.address(buffer, at)}, align {align}")
            self.forget(buffer.name)
            return
        v = self.splat(v)
        if isinstance(at, Affine) and at.lane == 1:
            pointer = self.address(buffer, at)
            if self.mask is None and s.streams:
                self.stream(v, t, pointer, s.streams, align)
            elif self.mask is None:
                self.do(f"store {v}, {t} {pointer}, align {align}")
            elif self.is_register(buffer, at):
                old = self.new(f"load {v.type}, {t} {pointer}, align {align}", v.dtype, v.lanes)
                kept = self.new(f"select {self.full_mask()}, {v}, {old}", v.dtype, v.lanes)
                self.do(f"store {kept}, {t} {pointer}, align {align}")
            else:
                mask = self.full_mask()
                name = f"@llvm.masked.store.{self.overload(v.dtype, v.lanes)}.p{self.space(buffer)}"
                self.declarations.add(f"declare void {name}({v.type}, {t}, {mask.type})")
                self.do(f"call void {name}({v}, {t} align {align} {pointer}, {mask})")
        elif self.is_permutation(buffer, at) and self.mask is None:
            assert isinstance(at, Affine)
            self.interleave(buffer, at, v)
        else:
            pointers = self.pointers_of_lanes(buffer, at)
            mask = self.full_mask()
            name = f"@llvm.masked.scatter.{self.overload(v.dtype, v.lanes)}.v{v.lanes}p{self.space(buffer)}"
            self.declarations.add(f"declare void {name}({v.type}, <{v.lanes} x {t}>, {mask.type})")
            self.do(f"call void {name}({v}, <{v.lanes} x {t}> align {align} {pointers}, {mask})")
        self.forget(buffer.name)
