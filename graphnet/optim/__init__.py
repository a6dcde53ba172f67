"""Optimisers, penalties, clipping and schedules, as graphs: elementwise throughout, so that they fuse.

Each optimiser takes parameters and gradients in the same structure (a node, or a list, tuple or dict) and returns
`{parameter: new value}` for `gn.compile(updates=...)`, the state it keeps included. A learning rate is a number or a
scalar node, such as a `schedule` of a `counter`.
"""

from . import schedule
from .adaptive import adadelta, adagrad, rmsprop
from .common import Updates
from .descent import momentum, nesterov, sgd
from .moments import adam, adamw
from .regularise import clip_by_global_norm, clip_by_value, elastic_net, global_norm, l1, l2
from .schedule import count, counter

__all__ = [
    "Updates",
    "adadelta",
    "adagrad",
    "adam",
    "adamw",
    "clip_by_global_norm",
    "clip_by_value",
    "count",
    "counter",
    "elastic_net",
    "global_norm",
    "l1",
    "l2",
    "momentum",
    "nesterov",
    "rmsprop",
    "schedule",
    "sgd",
]
