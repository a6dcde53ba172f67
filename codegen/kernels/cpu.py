"""Chooses the CPU schedule of a computation."""

from __future__ import annotations

from ..compute import Computation
from ..loops import Kernel
from ..machine import Machine
from . import contract, map, reduce


def schedule(c: Computation, machine: Machine) -> tuple[Kernel, str]:
    """Loops for the computation on this machine, and a sentence on how it was done."""
    if not c.reductions:
        return map.schedule(c, machine)
    return contract.schedule(c, machine) or reduce.schedule(c, machine)
