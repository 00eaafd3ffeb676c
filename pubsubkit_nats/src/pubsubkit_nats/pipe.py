"""Publishing: one reply inbox for all publishers of a connection, many messages under way.

nats-py's own ``publish_async`` never resolves the future of a message that the server refuses or that was under way
when the connection broke (nats.py #985), so confirmations are matched here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nats.errors import Error as NatsError
from nats.errors import NoRespondersError

from pubsubkit.driver import OutgoingMessage, PublishReceipt
from pubsubkit.errors import NotFoundError, PermissionDeniedError, PubSubError, TransientError
from pubsubkit_nats.direct import join_flush, write_alone
from pubsubkit_nats.failures import jetstream_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from nats.aio.subscription import Subscription

    from pubsubkit_nats.frames import Headers
    from pubsubkit_nats.link import Link

    Outcomes = Sequence[PublishReceipt | Exception]

__all__ = ["PublishPipe"]

_MESSAGE_ID = "Nats-Msg-Id"
_NO_RESPONDERS = "503"
_plain_confirmation = re.compile(rb'\{"stream":"([^"\\]+)", ?"seq":(\d+)\}').fullmatch
_SMALL = 64 * 1024

logger: logging.Logger = logging.getLogger("pubsubkit.nats")


class _Batch:
    """Messages that were sent together, with the outcomes known so far."""

    __slots__ = ("done", "first", "messages", "missing", "outcomes")

    def __init__(self, messages: Sequence[OutgoingMessage], first: int) -> None:
        self.messages = messages
        self.first = first
        self.missing = len(messages)
        self.outcomes: list[PublishReceipt | Exception | None] = [None] * self.missing
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def put(self, token: int, outcome: PublishReceipt | Exception) -> None:
        index = token - self.first
        if self.outcomes[index] is None:
            self.outcomes[index] = outcome
            self.missing -= 1
            if not self.missing and not self.done.done():
                self.done.set_result(None)

    def tokens(self) -> range:
        return range(self.first, self.first + len(self.messages))


class PublishPipe:
    """Sends batches and matches the server's confirmations to them by the last token of their reply subject."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._waiting: dict[int, _Batch] = {}
        self._next = 0
        self._prefix = ""
        self._subscription: Subscription | None = None
        self._turn = asyncio.Lock()
        self._in_line = 0
        """How many calls have the turn or wait for it; the lock itself is free for a moment between two of them."""

    async def open(self) -> None:
        """Subscribe to the reply inbox."""
        self._prefix = self._link.client.new_inbox() + "."
        self._subscription = await self._link.subscribe(self._prefix + "*", self._on_reply)
        self._link.listeners.add(self._on_change)
        self._link.denials.listeners.add(self._on_denial)

    async def aclose(self) -> None:
        """Give up the inbox; what is still waiting fails."""
        self._link.listeners.discard(self._on_change)
        self._link.denials.listeners.discard(self._on_denial)
        self._fail_all("the connection was closed")
        if self._subscription is not None:
            await self._link.unsubscribe(self._subscription)

    def send_now(self, subject: str, data: bytes, timeout: float) -> Awaitable[Outcomes] | None:
        """Send a message that is alone at once and return what waits for its outcome; None when it has to wait."""
        link, token = self._link, self._next
        if self._waiting or self._in_line or not link.up:
            return None
        if not write_alone(link.client, subject, data, f"{self._prefix}{token}"):
            return None
        batch = self._begin((OutgoingMessage(subject, data),))
        self._waiting[token] = batch
        return self._confirmed(batch, asyncio.get_running_loop().time() + timeout, timeout)

    async def send(self, messages: Sequence[OutgoingMessage], timeout: float) -> Outcomes:
        """Send *messages* in order and return their outcomes within *timeout* seconds."""
        deadline = asyncio.get_running_loop().time() + timeout
        batch = self._begin(messages)
        try:
            if len(messages) == 1 and len(messages[0].data) <= _SMALL and self._link.ready and not self._in_line:
                await self._write(batch)  # without a wait; a large one could make nats-py flush, which has no limit
            else:
                # The lock keeps the order of the calls when some have to wait for the connection or for room.
                self._in_line += 1
                try:
                    async with asyncio.timeout_at(deadline), self._turn:
                        await self._write(batch)
                finally:
                    self._in_line -= 1
        except TimeoutError:
            self._expire(batch, timeout)
        except BaseException:
            self._forget(batch)
            raise
        return await self._confirmed(batch, deadline, timeout)

    async def _confirmed(self, batch: _Batch, deadline: float, timeout: float) -> Outcomes:
        timer = asyncio.get_running_loop().call_at(deadline, self._expire, batch, timeout)
        try:
            await batch.done
        finally:
            timer.cancel()
            if batch.missing:
                self._forget(batch)
        outcomes: list[PublishReceipt | Exception] = batch.outcomes  # type: ignore[assignment]
        for outcome in outcomes:
            if outcome.__class__ is NoRespondersError:
                return await self._explain(batch.messages, outcomes, deadline)
        return outcomes

    def _forget(self, batch: _Batch) -> None:
        for token in batch.tokens():
            self._waiting.pop(token, None)

    def _begin(self, messages: Sequence[OutgoingMessage]) -> _Batch:
        batch = _Batch(messages, self._next)
        self._next += len(messages)
        return batch

    async def _write(self, batch: _Batch) -> None:
        link, waiting, task = self._link, self._waiting, asyncio.current_task()
        cancelled = 0 if task is None else task.cancelling()
        # One message alone is quickest past the flusher; of many, each would cost a system call.
        write = join_flush if waiting or len(batch.messages) > 1 else write_alone
        ready = link.ready
        for token, message in enumerate(batch.messages, batch.first):
            headers, reply = _headers(message), f"{self._prefix}{token}"
            try:
                if headers is None and write(link.client, message.subject, message.data, reply):
                    waiting[token] = batch
                    continue
                if not ready or link.congested:
                    await link.wait_ready()
                    ready = True
                waiting[token] = batch
                await link.client.publish(message.subject, message.data, reply, headers)
                if task is not None and task.cancelling() > cancelled:
                    raise asyncio.CancelledError  # nats-py swallows a cancellation while it waits for room
            except Exception as error:  # noqa: BLE001 - it is this message's outcome
                waiting.pop(token, None)
                batch.put(token, error)

    def _on_reply(self, subject: str, _reply: str, data: bytes, headers: Headers) -> None:
        try:
            token = int(subject[len(self._prefix) :])
            batch = self._waiting[token]
            outcome = _outcome(data, headers, batch.messages[token - batch.first].subject)
        except (ValueError, LookupError, TypeError, AttributeError):
            # It is late; or somebody else listens to the subject, too, and the stream's answer is yet to come.
            logger.debug("an answer that is no confirmation, or a late one: %.100r", data)
            return
        del self._waiting[token]
        batch.put(token, outcome)

    def _expire(self, batch: _Batch, timeout: float) -> None:
        for token, message in zip(batch.tokens(), batch.messages, strict=True):
            if self._waiting.pop(token, None) is None:
                batch.put(
                    token, TransientError(f"no connection, or no room in it, for {timeout:g} s; nothing was sent")
                )
            else:
                late = _unconfirmed(f"no confirmation in {timeout:g} s")
                batch.put(token, self._denial(message) or late)

    def _on_change(self, up: bool) -> None:
        if not up:
            self._fail_all("the connection was lost")

    def _fail_all(self, why: str) -> None:
        waiting = tuple(self._waiting.items())
        self._waiting.clear()  # never another dict: a write that waits has this one
        for token, batch in waiting:
            batch.put(token, _unconfirmed(why))

    def _denial(self, message: OutgoingMessage) -> PermissionDeniedError | None:
        return self._link.denials.of(message.subject, self._prefix + "*")

    def _on_denial(self) -> None:
        for token, batch in tuple(self._waiting.items()):
            if error := self._denial(batch.messages[token - batch.first]):
                del self._waiting[token]
                batch.put(token, error)

    async def _explain(self, messages: Sequence[OutgoingMessage], outcomes: Outcomes, deadline: float) -> Outcomes:
        """Nobody took these messages: no stream holds the subject any more, or it has no leader at the moment."""
        pairs = tuple(zip(messages, outcomes, strict=True))
        untaken = {message.subject for message, outcome in pairs if isinstance(outcome, NoRespondersError)}
        unheld: set[str] = set()
        with suppress(PubSubError, NatsError, OSError):  # it stays unexplained; TimeoutError is an OSError
            async with asyncio.timeout_at(deadline):
                for subject in untaken:
                    if not await self._link.streams_for(subject):
                        unheld.add(subject)
        return [
            NotFoundError(f"no stream holds the subject {message.subject!r}")
            if message.subject in unheld and isinstance(outcome, NoRespondersError)
            else outcome
            for message, outcome in pairs
        ]


def _headers(message: OutgoingMessage) -> dict[str, Any] | None:
    """A copy, as nats-py's own, with the message id."""
    if message.message_id is not None:
        return {**(message.headers or {}), _MESSAGE_ID: message.message_id}
    return {**message.headers} if message.headers else None


def _outcome(data: bytes, headers: Headers, subject: str) -> PublishReceipt | Exception:
    """Read an answer; raises ValueError, LookupError, TypeError or AttributeError for one that is no confirmation."""
    if stored := _plain_confirmation(data):
        return PublishReceipt(stored[1].decode(), int(stored[2]))
    if not data and (headers or {}).get("Status") == _NO_RESPONDERS:
        return NoRespondersError()
    answer = json.loads(data)
    if "error" in answer:
        doing = f"publish to {subject!r}: stream {answer.get('stream') or '(unnamed)'!r} did not store the message"
        return jetstream_error(answer["error"], doing)
    return PublishReceipt(answer["stream"], answer["seq"], answer.get("duplicate", False))


def _unconfirmed(why: str) -> TransientError:
    return TransientError(f"{why}; the message may have been stored")
