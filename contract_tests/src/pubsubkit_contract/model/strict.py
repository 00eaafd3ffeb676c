"""Histories of strict consumers, whose every observation is determined."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from pubsubkit_contract.model.history import NEEDS, PUBLISHERS, TAILS, Step, members
from pubsubkit_contract.model.reference import Reference

if TYPE_CHECKING:
    from collections.abc import Collection

    from pubsubkit.driver import Capability

__all__ = ["strict_history"]

_WEIGHTS = {"publish": 10, "repeat": 2, "receive": 16, "ack": 4, "nak": 5, "term": 1, "close": 4, "open": 6}


def strict_history(seed: str, length: int, capabilities: Collection[Capability]) -> list[Step]:
    """Return *length* steps of one publisher and of one member for each consumer, each of which can be done.

    None depends on time: a member receives only what the reference says is there.
    """
    chance, reference = random.Random(seed), Reference()  # noqa: S311 - to be repeated
    able = [member for member in members(capabilities) if member.endswith("0")]
    weights = {action: weight for action, weight in _WEIGHTS.items() if NEEDS.get(action) in {None, *capabilities}}
    steps: list[Step] = []
    while len(steps) < length:
        action = chance.choices([*weights], [*weights.values()])[0]
        actor = PUBLISHERS[0] if action in ("publish", "repeat") else chance.choice(able)
        step = Step(action, actor, 0, chance.choice(TAILS) if action == "publish" else "")
        if reference.apply(step):
            steps.append(step)
    return steps
