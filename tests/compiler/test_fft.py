"""Fourier's convolution: its transforms against NumPy's, its values and gradients against the references."""

import numpy as np
import pytest

import graphnet as gn
from codegen.expr import Binary, Const, Fma, Unary, Var, const
from graphnet.fft_conv import SHORT
from graphnet.fourier import Code, dft, factor, irdft, rdft, root

OPERATIONS = {"add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b}


def run(code, values):
    """Values of all names of straight-line code, given those from outside."""
    for var, e in code.lets:
        if var.name not in values:
            values[var.name] = value(e, values)
    return values


def value(e, values):
    match e:
        case Var(name=name):
            return values[name]
        case Const(value=v):
            return v
        case Unary(_, a):
            return -value(a, values)
        case Binary(op, a, b):
            return OPERATIONS[op](value(a, values), value(b, values))
        case Fma(a, b, c):
            return value(a, values) * value(b, values) + value(c, values)
    raise TypeError(e)


def real(values, v):
    return 0.0 if v is None else v[0] * values[v[1].name]


class Inputs:
    """Random values from outside of a piece of code."""

    def __init__(self):
        self.code, self.values, self.rng = Code("f64"), {}, np.random.default_rng(0)

    def __call__(self):
        v = self.code.bind(const(0.0, "f64"))
        self.values[v[1].name] = self.rng.standard_normal()
        return v

    def complex(self, z):
        return complex(real(self.values, z[0]), real(self.values, z[1]))


@pytest.mark.parametrize("sign", [-1, 1])
@pytest.mark.parametrize("n", [1, 2, 3, *SHORT])
def test_complex_transforms(n, sign):
    new = Inputs()
    x = [(new(), new()) for _ in range(n)]
    y = dft(new.code, x, sign)
    run(new.code, new.values)
    given = np.array([new.complex(z) for z in x])
    want = np.fft.fft(given) if sign < 0 else np.fft.ifft(given) * n
    np.testing.assert_allclose([new.complex(z) for z in y], want, rtol=0, atol=1e-14 * np.abs(want).max())


@pytest.mark.parametrize("n", [1, 2, 3, *SHORT])
def test_transforms_of_real_values_and_back(n):
    new = Inputs()
    x = [new() for _ in range(n)]
    half = rdft(new.code, x)
    back = irdft(new.code, half, n)
    run(new.code, new.values)
    given = np.array([real(new.values, v) for v in x])
    want = np.fft.rfft(given)
    np.testing.assert_allclose([new.complex(z) for z in half], want, rtol=0, atol=1e-14 * np.abs(want).max())
    np.testing.assert_allclose([real(new.values, v) for v in back], n * given, rtol=0, atol=1e-13 * n)


def operations(n, transform):
    """How many operations a transform of n values takes."""
    code = Code("f64")
    out = transform(code, n)
    exprs = [code.expression(v) for z in out for v in (z if isinstance(z[0], tuple) or z[0] is None else (z,))]
    return sum(isinstance(e, (Binary, Fma)) for _, e in code.needed(exprs))


def test_they_take_as_few_operations_as_the_published_ones():
    """Of split radix: 4 n log2 n - 6 n + 8 for complex numbers (Duhamel and Hollmann 1984), half of that less 2 n - 4
    for real ones; a multiply-add counts once here."""

    def complex_ones(code, n):
        return dft(code, [(code.bind(const(0.0, "f64")), code.bind(const(0.0, "f64"))) for _ in range(n)])

    def real_ones(code, n):
        return rdft(code, [code.bind(const(0.0, "f64")) for _ in range(n)])

    for e in (3, 4, 5, 6):
        n = 2**e
        assert operations(n, complex_ones) <= 4 * n * e - 6 * n + 8
        assert operations(n, real_ones) <= 2 * n * e - 4 * n + 6 + n // 4


def test_zeros_cost_nothing():
    """Half of the inputs zero: less than two thirds of the operations."""

    def padded(code, n):
        return rdft(code, [code.bind(const(0.0, "f64")) if k < n // 2 else None for k in range(n)])

    def full(code, n):
        return rdft(code, [code.bind(const(0.0, "f64")) for _ in range(n)])

    assert operations(32, padded) < operations(32, full)


def test_roots_are_exact_where_they_can_be():
    assert [root(k, 8)[0] for k in range(8)] == [1, np.sqrt(0.5), 0, -np.sqrt(0.5), -1, -np.sqrt(0.5), 0, np.sqrt(0.5)]
    for n in (7, 12, 4096):
        for k in range(n):
            np.testing.assert_allclose(root(k, n), (np.cos(2 * np.pi * k / n), np.sin(2 * np.pi * k / n)), atol=1e-15)


def test_sizes_with_large_primes_are_refused():
    assert factor(360) == (9, 8, 5)
    with pytest.raises(ValueError, match=r"22 points: sizes are products of \(2, 3, 5, 7\)"):
        factor(22)


# ------------------------------------------------------------------------------------- convolutions


def layer(n, c, k, size, window, padding, dtype="float32", algorithm="fft"):
    x = gn.input("x", ("N", c, *size), dtype)
    w = gn.parameter("w", (k, c, *window), init=gn.init.normal(1.0), dtype=dtype)
    b = gn.parameter("b", (k,), init=gn.init.normal(1.0), dtype=dtype)
    y = gn.tanh(gn.conv2d(x, w, padding=padding, algorithm=algorithm) * 0.01 + b[:, None, None])
    a = np.random.default_rng(0).standard_normal((n, c, *size)).astype(dtype)
    return x, w, y, a


def choices(f):
    decisions = f.specializations[0].module.decisions
    return [d.choice.split()[0] for d in decisions if d.pass_name == "choose_conv"]


CASES = [
    (2, 3, 5, (12, 12), (3, 3), "same"),
    (1, 16, 24, (20, 24), (7, 5), "valid"),  # one image, a window that is not square
    (3, 17, 20, (30, 29), (5, 5), ((1, 0), (2, 3))),  # channels that fill no vector, padding of every kind
    (2, 4, 4, (9, 11), (9, 9), "same"),  # a window as large as the image
    (1, 2, 3, (40, 8), (13, 3), 4),
    (2, 16, 3, (1, 300), (1, 40), "valid"),  # one row
    (1, 3, 16, (1, 1000), (1, 200), "same"),  # one row, in two steps
    (8, 16, 16, (6, 7), (3, 3), 3),  # padding wider than the window
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_values_and_both_gradients(case, dtype):
    """Within 1e-12 in float64; in float32 within the error that the table of algorithms states."""
    x, w, y, a = layer(*case, dtype=dtype)
    f = gn.compile([y, *gn.gradient(gn.sum(y * y), [x, w])], [x], threads=2)
    got = f(a)
    assert choices(f) == ["fft"] * 3
    wide = layer(*case, dtype="float64")
    results = [wide[2], *gn.gradient(gn.sum(wide[2] * wide[2]), [wide[0], wide[1]])]
    want = gn.evaluate(results, {"x": a}, {"w": f.state["w"], "b": f.state["b"]})
    for g, v in zip(got, want, strict=True):
        np.testing.assert_allclose(g, v, rtol=0, atol=(1e-12 if dtype == "float64" else 1e-6) * np.abs(v).max())


@pytest.mark.parametrize("name", ["fft 16x16", "fft 20x36", "fft 128x9"])
def test_any_size_of_tile_by_name(name):
    x, _, y, a = layer(2, 3, 5, (21, 19), (5, 3), "same", "float64", name)
    f = gn.compile(y, [x])
    got = f(a)
    assert [d.choice for d in f.specializations[0].module.decisions if d.pass_name == "choose_conv"] == [name]
    want = gn.evaluate(y, {x: a}, {"w": f.state["w"], "b": f.state["b"]})[0]
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-13)


@pytest.mark.parametrize(
    ("algorithm", "settings", "why"),
    [
        ("fft 4x16", {}, "smaller than the window, 5x5"),
        ("fft 22x22", {}, "there is none of this name"),
        ("fft", {"stride": 2}, "only for stride and dilation 1"),
        ("fft", {"dilation": 2}, "only for stride and dilation 1"),
    ],
)
def test_what_cannot_be_had(algorithm, settings, why):
    x, w = gn.input("x", (1, 2, 20, 20)), gn.parameter("w", (2, 2, 5, 5))
    with pytest.raises(gn.GraphnetError, match=f"algorithm '{algorithm}' cannot be used: .*{why}.*test_fft"):
        gn.compile(gn.conv2d(x, w, algorithm=algorithm, **settings), [x]).specialise({})


def counts(results, x, n=2):
    ops = [n.op.name for n in gn.compile(results, [x]).module({"N": n}).graph.nodes()]
    return {name: ops.count(name) for name in ("fourier_input", "fourier_weight", "fourier_output", "fourier_kernel")}


def test_a_training_step_transforms_its_input_once():
    """The forward convolution and its weight gradient read the same spectra; and one tile's cotangent serves both."""
    x, w, y, _ = layer(2, 16, 16, (50, 50), (5, 5), "same", algorithm="fft 20x20")
    assert counts([y, *gn.gradient(gn.sum(y * y), [w])], x)["fourier_input"] == 2  # of x, of dy
    x, w, y, _ = layer(2, 16, 16, (12, 12), (5, 5), "same", algorithm="fft 16x16")
    found = counts([y, *gn.gradient(gn.sum(y * y), [x, w])], x)
    assert found == {"fourier_input": 2, "fourier_weight": 2, "fourier_output": 2, "fourier_kernel": 1}


def test_large_windows_take_it_by_themselves():
    for r, kind in ((3, "winograd"), (13, "fft")):
        x, w = gn.input("x", (16, 64, 56, 56)), gn.parameter("w", (64, 64, r, r))
        f = gn.compile(gn.conv2d(x, w, padding="same"), [x])
        f.module({})
        assert [d.choice.split()[0] for d in f.module({}).decisions if d.pass_name == "choose_conv"] == [kind]


def test_the_epilogue_runs_in_the_inverse_transform():
    x, _, y, _ = layer(2, 16, 16, (20, 20), (5, 5), "same")
    groups = [[n.op.name for n in g.nodes] for g in gn.compile(y, [x]).module({"N": 2}).groups]
    assert ["fourier_output", "mul", "add", "tanh"] in groups


def test_the_same_bits_on_any_number_of_threads():
    x, w, y, a = layer(3, 17, 20, (30, 29), (5, 5), "same")
    results, state = [y, *gn.gradient(gn.sum(y * y), [x, w])], gn.State(0)
    one, *others = [gn.compile(results, [x], threads=t, state=state)(a) for t in (1, 2, 3)]
    for other in others:
        for g, v in zip(one, other, strict=True):
            np.testing.assert_array_equal(g, v)


@pytest.mark.parametrize("algorithm", ["direct", "fft"])
@pytest.mark.parametrize("padding", ["valid", "same", 3, (2, 5)])
def test_convolution_along_one_axis(algorithm, padding):
    x, w = gn.input("x", ("N", 3, 400), "float64"), gn.parameter("w", (5, 3, 150), dtype="float64")
    y = gn.conv1d(x, w, padding=padding, algorithm=algorithm)
    a = np.random.default_rng(0).standard_normal((2, 3, 400))
    f = gn.compile(y, [x])
    low, high = {"valid": (0, 0), "same": (74, 75), 3: (3, 3)}.get(padding, padding)
    wide = np.pad(a, ((0, 0), (0, 0), (low, high)))
    windows = np.lib.stride_tricks.sliding_window_view(wide, 150, axis=2)  # (N,C,M,R)
    got = f(a)
    want = np.einsum("ncmr,kcr->nkm", windows, f.state["w"])
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-12 * np.abs(want).max())


def test_conv1d_refuses_what_it_cannot_read():
    x, w = gn.input("x", (1, 3, 40)), gn.parameter("w", (5, 3, 7))
    with pytest.raises(gn.ShapeError, match=r"conv1d needs an input \(N,C,L\) and a kernel \(K,C,R\).*test_fft"):
        gn.conv1d(x, gn.parameter("v", (5, 3, 1, 7)))
    with pytest.raises(gn.ShapeError, match=r"conv1d: stride must be at least 1, not 0.*test_fft"):
        gn.conv1d(x, w, stride=0)
