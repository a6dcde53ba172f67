"""Recurrent layers: outputs and all gradients of PyTorch's; ONNX's options as ONNX Runtime has them."""

from __future__ import annotations

import numpy as np
import pytest

import graphnet as gn

T, N, C, H = 5, 3, 4, 2
GATES = {"lstm": 4, "gru": 3, "rnn": 1}
LAYERS = {"lstm": gn.lstm, "gru": gn.gru, "rnn": gn.rnn}
TORCH_GATES = {"lstm": {"gates": "ifgo"}, "gru": {"gates": "rzn", "linear_before_reset": True}, "rnn": {}}


def values(kind, directions, seed=0):
    rng, g = np.random.default_rng(seed), GATES[kind]
    states = ["initial_h", "initial_c"] if kind == "lstm" else ["initial_h"]
    return {
        "x": rng.normal(size=(T, N, C)),
        "w": rng.normal(size=(directions, g * H, C)),
        "r": rng.normal(size=(directions, g * H, H)),
        "b": rng.normal(size=(directions, 2 * g * H)),
        **{name: rng.normal(size=(directions, N, H)) for name in states},
    }


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", GATES)
def test_outputs_and_gradients_are_those_of_pytorch(kind, bidirectional):
    torch = pytest.importorskip("torch")
    given = values(kind, 1 + bidirectional)
    nodes = {name: gn.input(name, a.shape, "float64") for name, a in given.items()}
    direction = "bidirectional" if bidirectional else "forward"
    outputs = LAYERS[kind](**nodes, direction=direction, **TORCH_GATES[kind])
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=n.shape) for n in outputs]
    loss = sum((gn.sum(n * gn.constant(c)) for n, c in zip(outputs, weights, strict=True)), gn.constant(0.0, "float64"))
    f = gn.compile([*outputs, *gn.gradient(loss, list(nodes.values()))], list(nodes.values()))
    got = f(*given.values())

    layer = getattr(torch.nn, kind.upper())(C, H, bidirectional=bidirectional, dtype=torch.float64)
    tensors = {name: torch.tensor(a, requires_grad=True) for name, a in given.items()}
    for d, suffix in enumerate(("", "_reverse")[: 1 + bidirectional]):
        half = GATES[kind] * H
        b = tensors["b"][d]
        for name, t in (
            ("weight_ih", tensors["w"][d]), ("weight_hh", tensors["r"][d]), ("bias_ih", b[:half]), ("bias_hh", b[half:])
        ):  # fmt: skip
            delattr(layer, f"{name}_l0{suffix}")
            setattr(layer, f"{name}_l0{suffix}", t)
    layer._flat_weights = [getattr(layer, name) for name in layer._flat_weights_names]
    states = [tensors[name] for name in given if name.startswith("initial")]
    y, last = layer(tensors["x"], tuple(states) if kind == "lstm" else states[0])
    y = y.reshape(T, N, 1 + bidirectional, H).transpose(1, 2)
    theirs = [y, *(last if kind == "lstm" else [last])]
    total = sum((t * torch.tensor(c)).sum() for t, c in zip(theirs, weights, strict=True))
    want = [*theirs, *torch.autograd.grad(total, list(tensors.values()))]
    for name, a, e in zip([*(f"output {k}" for k in range(len(theirs))), *given], got, want, strict=True):
        np.testing.assert_allclose(a, e.detach().numpy(), rtol=1e-9, atol=1e-10, err_msg=name)


OPTIONS = {
    "lstm": [{}, {"clip": 0.3}, {"input_forget": 1}, {"peepholes": True}, {"peepholes": True, "lengths": True},
             {"activations": ["HardSigmoid", "Relu", "Tanh"]}],
    "gru": [{}, {"clip": 0.3}, {"linear_before_reset": 1}, {"lengths": True}],
    "rnn": [{}, {"clip": 0.3}, {"lengths": True}, {"activations": ["Relu"]}],
}  # fmt: skip
FUNCTIONS = {
    "Relu": lambda x: gn.relu(x),
    "Tanh": lambda x: gn.tanh(x),
    "HardSigmoid": lambda x: gn.maximum(gn.minimum(x * 0.2 + 0.5, 1.0), 0.0),
}


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "k"), [(kind, k) for kind, options in OPTIONS.items() for k in range(len(options))])
def test_options_are_those_of_onnx(kind, k, direction):
    onnx, runtime = pytest.importorskip("onnx"), pytest.importorskip("onnxruntime")
    options, d = dict(OPTIONS[kind][k]), 2 if direction == "bidirectional" else 1
    given = {name: a.astype("f") for name, a in values(kind, d, seed=k).items()}
    peepholes, lengths = options.pop("peepholes", False), options.pop("lengths", False)
    if lengths:
        given["sequence_lengths"] = np.array([T, 2, 3], "int32")
    if peepholes:
        given["peepholes"] = np.random.default_rng(9).normal(size=(d, 3 * H)).astype("f")
    nodes = {name: gn.input(name, a.shape, a.dtype.name) for name, a in given.items()}
    names = options.pop("activations", None)
    mine = dict(options, **({"activations": [FUNCTIONS[n] for n in names]} if names else {}))
    outputs = LAYERS[kind](**nodes, direction=direction, **mine)
    got = gn.compile(list(outputs), list(nodes.values()))(*given.values())

    order = ["x", "w", "r", "b", "sequence_lengths", "initial_h"]
    order += ["initial_c", "peepholes"] if kind == "lstm" else []
    made = ["y", "h", "c"][: len(outputs)]
    settings = {**options, "direction": direction, "hidden_size": H, **({"activations": names * d} if names else {})}
    node = onnx.helper.make_node(kind.upper(), [n if n in given else "" for n in order], made, **settings)
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph(
        [node], "layer",
        [info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in given.items()],
        [info(n, onnx.TensorProto.FLOAT, None) for n in made],
    )  # fmt: skip
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 14)], ir_version=8)
    session = runtime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for name, a, e in zip(made, got, session.run(made, given), strict=True):
        np.testing.assert_allclose(a, e, rtol=1e-5, atol=1e-5, err_msg=name)


def test_sequences_and_batches_of_any_size():
    x = gn.input("x", ("T", "N", C), "float64")
    w, r = gn.parameter("w", (1, 4 * H, C), dtype="float64"), gn.parameter("r", (1, 4 * H, H), dtype="float64")
    y, h, _ = gn.lstm(x, w, r)
    loss = gn.sum(y * y) + gn.sum(h)
    f = gn.compile([y, loss, *gn.gradient(loss, [w, r])], [x])
    rng = np.random.default_rng(0)
    for steps, batch in ((3, 2), (11, 1)):
        a = rng.normal(size=(steps, batch, C))
        got = f(a)
        assert got[0].shape == (steps, 1, batch, H)
        want = gn.evaluate([y, loss, *gn.gradient(loss, [w, r])], {x: a}, {w: f.state[w], r: f.state[r]})
        for g, e in zip(got, want, strict=True):
            np.testing.assert_allclose(g, e, rtol=1e-11, atol=1e-12)


def test_errors():
    x, w, r = gn.input("x", (T, N, C)), gn.input("w", (1, 4 * H, C)), gn.input("r", (1, 4 * H, H))
    for settings, message in (
        ({"direction": "backward"}, "direction is one of forward, reverse, bidirectional"),
        ({"direction": "bidirectional"}, r"w is float32\[1, 8, 4\], expected float32\[2, 8, 4\]"),
        ({"gates": "ifoo"}, "gates is a permutation of 'iofc'"),
        ({"clip": 0.0}, "clip must be > 0"),
        ({"b": gn.input("b", (1, 3))}, r"b is float32\[1, 3\], expected float32\[1, 16\]"),
        ({"initial_c": gn.input("c", (N, H))}, r"initial_c is .*expected float32\[1, 3, 2\]"),
        ({"sequence_lengths": gn.input("l", (N,))}, "sequence_lengths must be integers"),
        ({"activations": [gn.relu]}, "activations are 3 functions"),
    ):
        with pytest.raises(gn.GraphnetError, match=message) as e:
            gn.lstm(x, w, r, **settings)
        assert "test_recurrent.py" in str(e.value)
