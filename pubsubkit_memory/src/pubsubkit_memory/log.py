"""The stored messages of one stream: numbers, limits and message ids."""

from __future__ import annotations

import math
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pubsubkit.errors import InvalidArgumentError, StreamFullError
from pubsubkit.subjects import matches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pubsubkit.driver import OutgoingMessage
    from pubsubkit.options import DeliverFrom, StreamOptions
    from pubsubkit_memory.timers import Timers

__all__ = ["DEFAULT_WINDOW", "Log", "StoredMessage"]

DEFAULT_WINDOW = 120.0
"""Seconds in which a message id is stored once, when the stream says nothing."""

_EPOCH = datetime.fromtimestamp(0, UTC)
_ENVELOPE_BYTES = len("NATS/1.0\r\n\r\n")
_FIELD_BYTES = len(": \r\n")
_ID_BYTES = len("Nats-Msg-Id: \r\n")


class StoredMessage:
    """A message in a stream."""

    __slots__ = ("_stored_ns", "data", "headers", "message_id", "sequence", "size", "subject")

    def __init__(self, message: OutgoingMessage, sequence: int, size: int, moved_ns: int) -> None:
        subject, data, headers, message_id = message
        self.subject: str = subject
        self.data: bytes = data
        self.message_id: str | None = message_id
        self.headers: Mapping[str, str] | None = dict(headers) if headers else None
        """A copy of the broker's own."""
        self.sequence: int = sequence
        self.size: int = size
        """Bytes that count toward ``max_bytes``."""
        self._stored_ns = time.time_ns() + moved_ns

    @property
    def timestamp(self) -> datetime:
        """When it was stored."""
        return _EPOCH + timedelta(microseconds=self._stored_ns // 1000)


class Log:
    """Messages by sequence number, without gaps: only limits remove them, and only the oldest.

    The size of a message is that of its data, plus its headers and message id as NATS encodes them: this is what
    ``max_message_size`` limits.  ``max_bytes`` counts the bytes of the subject as well.  ``max_age`` goes by the wall
    clock, like the messages' timestamps, and the de-duplication window by *timers*, which may put both forward.
    """

    __slots__ = (
        "_ids",
        "_max_age",
        "_max_bytes",
        "_max_message_size",
        "_max_messages",
        "_name",
        "_recent",
        "_refuse",
        "_timers",
        "_window",
        "ages",
        "bytes",
        "first",
        "last",
        "stored",
    )

    def __init__(self, options: StreamOptions, timers: Timers) -> None:
        self.stored: dict[int, StoredMessage] = {}
        self.first: int = 1
        """The oldest message's number, one above :attr:`last` when there is none."""
        self.last: int = 0
        self.bytes: int = 0
        self._timers = timers
        self._ids: dict[str, int] = {}
        self._recent: deque[tuple[float, str]] = deque()
        self.configure(options)

    def configure(self, options: StreamOptions) -> None:
        """Set the limits, and drop what is over them."""
        self._name = options.name
        self._max_messages = options.max_messages or math.inf
        self._max_bytes = options.max_bytes or math.inf
        self._max_message_size = options.max_message_size or math.inf
        self._max_age = None if options.max_age is None else timedelta(seconds=options.max_age)
        self.ages: bool = self._max_age is not None
        """Whether messages go by themselves, so that :meth:`expire` is needed."""
        self._window = DEFAULT_WINDOW if options.duplicate_window is None else options.duplicate_window
        self._refuse = options.discard == "new"
        self.expire()
        if not self._refuse:
            self._trim()

    def find_duplicate(self, message_id: str) -> int | None:
        """The number under which a message with this id was stored within the window."""
        forgotten = self._timers.now() - self._window
        while self._recent and self._recent[0][0] <= forgotten:
            del self._ids[self._recent.popleft()[1]]
        return self._ids.get(message_id)

    def append(self, message: OutgoingMessage) -> int:
        """Store *message*, which is no duplicate, and return its number.

        :raises InvalidArgumentError: it is larger than ``max_message_size`` or than the whole stream.
        :raises StreamFullError: there is no room, and the stream discards new messages.
        """
        size = self._size(message)
        if self.ages:
            self.expire()
        if self._refuse and (len(self.stored) >= self._max_messages or self.bytes + size > self._max_bytes):
            raise StreamFullError(f"stream {self._name!r} is full ({len(self.stored)} messages, {self.bytes} bytes)")
        self.last = sequence = self.last + 1
        self.stored[sequence] = StoredMessage(message, sequence, size, self._timers.moved_ns)
        self.bytes += size
        if message.message_id is not None:
            self._ids[message.message_id] = sequence
            self._recent.append((self._timers.now(), message.message_id))
        if len(self.stored) > self._max_messages or self.bytes > self._max_bytes:
            self._trim()
        return sequence

    def expire(self) -> None:
        """Drop what is older than ``max_age``; whoever looks at the messages calls it first."""
        if self._max_age is not None:
            oldest = datetime.now(UTC) + timedelta(microseconds=self._timers.moved_ns // 1000) - self._max_age
            while self.stored and self.stored[self.first].timestamp <= oldest:
                self._drop_first()

    def start(self, where: DeliverFrom, pattern: str) -> int:
        """The number of the message that a new consumer begins with; a start in the future is the next message."""
        if where == "all":
            return self.first
        following = self.last + 1
        if where == "last":
            backwards = reversed(self.stored.values())
            return next((stored.sequence for stored in backwards if matches(pattern, stored.subject)), following)
        if isinstance(where, datetime):
            return next((stored.sequence for stored in self.stored.values() if stored.timestamp >= where), following)
        return following if where == "new" else min(int(where), following)

    def select(self, start: int, pattern: str) -> Iterator[int]:
        """The numbers from *start* on whose subjects match *pattern*."""
        for sequence, stored in self.stored.items():
            if sequence >= start and (pattern == ">" or matches(pattern, stored.subject)):
                yield sequence

    def _size(self, message: OutgoingMessage) -> int:
        subject, data, headers, message_id = message
        size = len(data)
        if headers or message_id:
            size += _ENVELOPE_BYTES + (_ID_BYTES + len(message_id.encode()) if message_id else 0)
            size += sum(len(name) + len(value.encode()) + _FIELD_BYTES for name, value in (headers or {}).items())
        if size > self._max_message_size:
            raise InvalidArgumentError(f"{size} bytes are more than stream {self._name!r} takes as one message")
        size += len(subject) if subject.isascii() else len(subject.encode())
        if size > self._max_bytes:
            raise InvalidArgumentError(f"{size} bytes are more than the whole stream {self._name!r} may hold")
        return size

    def _trim(self) -> None:
        while len(self.stored) > self._max_messages or self.bytes > self._max_bytes:
            self._drop_first()

    def _drop_first(self) -> None:
        self.bytes -= self.stored.pop(self.first).size
        self.first += 1
