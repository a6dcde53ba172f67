"""The networks of `graphnet.models` as the peers see them: written once, over the layers of any framework.

They say the same as the declarations there, in other words, so that a mistake in one of them shows: before
anything is timed, every peer's results are compared with ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class Layers(Protocol):
    """A framework's layers, which know the weights by name. Values are the framework's; images are (N,C,H,W) in
    whatever order of memory it likes."""

    def conv(self, x: Any, w: str, b: str | None = None, stride: int = 1, padding: int = 0) -> Any: ...
    def dense(self, x: Any, w: str, b: str) -> Any: ...
    def relu(self, x: Any) -> Any: ...
    def add(self, x: Any, y: Any) -> Any: ...
    def max_pool(self, x: Any, window: int, stride: int, padding: int = 0) -> Any: ...
    def batch_norm(self, x: Any, name: str) -> Any:
        """With name.scale, name.shift and the running statistics name.mean and name.variance."""

    def mean(self, x: Any) -> Any:
        """Over the image: (N,C)."""

    def flat(self, x: Any) -> Any:
        """(N, C*H*W)."""

    def has(self, name: str) -> bool:
        """Whether there is such a weight."""


def lenet(x: Any, f: Layers) -> Any:
    h = f.max_pool(f.relu(f.conv(x, "w1", "b1", padding=2)), 2, 2)
    h = f.max_pool(f.relu(f.conv(h, "w2", "b2")), 2, 2)
    return _dense(f.flat(h), 3, f)


def mlp(x: Any, f: Layers) -> Any:
    return _dense(f.flat(x), 1, f)


def alexnet(x: Any, f: Layers) -> Any:
    h = f.max_pool(f.relu(f.conv(x, "w1", "b1", stride=4, padding=2)), 3, 2)
    h = f.max_pool(f.relu(f.conv(h, "w2", "b2", padding=2)), 3, 2)
    for k in (3, 4, 5):
        h = f.relu(f.conv(h, f"w{k}", f"b{k}", padding=1))
    return _dense(f.flat(f.max_pool(h, 3, 2)), 6, f)


def vgg16(x: Any, f: Layers) -> Any:
    h, k = x, 0
    for convolutions in (2, 2, 3, 3, 3):
        for _ in range(convolutions):
            k += 1
            h = f.relu(f.conv(h, f"w{k}", f"b{k}", padding=1))
        h = f.max_pool(h, 2, 2)
    return _dense(f.flat(h), k + 1, f)


def _dense(h: Any, first: int, f: Layers) -> Any:
    """Three dense layers, relu between them."""
    for k in (first, first + 1):
        h = f.relu(f.dense(h, f"w{k}", f"b{k}"))
    return f.dense(h, f"w{first + 2}", f"b{first + 2}")


def resnet18(x: Any, f: Layers) -> Any:
    def convolution(name: str, x: Any, stride: int, padding: int) -> Any:
        return f.batch_norm(f.conv(x, f"{name}.w", stride=stride, padding=padding), name)

    def block(name: str, x: Any, stride: int) -> Any:
        h = f.relu(convolution(f"{name}.first", x, stride, 1))
        h = convolution(f"{name}.second", h, 1, 1)
        return f.relu(f.add(h, convolution(f"{name}.shortcut", x, stride, 0) if f.has(f"{name}.shortcut.w") else x))

    h = f.max_pool(f.relu(convolution("stem", x, 2, 3)), 3, 2, 1)
    for stage in (1, 2, 3, 4):
        h = block(f"stage{stage}.2", block(f"stage{stage}.1", h, 1 if stage == 1 else 2), 1)
    return f.dense(f.mean(h), "dense.w", "dense.b")


def resnet164(x: Any, f: Layers) -> Any:
    def bottleneck(name: str, x: Any, stride: int) -> Any:
        first = f.relu(f.batch_norm(x, f"{name}.first"))
        h = f.relu(f.batch_norm(f.conv(first, f"{name}.reduce.w", stride=stride), f"{name}.reduce"))
        h = f.relu(f.batch_norm(f.conv(h, f"{name}.spatial.w", padding=1), f"{name}.spatial"))
        h = f.conv(h, f"{name}.expand.w")
        return f.add(h, f.conv(first, f"{name}.shortcut.w", stride=stride) if f.has(f"{name}.shortcut.w") else x)

    h = f.conv(x, "stem.w", padding=1)
    for stage in (1, 2, 3):
        block = 1
        while f.has(f"stage{stage}.{block}.reduce.w"):
            h = bottleneck(f"stage{stage}.{block}", h, 2 if stage > 1 and block == 1 else 1)
            block += 1
    return f.dense(f.mean(f.relu(f.batch_norm(h, "last"))), "dense.w", "dense.b")


NETWORKS: dict[str, Callable[[Any, Layers], Any]] = {
    "lenet": lenet,
    "mlp": mlp,
    "alexnet": alexnet,
    "vgg16": vgg16,
    "resnet18": resnet18,
    "resnet164": resnet164,
}
