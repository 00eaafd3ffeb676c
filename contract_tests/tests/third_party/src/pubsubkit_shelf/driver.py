"""The driver of ``shelf://name``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from pubsubkit import Capability, ConflictError, ConsumerInfo, MessageMetadata, NotFoundError, StreamInfo, Verdict
from pubsubkit.driver import Delivery, Driver, DriverSubscription, Settlement
from pubsubkit_shelf.broker import shelf

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pubsubkit import ConnectionState, OutgoingMessage, PublishReceipt, PubSubError, StreamOptions
    from pubsubkit.driver import ConsumerSpec
    from pubsubkit.url import BackendURL
    from pubsubkit_shelf.broker import Consumer, Shelf, Stored, Stream

__all__ = ["ShelfDelivery", "ShelfDriver", "ShelfSubscription"]


@dataclass(frozen=True, kw_only=True)
class Options:
    """The parameters of the URL: none."""


class ShelfDelivery(Delivery):
    """A delivery is a message of the stream and how often it was delivered."""

    __slots__ = ("_consumer", "_number", "_stored", "data", "subject")

    def __init__(self, consumer: Consumer, stored: Stored, number: int) -> None:
        self._consumer = consumer
        self._stored = stored
        self._number = number
        self.subject = stored.message.subject
        self.data = stored.message.data

    @property
    def key(self) -> int:
        """The number in the stream."""
        return self._stored.sequence

    @property
    def headers(self) -> Mapping[str, str]:
        """A copy of the publisher's headers."""
        return dict(self._stored.message.headers or {})

    @property
    def metadata(self) -> MessageMetadata:
        """What the broker knows of it."""
        spec = self._consumer.spec
        return MessageMetadata(
            num_delivered=self._number,
            timestamp=self._stored.timestamp,
            subject=self.subject,
            stream=spec.stream,
            consumer=spec.name,
            sequence=self._stored.sequence,
        )

    async def settle(self, settlement: Settlement) -> None:
        """Tell the consumer."""
        self._consumer.settle(self.key, again=settlement.verdict is Verdict.NAK)


class ShelfSubscription(DriverSubscription):
    """A member without a buffer: it takes one message at a time."""

    def __init__(self, stream: Stream, consumer: Consumer, delivery: type[ShelfDelivery]) -> None:
        self._stream = stream
        self._consumer = consumer
        self._delivery = delivery
        self._closed = False

    async def receive(self) -> ShelfDelivery | None:
        """Take the next message; nothing is awaited between taking and returning it."""
        while not self._closed:
            if self._consumer.deleted:
                raise NotFoundError(f"consumer {self._consumer.spec.name!r} was deleted")
            self._stream.expire()
            if (stored := self._consumer.take()) is not None:
                return self._delivery(self._consumer, stored, self._consumer.deliveries[stored.sequence])
            await self._consumer.wait()
        return None

    async def aclose(self, held: Sequence[Delivery]) -> None:
        """End a blocked :meth:`receive` and give *held* back."""
        self._closed = True
        self._consumer.wake()
        for delivery in held:
            await delivery.settle(Settlement(Verdict.NAK))

    @property
    def consuming(self) -> bool:
        """Whether the consumer is still there."""
        return not (self._closed or self._consumer.deleted)


class ShelfDriver(Driver):
    """A connection is a reference to the broker."""

    API_VERSION = 1
    OPTIONS = Options
    HARNESS = "pubsubkit_shelf.testing:ShelfHarness"
    DELIVERY: ClassVar[type[ShelfDelivery]] = ShelfDelivery

    capabilities = frozenset(
        {
            Capability.HISTORY,
            Capability.DURABLE,
            Capability.NAK,
            Capability.FANOUT,
            Capability.COMPETE,
            Capability.ORDERING,
            Capability.WILDCARDS,
            Capability.HEADERS,
            Capability.UNICODE_SUBJECTS,
            Capability.DELIVERY_COUNT,
        }
    )
    error_table: Mapping[type[Exception], type[PubSubError]] = {}
    max_payload = 1024 * 1024

    def __init__(self, name: str, address: str) -> None:
        self.address = address
        self._shelf = shelf(name)

    @classmethod
    def from_url(cls, url: BackendURL, options: Options) -> Self:
        """Make a driver for ``shelf://name``."""
        if len(url.hosts) != 1 or url.hosts[0].port or url.user or url.path:
            raise url.fail(["expected shelf://name and nothing else"])
        return cls(url.hosts[0].name, str(url))

    @property
    def native(self) -> Shelf:
        """The broker."""
        return self._shelf

    async def open(self, on_state: Callable[[ConnectionState, Exception | None], None]) -> None:
        """Nothing to connect to, nothing to lose."""

    async def aclose(self) -> None:
        """Nothing to release."""

    async def ping(self) -> None:
        """It is there as long as the process is."""

    async def stream_info(self, name: str) -> StreamInfo | None:
        """The stream as it is."""
        if (stream := self._shelf.streams.get(name)) is None:
            return None
        stream.expire()
        return StreamInfo(
            options=stream.options,
            messages=len(stream.messages),
            bytes=stream.bytes,
            first_sequence=min(stream.messages, default=stream.last + 1),
            last_sequence=stream.last,
        )

    async def create_stream(self, options: StreamOptions) -> None:
        """Create it."""
        held = self._shelf.streams.get(options.name)
        if held is not None and held.options != options:
            raise ConflictError(f"stream {options.name!r} exists as {held.options}")
        self._shelf.put(options)

    async def update_stream(self, options: StreamOptions) -> None:
        """Change it in place."""
        self._shelf.put(options)

    async def delete_stream(self, name: str) -> bool:
        """Forget it and end its consumers."""
        return self._shelf.remove(name)

    async def consumer_info(self, stream: str, name: str) -> ConsumerInfo | None:
        """The consumer as it is."""
        found = self._shelf.streams.get(stream)
        consumer = found.consumers.get(name) if found else None
        if consumer is None:
            return None
        pending, unsettled = consumer.counts()
        return ConsumerInfo(spec=consumer.spec, num_pending=pending, num_ack_pending=unsettled)

    async def create_consumer(self, spec: ConsumerSpec) -> None:
        """Create it on its stream."""
        self._stream(spec.stream).add(spec)

    async def update_consumer(self, spec: ConsumerSpec) -> None:
        """Change it in place."""
        self._stream(spec.stream).change(spec)

    async def delete_consumer(self, stream: str, name: str) -> bool:
        """Forget it and end its members."""
        found = self._shelf.streams.get(stream)
        consumer = found.consumers.pop(name, None) if found else None
        if consumer is None:
            return False
        consumer.delete()
        return True

    async def send(self, messages: Sequence[OutgoingMessage], timeout: float) -> Sequence[PublishReceipt | Exception]:
        """Store them; that takes no time."""
        return [self._shelf.store(message) for message in messages]

    async def subscribe(self, spec: ConsumerSpec, buffer: int) -> ShelfSubscription:
        """Join the consumer."""
        stream = self._stream(spec.stream)
        consumer = stream.consumers.get(spec.name)
        if consumer is None:
            raise NotFoundError(f"no consumer {spec.name!r} on stream {spec.stream!r}")
        return ShelfSubscription(stream, consumer, self.DELIVERY)

    def _stream(self, name: str) -> Stream:
        stream = self._shelf.streams.get(name)
        if stream is None:
            raise NotFoundError(f"no stream {name!r}")
        return stream
