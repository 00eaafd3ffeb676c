"""An executable specification of a stream with strict consumers: those of ``max_in_flight=1``, without time.

What a backend delivers in a strict history is fully determined: the oldest message without a verdict, until it has one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from pubsubkit.subjects import matches
from pubsubkit_contract.model.history import CONSUMERS, MEMBERS

if TYPE_CHECKING:
    from pubsubkit_contract.model.history import Step

__all__ = ["Entry", "Reference"]


class Entry(NamedTuple):
    """What a member observes when it receives; the subject is below the stream."""

    member: str
    tail: str
    data: str
    num_delivered: int


@dataclass
class _Consumer:
    filter: str
    open: bool = False
    held: bool = False
    position: int = 0
    """The first message without a verdict, if the filter selects it."""
    delivered: int = 0
    """How often that one was delivered."""


@dataclass
class Reference:
    """The state of the stream and of its consumers."""

    stream: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    consumers: dict[str, _Consumer] = field(
        default_factory=lambda: {name: _Consumer(pattern) for name, pattern in CONSUMERS.items()}
    )

    def apply(self, step: Step) -> Entry | bool:
        """Do *step*; return what a receive observes, True when another step could be done, or False."""
        if step.action == "publish":
            self.stream.append((step.tail, f"{step.actor}/{len(self.stream)}"))
            return True
        if step.action == "repeat":
            return bool(self.stream)
        consumer = self.consumers[MEMBERS[step.actor]]
        if step.action == "open":
            was, consumer.open = consumer.open, True
            return not was
        if not consumer.open:
            return False
        if step.action == "receive":
            return self._receive(consumer, step.actor)
        return self._end(consumer, step.action)

    def _receive(self, consumer: _Consumer, member: str) -> Entry | bool:
        following = range(consumer.position, len(self.stream))
        wanted = (index for index in following if matches(consumer.filter or ">", self.stream[index][0]))
        consumer.position = next(wanted, len(self.stream))
        if consumer.held or consumer.position == len(self.stream):
            return False
        consumer.held = True
        consumer.delivered += 1
        return Entry(member, *self.stream[consumer.position], consumer.delivered)

    def _end(self, consumer: _Consumer, action: str) -> bool:
        held, consumer.held = consumer.held, False
        if action == "close":
            consumer.open = False
            return True
        if held and action in ("ack", "term"):
            consumer.position += 1
            consumer.delivered = 0
        return held
