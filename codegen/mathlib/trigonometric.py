"""sin, cos and tan of any finite argument.

    |x| = k pi/2 + r, |r| <= pi/4            then sin and cos of r, and the quadrant k mod 4

The reduction is that of Payne and Hanek (ACM SIGNUM Newsletter 18, 1983): of the product of x with the bits of 2/pi,
those that make multiples of 4 are never computed. 2/pi is cut into chunks of as many bits as the format has. What x is
divided by (a power of two) selects the five chunks that matter, by the binary digits of their number, so that there
is no table in memory; each product with x is exact, in two parts, and so are their sums but for the last bits. Any
argument keeps its full accuracy: the float nearest to a multiple of pi/2 comes as near as 2**-30 (f32) or 2**-61.
"""

from __future__ import annotations

import math

from ..expr import Bitcast, Const, Expr, Fma, Select, eq
from .format import Coefficients, Format, Pair, absolute, flip_sign, horner, two_product, two_sum

# (sin(r) / r - 1) / r**2 and (cos(r) - 1 + r**2/2) / r**4, in powers of r**2
SIN: dict[str, Coefficients] = {
    "f32": (  # 2**-27.8
        -0.16666653752326965, 0.008332106284797192, -0.00019507833349052817,
    ),
    "f64": (  # 2**-57.9
        -0.1666666666666663, 0.008333333333321837, -0.00019841269829354267, 2.7557313536682195e-06,
        -2.505073405916903e-08, 1.5895412049749576e-10,
    ),
}  # fmt: skip
COS: dict[str, Coefficients] = {
    "f32": (  # 2**-32.9
        0.04166664555668831, -0.0013887308305129409, 2.4432092686765827e-05,
    ),
    "f64": (  # 2**-63.8
        0.04166666666666659, -0.0013888888888872186, 2.48015872882955e-05, -2.7557314015194827e-07,
        2.08756780992259e-09, -1.1357337621020149e-11,
    ),
}  # fmt: skip
HALF_PI = {"f32": (1.5707963705062866, -4.371138828673793e-08), "f64": (math.pi / 2, 6.123233995736766e-17)}
STEPS = {"f32": (4, 2, 1), "f64": (16, 8, 4, 2, 1)}  # the digits of the number of chunks that are left out
CHUNKS = {"f32": 9, "f64": 23}
USED = 5


def two_over_pi(bits: int) -> int:
    """2/pi * 2**bits, by Machin's formula: pi/4 = 4 atan(1/5) - atan(1/239)."""
    guard = bits + 64

    def arctan_of_inverse(n: int) -> int:
        power = total = (1 << guard) // n
        k = sign = 1
        while power:
            power //= n * n
            k, sign = k + 2, -sign
            total += sign * (power // k)
        return total

    pi = 4 * (4 * arctan_of_inverse(5) - arctan_of_inverse(239))
    return (1 << (guard + 1 + bits)) // pi


def _chunks(f: Format) -> list[Expr]:
    """2/pi = sum of chunks[i] * 2**(-width * i)."""
    width = f.fraction + 1
    count = CHUNKS[f.dtype]
    digits = two_over_pi(width * count)
    cut = [(digits >> (width * (count - 1 - i))) & ((1 << width) - 1) for i in range(count)]
    return [f.c(c * 2.0**-width) for c in cut]


def _without_fours(f: Format, x: Expr) -> Expr:
    """x less a multiple of 4, between -4 and 4, for |x| < 2**(fraction + 2)."""
    magic = f.c(1.5 * 2.0 ** (f.fraction + 2))
    return x - ((x + magic) - magic)


def reduce(f: Format, x: Expr) -> tuple[Expr, Expr, Expr]:
    """r in two parts and an integer whose low bits are k, for x >= 0."""
    width, fours = f.fraction + 1, f.fraction + 2
    chunks: list[Expr] = _chunks(f)
    y = x
    for number, step in enumerate(STEPS[f.dtype]):
        beyond = y >= 2.0 ** (fours + width * step)
        y = Select(beyond, y * 2.0 ** (-width * step), y)
        needed = USED + sum(STEPS[f.dtype][number + 1 :])
        chunks = [
            Select(beyond, chunks[i + step], chunks[i]) if i + step < len(chunks) else chunks[i]
            for i in range(min(needed, len(chunks)))
        ]
    parts: list[Pair] = []
    for i, c in enumerate(chunks[: USED - 1]):
        parts.append(two_product(y * 2.0 ** (-width * i) if i else y, c))
    (h0, l0), (h1, l1), (h2, l2), (h3, l3) = parts
    h0 = _without_fours(f, Select(h0 < 2.0**fours, h0, f.c(0.0)))  # beyond, it is a multiple of 4
    # Three sums, of terms of about 1, 2**-width and 2**(-2 width); what each loses goes to the next.
    first, second = _summed([h0, _without_fours(f, l0), _without_fours(f, h1), l1, h2])
    magic = f.c(f.round_magic)
    t = first + magic  # its low bits are k
    middle, third = _summed([*second, l2, h3])
    last = third[0]
    for e in (*third[1:], l3, chunks[USED - 1] * (y * 2.0 ** (-width * (USED - 1)))):
        last = last + e
    turns, rest = two_sum(first - (t - magic), middle)
    rest = rest + last
    # ... in quarter turns; times pi/2 in radians
    high, low = HALF_PI[f.dtype]
    r, r_low = two_product(turns, f.c(high))
    r_low = r_low + Fma(turns, f.c(low), rest * high)
    near = x < 0.78
    bits = Bitcast(t, f.ints)
    return Select(near, x, r), Select(near, f.c(0.0), r_low), Select(near, Const(0, f.ints), bits)


def _summed(terms: list[Expr]) -> tuple[Expr, list[Expr]]:
    """The sum, rounded at each step, and what each step lost."""
    total, lost = terms[0], []
    for term in terms[1:]:
        total, error = two_sum(total, term)
        lost.append(error)
    return total, lost


def _sin_cos(f: Format, r: Expr, low: Expr) -> Pair:
    z = r * r
    sin = r + Fma(r * z, horner(SIN[f.dtype], z), low * Fma(z, f.c(-0.5), f.c(1.0)))
    cos = 1.0 + Fma(z, Fma(z, horner(COS[f.dtype], z), f.c(-0.5)), -(r * low))
    return sin, cos


def _is_odd(f: Format, k: Expr) -> Expr:
    return eq(k & 1, 1)


def _finite(f: Format, y: Expr, result: Expr) -> Expr:
    return Select(y < math.inf, result, f.c(math.nan))


def _sign_of(f: Format, k: Expr) -> Expr:
    """A number whose sign bit is bit 1 of k."""
    return Bitcast(k << (8 * f.size - 2), f.dtype)


def sin(f: Format, x: Expr) -> Expr:
    y = absolute(x)
    r, low, k = reduce(f, y)
    s, c = _sin_cos(f, r, low)
    result = flip_sign(f, Select(_is_odd(f, k), c, s), _sign_of(f, k))
    return _finite(f, y, flip_sign(f, result, x))


def cos(f: Format, x: Expr) -> Expr:
    y = absolute(x)
    r, low, k = reduce(f, y)
    s, c = _sin_cos(f, r, low)
    return _finite(f, y, flip_sign(f, Select(_is_odd(f, k), s, c), _sign_of(f, k + 1)))


def tan(f: Format, x: Expr) -> Expr:
    y = absolute(x)
    r, low, k = reduce(f, y)
    s, c = _sin_cos(f, r, low)
    odd = _is_odd(f, k)
    result = Select(odd, c, s) / Select(odd, -s, c)
    return _finite(f, y, flip_sign(f, result, x))
