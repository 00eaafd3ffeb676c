"""The driver that ``memory://`` opens."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, ClassVar, Self

from pubsubkit.driver import Capability, Driver
from pubsubkit.errors import PubSubError
from pubsubkit.params import param, size
from pubsubkit_memory.broker import Broker
from pubsubkit_memory.subscription import MemorySubscription

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pubsubkit.driver import (
        ConnectionState,
        ConsumerInfo,
        ConsumerSpec,
        OutgoingMessage,
        PublishReceipt,
        StreamInfo,
    )
    from pubsubkit.options import StreamOptions
    from pubsubkit.url import BackendURL

__all__ = ["MemoryDriver", "MemoryOptions"]

_MAX_PAYLOAD = 1024 * 1024
_TURNS = 128
_NOT_PROMISED = {
    Capability.SURVIVES_RESTART,
    Capability.SURVIVES_CRASH,
    Capability.CROSS_PROCESS,
    Capability.REMOTE,
}


@dataclass(frozen=True, kw_only=True)
class MemoryOptions:
    """The parameters of ``memory://``."""

    max_payload: int = param(_MAX_PAYLOAD, doc="largest message, headers included", parse=size)


class MemoryDriver(Driver):
    """A user of a :class:`Broker` in this process.

    :param broker: the broker to use; a new one when None.
    :param max_payload: the largest message in bytes, headers included.
    """

    API_VERSION: ClassVar[int] = 1
    OPTIONS = MemoryOptions
    HARNESS: ClassVar[str] = "pubsubkit_memory.testing:MemoryHarness"
    capabilities: frozenset[Capability] = frozenset(Capability) - _NOT_PROMISED
    error_table: Mapping[type[Exception], type[PubSubError]] = MappingProxyType({})

    def __init__(self, broker: Broker | None = None, max_payload: int = _MAX_PAYLOAD) -> None:
        self._broker = Broker() if broker is None else broker
        self._turns = 0
        self.address: str = self._broker.address
        self.max_payload = max_payload

    @classmethod
    def from_url(cls, url: BackendURL, options: MemoryOptions) -> Self:
        """Make a driver of the broker that the URL names, or of a new one when it names none.

        :raises ConfigurationError: the URL has parts that mean nothing here.
        """
        meaningless = {
            "a user or password": url.user is not None or url.password is not None,
            "more than one name": len(url.hosts) > 1,
            "a port": any(host.port is not None for host in url.hosts),
            "a path": bool(url.path),
        }
        problems = [
            f"{part} has no meaning here: expected memory:// or memory://name"
            for part in meaningless
            if meaningless[part]
        ]
        if problems:
            raise url.fail(problems)
        return cls(Broker.named(url.hosts[0].name) if url.hosts else None, options.max_payload)

    @property
    def native(self) -> Broker:
        """The broker."""
        return self._broker

    async def open(self, on_state: Callable[[ConnectionState, Exception | None], None]) -> None:  # noqa: ARG002 - it cannot break
        """Attach to the broker.

        :raises ConfigurationError: the broker is open in another event loop.
        """
        self._broker.attach(self)

    async def aclose(self) -> None:
        """Detach from the broker, which keeps what it has."""
        self._broker.detach(self)

    async def ping(self) -> None:
        """Nothing to do."""

    async def stream_info(self, name: str) -> StreamInfo | None:
        """The stream, or None."""
        stream = self._broker.find_stream(name)
        return None if stream is None else stream.info()

    async def list_streams(self) -> Sequence[StreamInfo]:
        """All streams."""
        return [self._broker.stream(name).info() for name in self._broker.streams]

    async def list_consumers(self, stream: str) -> Sequence[ConsumerInfo] | None:
        """All consumers of a stream, or None."""
        found = self._broker.find_stream(stream)
        return None if found is None else [consumer.info() for consumer in found.consumers.values()]

    async def create_stream(self, options: StreamOptions) -> None:
        """Create it."""
        self._broker.create_stream(options)

    async def update_stream(self, options: StreamOptions) -> None:
        """Change all but its storage."""
        self._broker.update_stream(options)

    async def delete_stream(self, name: str) -> bool:
        """Delete it; False when there was none."""
        return self._broker.delete_stream(name)

    async def consumer_info(self, stream: str, name: str) -> ConsumerInfo | None:
        """The consumer, or None when it or its stream does not exist."""
        found = self._broker.find_stream(stream)
        consumer = None if found is None else found.consumers.get(name)
        return None if consumer is None else consumer.info()

    async def create_consumer(self, spec: ConsumerSpec) -> None:
        """Create it."""
        self._broker.stream(spec.stream).create_consumer(spec)

    async def update_consumer(self, spec: ConsumerSpec) -> None:
        """Change all but where it started."""
        self._broker.stream(spec.stream).update_consumer(spec)

    async def delete_consumer(self, stream: str, name: str) -> bool:
        """Delete it; False when there was none."""
        found = self._broker.find_stream(stream)
        return found is not None and found.delete_consumer(name)

    async def send(self, messages: Sequence[OutgoingMessage], timeout: float) -> Sequence[PublishReceipt | Exception]:  # noqa: ARG002 - storing takes no time
        """Store all at once; a call that is cancelled has stored its messages.

        The event loop gets its turn now and then, after the storing, so that calls keep their order.
        """
        outcomes: list[PublishReceipt | Exception] = []
        for message in messages:
            try:
                outcomes.append(self._broker.publish(*message))
            except PubSubError as error:
                outcomes.append(error)
        self._turns += len(messages)
        if self._turns >= _TURNS:
            self._turns = 0
            await asyncio.sleep(0)
        return outcomes

    def send_now(self, subject: str, data: bytes, timeout: float) -> PublishReceipt | None:  # noqa: ARG002 - storing takes no time
        """As :meth:`send`, which takes its turn now and then."""
        self._turns += 1
        if self._turns >= _TURNS or len(data) > self.max_payload:
            return None
        return self._broker.publish(subject, data)

    async def subscribe(self, spec: ConsumerSpec, buffer: int) -> MemorySubscription:  # noqa: ARG002 - nothing is buffered
        """Join a consumer.

        :raises NotFoundError: it does not exist.
        """
        return MemorySubscription(self._broker.stream(spec.stream).consumer(spec.name))
