"""The driver that ``nats://`` opens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pubsubkit import Backend
from pubsubkit.driver import Capability, Driver
from pubsubkit.errors import ConfigurationError
from pubsubkit_nats import native
from pubsubkit_nats.binary import find_server
from pubsubkit_nats.diagnosis import diagnose
from pubsubkit_nats.failures import ERROR_TABLE
from pubsubkit_nats.link import Link
from pubsubkit_nats.manager import StreamManager
from pubsubkit_nats.pipe import PublishPipe
from pubsubkit_nats.pull import PullSubscription
from pubsubkit_nats.settings import NatsOptions, connect_arguments, embedded_store

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from nats.aio.client import Client

    from pubsubkit.driver import ConnectionState, ConsumerSpec, Finding, OutgoingMessage, PublishReceipt
    from pubsubkit.url import BackendURL

__all__ = ["NatsBackend", "NatsDriver"]


def NatsBackend(client: Client, *, plugins: Iterable[object] = (), **options: Any) -> Backend:  # noqa: N802 - reads as the class it stands for
    """Return a backend around a connected nats-py client of the caller's, who goes on owning it.

    Closing the backend leaves the client connected.  Its callbacks stay the caller's, so a lost connection is noticed
    by looking, four times a second.

    :param client: connected with ``await client.connect(...)``.
    :param plugins: as for ``pubsubkit.connect``.
    :param options: fields of :class:`NatsOptions` that are not about connecting: ``request_timeout``, ``heartbeat``,
        ``domain``, ``api_prefix``.
    :raises ConfigurationError: an option is wrong.
    """
    try:
        given = NatsOptions(**options)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(f"cannot make a backend around the given client: {error}") from error
    return Backend(NatsDriver(Link(given, None, client), "nats://(given client)"), plugins=plugins)


class NatsDriver(StreamManager, Driver):
    """JetStream over one nats-py connection."""

    API_VERSION: ClassVar[int] = 1
    OPTIONS = NatsOptions
    MODIFIERS: ClassVar[frozenset[str]] = frozenset({"embedded", "tls", "ws", "wss"})
    HARNESS: ClassVar[str] = "pubsubkit_nats.testing:NatsHarness"
    capabilities: frozenset[Capability] = frozenset(Capability)
    error_table = ERROR_TABLE

    def __init__(self, link: Link, address: str) -> None:
        super().__init__(link)
        self.address = address
        self._pipe = PublishPipe(link)

    @classmethod
    def from_url(cls, url: BackendURL, options: NatsOptions) -> Self:
        """Make a driver from a URL; see :class:`NatsOptions`."""
        if "embedded" in url.modifiers:
            return cls(_embedded_link(url, options), f"nats+embedded://{url.path}")
        hosts = ",".join(map(str, url.hosts))
        address = f"{'+'.join(('nats', *url.modifiers))}://{hosts or 'localhost'}"
        return cls(Link(options, connect_arguments(url, options)), address)

    @property
    def native(self) -> Client:
        """The nats-py client."""
        return self._link.client

    @property
    def max_payload(self) -> int:  # type: ignore[override]
        """The server's ``max_payload``."""
        return self._link.client.max_payload

    async def open(self, on_state: Callable[[ConnectionState, Exception | None], None]) -> None:
        """Connect and see that JetStream is there."""
        await self._link.open(on_state)
        await self._pipe.open()

    async def aclose(self) -> None:
        """Give up the reply inbox and, when it is ours, the connection; nats-py flushes it."""
        await self._pipe.aclose()
        await self._link.aclose()

    async def ping(self) -> None:
        """PING, PONG."""
        await self._link.ping()

    async def diagnose(self) -> Sequence[Finding]:
        """Versions, encryption, JetStream with the account's limits, and the clock."""
        return await diagnose(self._link)

    def check_native(self, kind: Literal["stream", "consumer", "message"], settings: Mapping[str, Any]) -> None:
        """JetStream's own settings are taken, as far as the server is new enough; see :mod:`pubsubkit_nats.native`."""
        native.check(kind, settings, self._link.server_version)

    async def send(self, messages: Sequence[OutgoingMessage], timeout: float) -> Sequence[PublishReceipt | Exception]:
        """Publish with confirmation; see :class:`PublishPipe`."""
        return await self._pipe.send(messages, timeout)

    def send_now(
        self, subject: str, data: bytes, timeout: float
    ) -> Awaitable[Sequence[PublishReceipt | Exception]] | None:
        """Publish one message while no other is under way; see :class:`PublishPipe`."""
        return self._pipe.send_now(subject, data, timeout)

    async def subscribe(self, spec: ConsumerSpec, buffer: int) -> PullSubscription:
        """Join a consumer."""
        subscription = PullSubscription(self._link, self, spec, buffer)
        await subscription.start()
        return subscription


def _embedded_link(url: BackendURL, options: NatsOptions) -> Link:
    folder = embedded_store(url, options)
    from pubsubkit_nats.embedded.link import EmbeddedLink  # imports fcntl, which Windows does not have

    try:
        binary = find_server()
    except FileNotFoundError as error:
        raise url.fail([str(error)]) from error
    return EmbeddedLink(options, folder, binary)
