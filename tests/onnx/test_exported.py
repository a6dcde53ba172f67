"""Models that PyTorch exports, with a batch that is only named: values, and one gradient, against PyTorch."""

from __future__ import annotations

import io
import warnings

import numpy as np
import pytest

pytest.importorskip("onnx.defs")
torch = pytest.importorskip("torch")

import graphnet as gn  # noqa: E402

nn, F = torch.nn, torch.nn.functional


class Convolutional(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1, stride=2), nn.BatchNorm2d(8)
        self.depthwise, self.up = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.ConvTranspose2d(8, 4, 2, 2)
        self.last = nn.Linear(64, 5)

    def forward(self, x):
        x = F.hardswish(self.depthwise(torch.relu(self.norm(self.first(x)))))
        x = F.interpolate(self.up(x), scale_factor=0.5, mode="bilinear", align_corners=False)
        return self.last(F.adaptive_avg_pool2d(x, 4).flatten(1))


class Transformer(nn.Module):
    def __init__(self):
        super().__init__()
        layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
        self.embedding, self.last = nn.Embedding(50, 16), nn.Linear(16, 7)
        self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)

    def forward(self, x):
        return self.last(self.layers(self.embedding(x)).mean(1))


class Recurrent(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(5, 6, 2, batch_first=True, bidirectional=True)
        self.gru = nn.GRU(12, 3, batch_first=True)

    def forward(self, x):
        y, h = self.gru(self.lstm(x)[0])
        return y[:, -1] + h[-1]


class Views(nn.Module):
    def forward(self, x):
        b, c, h, w = x.shape
        y = x.view(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, -1, h, w)
        return torch.cat([y[:, ::2], y.flip(1)[:, 1::2]], 1).softmax(1).masked_fill(x > 1, 0.0)


MODELS = {
    "convolutional": (Convolutional, lambda: torch.randn(2, 3, 16, 16)),
    "transformer": (Transformer, lambda: torch.randint(0, 50, (2, 6))),
    "recurrent": (Recurrent, lambda: torch.randn(2, 4, 5)),
    "views": (Views, lambda: torch.randn(2, 4, 3, 3)),
}


@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients(name):
    torch.manual_seed(0)
    make, argument = MODELS[name]
    module, x, file = make().eval(), argument(), io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            names = {"input_names": ["x"], "output_names": ["y"], "dynamic_axes": {"x": {0: "batch"}}}
            torch.onnx.export(module, (x,), file, opset_version=17, dynamo=False, **names)
        except (TypeError, ImportError) as e:  # other versions of PyTorch export otherwise
            pytest.skip(str(e))
    model = gn.onnx.load(file.getvalue())
    assert str(model["y"].shape[0]) == "batch"
    wanted = module(x)
    np.testing.assert_allclose(model.compile(threads=1)(x.numpy()), wanted.detach(), rtol=1e-4, atol=1e-5)
    theirs = dict(module.named_parameters())
    weight = next((p for p in model.parameters if p.name in theirs and p.name.endswith("last.weight")), None)
    if weight is not None:
        (mine,) = gn.gradient(gn.sum(model["y"] * model["y"]), [weight])
        (wanted,) = torch.autograd.grad((wanted**2).sum(), [theirs[weight.name]])
        found = gn.compile(mine, model.inputs, state=model.state, threads=1)(x.numpy())
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
