"""The stored messages of one stream: numbers, limits and message ids."""

from __future__ import annotations

import math
from collections import deque
from datetime import UTC, datetime, timedelta
from time import time_ns
from typing import TYPE_CHECKING

from pubsubkit.errors import InvalidArgumentError, StreamFullError
from pubsubkit.payload import message_size
from pubsubkit.subjects import matches

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pubsubkit.options import DeliverFrom, StreamOptions
    from pubsubkit_memory.timers import Timers

    StoredMessage = tuple[str, bytes, Mapping[str, str] | None, str | None, int, int, int]
    """Subject, data, headers, message id, number, bytes that count toward ``max_bytes``, nanoseconds since 1970.

    A plain tuple, which the garbage collector soon leaves alone: there may be millions.
    """

__all__ = ["DEFAULT_WINDOW", "Log", "moment"]

DEFAULT_WINDOW = 120.0
"""Seconds in which a message id is stored once, when the stream says nothing."""

_EPOCH = datetime.fromtimestamp(0, UTC)


def moment(stored_ns: int) -> datetime:
    """A message's timestamp."""
    return _EPOCH + timedelta(microseconds=stored_ns // 1000)


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
        "bytes",
        "first",
        "last",
        "limited",
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
        limits = (options.max_messages, options.max_bytes, options.max_message_size, options.max_age)
        self.limited: bool = any(limit is not None for limit in limits)
        """Whether messages may be refused, or go by themselves, so that :meth:`expire` is needed."""
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

    def append(self, subject: str, data: bytes, headers: Mapping[str, str] | None, message_id: str | None) -> int:
        """Store a message, which is no duplicate, and return its number.

        :raises InvalidArgumentError: it is larger than ``max_message_size`` or than the whole stream.
        :raises StreamFullError: there is no room, and the stream discards new messages.
        """
        size = message_size(data, headers, message_id) if headers or message_id else len(data)
        counted = size + (len(subject) if subject.isascii() else len(subject.encode()))
        if self.limited:
            self._admit(size, counted)
        self.last = sequence = self.last + 1
        stored_ns = time_ns() + self._timers.moved_ns
        own = dict(headers) if headers else None
        self.stored[sequence] = (subject, data, own, message_id, sequence, counted, stored_ns)
        self.bytes += counted
        if message_id is not None:
            self._ids[message_id] = sequence
            self._recent.append((self._timers.now(), message_id))
        if self.limited:
            self._trim()
        return sequence

    def expire(self) -> None:
        """Drop what is older than ``max_age``; whoever looks at the messages calls it first."""
        if self._max_age is not None:
            oldest = datetime.now(UTC) + timedelta(microseconds=self._timers.moved_ns // 1000) - self._max_age
            while self.stored and self._timestamp(self.first) <= oldest:
                self._drop_first()

    def start(self, where: DeliverFrom, pattern: str) -> int:
        """The number of the message that a new consumer begins with; a start in the future is the next message."""
        if where == "all":
            return self.first
        following = self.last + 1
        if where == "last":
            backwards = reversed(self.stored)
            return next((number for number in backwards if matches(pattern, self.stored[number][0])), following)
        if isinstance(where, datetime):
            return next((number for number in self.stored if self._timestamp(number) >= where), following)
        return following if where == "new" else min(int(where), following)

    def select(self, start: int, pattern: str) -> Iterator[int]:
        """The numbers from *start* on whose subjects match *pattern*."""
        for sequence, (subject, *_) in self.stored.items():
            if sequence >= start and (pattern == ">" or matches(pattern, subject)):
                yield sequence

    def _timestamp(self, sequence: int) -> datetime:
        *_, stored_ns = self.stored[sequence]
        return moment(stored_ns)

    def _admit(self, size: int, counted: int) -> None:
        """Keep the limits before a message is stored; *counted* is its size with the subject."""
        if size > self._max_message_size:
            raise InvalidArgumentError(f"{size} bytes are more than stream {self._name!r} takes as one message")
        if counted > self._max_bytes:
            raise InvalidArgumentError(f"{counted} bytes are more than the whole stream {self._name!r} may hold")
        self.expire()
        if self._refuse and (len(self.stored) >= self._max_messages or self.bytes + counted > self._max_bytes):
            raise StreamFullError(f"stream {self._name!r} is full ({len(self.stored)} messages, {self.bytes} bytes)")

    def _trim(self) -> None:
        while len(self.stored) > self._max_messages or self.bytes > self._max_bytes:
            self._drop_first()

    def _drop_first(self) -> None:
        *_, counted, _ = self.stored.pop(self.first)
        self.bytes -= counted
        self.first += 1
