"""Histories as plain data: what publishers and members do, step by step.

A history is made from a seed alone, without a backend, and can be printed as JSON.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, NamedTuple

from pubsubkit.driver import Capability

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["CONSUMERS", "MEMBERS", "NEEDS", "PUBLISHERS", "TAILS", "Step", "disturbed", "free_history", "members"]

PUBLISHERS = ("p0", "p1", "p2")
CONSUMERS = {"d": "", "f": "b.>"}
"""The consumers by name, with the filter of each below the stream; empty for none."""
MEMBERS = {"d0": "d", "d1": "d", "f0": "f"}
"""The members by name, with the consumer of each."""
TAILS = ("a", "b.x", "b.y.z")
"""What follows the stream in a subject."""

_WEIGHTS = {
    "publish": 22,
    "publish_many": 5,
    "receive": 34,
    "ack": 16,
    "confirm": 3,
    "nak": 8,
    "nak_later": 4,
    "term": 3,
    "wait": 1,
    "close": 3,
    "open": 6,
}
_MOODS: tuple[dict[str, int], ...] = (
    {},
    {"receive": 3, "publish_many": 3, "ack": 0, "confirm": 0, "term": 0},
    {"nak": 4, "nak_later": 8, "publish": 0, "close": 0},
    {"close": 4, "open": 4, "receive": 2, "publish": 0},
)
"""What the weights are multiplied by for a while: members that work, hoard, fail, or come and go."""
_MOOD_STEPS = 12
NEEDS = {
    "confirm": Capability.CONFIRMED_ACK,
    "nak": Capability.NAK,
    "nak_later": Capability.NAK_DELAY,
    "term": Capability.TERM,
    "wait": Capability.ACK_WAIT,
    "repeat": Capability.DEDUPLICATION,
}
"""What a backend must claim for an action to be in a history."""


class Step(NamedTuple):
    """One step; what it cannot do at its time, such as to ack when nothing is held, is skipped."""

    action: str
    actor: str = ""
    """A publisher or a member."""
    number: int = 0
    """How many messages to publish, which of the held messages to settle, or how long a delay is, in hundredths."""
    tail: str = ""
    """The end of the subject."""


def members(capabilities: Collection[Capability]) -> tuple[str, ...]:
    """The members that a backend with *capabilities* can have."""
    several, filtered = Capability.COMPETE in capabilities, {Capability.FANOUT, Capability.WILDCARDS}
    return ("d0", *(["d1"] if several else []), *(["f0"] if filtered <= set(capabilities) else []))


def free_history(seed: str, length: int, capabilities: Collection[Capability]) -> list[Step]:
    """Return *length* steps of three publishers and several members, with everything that *capabilities* allow."""
    chance = random.Random(seed)  # noqa: S311 - to be repeated
    weights = {action: weight for action, weight in _WEIGHTS.items() if NEEDS.get(action) in {None, *capabilities}}
    able = members(capabilities)
    steps = [Step("open", member) for member in able]
    mood: dict[str, int] = {}
    while len(steps) < length:
        if len(steps) % _MOOD_STEPS == 0:
            mood = chance.choice(_MOODS)
        action = chance.choices([*weights], [weight * mood.get(action, 1) for action, weight in weights.items()])[0]
        number = chance.randrange(2, 7) if action == "publish_many" else chance.randrange(100)
        if action.startswith("publish"):
            steps.append(Step(action, chance.choice(PUBLISHERS), number, chance.choice(TAILS)))
        else:
            steps.append(Step(action, chance.choice(able), number))
    return steps


def disturbed(steps: list[Step], action: str, times: int) -> list[Step]:
    """Put *action* between the steps, *times* times, evenly; the last one comes at the end."""
    every = -(-len(steps) // times)
    parts = (steps[start : start + every] for start in range(0, len(steps), every))
    return [step for part in parts for step in [*part, Step(action)]]
