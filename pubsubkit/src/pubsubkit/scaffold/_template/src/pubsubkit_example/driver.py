"""The driver that ``example://`` opens.

What each method has to do, and what it must not do, says :mod:`pubsubkit.driver`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from pubsubkit.driver import Capability, Driver
from pubsubkit.params import duration, param

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pubsubkit import PubSubError, StreamOptions
    from pubsubkit.driver import (
        ConnectionState,
        ConsumerInfo,
        ConsumerSpec,
        DriverSubscription,
        OutgoingMessage,
        PublishReceipt,
        StreamInfo,
    )
    from pubsubkit.url import BackendURL

__all__ = ["ExampleDriver", "ExampleOptions"]


@dataclass(frozen=True, kw_only=True)
class ExampleOptions:
    """The parameters of ``example://host``."""

    connect_timeout: float = param(5.0, doc="time for the first connection", parse=duration)


class ExampleDriver(Driver):
    """One connection to a broker."""

    API_VERSION: ClassVar[int] = 1
    OPTIONS = ExampleOptions
    HARNESS: ClassVar[str] = "pubsubkit_example.testing:ExampleHarness"

    capabilities: frozenset[Capability] = frozenset({Capability.HISTORY, Capability.DURABLE})
    """What this backend promises; each is proved by cases of its own.  Add those that your broker has."""
    error_table: Mapping[type[Exception], type[PubSubError]] = MappingProxyType({})
    """The client library's exceptions, each with the class of pubsubkit.errors that it becomes."""
    max_payload = 1024 * 1024

    def __init__(self, address: str, options: ExampleOptions) -> None:
        self.address = address
        self._options = options

    @classmethod
    def from_url(cls, url: BackendURL, options: ExampleOptions) -> Self:
        """Make a driver; nothing is connected yet."""
        if len(url.hosts) != 1:
            raise url.fail(["expected one host: example://localhost"])
        return cls(str(url), options)

    @property
    def native(self) -> Any:
        """The client library's own connection."""
        return None

    async def open(self, on_state: Callable[[ConnectionState, Exception | None], None]) -> None:
        """Connect, or raise within the connect timeout; tell *on_state* of what becomes of the connection later."""
        raise NotImplementedError("ExampleDriver.open is to be written")

    async def aclose(self) -> None:
        """Release everything; also called when :meth:`open` failed."""

    async def ping(self) -> None:
        """Make one round trip to the broker, or raise."""
        raise NotImplementedError("ExampleDriver.ping is to be written")

    async def stream_info(self, name: str) -> StreamInfo | None:
        """The stream as it is on the broker; None when there is none."""
        raise NotImplementedError("ExampleDriver.stream_info is to be written")

    async def create_stream(self, options: StreamOptions) -> None:
        """Create it; the same one again is fine, another one of that name is a ``ConflictError``."""
        raise NotImplementedError("ExampleDriver.create_stream is to be written")

    async def update_stream(self, options: StreamOptions) -> None:
        """Give the existing stream these options."""
        raise NotImplementedError("ExampleDriver.update_stream is to be written")

    async def delete_stream(self, name: str) -> bool:
        """Delete it with its messages and consumers; False when there was none."""
        raise NotImplementedError("ExampleDriver.delete_stream is to be written")

    async def consumer_info(self, stream: str, name: str) -> ConsumerInfo | None:
        """The consumer, or None when there is none."""
        raise NotImplementedError("ExampleDriver.consumer_info is to be written")

    async def create_consumer(self, spec: ConsumerSpec) -> None:
        """Create it; the same one again is fine, another one of that name is a ``ConflictError``."""
        raise NotImplementedError("ExampleDriver.create_consumer is to be written")

    async def update_consumer(self, spec: ConsumerSpec) -> None:
        """Give the existing consumer this spec, all but ``deliver_from``."""
        raise NotImplementedError("ExampleDriver.update_consumer is to be written")

    async def delete_consumer(self, stream: str, name: str) -> bool:
        """Delete it; False when there was none."""
        raise NotImplementedError("ExampleDriver.delete_consumer is to be written")

    async def send(self, messages: Sequence[OutgoingMessage], timeout: float) -> Sequence[PublishReceipt | Exception]:
        """Store *messages* in their order; one outcome for each, within *timeout* seconds."""
        raise NotImplementedError("ExampleDriver.send is to be written")

    async def subscribe(self, spec: ConsumerSpec, buffer: int) -> DriverSubscription:
        """Join the existing consumer as a member that holds at most *buffer* messages."""
        raise NotImplementedError("ExampleDriver.subscribe is to be written")
