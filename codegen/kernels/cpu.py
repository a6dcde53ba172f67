"""Chooses the CPU schedule of a computation."""

from __future__ import annotations

from ..compute import Chain, Computation
from ..loops import Kernel
from ..machine import Machine
from . import chain, contract, map, reduce, staged, turned


def schedule(c: Computation | Chain, machine: Machine) -> tuple[Kernel, str]:
    """Loops for the computation on this machine, and a sentence on how it was done."""
    if isinstance(c, Chain):
        return chain.schedule(c, machine, schedule)
    if c.stages:
        return staged.schedule(c, machine)
    if not c.reductions:
        return turned.schedule(c, machine) or map.schedule(c, machine)
    return contract.schedule(c, machine) or reduce.schedule(c, machine)
