"""A model that has been read, surveyed and checked: ready to be built for any shapes of its inputs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from ..errors import GraphnetError
from ..types import Dim, Extent, Shape, substitute
from . import survey
from .errors import ModelError, UnsupportedError
from .functions import inlined
from .reading import array_of, check, parse, skeleton, versions


@dataclass(frozen=True, slots=True)
class Prepared:
    """A model without functions. arrays: the main graph's initializers, of which the model itself has only the small
    ones (see `reading.skeleton`)."""

    model: onnx.ModelProto
    versions: dict[str, int]
    arrays: dict[str, np.ndarray]
    folder: Path | None
    label: str

    @property
    def inputs(self) -> tuple[onnx.ValueInfoProto, ...]:
        """The inputs that have no value in the model."""
        return tuple(v for v in self.model.graph.input if v.name not in self.arrays)


def prepare(what: str | os.PathLike[str] | bytes | onnx.ModelProto) -> Prepared:
    """Reads and checks a model. Raises ModelError, or UnsupportedError with all that is not supported."""
    source = parse(what)
    sets = versions(source.model)
    model = inlined(source.model)
    problems = survey.of_ops(model, sets) + survey.of_types(model)
    if problems:
        raise UnsupportedError(problems)
    arrays: dict[str, np.ndarray] = {}
    for t in model.graph.initializer:
        if t.name in arrays:
            raise ModelError(f"two initializers are called {t.name!r}")
        arrays[t.name] = array_of(t, source.folder, f"initializer {t.name!r}")
    check(model, arrays)
    return Prepared(skeleton(model, arrays), sets, arrays, source.folder, source.label)


# -------------------------------------------------------------------------------------------- shapes


def shapes_of(
    source: Prepared, sizes: Mapping[str, int], shapes: Mapping[str, Iterable[Extent | str]]
) -> dict[str, Shape]:
    """The shape of every input: as given, else as declared, with `sizes` filled in. Sizes that only have a name in
    the model keep it, as near as an identifier can be; others are called after the input and the axis."""
    names = {v.name for v in source.inputs}
    unknown = sorted(set(shapes) - names)
    if unknown:
        raise GraphnetError(f"shapes: {unknown[0]!r} is no input; there are {', '.join(sorted(names))}")
    found: dict[str, Shape] = {}
    seen: set[str] = set()
    for v in source.inputs:
        t = v.type.tensor_type
        if v.name in shapes:
            given = tuple(Dim.named(e) if isinstance(e, str) else e for e in shapes[v.name])
            _check_rank(v.name, given, t)
        elif t.HasField("shape"):
            given = tuple(_extent(d, f"{v.name}_dim_{a}") for a, d in enumerate(t.shape.dim))
        else:
            raise GraphnetError(f"the model does not say of what rank {v.name!r} is; pass shapes={{{v.name!r}: ...}}")
        for e in given:
            seen |= e.names if isinstance(e, Dim) else set()
        found[v.name] = tuple(substitute(e, sizes) for e in given)
    wrong = sorted(set(sizes) - seen)
    if wrong:
        raise GraphnetError(f"sizes: the model has no size {wrong[0]!r}; there are {', '.join(sorted(seen)) or 'none'}")
    return found


def _check_rank(name: str, given: tuple[Extent, ...], t: onnx.TypeProto.Tensor) -> None:
    """Raises GraphnetError where a given shape is not of the declared one's kind."""
    if not t.HasField("shape"):
        return
    dims = [d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else None for d in t.shape.dim]
    fits = len(dims) == len(given) and all(
        d is None or not isinstance(e, int) or d == e for d, e in zip(dims, given, strict=True)
    )
    if not fits:
        declared = ", ".join("?" if d is None else str(d) for d in dims)
        raise GraphnetError(f"input {name!r} is declared as [{declared}], not {list(given)}")


def _extent(d: onnx.TensorShapeProto.Dimension, otherwise: str) -> Extent:
    if d.HasField("dim_value") and d.dim_value >= 0:
        return int(d.dim_value)
    return Dim.named(identifier(d.dim_param if d.HasField("dim_param") and d.dim_param else otherwise))


def identifier(name: str) -> str:
    """A name as one that a size can have."""
    text = "".join(c if c.isalnum() or c == "_" else "_" for c in name)
    return text if text.isidentifier() else f"_{text}"
