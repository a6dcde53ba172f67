"""Values in nested tuples, lists and dicts: flattened, and put back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def leaves(tree: Any) -> list[Any]:
    """What the containers hold, in order. None holds nothing."""
    if tree is None:
        return []
    if isinstance(tree, Mapping):
        return [leaf for part in tree.values() for leaf in leaves(part)]
    if isinstance(tree, (tuple, list)):
        return [leaf for part in tree for leaf in leaves(part)]
    return [tree]


def with_leaves(tree: Any, values: Iterator[Any]) -> Any:
    """The same containers with other leaves."""
    if tree is None:
        return None
    if isinstance(tree, Mapping):
        return {key: with_leaves(part, values) for key, part in tree.items()}
    if isinstance(tree, (tuple, list)):
        return type(tree)(with_leaves(part, values) for part in tree)
    return next(values)


def structure(tree: Any) -> str:
    """The containers as text, for comparison and messages."""
    return repr(with_leaves(tree, iter([_STAR] * len(leaves(tree)))))


class _Star:
    def __repr__(self) -> str:
        return "*"


_STAR = _Star()
