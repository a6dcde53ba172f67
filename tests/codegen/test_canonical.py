"""Computations that are equal up to names are one; any other difference makes them two."""

import numpy as np
import pytest

import graphnet as gn
from codegen.canonical import Form, named
from codegen.compute import Computation, Reduce, Reduction, Stage, axis
from codegen.cpu import compile_objects
from codegen.expr import Buffer, Select, Var, const
from codegen.kernels import cpu
from codegen.loops import If, Let, Store
from codegen.machine import machine
from codegen.text import print_kernel


def build(x="x", y="y", name="k", scale=2.0, op="sum", extent=40):
    """y[i] = 2 * sum over k of x[i, k], but nothing where i is 3."""
    a, b = Buffer(x, "f32", (8, extent)), Buffer(y, "f32", (8,))
    i, fold, v = Var("i"), Var("fold0", "f32"), Var("v0", "f32")
    reduction = Reduction(fold, Reduce(op, (axis("k", extent),), a[i, Var("k")]))
    store = If(i < 3, (Let(v, fold * const(scale, "f32")), Store(b, (i,), v)))
    return Computation(name, (axis("i", 8),), (reduction,), (), (store,), (a, b))


def test_names_of_kernels_and_buffers_do_not_count():
    assert Form(build()).digest == Form(build("other", "names", "here")).digest


@pytest.mark.parametrize("change", [{"scale": 3.0}, {"op": "max"}, {"extent": 41}])
def test_everything_else_does(change):
    assert Form(build()).digest != Form(build(**change)).digest


def test_constants_are_told_apart_by_their_bits():
    assert len({Form(build(scale=s)).digest for s in (0.0, -0.0, float("nan"))}) == 3


def test_parameters_in_the_same_place_make_another_kernel():
    c = build()
    digests = {Form(c, slots).digest for slots in ((0, 1), (5, 7), (4, 4))}
    assert len(digests) == 2


def test_the_computation_is_rebuilt_as_it_was_with_equal_expressions_as_one_object():
    form = Form(build("in", "out"))
    c = form.computation()
    assert Form(c).digest == form.digest
    assert [b.name for b in c.params] == ["arg0", "arg1"] and c.name == form.name
    two = Select(Var("i") < 1, Var("i") + 5, Var("i") + 5)
    out = Buffer("out", "i64", (8,))
    again = Form(Computation("k", (axis("i", 8),), (), (), (Store(out, (Var("i"),), two),), (out,))).computation()
    assert again.stores[0].value.a is again.stores[0].value.b


def test_a_kernel_gets_its_names_back():
    c = build("inputs", "results", "k7_sum")
    direct, _ = cpu.schedule(c, machine())
    anonymous, _ = cpu.schedule(Form(c).computation(), machine())
    assert print_kernel(named(anonymous, c.name, c.params)) == print_kernel(direct)


def test_equal_layers_share_a_kernel_and_keep_their_own_weights():
    x = gn.input("x", (8, 16))
    weights = [gn.parameter(f"w{n}", (16, 16)) for n in range(4)]
    y = x
    for w in weights:
        y = gn.tanh(y @ w)
    f = gn.compile(y, [x])
    a = np.random.default_rng(0).standard_normal((8, 16)).astype("f")
    want = a
    for w in weights:
        want = np.tanh(want @ f.state.array(w))
    np.testing.assert_allclose(f(a), want, rtol=1e-5, atol=1e-6)
    kernels = f.specializations[0].kernels
    assert len(kernels.distinct) < len(kernels.forms)


def objects(threads):
    sources = (f"define i64 @f{n}(i64 %x) {{\n  %y = mul i64 %x, {n}\n  ret i64 %y\n}}\n" for n in range(20))
    return compile_objects(sources, machine(), threads)


def test_code_is_the_same_for_any_number_of_threads():
    assert objects(1) == objects(2) == objects(7)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_llvm_is_raised_where_the_code_was_asked_for(threads):
    with pytest.raises(RuntimeError, match="nonsense"):
        compile_objects(["nonsense"] * 5, machine(), threads)


def test_an_error_of_who_writes_the_sources_ends_the_helpers():
    def sources():
        yield "define void @f() {\n  ret void\n}\n"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        compile_objects(sources(), machine(), 3)


def staged(extent=3, scale=2.0):
    """y[i] = sum over t of scale * x[i]: in two stages, with memory in between."""
    a, b, own = Buffer("x", "f32", (8,)), Buffer("y", "f32", (8,)), Buffer("own", "f32", (extent,), "local")
    i, t = Var("i"), Var("t")
    first = Stage(axis("t", extent), (Store(own, (t,), a[i] * const(scale, "f32")),))
    second = Stage.of(
        axis("t", 1), ((Var("v", "f32"), own[t] + own[t + (extent - 1)]),), [(Store(b, (i,), Var("v", "f32")),)]
    )
    return Computation("k", (axis("i", 8),), (), (), (), (a, b), (first, second))


def test_stages_and_their_memory_count():
    assert len({Form(staged(*args)).digest for args in ((3, 2.0), (4, 2.0), (3, 1.0))}) == 3
    c = staged()
    again = Form(c).computation()
    assert Form(again).digest == Form(c).digest
    direct, anonymous = (cpu.schedule(x, machine())[0] for x in (c, again))
    assert print_kernel(named(anonymous, c.name, c.params)) == print_kernel(direct)
