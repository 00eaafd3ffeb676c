"""What is said of a history that broke an invariant: where, which, and how to play it again."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from pubsubkit_contract.model.invariants import broken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pubsubkit_contract.model.history import Step
    from pubsubkit_contract.model.record import Record

__all__ = ["explain", "first_broken"]

_TAIL = 12


def first_broken(record: Record, marks: Sequence[int]) -> int:
    """The first step after which an invariant was broken that cannot be mended; their number when only the end is.

    :param marks: how many events there were after each step.
    """
    early = {"nothing_lost", "stored_once", "nothing_left"}
    for step, mark in enumerate(marks):
        if broken(replace(record, events=record.events[:mark])).keys() - early:
            return step
    return len(marks)


def explain(seed: str, steps: Sequence[Step], step: int, problem: str) -> str:
    """Say what went wrong at *step*, the last steps up to it, and how to repeat it."""
    number = seed.partition(":")[0]
    where = f"step {step} {json.dumps(steps[step])}" if step < len(steps) else "the end"
    shown = range(max(0, step - _TAIL), min(step + 1, len(steps)))
    tail = "\n".join(f"  {index} {json.dumps(steps[index])}" for index in shown)
    again = f"repeat it with --pubsubkit-seed {number}. Last steps:\n{tail}"
    return f"at {where} of the history of seed {number}: {problem}; {again}"
