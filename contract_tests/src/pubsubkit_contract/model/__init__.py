"""Random histories: generated from a seed, played on a backend, and judged by what must hold of every history."""

from __future__ import annotations

from pubsubkit_contract.model.history import Step, free_history
from pubsubkit_contract.model.invariants import INVARIANTS, broken
from pubsubkit_contract.model.player import Player
from pubsubkit_contract.model.record import Record
from pubsubkit_contract.model.reference import Reference
from pubsubkit_contract.model.strict import strict_history
from pubsubkit_contract.model.transcript import transcript

__all__ = [
    "INVARIANTS",
    "Player",
    "Record",
    "Reference",
    "Step",
    "broken",
    "free_history",
    "strict_history",
    "transcript",
]
