"""The broker: streams of messages, consumers with what they have to deliver."""

from __future__ import annotations

import asyncio
from bisect import insort
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from pubsubkit import ConflictError, InvalidArgumentError, NotFoundError, PublishReceipt, PubSubError, StreamFullError
from pubsubkit.subjects import covers, matches, overlap

if TYPE_CHECKING:
    from pubsubkit import OutgoingMessage, StreamOptions
    from pubsubkit.driver import ConsumerSpec

__all__ = ["Consumer", "Shelf", "Stored", "Stream", "shelf"]


@dataclass(frozen=True)
class Stored:
    """A message with its number in the stream."""

    sequence: int
    message: OutgoingMessage
    timestamp: datetime

    @property
    def size(self) -> int:
        """Payload and headers, in bytes."""
        headers = self.message.headers or {}
        return len(self.message.data) + sum(len(name.encode()) + len(headers[name].encode()) for name in headers)


@dataclass
class Consumer:
    """What is to be delivered next, and what is out without a verdict."""

    spec: ConsumerSpec
    stored: dict[int, Stored]
    """The messages of the stream; one that a limit has pushed out is not delivered any more."""
    first: int = 1
    """The number at which it starts."""
    ready: list[int] = field(default_factory=list[int])
    deliveries: dict[int, int] = field(default_factory=dict[int, int])
    """Sequence → how often it was delivered."""
    unsettled: set[int] = field(default_factory=set[int])
    deleted: bool = False
    waiting: list[asyncio.Future[None]] = field(default_factory=list[asyncio.Future[None]])

    def wants(self, stored: Stored) -> bool:
        """Tell whether the filter selects the message."""
        return not self.spec.filter_subject or matches(self.spec.filter_subject, stored.message.subject)

    def offer(self, sequence: int) -> None:
        """Have it delivered, in the order of the stream."""
        insort(self.ready, sequence)
        self.wake()

    def take(self) -> Stored | None:
        """Hand out the next message, if there is one."""
        while self.ready:
            sequence = self.ready.pop(0)
            if sequence in self.stored:
                self.unsettled.add(sequence)
                self.deliveries[sequence] = self.deliveries.get(sequence, 0) + 1
                return self.stored[sequence]
        return None

    def counts(self) -> tuple[int, int]:
        """How many messages were never delivered, and how many were and are not done."""
        ready = [number for number in self.ready if number in self.stored]
        again = sum(number in self.deliveries for number in ready)
        return len(ready) - again, len(self.unsettled) + again

    def settle(self, sequence: int, *, again: bool) -> None:
        """Take the message as done, or have it delivered again; does nothing when it is not out."""
        if sequence in self.unsettled:
            self.unsettled.remove(sequence)
            if again:
                self.offer(sequence)

    async def wait(self) -> None:
        """Wait until something has changed."""
        self.waiting.append(change := asyncio.get_running_loop().create_future())
        await change

    def wake(self) -> None:
        """Let all who wait look again, those first who have waited longest."""
        waiting, self.waiting = self.waiting, []
        for change in waiting:
            if not change.done():
                change.set_result(None)

    def delete(self) -> None:
        """Let all who wait know that nothing will come any more."""
        self.deleted = True
        self.wake()


@dataclass
class Stream:
    """Its messages within its limits, and its consumers."""

    options: StreamOptions
    messages: dict[int, Stored] = field(default_factory=dict[int, Stored])
    consumers: dict[str, Consumer] = field(default_factory=dict[str, Consumer])
    last: int = 0

    @property
    def bytes(self) -> int:
        """The size of all messages."""
        return sum(stored.size for stored in self.messages.values())

    def store(self, message: OutgoingMessage) -> PublishReceipt | PubSubError:
        """Keep *message* and offer it to the consumers, or say which limit forbids that."""
        kept = message._replace(headers=dict(message.headers or {}))
        stored = Stored(self.last + 1, kept, datetime.now(UTC))
        self.expire()
        if self.options.max_message_size is not None and stored.size > self.options.max_message_size:
            return InvalidArgumentError(f"{stored.size} bytes are more than max_message_size")
        if self.options.discard == "new" and self._over(1, stored.size):
            return StreamFullError(f"stream {self.options.name!r} is full")
        self.last = stored.sequence
        self.messages[stored.sequence] = stored
        self.shrink()
        for consumer in self.consumers.values():
            if consumer.wants(stored):
                consumer.offer(stored.sequence)
        return PublishReceipt(self.options.name, stored.sequence)

    def shrink(self) -> None:
        """Push out the oldest messages until the limits are kept."""
        while self.messages and self._over(0, 0):
            del self.messages[next(iter(self.messages))]

    def expire(self) -> None:
        """Drop what is older than ``max_age``."""
        if self.options.max_age is not None:
            oldest = datetime.now(UTC) - timedelta(seconds=self.options.max_age)
            for stored in [stored for stored in self.messages.values() if stored.timestamp < oldest]:
                del self.messages[stored.sequence]

    def _over(self, count: int, size: int) -> bool:
        most, largest = self.options.max_messages, self.options.max_bytes
        return (most is not None and len(self.messages) + count > most) or (
            largest is not None and self.bytes + size > largest
        )

    def add(self, spec: ConsumerSpec) -> None:
        """Create the consumer *spec* with the messages from its start on."""
        held = self.consumers.get(spec.name)
        if held is not None and held.spec != spec:
            raise ConflictError(f"consumer {spec.name!r} exists as {held.spec}")
        if held is None:
            consumer = self.consumers[spec.name] = Consumer(spec, self.messages)
            consumer.first = self._start(consumer)
            consumer.ready = self._wanted(consumer)

    def change(self, spec: ConsumerSpec) -> None:
        """Give the consumer another filter; its position, and what is to come again, stay."""
        consumer = self.consumers[spec.name]
        consumer.spec = replace(spec, deliver_from=consumer.spec.deliver_from)
        again = [number for number in consumer.ready if number in consumer.deliveries]
        fresh = [number for number in self._wanted(consumer) if number not in consumer.deliveries]
        consumer.ready = sorted(again + fresh)
        consumer.wake()

    def _start(self, consumer: Consumer) -> int:
        """Return the number of the first message that a new consumer may get."""
        match consumer.spec.deliver_from:
            case "all":
                return 1
            case "new":
                return self.last + 1
            case "last":
                return max(self._wanted(consumer), default=1)
            case int(first):
                return first
            case moment:
                later = (number for number, stored in self.messages.items() if stored.timestamp >= moment)
                return min(later, default=self.last + 1)

    def _wanted(self, consumer: Consumer) -> list[int]:
        stored = self.messages.values()
        return [each.sequence for each in stored if each.sequence >= consumer.first and consumer.wants(each)]


class Shelf:
    """One broker."""

    def __init__(self) -> None:
        self.streams: dict[str, Stream] = {}

    def put(self, options: StreamOptions) -> None:
        """Create the stream *options*, or give it these options; a subject belongs to one stream."""
        for other in self.streams.values():
            shared = any(overlap(mine, its) for mine in options.subjects for its in other.options.subjects)
            if shared and other.options.name != options.name:
                raise ConflictError(f"stream {other.options.name!r} has some of the subjects {options.subjects}")
        stream = self.streams.setdefault(options.name, Stream(options))
        stream.options = options
        stream.shrink()

    def store(self, message: OutgoingMessage) -> PublishReceipt | PubSubError:
        """Store *message* in the stream that has its subject."""
        for stream in self.streams.values():
            if any(covers(pattern, message.subject) for pattern in stream.options.subjects):
                return stream.store(message)
        return NotFoundError(f"no stream has the subject {message.subject!r}")

    def remove(self, name: str) -> bool:
        """Forget the stream and end its consumers; False when there is none."""
        stream = self.streams.pop(name, None)
        for consumer in stream.consumers.values() if stream else ():
            consumer.delete()
        return stream is not None


_shelves: dict[str, Shelf] = {}


def shelf(name: str) -> Shelf:
    """Return the broker of that name, which everybody in this process shares."""
    return _shelves.setdefault(name, Shelf())
