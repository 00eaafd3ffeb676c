"""One dead letter, and which of them are meant."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pubsubkit.dead_letter import PREFIX
from pubsubkit.errors import InvalidArgumentError
from pubsubkit.subjects import check_filter, matches

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from datetime import datetime

    from pubsubkit.message import Message

__all__ = ["DeadLetter", "Selection", "Settled", "to_letter"]

Settled = Literal["replayed", "purged"]


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """A message that nobody could handle, as it is in the stream of dead letters.

    What is not known is empty or None: the origin of a message that was as large as the broker takes, or the error of
    one that no exception made a dead letter.
    """

    sequence: int
    """Its number in the stream of dead letters."""
    timestamp: datetime
    """When it became a dead letter, in UTC."""
    subject: str
    """The subject of the original."""
    data: bytes
    headers: Mapping[str, str]
    """The headers of the original."""
    stream: str
    """Where the original was."""
    consumer: str
    """Who could not handle it."""
    original_sequence: int | None
    """The number of the original in its stream."""
    deliveries: int | None
    """How often the original was delivered."""
    reason: str
    error: str
    """The type of the exception, with its module."""
    settled: Settled | None = None
    """What became of it; None for an open one."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which open dead letters; all of them unless something is given, and those that agree with all that is given.

    :param sequences: their numbers in the stream of dead letters.
    :param reason: a part of the reason; case does not matter.
    :param error: the type of the exception, with or without its module.
    :param subject: a filter of the original's subject.
    :param limit: the most that are selected, the oldest first.
    :raises InvalidArgumentError: *subject* is no filter, or a number is below 1.
    """

    sequences: Collection[int] = ()
    reason: str = ""
    error: str = ""
    subject: str = ""
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.subject:
            check_filter(self.subject)
        for number in (*self.sequences, 1 if self.limit is None else self.limit):
            if not isinstance(number, int) or number < 1:
                raise InvalidArgumentError(f"bad Selection: {number!r}: expected whole numbers from 1")
        object.__setattr__(self, "sequences", frozenset(self.sequences))

    def takes(self, letter: DeadLetter) -> bool:
        """Whether *letter* is one of them, but for ``limit``."""
        return (
            (not self.sequences or letter.sequence in self.sequences)
            and self.reason.lower() in letter.reason.lower()
            and self.error in ("", letter.error, letter.error.rpartition(".")[2])
            and (not self.subject or matches(self.subject, letter.subject))
        )


def to_letter(message: Message, stream: str, settled: Settled | None) -> DeadLetter:
    """Return what *message* of *stream* is as a dead letter."""
    origin = {name.removeprefix(PREFIX): text for name, text in message.headers.items() if name.startswith(PREFIX)}
    meta = message.metadata
    return DeadLetter(
        sequence=meta.sequence,
        timestamp=meta.timestamp,
        subject=origin.get("Subject") or message.subject.removeprefix(f"{stream}."),
        data=message.data,
        headers={name: text for name, text in message.headers.items() if not name.startswith(PREFIX)},
        stream=origin.get("Stream", ""),
        consumer=origin.get("Consumer", ""),
        original_sequence=_number(origin.get("Sequence", "")),
        deliveries=_number(origin.get("Deliveries", "")),
        reason=origin.get("Reason", ""),
        error=origin.get("Error", ""),
        settled=settled,
    )


def _number(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdecimal() else None
