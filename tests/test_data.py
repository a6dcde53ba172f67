"""Digits, IDX files and batches: what is read, and what damaged files say."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from graphnet.data import batches, digits, enlarge, mnist, read_idx
from graphnet.errors import DataError


def idx(array: np.ndarray, magic: int | None = None) -> bytes:
    header = struct.pack(f">{1 + array.ndim}I", 0x0800 | array.ndim if magic is None else magic, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def images(count: int) -> np.ndarray:
    return np.arange(count * 28 * 28).reshape(count, 28, 28) % 256


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, count in (("train10k", 5), ("t10k", 3)):
        (tmp_path / f"{name}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images(count))))
        (tmp_path / f"{name}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(count))))
    return tmp_path


def test_mnist_is_read_and_scaled(folder: Path) -> None:
    data = mnist(folder)
    assert data.train_images.shape == (5, 1, 28, 28) and data.test_images.shape == (3, 1, 28, 28)
    assert data.train_images.dtype == np.float32 and data.train_labels.dtype == np.int32
    np.testing.assert_array_equal(data.train_images[:, 0], (images(5) / np.float32(255)).astype(np.float32))
    assert data.test_labels.tolist() == [0, 1, 2]


def test_the_whole_training_set_is_preferred_to_a_part(folder: Path) -> None:
    (folder / "train-images-idx3-ubyte").write_bytes(idx(images(7)))  # not compressed: taken as well
    (folder / "train-labels-idx1-ubyte").write_bytes(idx(np.arange(7)))
    assert len(mnist(folder).train_labels) == 7


TRAIN = "train10k-images-idx3-ubyte.gz"
LABELS = "t10k-labels-idx1-ubyte.gz"


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        (TRAIN, gzip.compress(idx(images(5))[:-1]), "3935 bytes, expected 3936 for 5x28x28"),
        (TRAIN, gzip.compress(idx(images(5)))[:-40], "cannot be read"),
        (TRAIN, gzip.compress(idx(images(5)) + b"x"), "3937 bytes, expected 3936"),
        (TRAIN, gzip.compress(idx(images(5), magic=0x0D03)), "magic 0x00000d03, expected 0x00000803"),
        (TRAIN, b"", "0 bytes, expected an IDX header of 16"),
        (TRAIN, b"<html>not found</html>", "magic 0x3c68746d"),
        (TRAIN, gzip.compress(idx(images(5)[:, :27])), "images of 27x28, expected 28x28"),
        (TRAIN, gzip.compress(idx(images(0))), "5 labels, expected 0"),
        (LABELS, gzip.compress(idx(np.arange(2))), "2 labels, expected 3"),
        (LABELS, gzip.compress(idx(np.array([0, 10, 1]))), "label 10 at 1, expected 0 to 9"),
        (LABELS, gzip.compress(idx(np.arange(3)))[:12], "cannot be read"),
        (LABELS, b"\x1f\x8bnonsense", "cannot be read"),
    ],
    ids=[  # written out: gzip puts the time into its header, and names must be the same in every process
        "a byte short",
        "truncated gzip",
        "a byte too many",
        "labels' magic",
        "empty",
        "a web page",
        "small images",
        "no images",
        "too few labels",
        "a label of 10",
        "truncated labels",
        "nonsense",
    ],
)
def test_damaged_files_are_named_with_what_was_found(folder: Path, name: str, content: bytes, says: str) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(DataError) as e:
        mnist(folder)
    assert says in str(e.value)
    assert str(folder) in str(e.value)


def test_missing_folder_and_file(folder: Path) -> None:
    with pytest.raises(DataError, match="expected a folder with MNIST's IDX files, found nothing"):
        mnist(folder / "none")
    with pytest.raises(DataError, match="found a file there"):
        mnist(folder / TRAIN)
    (folder / LABELS).unlink()
    with pytest.raises(DataError, match=r"no file t10k-labels-idx1-ubyte.gz; found t10k-images"):
        mnist(folder)
    with pytest.raises(DataError, match="No such file"):
        read_idx(folder / LABELS, rank=1)


def test_digits_are_split_without_overlap_and_the_same_each_time() -> None:
    a, b = digits(), digits()
    assert a.train_images.shape == (1437, 1, 28, 28) and a.test_images.shape == (360, 1, 28, 28)
    assert a.train_images.min() == 0 and 0.9 < a.train_images.max() <= 1
    np.testing.assert_array_equal(a.test_labels, b.test_labels)
    assert set(a.test_labels.tolist()) == set(range(10))
    assert not np.array_equal(a.test_labels, digits(seed=1).test_labels)


def test_enlarge_keeps_constants_and_corners() -> None:
    np.testing.assert_allclose(enlarge(np.full((1, 8, 8), 0.5), 20), 0.5, rtol=1e-6)
    ramp = np.tile(np.arange(8.0), (1, 8, 1))
    large = enlarge(ramp, 20, margin=2)[0]
    assert large.shape == (24, 24) and large[:, :2].max() == 0
    assert large[5, 2] == 0 and large[5, -3] == 7 and (np.diff(large[5, 2:-2]) >= 0).all()


def test_batches_show_every_sample_once_an_epoch() -> None:
    x, y = np.arange(10.0), np.arange(10)
    seen = list(batches(x, y, 4, seed=3, epoch=0))
    assert [len(b) for b, _ in seen] == [4, 4, 2]
    assert sorted(np.concatenate([b for _, b in seen]).tolist()) == list(range(10))
    for a, b in seen:
        np.testing.assert_array_equal(a, b)
    again, other = list(batches(x, y, 4, seed=3, epoch=0)), list(batches(x, y, 4, seed=3, epoch=1))
    assert np.array_equal(seen[0][1], again[0][1])
    assert not np.array_equal(np.concatenate([b for _, b in seen]), np.concatenate([b for _, b in other]))
    with pytest.raises(DataError, match="10 images but 9 labels"):
        next(batches(x, y[:9], 4))
    with pytest.raises(DataError, match="at least one sample"):
        next(batches(x, y, 0))
