"""The exceptions that users see. Each names what the user wrote and what would be accepted."""

from __future__ import annotations


class GraphnetError(Exception):
    """Base of every error that graphnet raises on purpose."""


class ShapeError(GraphnetError):
    """Shapes that do not fit an op, or an array that does not fit a declared input."""


class DTypeError(GraphnetError):
    """An element type that an op or an input does not take."""


class GradientError(GraphnetError):
    """A derivative that does not exist."""


class DataError(GraphnetError):
    """A data file or folder that is missing, damaged or not what it says."""


class VerifyError(GraphnetError):
    """A pass or a parser produced an ill-formed graph: a bug, reported before it does harm."""
