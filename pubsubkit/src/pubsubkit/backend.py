"""The portable backend: a connection to a broker, chosen by URL."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self, final

from pubsubkit.closing import Closing
from pubsubkit.connection import Connection, Phase
from pubsubkit.consumer import Consumer
from pubsubkit.driver import ConnectionState
from pubsubkit.errors import ClosedError, InvalidArgumentError, NotFoundError, PublishBatchError, PubSubError
from pubsubkit.hooks import load_hooks
from pubsubkit.options import ConsumerOptions, PublisherOptions, check_names
from pubsubkit.provision import ensure_stream
from pubsubkit.publisher import Publisher
from pubsubkit.redaction import redact
from pubsubkit.registry import create_driver
from pubsubkit.translate import translating
from pubsubkit.url import BackendURL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pubsubkit.driver import Capability, ConsumerInfo, Driver, Finding, StreamInfo
    from pubsubkit.options import Manage, StreamOptions

__all__ = ["Backend", "Health", "connect", "open_backend"]

logger: logging.Logger = logging.getLogger("pubsubkit.backend")

_PING_SECONDS = 5.0
_CLOSE_SECONDS = 10.0


def connect(
    url: str | BackendURL = "${PUBSUBKIT_URL}", *, plugins: Iterable[object] | None = None, **options: object
) -> Backend:
    """Return the backend for *url*, to be opened by ``async with``.

    ::

        async with connect("nats://localhost:4222") as backend:
            ...

    :param url: ``memory://``, ``nats://user:${NATS_PASSWORD}@host:4222?connect_timeout=2s`` and so on;
        ``pubsubkit backends show SCHEME`` lists the parameters.  ``${NAME}`` is the environment variable, for a part or
        for the whole; without an argument the URL is that of ``PUBSUBKIT_URL``.
    :param plugins: objects with hooks for this connection, beside the installed ones (:mod:`pubsubkit.hookspecs`).
    :param options: parameters of the URL given as keywords.
    :raises ConfigurationError: the URL or an option is wrong, all problems in one error; or no installed backend has
        the scheme; or one of *plugins* is faulty.  No connection is made yet.
    """
    __tracebackhide__ = True  # pytest would show the URL with its secrets
    text = url.reveal() if isinstance(url, BackendURL) else url
    return Backend(create_driver(text, options), plugins=plugins or ())


async def open_backend(
    url: str | BackendURL = "${PUBSUBKIT_URL}", *, plugins: Iterable[object] | None = None, **options: object
) -> Backend:
    """Return an open backend, which you close with ``await backend.aclose()``.

    :param url: as for :func:`connect`, and so are the others.
    :raises ConfigurationError: as :func:`connect`.
    :raises PubSubError: as entering :class:`Backend`.
    """
    return await connect(url, plugins=plugins, **options).open()


@dataclass(frozen=True, kw_only=True)
class Health:
    """What :meth:`Backend.health` found."""

    connected: bool
    """The broker answered a round trip."""
    consuming: bool | None
    """Every open subscription is being served; None without subscriptions."""
    latency: float | None
    """Seconds of the round trip; None when there was no answer."""
    error: str = ""
    """Why it is not connected."""


@final
class Backend(Closing):
    """A connection to a broker.  Made by :func:`connect`; it is open inside ``async with``.

    Opening raises :class:`TransientError` when the broker cannot be reached, :class:`PermissionDeniedError` when it
    refuses the credentials and :class:`ConfigurationError` when it cannot serve (NATS without JetStream, say), each
    within the connect timeout.
    """

    def __init__(self, driver: Driver, *, plugins: Iterable[object] = ()) -> None:
        super().__init__()
        self._connection = Connection(driver, load_hooks(plugins, driver.address))
        self._driver = driver
        self._changing = asyncio.Lock()
        self._lost: list[PubSubError] = []
        self._state: ConnectionState | None = None

    def __repr__(self) -> str:
        return f"<Backend {self._driver.address}>"

    async def __aenter__(self) -> Self:
        return await self.open()

    async def open(self) -> Self:
        """Connect and return self; ``async with`` does this.  An open backend stays as it is.

        :raises ClosedError: the backend was closed, before or meanwhile; make a new one.
        """
        async with self._changing:
            self._check_not_closed()
            if self._connection.phase is Phase.NEW:
                try:
                    with translating(self._driver, "connect"):
                        await self._driver.open(self._on_state)
                    self._check_not_closed()
                except BaseException:
                    await self._driver.aclose()
                    raise
                self._connection.phase = Phase.OPEN
                self._on_state(ConnectionState.CONNECTED, None)
        return self

    async def aclose(self) -> None:
        """Close the consumers (unread messages go back), the publishers (what is under way ends) and the connection.

        :raises PublishBatchError: messages of ``publish_soon`` were lost and nobody looked at their futures.
        """
        await super().aclose()
        lost, self._lost = self._lost, []
        if lost:
            raise PublishBatchError(lost)

    @property
    def address(self) -> str:
        """The broker, without secrets."""
        return self._driver.address

    @property
    def capabilities(self) -> frozenset[Capability]:
        """The promises that this backend makes."""
        return self._driver.capabilities

    @property
    def native(self) -> object:
        """The client library's own connection: for NATS its ``nats.aio.client.Client``."""
        return self._driver.native

    @property
    def max_payload(self) -> int:
        """The largest message in bytes, headers included."""
        self._connection.check_open()
        return self._driver.max_payload

    def publisher(self, options: PublisherOptions) -> Publisher:
        """Return a publisher; nothing is sent to the broker before it is entered or used.

        :raises ClosedError: the backend is not open.
        :raises InvalidArgumentError: *options* is something else.
        """
        _check_kind(options, PublisherOptions)
        self._connection.check_open()
        publisher = Publisher(self._connection, options)
        self._connection.users.add(publisher)
        return publisher

    def consumer(self, options: ConsumerOptions) -> Consumer:
        """Return a consumer; nothing is sent to the broker before it is entered or subscribed.

        :raises ClosedError: the backend is not open.
        :raises InvalidArgumentError: *options* is something else.
        """
        _check_kind(options, ConsumerOptions)
        self._connection.check_open()
        consumer = Consumer(self._connection, options)
        self._connection.users.add(consumer)
        return consumer

    async def ensure_stream(self, options: StreamOptions, *, manage: Manage = "create") -> StreamOptions:
        """Make sure that a stream exists which promises at least *options*; return what it is.

        Its native settings are in :meth:`stream_info`.

        :raises UnsupportedError: the backend, or the broker's version, does not have its native settings.
        :raises ConflictError: it promises less, and *manage* is not ``update`` or mending would narrow the stream.
        :raises NotFoundError: it is missing and *manage* is ``none``.
        """
        self._connection.check_open()
        with translating(self._driver, f"open stream {options.name!r}"):
            return await ensure_stream(self._driver, options, manage)

    async def stream_info(self, name: str) -> StreamInfo:
        """Return a stream's options and how much it holds.

        :raises NotFoundError: there is no such stream.
        :raises InvalidArgumentError: no stream can have this name.
        """
        self._connection.check_open()
        check_names(stream=name)
        with translating(self._driver, f"look up stream {name!r}"):
            info = await self._driver.stream_info(name)
        if info is None:
            raise NotFoundError(f"no stream {name!r} on {self._driver.address}")
        return info

    async def list_streams(self) -> list[StreamInfo]:
        """Return all streams by name, also those of others.

        :raises UnsupportedError: the backend cannot tell which streams it has.
        """
        self._connection.check_open()
        with translating(self._driver, "list the streams"):
            return sorted(await self._driver.list_streams(), key=lambda info: info.options.name)

    async def list_consumers(self, stream: str) -> list[ConsumerInfo]:
        """Return the consumers of a stream by name, ephemeral ones included.

        :raises NotFoundError: there is no such stream.
        :raises UnsupportedError: the backend cannot tell which consumers it has.
        """
        self._connection.check_open()
        check_names(stream=stream)
        with translating(self._driver, f"list the consumers of stream {stream!r}"):
            found = await self._driver.list_consumers(stream)
        if found is None:
            raise NotFoundError(f"no stream {stream!r} on {self._driver.address}")
        return sorted(found, key=lambda info: info.spec.name)

    async def delete_stream(self, name: str) -> bool:
        """Delete a stream with its messages and consumers; False when there was none."""
        self._connection.check_open()
        check_names(stream=name)
        with translating(self._driver, f"delete stream {name!r}"):
            return await self._driver.delete_stream(name)

    async def consumer_info(self, stream: str, name: str) -> ConsumerInfo:
        """Return a consumer's options, how many messages it has before it and how many are without a verdict.

        :raises NotFoundError: there is no such consumer.
        """
        self._connection.check_open()
        check_names(stream=stream, consumer=name)
        with translating(self._driver, f"look up consumer {stream}/{name}"):
            info = await self._driver.consumer_info(stream, name)
        if info is None:
            raise NotFoundError(f"no consumer {name!r} in stream {stream!r} on {self._driver.address}")
        return info

    async def delete_consumer(self, stream: str, name: str) -> bool:
        """Delete a durable consumer and its position; False when there was none."""
        self._connection.check_open()
        check_names(stream=stream, consumer=name)
        with translating(self._driver, f"delete consumer {stream}/{name}"):
            return await self._driver.delete_consumer(stream, name)

    async def health(self) -> Health:
        """Ask the broker for a sign of life and tell whether the subscriptions are served; never raises."""
        consumers = [user for user in self._connection.users if isinstance(user, Consumer)]
        entered = [item for consumer in consumers for item in consumer.subscriptions if item.entered]
        served = [subscription.consuming for subscription in entered]
        consuming = all(served) if served else None
        started = time.perf_counter()
        try:
            self._connection.check_open()
            with translating(self._driver, "ping"):
                async with asyncio.timeout(_PING_SECONDS):
                    await self._driver.ping()
        except PubSubError as error:
            return Health(connected=False, consuming=False if served else None, latency=None, error=str(error))
        return Health(connected=True, consuming=consuming, latency=time.perf_counter() - started)

    async def diagnose(self) -> tuple[Finding, ...]:
        """Return what this kind of backend can tell of its broker and the connection; it changes nothing.

        :raises PubSubError: the connection was lost meanwhile, say.
        """
        self._connection.check_open()
        with translating(self._driver, "diagnose"):
            return tuple(await self._driver.diagnose())

    async def _close(self) -> None:
        async with self._changing:
            was_open = self._connection.phase is Phase.OPEN
            self._connection.phase = Phase.CLOSED
            if not was_open:
                return
            users = tuple(self._connection.users)
            try:
                for kind in (Consumer, Publisher):
                    closing = [user.aclose() for user in users if isinstance(user, kind)]
                    self._note(await asyncio.gather(*closing, return_exceptions=True))
            finally:
                await self._release()

    async def _release(self) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._driver.aclose()
        except Exception as error:  # noqa: BLE001 - it is closed for the caller all the same
            logger.warning("%s: closing the connection failed: %s", self._driver.address, redact(repr(error)))
        self._on_state(ConnectionState.CLOSED, None)

    def _note(self, results: Sequence[object]) -> None:
        for result in results:
            if isinstance(result, PublishBatchError):
                self._lost += result.failed.values()
            elif isinstance(result, BaseException):
                logger.error("%s: closing failed: %s", self._driver.address, redact(repr(result)))

    def _check_not_closed(self) -> None:
        if self.closed:
            raise ClosedError("the backend was closed; connect again")

    def _on_state(self, state: ConnectionState, error: Exception | None) -> None:
        if state is self._state:
            return
        self._state = state
        level = logging.WARNING if state is ConnectionState.DISCONNECTED else logging.INFO
        reason = f": {redact(str(error))}" if error else ""
        logger.log(level, "%s is %s%s", self._driver.address, state.value, reason)
        if self._connection.hooks.connection_changed is not None:
            self._connection.hooks.connection_changed(address=self._driver.address, state=state, error=error)


def _check_kind(options: object, wanted: type) -> None:
    if not isinstance(options, wanted):
        raise InvalidArgumentError(f"expected {wanted.__name__}(stream_name=...), got {type(options).__name__}")
