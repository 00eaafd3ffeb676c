"""One nats-py connection: opening it, watching it, and requests that end when it does."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

from nats.errors import Error as NatsError

from pubsubkit.driver import ConnectionState
from pubsubkit.errors import ConfigurationError, PermissionDeniedError, TransientError
from pubsubkit_nats.connecting import FirstConnection, explain, is_refusal
from pubsubkit_nats.denials import Denials
from pubsubkit_nats.direct import HIGH_WATER, forget, new_client, subscribe
from pubsubkit_nats.private import abandon, hang_up, reply_inbox

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from nats.aio.client import Client
    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from pubsubkit_nats.frames import Sink
    from pubsubkit_nats.settings import NatsOptions

__all__ = ["Connection"]

logger: logging.Logger = logging.getLogger("pubsubkit.nats")

_WATCH_SECONDS = 0.25
_CLOSE_SECONDS = 1.0
_POLL_SECONDS = 0.01
_NEVER = 3600
_T = TypeVar("_T")


class Connection:
    """A nats-py client that this backend opens and closes, or one that the caller owns.

    The callbacks it gives to nats-py never raise: an exception in ``error_cb`` would end nats-py's read loop.
    """

    def __init__(self, options: NatsOptions, arguments: dict[str, Any] | None, client: Client | None = None) -> None:
        self.client: Client = client or new_client()
        self.options = options
        self.denials: Denials = Denials()
        self.listeners: set[Callable[[bool], None]] = set()
        """Called with True when the connection is there again, with False when it was lost; then see :attr:`gone`."""
        self.server_version: tuple[int, int] = (0, 0)
        """Major and minor number of the server that we are connected to, or were last; zeros when it has none."""
        self._arguments = arguments
        self._connected = asyncio.Event()
        self._first: FirstConnection | None = None
        self._complained = False
        self._ended = False
        self._losses: set[asyncio.Future[None]] = set()
        self._undisturbed: set[asyncio.Future[object]] = set()
        self._forgotten: set[asyncio.Future[object]] = set()
        self._reconnects = 0
        self._seen: Exception | None = None
        self._watch: asyncio.TimerHandle | None = None
        self._on_state: Callable[[ConnectionState, Exception | None], None] | None = None

    @property
    def owned(self) -> bool:
        """Whether the connection is ours to open and close."""
        return self._arguments is not None

    @property
    def up(self) -> bool:
        """Whether the connection is there at the moment."""
        return self._connected.is_set() and self.client.is_connected

    @property
    def gone(self) -> PermissionDeniedError | TransientError | None:
        """The error, when nats-py has closed the connection for good: the credentials expired, say."""
        if not self.client.is_closed:
            return None
        reason = self.client.last_error
        error: PermissionDeniedError | TransientError
        if reason is not None and is_refusal(reason):
            error = PermissionDeniedError(f"{reason}; renew the credentials and connect again")
        else:
            error = TransientError(f"the connection was closed for good: {reason or 'by the application'}")
        error.__cause__ = reason
        return error

    async def open(self, on_state: Callable[[ConnectionState, Exception | None], None]) -> None:
        """Connect, or adopt the caller's connection.

        :param on_state: called at each change afterwards.
        """
        if self._arguments is not None:
            await self._connect(self._arguments)
        elif not self.client.is_connected:
            raise ConfigurationError("the given NATS client is not connected; await client.connect(...) first")
        else:
            self._reconnects = self.client.stats["reconnects"]
            self._seen = self.client.last_error
            self._watch = asyncio.get_running_loop().call_later(_WATCH_SECONDS, self._look)
        self._on_state = on_state
        self._note_version()
        self._connected.set()

    async def aclose(self) -> None:
        """Close our connection; let go of the caller's."""
        self._on_state = None
        self.listeners.clear()
        self.denials.listeners.clear()
        if self._watch is not None:
            self._watch.cancel()
        try:
            if self.owned and not self.client.is_closed:
                # Closing flushes, which fails when the server is gone or was never there, and waits for ever on a
                # failed TLS handshake; the client is closed all the same.
                with suppress(Exception):
                    async with asyncio.timeout(_CLOSE_SECONDS):
                        await self.client.close()
        finally:
            if self.client.is_closed:
                for task in self._undisturbed:
                    task.cancel()
            if self.owned:
                await abandon(self.client)

    async def ping(self) -> None:
        """PING and wait for PONG.

        :raises TransientError: not connected, where nats-py's ``flush`` would return at once; or the connection was
            lost meanwhile.
        """
        self.require_up()
        await self._until_lost(self._undisturbed_task(self.client.flush(_NEVER)))
        self.require_up()  # when the connection was lost just before it, flush has returned at once

    async def request(self, subject: str, payload: bytes) -> Msg:
        """Send a request and return the answer.

        :raises NoRespondersError: nobody listens.
        :raises PermissionDeniedError: the account may not ask this, or not listen for the answer.
        :raises TransientError: no answer within ``request_timeout``, or the connection was lost.
        """
        timeout = self.options.request_timeout
        asking = asyncio.ensure_future(self.client.request(subject, payload, timeout=timeout))
        refused: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()

        def look() -> None:
            error = self.denials.of(subject, reply_inbox(self.client))
            if error is not None and not refused.done():
                refused.set_exception(error)

        self.denials.listeners.add(look)
        try:
            return await self._until_lost(asking, refused)
        except TimeoutError as error:
            late = TransientError(f"no answer from {subject} within {timeout:g} s")
            raise self.denials.of(subject, reply_inbox(self.client)) or late from error
        finally:
            self.denials.listeners.discard(look)
            asking.cancel()
            refused.cancel()

    async def subscribe(self, subject: str, sink: Sink) -> Subscription:
        """Have *sink* called with the subject, reply subject, data and headers of every message on *subject*."""
        return await subscribe(self.client, subject, sink)

    async def unsubscribe(self, subscription: Subscription) -> None:
        """Forget *subscription*, also without a connection, so that nats-py does not subscribe again on the next."""
        forget(self.client, subscription)
        with suppress(NatsError, OSError):
            await subscription.unsubscribe()

    @property
    def congested(self) -> bool:
        """Whether nats-py's buffer has grown large."""
        return self.client.pending_data_size >= HIGH_WATER

    @property
    def ready(self) -> bool:
        """Whether a frame can be written now: connected, and nats-py's buffer is small."""
        return self.up and not self.congested

    async def wait_ready(self) -> None:
        """Return when a frame can be written.

        With a full buffer nats-py would wait by itself, but it swallows a cancellation that comes meanwhile.

        :raises TransientError: the connection is :attr:`gone`.
        """
        while not self.ready:
            if gone := self.gone:
                raise gone
            await self._connected.wait()
            if not self.client.is_connected:
                await asyncio.sleep(_POLL_SECONDS)  # nats-py knows of the loss, its callback has yet to come
            elif self.congested:
                with suppress(TransientError):
                    await self.ping()

    async def _connect(self, arguments: dict[str, Any]) -> None:
        callbacks = {
            "error_cb": self._on_error,
            "disconnected_cb": self._on_disconnected,
            "reconnected_cb": self._on_reconnected,
            "closed_cb": self._on_disconnected,
        }
        self._first = FirstConnection(self.client, {**arguments, **callbacks})
        try:
            await self._first.establish(self.options.connect_timeout)
        except Exception as error:
            if better := explain(error, self.client, self.options):
                raise better from error
            raise
        self._first = None

    def require_up(self) -> None:
        """Raise :class:`TransientError` when the connection is not there at the moment."""
        if not self.up:
            raise TransientError(f"not connected: {self.client.last_error or 'the connection was lost'}")

    def _undisturbed_task(self, work: Coroutine[Any, Any, object]) -> asyncio.Future[object]:
        """Start something that waits for a PONG, and which nobody must cancel.

        nats-py 2.16 ends its read loop, and stays "connected", when the PONG of a cancelled or timed-out ping comes
        in late.
        """
        task = asyncio.ensure_future(work)
        self._undisturbed.add(task)
        task.add_done_callback(self._undisturbed.discard)
        return task

    async def _until_lost(self, *tasks: asyncio.Future[_T]) -> _T:
        """Return the result of the first of *tasks*, which go on when this is cancelled.

        :raises TransientError: the connection was lost before.
        """
        loss: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._losses.add(loss)
        for task in tasks:
            task.add_done_callback(_retrieve)
        waiting: list[asyncio.Future[Any]] = [*tasks, loss]
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._losses.discard(loss)
        for task in tasks:
            if task.done() and not task.cancelled():
                return task.result()
        raise TransientError("the connection was lost")

    async def _on_error(self, error: Exception) -> None:
        if self._first is not None:
            self._first.on_error(error)
        elif self.denials.note(error):
            logger.warning("%s", error)
        else:
            attempt = not self.client.is_connected
            if attempt:
                hang_up(self.client)
            repeated = self._complained and attempt
            self._complained = True
            logger.log(logging.DEBUG if repeated else logging.WARNING, "%s", error)

    async def _on_disconnected(self) -> None:
        self._lost()

    async def _on_reconnected(self) -> None:
        self._back()

    def _lost(self) -> None:
        if self._ended:
            return
        self._ended = self.client.is_closed
        self._connected.clear()
        if self.owned:  # the loss of the caller's is noticed late, when a ping may be on the next connection
            self._forgotten = set(self._undisturbed)
        for loss in self._losses:
            if not loss.done():
                loss.set_result(None)
        if self._ended:
            self._connected.set()  # wakes those who wait for it, to find out
        self._tell(ConnectionState.CLOSED if self._ended else ConnectionState.DISCONNECTED)
        for listener in tuple(self.listeners):
            listener(False)

    def _back(self) -> None:
        self.denials.clear()
        for task in self._forgotten:
            task.cancel()  # nats-py has forgotten the pings of the connection before
        self._note_version()
        self._complained = False
        self._connected.set()
        self._tell(ConnectionState.CONNECTED)
        for listener in tuple(self.listeners):
            listener(True)

    def _note_version(self) -> None:
        """nats-py knows it only as long as it is connected; it stays as it is for a build without a version number."""
        with suppress(ValueError):
            version = self.client.connected_server_version
            self.server_version = (version.major, version.minor)

    def _tell(self, state: ConnectionState) -> None:
        if self._on_state is not None:
            self._on_state(state, None if state is ConnectionState.CONNECTED else self.client.last_error)

    def _look(self) -> None:
        """Watch the caller's connection, whose callbacks are not ours to set."""
        error, self._seen = self._seen, self.client.last_error
        if self._seen is not error:
            self.denials.note(self._seen)
        reconnects = self.client.stats["reconnects"]
        if self._connected.is_set() and (not self.client.is_connected or reconnects != self._reconnects):
            self._lost()
        if not self._connected.is_set() and self.client.is_connected:
            self._back()
        self._reconnects = reconnects
        if self.client.is_closed:
            self._lost()
        else:
            self._watch = asyncio.get_running_loop().call_later(_WATCH_SECONDS, self._look)


def _retrieve(task: asyncio.Future[Any]) -> None:
    """Look at the exception, so that asyncio does not log it as never retrieved."""
    if not task.cancelled():
        task.exception()
