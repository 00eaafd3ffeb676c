"""What was observed while a history was played."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Closed", "Delivered", "Event", "Published", "Record", "Settled"]


class Published(NamedTuple):
    """A publish that has ended."""

    publisher: str
    number: int
    """The how manieth of its publisher, from 0."""
    subject: str
    data: bytes
    sequence: int | None
    """None when it raised: it may be stored or not."""


class Delivered(NamedTuple):
    """A message that a member got."""

    consumer: str
    member: str
    """A name that no later opening of the member has."""
    subject: str
    data: bytes
    num: int
    sequence: int
    at: float
    """When, in seconds of a clock that does not jump."""


class Settled(NamedTuple):
    """A verdict that returned True, or raised because the connection was lost: then it is not sure."""

    delivery: Delivered
    verdict: str
    at: float
    delay: float = 0.0
    sure: bool = True
    """Whether it must have reached the broker."""


class Closed(NamedTuple):
    """A member that was closed."""

    consumer: str
    member: str


Event = Published | Delivered | Settled | Closed


@dataclass(kw_only=True)
class Record:
    """All events in their order, and what the broker said in the end."""

    ack_wait: float
    counts: bool = True
    """The backend promises delivery counts."""
    ordered: bool = True
    """The backend promises the order of one publisher's messages."""
    unique: bool = True
    """No message may be stored twice."""
    calm: bool = True
    """Nothing disturbed the connections and the broker."""
    filters: dict[str, str] = field(default_factory=dict[str, str])
    """The full filter of each consumer; empty for none."""
    events: list[Event] = field(default_factory=list[Event])
    read_at: int = 0
    """How many events there were when everything had been read."""
    stored: int = 0
    """How many messages the stream held in the end."""
    left: dict[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """What each consumer had in the end: never delivered, and without a verdict."""

    @property
    def published(self) -> list[Published]:
        """All publishes in the order in which they ended."""
        return [event for event in self.events if isinstance(event, Published)]

    def delivered(self, consumer: str) -> list[Delivered]:
        """All deliveries of *consumer* in their order."""
        return [event for event in self.events if isinstance(event, Delivered) and event.consumer == consumer]
