"""Labelled images: scikit-learn's bundled digits, MNIST from IDX files, and shuffled batches of them.

The IDX format (Y. LeCun): four bytes of magic (0, 0, element type, rank), one big-endian uint32 an axis,
then the elements. MNIST's files hold uint8, gzipped.
"""

from __future__ import annotations

import gzip
import importlib
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np

from .errors import DataError

SIDE = 28  # height and width of every image

_UINT8 = 0x08
_HELD_OUT = 360  # of scikit-learn's 1797 digits: one in five


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """Images are float32 in [0, 1], (count, 1, 28, 28); labels int32, (count,), below `classes`."""

    name: str
    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int = 10


# -------------------------------------------------------------------------------- bundled digits


def digits(seed: int = 0) -> Dataset:
    """scikit-learn's 1797 handwritten digits of 8x8, enlarged to 28x28; `seed` draws the held-out fifth.

    Raises DataError where scikit-learn is missing."""
    try:
        datasets = importlib.import_module("sklearn.datasets")
    except ImportError:
        raise DataError("the digits come with scikit-learn: pip install 'graphnet[demo]'") from None
    bundle = datasets.load_digits()
    small = np.asarray(bundle.images, np.float32) / 16  # pixels are counts 0..16
    images = enlarge(small, SIDE - 8, margin=4)[:, None]
    labels = np.asarray(bundle.target, np.int32)
    order = np.random.default_rng(seed).permutation(len(labels))
    test, train = order[:_HELD_OUT], order[_HELD_OUT:]
    return Dataset("digits", images[train], labels[train], images[test], labels[test])


def enlarge(images: np.ndarray, side: int, margin: int = 0) -> np.ndarray:
    """Bilinear enlargement to side x side, then a margin of zeros, as MNIST frames its digits.

    (count, h, w) -> (count, side + 2 margin, side + 2 margin)"""
    rows, columns = _interpolation(images.shape[1], side), _interpolation(images.shape[2], side)
    large = np.einsum("ih,nhw,jw->nij", rows, images, columns, optimize=True)
    return np.pad(large, ((0, 0), (margin, margin), (margin, margin))).astype(np.float32)


def _interpolation(old: int, new: int) -> np.ndarray:
    """The (new, old) matrix of linear interpolation between pixel centres; its rows sum to one."""
    at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    left = np.minimum(at.astype(int), old - 2)
    matrix = np.zeros((new, old), np.float32)
    matrix[np.arange(new), left] = 1 - (at - left)
    matrix[np.arange(new), left + 1] = at - left
    return matrix


# ------------------------------------------------------------------------------------------ MNIST


def mnist(folder: str | Path) -> Dataset:
    """MNIST from a folder of IDX files, gzipped or not.

    The names are those of the usual distribution, `train-images-idx3-ubyte[.gz]` and so on; a part of the
    training set, such as `train10k-images-...`, serves where the whole is absent.
    Raises DataError for a missing folder or file, and for a file that is not what its header says."""
    folder = Path(folder)
    if not folder.is_dir():
        found = "a file" if folder.exists() else "nothing"
        raise DataError(f"{folder}: expected a folder with MNIST's IDX files, found {found} there")
    train_images, train_labels = _pair(folder, "train*")
    test_images, test_labels = _pair(folder, "t10k")
    return Dataset("mnist", train_images, train_labels, test_images, test_labels)


def _pair(folder: Path, prefix: str) -> tuple[np.ndarray, np.ndarray]:
    image_path = _find(folder, f"{prefix}-images-idx3-ubyte")
    label_path = _find(folder, image_path.name.split("-", 1)[0] + "-labels-idx1-ubyte")
    images, labels = read_idx(image_path, rank=3), read_idx(label_path, rank=1)
    if images.shape[1:] != (SIDE, SIDE):
        raise DataError(f"{image_path}: images of {images.shape[1]}x{images.shape[2]}, expected {SIDE}x{SIDE}")
    if len(images) != len(labels):
        raise DataError(f"{label_path}: {len(labels)} labels, expected {len(images)} as in {image_path.name}")
    if len(labels) == 0:
        raise DataError(f"{image_path}: holds no images")
    if labels.max() > 9:
        raise DataError(f"{label_path}: label {labels.max()} at {labels.argmax()}, expected 0 to 9")
    return (images / np.float32(255))[:, None], labels.astype(np.int32)


def _find(folder: Path, pattern: str) -> Path:
    """The file of that pattern; the shortest name, hence `train-` before `train10k-`."""
    found = sorted([*folder.glob(pattern + ".gz"), *folder.glob(pattern)], key=lambda p: (len(p.name), p.name))
    if not found:
        there = ", ".join(sorted(p.name for p in folder.iterdir())[:6]) or "nothing"
        raise DataError(f"{folder}: no file {pattern}.gz; found {there}")
    return found[0]


def read_idx(path: str | Path, rank: int) -> np.ndarray:
    """The uint8 array of an IDX file.

    Raises DataError where the file cannot be read, has another magic, or another length than it states."""
    path = Path(path)
    try:
        raw = path.read_bytes()
        # gzip's own magic decides, since people decompress the files and keep the name.
        content = gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw
    except (OSError, EOFError, zlib.error) as e:
        raise DataError(f"{path}: cannot be read: {getattr(e, 'strerror', None) or e}") from None
    header = 4 + 4 * rank
    if len(content) < header:
        raise DataError(f"{path}: {len(content)} bytes, expected an IDX header of {header}")
    magic, *shape = struct.unpack(f">{1 + rank}I", content[:header])
    expected = _UINT8 << 8 | rank
    if magic != expected:
        raise DataError(f"{path}: magic 0x{magic:08x}, expected 0x{expected:08x} (IDX, uint8, rank {rank})")
    size = header + prod(shape)
    if len(content) != size:
        raise DataError(f"{path}: {len(content)} bytes, expected {size} for {'x'.join(map(str, shape))}")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


# ---------------------------------------------------------------------------------------- batches


def batches(
    images: np.ndarray, labels: np.ndarray, batch: int, seed: int = 0, epoch: int = 0
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Every sample once, in an order drawn from (seed, epoch); the last batch may be smaller."""
    if len(images) != len(labels):
        raise DataError(f"{len(images)} images but {len(labels)} labels")
    if batch < 1:
        raise DataError(f"a batch holds at least one sample, not {batch}")
    order = np.random.default_rng((seed, epoch)).permutation(len(labels))
    for start in range(0, len(order), batch):
        chosen = order[start : start + batch]
        yield images[chosen], labels[chosen]
