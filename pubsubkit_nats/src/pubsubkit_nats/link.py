"""One nats-py connection: opening it, watching it, and calling the JetStream API over it."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from pubsubkit.driver import ConnectionState
from pubsubkit.errors import ConfigurationError, PermissionDeniedError, TransientError
from pubsubkit_nats.failures import jetstream_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from nats.aio.msg import Msg
    from nats.aio.subscription import Subscription

    from pubsubkit_nats.settings import NatsOptions

__all__ = ["Link"]

logger = logging.getLogger("pubsubkit.nats")

_HIGH_WATER = 1024 * 1024
_WATCH_SECONDS = 0.25
_CLOSE_SECONDS = 1.0
_POLL_SECONDS = 0.01
_NEVER = 3600
_violation = re.compile(r'permissions violation for (?:publish|subscription) to "?([^\s"]+)', re.IGNORECASE).search


class _GiveUp(Exception):  # noqa: N818 - never leaves this module
    """Carries the reason out of nats-py's loop of first attempts, which would go on for ever."""


class Link:
    """A nats-py client that this backend opens and closes, or one that the caller owns.

    The callbacks it gives to nats-py never raise: an exception in ``error_cb`` would end nats-py's read loop.
    """

    def __init__(self, options: NatsOptions, arguments: dict[str, Any] | None, client: Client | None = None) -> None:
        self.client = client or Client()
        self.options = options
        self._arguments = arguments
        self._api = f"$JS.{options.domain}.API" if options.domain else "$JS.API"
        self._connected = asyncio.Event()
        self._connecting = False
        self._quiet = False
        self._failures = 0
        self._servers = len(arguments["servers"]) if arguments else 0
        self._denied: set[str] = set()
        self._undisturbed: set[asyncio.Future[object]] = set()
        self._reconnects = 0
        self._watch: asyncio.TimerHandle | None = None
        self._on_state: Callable[[ConnectionState, Exception | None], None] | None = None
        self.listeners: set[Callable[[bool], None]] = set()
        """Called with True when the connection is there again, with False when it was lost."""

    @property
    def owned(self) -> bool:
        """Whether the connection is ours to open and close."""
        return self._arguments is not None

    @property
    def up(self) -> bool:
        """Whether the connection is there at the moment."""
        return self._connected.is_set() and self.client.is_connected

    async def open(self, on_state: Callable[[ConnectionState, Exception | None], None]) -> None:
        """Connect, or adopt the caller's connection, and see that JetStream answers."""
        self._on_state = on_state
        if self._arguments is not None:
            await self._connect(self._arguments)
        elif not self.client.is_connected:
            raise ConfigurationError("the given NATS client is not connected; await client.connect(...) first")
        else:
            self._reconnects = self.client.stats["reconnects"]
            self._watch = asyncio.get_running_loop().call_later(_WATCH_SECONDS, self._look)
        self._connected.set()
        await self.check_jetstream()
        on_state(ConnectionState.CONNECTED, None)

    async def aclose(self) -> None:
        """Close our connection; let go of the caller's."""
        self._on_state = None
        self.listeners.clear()
        if self._watch is not None:
            self._watch.cancel()
        if self.owned and not self.client.is_closed:
            # Closing flushes, which fails when the server is gone, and waits for ever on a failed TLS handshake;
            # the client is closed all the same.
            with suppress(OSError, NatsError):
                async with asyncio.timeout(_CLOSE_SECONDS):
                    await self.client.close()
            for task in self._undisturbed:
                task.cancel()

    async def ping(self) -> None:
        """PING and wait for PONG.

        :raises TransientError: not connected, where nats-py's ``flush`` would return at once.
        """
        if not self.up:
            raise TransientError(f"not connected: {self.client.last_error or 'the connection was lost'}")
        await self.undisturbed(self.client.flush(_NEVER))

    async def undisturbed(self, work: Coroutine[Any, Any, object]) -> None:
        """Run something that waits for a PONG so that cancelling the caller does not cancel it.

        nats-py 2.16 ends its read loop, and stays "connected", when the PONG of a cancelled or timed-out ping comes
        in late.

        :raises TransientError: the connection was lost meanwhile.
        """
        task = asyncio.ensure_future(work)
        self._undisturbed.add(task)
        task.add_done_callback(self._undisturbed.discard)
        await asyncio.wait([task])
        if task.cancelled():
            raise TransientError("the connection was lost")
        task.result()

    async def call(self, subject: str, body: object = None) -> dict[str, Any]:
        """Ask the JetStream API and return its answer, which may hold an ``error``.

        :raises TransientError: no answer in time.
        :raises PermissionDeniedError: the account may not ask this.
        :raises ConfigurationError: the server has no JetStream.
        """
        subject = f"{self._api}.{subject}"
        payload = b"" if body is None else json.dumps(body).encode()
        try:
            answer = await self.client.request(subject, payload, timeout=self.options.request_timeout)
        except NoRespondersError as error:
            raise ConfigurationError(
                "JetStream does not answer: start the server with JetStream on (nats-server -js), "
                "enable it for the account, or set the right ?domain="
            ) from error
        except TimeoutError as error:
            late = TransientError(f"no answer from {subject} within {self.options.request_timeout:g} s")
            raise self.denial(subject) or late from error
        result: dict[str, Any] = json.loads(answer.data)
        return result

    async def ask(self, subject: str, body: object, doing: str) -> dict[str, Any]:
        """Like :meth:`call`, but raise what the answer calls an error."""
        answer = await self.call(subject, body)
        if "error" in answer:
            raise jetstream_error(answer["error"], doing)
        return answer

    def next_message_subject(self, stream: str, consumer: str) -> str:
        """Where pull requests of a consumer go."""
        return f"{self._api}.CONSUMER.MSG.NEXT.{stream}.{consumer}"

    async def check_jetstream(self) -> None:
        """Raise when the account has no JetStream; one that may not ask for its limits passes."""
        try:
            await self.ask("INFO", None, "ask for the account's limits")
        except PermissionDeniedError:
            logger.debug("not allowed to ask for the account's JetStream limits")

    async def streams_for(self, subject: str) -> list[str]:
        """The names of the streams that hold *subject*."""
        answer = await self.ask("STREAM.NAMES", {"subject": subject}, f"look for the stream of {subject!r}")
        return answer.get("streams") or []

    def denial(self, subject: str) -> PermissionDeniedError | None:
        """The error, when the server has refused to take messages for *subject* on this connection."""
        if subject.lower() not in self._denied:  # nats-py reports in lower case
            return None
        return PermissionDeniedError(f"this account may not publish to {subject!r}; let the server's operator allow it")

    async def subscribe(self, subject: str, callback: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Subscribe without nats-py's limits, past which it would drop messages; what is asked for is bounded."""
        return await self.client.subscribe(  # pyright: ignore[reportUnknownMemberType]
            subject, cb=callback, pending_msgs_limit=0, pending_bytes_limit=0
        )

    @property
    def congested(self) -> bool:
        """Whether nats-py's buffer has grown large."""
        return self.client.pending_data_size >= _HIGH_WATER

    @property
    def ready(self) -> bool:
        """Whether a frame can be written now: connected, and nats-py's buffer is small."""
        return self.up and not self.congested

    async def wait_ready(self) -> None:
        """Return when a frame can be written.

        With a full buffer nats-py would wait by itself, but it swallows a cancellation that comes meanwhile.
        """
        while not self.ready:
            await self._connected.wait()
            if not self.client.is_connected:
                await asyncio.sleep(_POLL_SECONDS)  # nats-py knows of the loss, its callback has yet to come
            elif self.congested:
                with suppress(TransientError):
                    await self.ping()

    async def _connect(self, arguments: dict[str, Any]) -> None:
        attempt = asyncio.ensure_future(
            self.client.connect(
                **arguments,
                error_cb=self._on_error,
                disconnected_cb=self._on_disconnected,
                reconnected_cb=self._on_reconnected,
                closed_cb=self._on_closed,
            )
        )
        self._connecting = True
        try:
            # Not awaited itself: with Python 3.11 nats-py can swallow the cancellation of its connect.
            await asyncio.wait([attempt], timeout=self.options.connect_timeout)
        finally:
            self._quiet = not attempt.done() or attempt.exception() is not None
            self._connecting = False
            await _abandon(attempt)
        if attempt.cancelled():
            last = self.client.last_error or "no answer"
            raise TransientError(f"no connection within {self.options.connect_timeout:g} s: {last}")
        if (error := attempt.exception()) is not None:
            reason = error.__cause__ if isinstance(error, _GiveUp) and error.__cause__ else error
            if _is_refusal(reason):
                raise PermissionDeniedError(f"the server refused the credentials: {reason}") from reason
            raise reason

    async def _on_error(self, error: Exception) -> None:
        if self._connecting:
            self._failures += 1
            if _is_refusal(error) or self._failures >= self._servers:
                raise _GiveUp from error
            return
        if self._quiet:
            return
        if found := _violation(str(error)):
            self._denied.add(found[1].lower())
        logger.warning("%s", error)

    async def _on_disconnected(self) -> None:
        self._lost()

    async def _on_reconnected(self) -> None:
        self._back()

    async def _on_closed(self) -> None:
        self._connected.clear()
        self._tell(ConnectionState.CLOSED)

    def _lost(self) -> None:
        self._connected.clear()
        for task in self._undisturbed:
            task.cancel()
        self._tell(ConnectionState.DISCONNECTED)
        for listener in tuple(self.listeners):
            listener(False)

    def _back(self) -> None:
        self._denied.clear()
        self._connected.set()
        self._tell(ConnectionState.CONNECTED)
        for listener in tuple(self.listeners):
            listener(True)

    def _tell(self, state: ConnectionState) -> None:
        if self._on_state is not None:
            self._on_state(state, None if state is ConnectionState.CONNECTED else self.client.last_error)

    def _look(self) -> None:
        """Watch the caller's connection, whose callbacks are not ours to set."""
        reconnects = self.client.stats["reconnects"]
        if self._connected.is_set() and (not self.client.is_connected or reconnects != self._reconnects):
            self._lost()
        if not self._connected.is_set() and self.client.is_connected:
            self._back()
        self._reconnects = reconnects
        self._watch = asyncio.get_running_loop().call_later(_WATCH_SECONDS, self._look)


async def _abandon(attempt: asyncio.Future[None]) -> None:
    """Cancel *attempt* until it ends."""
    while not attempt.done():
        attempt.cancel()
        await asyncio.wait([attempt], timeout=_POLL_SECONDS)


def _is_refusal(error: BaseException) -> bool:
    text = str(error).lower()
    return "authorization" in text or "authentication" in text or "credentials" in text
