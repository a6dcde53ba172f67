"""Discrete Fourier transforms as straight-line code, for sizes 2^a 3^b 5^c 7^d.

    forward   X[k] = sum_j x[j] exp(-2 pi i jk / n)
    inverse   x[j] = sum_k X[k] exp(+2 pi i jk / n)       (without the factor 1/n)

of complex values, and of real ones: there only X[0] ... X[n/2] are made, or read, since X[n-k] = conj X[k].

    n = a b, coprime     a two-dimensional transform without twiddles (Good 1958, Thomas 1963)
    2^e                  split radix: n/2, n/4 and n/4 points (Duhamel and Hollmann 1984; real: Sorensen et al. 1987)
    p^e                  p transforms of n/p points, twiddles, n/p transforms of p points (Cooley and Tukey 1965)
    p                    sums and differences of x[j] and x[p-j], times cosines and sines

The inverse of real values runs the same steps backwards. A value is a sign and a variable, or None where it is known
to be zero: so zeros at the end of a tile, signs and conjugates cost nothing. Equal expressions are made once, and
`Code.needed` keeps what the results that are wanted depend on (M. Frigo, "A fast Fourier transform compiler", 1999).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache

from codegen.expr import Binary, Expr, Fma, Unary, Var, const
from codegen.traverse import variables

Value = tuple[int, Var] | None  # +1 or -1, and a variable; None: zero
Complex = tuple[Value, Value]

PRIMES = (2, 3, 5, 7)


@cache
def factor(n: int) -> tuple[int, ...]:
    """The powers of primes whose product is n, largest first; raises ValueError for primes above 7."""
    found, rest = [], n
    for p in PRIMES:
        power = 1
        while rest % p == 0:
            power, rest = power * p, rest // p
        if power > 1:
            found.append(power)
    if rest != 1 or n < 1:
        raise ValueError(f"a transform of {n} points: sizes are products of {PRIMES}")
    return tuple(sorted(found, reverse=True))


def root(k: int, n: int) -> tuple[float, float]:
    """cos and sin of 2 pi k / n, of angles within an eighth of a turn, so that both are rounded once."""
    turn = Fraction(k, n) % 1
    eighth = int(turn * 8)
    rest = turn - Fraction(eighth, 8)  # in [0, 1/8)
    if eighth % 2:
        rest = Fraction(1, 8) - rest
    angle = 2 * math.pi * float(rest)
    c, s = (math.cos(angle), math.sin(angle)) if rest != Fraction(1, 8) else (math.sqrt(0.5), math.sqrt(0.5))
    if (eighth + 1) // 2 % 2:
        c, s = s, c
    if eighth in (2, 3, 4, 5):
        c = -c
    if eighth >= 4:
        s = -s
    return (c + 0.0, s + 0.0)  # no negative zeros


@dataclass
class Code:
    """Straight-line code as it grows."""

    dtype: str = "f32"
    lets: list[tuple[Var, Expr]] = field(default_factory=list)
    known: dict[tuple[object, ...], Value] = field(default_factory=dict)
    outside: set[str] = field(default_factory=set)

    def bind(self, e: Expr | None) -> Value:
        """A name for a value from outside; None for zero."""
        if e is None:
            return None
        name = self._let(e)
        self.outside.add(name.name)
        return 1, name

    def _let(self, e: Expr) -> Var:
        var = Var(f"u{len(self.lets)}", self.dtype)
        self.lets.append((var, e))
        return var

    def _once(self, key: tuple[object, ...], e: Expr) -> Value:
        if key not in self.known:
            self.known[key] = 1, self._let(e)
        return self.known[key]

    def add(self, x: Value, y: Value) -> Value:
        if x is None or y is None:
            return y if x is None else x
        (s, a), (t, b) = x, y
        if a == b:
            return None if s != t else self.scale(x, 2.0)
        if s == t:
            a, b = sorted((a, b), key=lambda v: v.name)
            return signed(s, self._once(("add", a, b), Binary("add", a, b)))
        if s < 0:
            a, b = b, a  # a - b
        if ("sub", b, a) in self.known:
            return signed(-1, self.known["sub", b, a])
        return self._once(("sub", a, b), Binary("sub", a, b))

    def sub(self, x: Value, y: Value) -> Value:
        return self.add(x, signed(-1, y))

    def scale(self, x: Value, c: float) -> Value:
        """c x"""
        if x is None or c == 0.0:
            return None
        if abs(c) == 1.0:
            return signed(int(c), x)
        s, a = x
        sign = s if c > 0 else -s
        return signed(sign, self._once(("mul", a, abs(c)), Binary("mul", a, const(abs(c), self.dtype))))

    def mad(self, x: Value, c: float, y: Value) -> Value:
        """c x + y"""
        if x is None or c == 0.0:
            return y
        if y is None:
            return self.scale(x, c)
        if abs(c) == 1.0:
            return self.add(signed(int(c), x), y)
        (s, a), (t, b) = x, y
        weight = s * t * c
        return signed(t, self._once(("fma", a, weight, b), Fma(a, const(weight, self.dtype), b)))

    def cadd(self, x: Complex, y: Complex) -> Complex:
        return self.add(x[0], y[0]), self.add(x[1], y[1])

    def csub(self, x: Complex, y: Complex) -> Complex:
        return self.sub(x[0], y[0]), self.sub(x[1], y[1])

    def turn(self, x: Complex, k: int, n: int) -> Complex:
        """x exp(2 pi i k / n)"""
        c, s = root(k, n)
        re, im = x
        return self.mad(re, c, self.scale(im, -s)), self.mad(im, c, self.scale(re, s))

    def times(self, x: Complex, y: Complex) -> Complex:
        """A product with a number that is known only at run time."""
        (re, im), (c, s) = x, y
        return self.sub(self.product(re, c), self.product(im, s)), self.add(self.product(re, s), self.product(im, c))

    def product(self, x: Value, y: Value) -> Value:
        if x is None or y is None:
            return None
        (s, a), (t, b) = x, y
        return signed(s * t, self._once(("product", a, b), Binary("mul", a, b)))

    def expression(self, x: Value) -> Expr:
        """A value as an expression."""
        if x is None:
            return const(0.0, self.dtype)
        s, a = x
        if s > 0:
            return a
        found = self._once(("neg", a), Unary("neg", a))
        assert found is not None
        return found[1]

    def needed(self, wanted: Iterable[Expr]) -> tuple[tuple[Var, Expr], ...]:
        """The lets that expressions depend on, in order; those of values from outside where they are first used."""
        names = set().union(*(variables(e) for e in wanted))
        kept = []
        for var, e in reversed(self.lets):
            if var.name in names:
                names |= variables(e)
                kept.append((var, e))
        late = {var.name: (var, e) for var, e in kept if var.name in self.outside}
        out = []
        for var, e in reversed(kept):
            if var.name not in self.outside:
                out += [late.pop(n) for n in sorted(variables(e)) if n in late]
                out.append((var, e))
        return (*out, *late.values())


def signed(sign: int, x: Value) -> Value:
    return None if x is None else (sign * x[0], x[1])


def conj(x: Complex) -> Complex:
    return x[0], signed(-1, x[1])


def times_i(x: Complex, sign: int = 1) -> Complex:
    """i x, or -i x"""
    return signed(-sign, x[1]), signed(sign, x[0])


def _mirrored(half: Sequence[Complex], k: int, n: int) -> Complex:
    """X[k] of n, from the first n // 2 + 1."""
    k %= n
    return half[k] if k <= n // 2 else conj(half[n - k])


def _pairs(a: int, b: int) -> Iterable[tuple[int, int, int]]:
    """(j, j1, j2) with j = b j1 + a j2 mod ab."""
    return (((b * j1 + a * j2) % (a * b), j1, j2) for j2 in range(b) for j1 in range(a))


def _split(n: int) -> tuple[int, int]:
    """n as a product of coprimes, or of a prime and the rest."""
    powers = factor(n)
    if len(powers) > 1:
        return powers[0], n // powers[0]
    p = next(q for q in PRIMES if n % q == 0)
    return p, n // p


# ------------------------------------------------------------------------------------ complex values


def dft(code: Code, x: Sequence[Complex], sign: int = -1) -> list[Complex]:
    """All n results for n complex values; sign +1 for the inverse."""
    n = len(x)
    if n == 1:
        return list(x)
    if n == 2:
        return [code.cadd(x[0], x[1]), code.csub(x[0], x[1])]
    a, b = _split(n)
    if len(factor(n)) > 1:
        rows: list[list[Complex]] = []
        for j2 in range(b):
            rows.append(dft(code, [x[(b * j1 + a * j2) % n] for j1 in range(a)], sign))
        columns = [dft(code, [rows[j2][k1] for j2 in range(b)], sign) for k1 in range(a)]
        return [columns[k % a][k % b] for k in range(n)]
    if a == 2:
        return _split_radix(code, x, sign)
    if b == 1:
        return _prime(code, x, sign)
    parts = [dft(code, x[j::a], sign) for j in range(a)]
    out: list[Complex] = [(None, None)] * n
    for k in range(b):
        out[k::b] = _prime(code, [code.turn(part[k], sign * j * k, n) for j, part in enumerate(parts)], sign)
    return out


def _split_radix(code: Code, x: Sequence[Complex], sign: int) -> list[Complex]:
    n = len(x)
    q = n // 4
    even, one, three = dft(code, x[::2], sign), dft(code, x[1::4], sign), dft(code, x[3::4], sign)
    out: list[Complex] = [(None, None)] * n
    for k in range(q):
        t, u = code.turn(one[k], sign * k, n), code.turn(three[k], sign * 3 * k, n)
        s, d = code.cadd(t, u), times_i(code.csub(t, u), sign)
        out[k], out[k + 2 * q] = code.cadd(even[k], s), code.csub(even[k], s)
        out[k + q], out[k + 3 * q] = code.cadd(even[k + q], d), code.csub(even[k + q], d)
    return out


def _prime(code: Code, x: Sequence[Complex], sign: int) -> list[Complex]:
    """Of an odd prime number of points: X[k], X[p-k] = x[0] + sum_j t_j cos(jk) +- i sum_j d_j sin(jk)."""
    p = len(x)
    pairs = [(code.cadd(x[j], x[p - j]), code.csub(x[j], x[p - j])) for j in range(1, p // 2 + 1)]
    first = x[0]
    for t, _ in pairs:
        first = code.cadd(first, t)
    out = [first] + [first] * (p - 1)
    for k in range(1, p // 2 + 1):
        even: Complex = x[0]
        odd: Complex = (None, None)
        for j, (t, d) in enumerate(pairs, 1):
            c, s = root(j * k, p)
            even = code.mad(t[0], c, even[0]), code.mad(t[1], c, even[1])
            odd = code.mad(d[0], s, odd[0]), code.mad(d[1], s, odd[1])
        turned = times_i(odd, sign)
        out[k], out[p - k] = code.cadd(even, turned), code.csub(even, turned)
    return out


# --------------------------------------------------------------------------------------- real values


def rdft(code: Code, x: Sequence[Value]) -> list[Complex]:
    """X[0] ... X[n // 2] of n real values."""
    n = len(x)
    if n == 1:
        return [(x[0], None)]
    if n == 2:
        return [(code.add(x[0], x[1]), None), (code.sub(x[0], x[1]), None)]
    a, b = _split(n)
    if len(factor(n)) > 1:
        return _coprime_real(code, x, a, b)
    if a == 2:
        return _split_radix_real(code, x)
    if b == 1:
        return _prime(code, [(v, None) for v in x], -1)[: n // 2 + 1]
    parts = [rdft(code, x[j::a]) for j in range(a)]
    half: dict[int, Complex] = {}
    for k in range(b // 2 + 1):
        found = _prime(code, [code.turn(part[k], -j * k, n) for j, part in enumerate(parts)], -1)
        for q, value in enumerate(found):
            i = k + b * q
            half.setdefault(min(i, n - i), value if 2 * i <= n else conj(value))
    return [half[k] for k in range(n // 2 + 1)]


def _coprime_real(code: Code, x: Sequence[Value], a: int, b: int) -> list[Complex]:
    n = a * b
    rows = [rdft(code, [x[(b * j1 + a * j2) % n] for j1 in range(a)]) for j2 in range(b)]
    columns: list[list[Complex]] = []
    for k1 in range(a // 2 + 1):
        column = [row[k1] for row in rows]
        if 2 * k1 % a == 0:
            real = rdft(code, [re for re, _ in column])
            columns.append([_mirrored(real, k2, b) for k2 in range(b)])
        else:
            columns.append(dft(code, column))
    out = []
    for k in range(n // 2 + 1):
        k1, k2 = k % a, k % b
        out.append(columns[k1][k2] if k1 <= a // 2 else conj(columns[a - k1][(b - k2) % b]))
    return out


def _split_radix_real(code: Code, x: Sequence[Value]) -> list[Complex]:
    n = len(x)
    q = n // 4
    even, one, three = rdft(code, x[::2]), rdft(code, x[1::4]), rdft(code, x[3::4])
    half: dict[int, Complex] = {}
    for k in range(q // 2 + 1):
        t, u = code.turn(one[k], -k, n), code.turn(three[k], -3 * k, n)
        s, d = code.cadd(t, u), times_i(code.csub(t, u), -1)
        other = _mirrored(even, k + q, 2 * q)
        half.setdefault(k, code.cadd(even[k], s))
        half.setdefault(2 * q - k, conj(code.csub(even[k], s)))
        half.setdefault(q + k, code.cadd(other, d))
        half.setdefault(q - k, conj(code.csub(other, d)))
    return [half[k] for k in range(n // 2 + 1)]


def irdft(code: Code, half: Sequence[Complex], n: int) -> list[Value]:
    """The n real values of which `half` are X[0] ... X[n // 2]: the steps of `rdft`, backwards."""
    if n == 1:
        return [half[0][0]]
    if n == 2:
        return [code.add(half[0][0], half[1][0]), code.sub(half[0][0], half[1][0])]
    a, b = _split(n)
    out: list[Value] = [None] * n
    if len(factor(n)) > 1:
        rows: list[list[Complex]] = []
        place = {(k % a, k % b): k for k in range(n)}
        for k1 in range(a // 2 + 1):
            row = [_mirrored(half, place[k1, k2], n) for k2 in range(b)]
            if 2 * k1 % a == 0:
                rows.append([(v, None) for v in irdft(code, row[: b // 2 + 1], b)])
            else:
                rows.append(dft(code, row, 1))
        for j2 in range(b):
            for j1, v in enumerate(irdft(code, [row[j2] for row in rows], a)):
                out[(b * j1 + a * j2) % n] = v
        return out
    if a == 2:
        return _split_radix_inverse(code, half, n)
    parts: list[list[Complex]] = [[] for _ in range(a)]
    for k in range(b // 2 + 1):
        found = [_mirrored(half, k + b * q, n) for q in range(a)]
        turned = [(v, None) for v in _prime_inverse(code, found)] if k == 0 else _prime(code, found, 1)
        for j, part in enumerate(parts):
            part.append(code.turn(turned[j], j * k, n))
    for j, part in enumerate(parts):
        out[j::a] = irdft(code, part, b)
    return out


def _prime_inverse(code: Code, x: Sequence[Complex]) -> list[Value]:
    """The real values of p complex ones, X[p-k] = conj X[k]: X[0] + sum_k 2 re X[k] cos(jk) -+ 2 im X[k] sin(jk)."""
    p = len(x)
    pairs = [(code.scale(re, 2.0), code.scale(im, 2.0)) for re, im in x[1 : p // 2 + 1]]
    first = x[0][0]
    for re, _ in pairs:
        first = code.add(first, re)
    out = [first] * p
    for j in range(1, p // 2 + 1):
        even: Value = x[0][0]
        odd: Value = None
        for k, (re, im) in enumerate(pairs, 1):
            c, s = root(j * k, p)
            even, odd = code.mad(re, c, even), code.mad(im, s, odd)
        out[j], out[p - j] = code.sub(even, odd), code.add(even, odd)
    return out


def _split_radix_inverse(code: Code, half: Sequence[Complex], n: int) -> list[Value]:
    q = n // 4
    even: list[Complex] = [(None, None)] * (q + 1)
    one: list[Complex] = []
    three: list[Complex] = []
    for k in range(q // 2 + 1):
        x = [_mirrored(half, k + q * j, n) for j in range(4)]
        even[k], even[q - k] = code.cadd(x[0], x[2]), conj(code.cadd(x[1], x[3]))
        d, e = code.csub(x[0], x[2]), times_i(code.csub(x[1], x[3]))
        one.append(code.turn(code.cadd(d, e), k, n))
        three.append(code.turn(code.csub(d, e), 3 * k, n))
    out: list[Value] = [None] * n
    out[::2] = irdft(code, even, 2 * q)
    out[1::4], out[3::4] = irdft(code, one, q), irdft(code, three, q)
    return out
