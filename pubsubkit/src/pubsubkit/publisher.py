"""The portable publisher."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterable
from contextlib import aclosing
from typing import TYPE_CHECKING, Self, cast, final

from pubsubkit import cloudevents
from pubsubkit.closing import Closing
from pubsubkit.driver import Capability, OutgoingMessage, PublishReceipt
from pubsubkit.errors import (
    ClosedError,
    InvalidArgumentError,
    NotFoundError,
    PublishBatchError,
    PubSubError,
)
from pubsubkit.payload import check_data, check_headers, check_message_id, check_native_headers, check_size
from pubsubkit.pipeline import Pipeline
from pubsubkit.provision import ensure_stream, find_stream
from pubsubkit.sender import Sender
from pubsubkit.subjects import check_subject, matches
from pubsubkit.translate import portable, translating
from pubsubkit.window import PublishFuture, Window

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from cloudevents.core.v1.event import CloudEvent

    from pubsubkit.connection import Connection
    from pubsubkit.options import PublisherOptions, StreamOptions
    from pubsubkit.sender import Confirmation, Outcome

    Payload = bytes | bytearray | memoryview
    Publishable = (
        tuple[str, bytes]
        | tuple[str, bytes, Mapping[str, str] | None]
        | tuple[str, bytes, Mapping[str, str] | None, str | None]
        | tuple[str, bytes, Mapping[str, str] | None, str | None, Mapping[str, str] | None]
    )
    Given = tuple[str, object, Mapping[str, str] | None, str | None, Mapping[str, str] | None]

__all__ = ["Publisher"]

logger: logging.Logger = logging.getLogger("pubsubkit.publisher")

# Takes half as long as the constructor that NamedTuple makes.
_new = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
_SUBJECTS_KEPT = 4096
_GRACE_SECONDS = 1.0


@final
class Publisher(Closing):
    """Publishes into one stream.  Made by :meth:`Backend.publisher`; use it as an async context manager.

    Entering creates or checks the stream; without ``async with`` the first publish does.  Leaving waits for every
    message of :meth:`publish_soon`.

    All publishing methods raise :class:`InvalidArgumentError` for a subject, payload or header that cannot be
    published (see :mod:`pubsubkit.subjects`; payload and headers together must fit ``Backend.max_payload`` bytes),
    :class:`NotFoundError` when the stream does not hold the subject, :class:`StreamFullError`,
    :class:`PermissionDeniedError`, :class:`UnsupportedError` for what the backend does not have,
    :class:`TransientError` when the last attempt was not confirmed in time (the message may have been stored), and
    :class:`ClosedError` after :meth:`aclose`.
    """

    def __init__(self, connection: Connection, options: PublisherOptions) -> None:
        super().__init__()
        self.options = options
        self._connection = connection
        self._driver = connection.driver
        self._hooks = connection.hooks
        self._sender = Sender(connection.driver, connection.hooks, options)
        self._pipeline = Pipeline(self._sender, options.window)
        self._adds_nothing = self._hooks.before_send is None and not self._sender.identifies
        self._direct = self._adds_nothing and not self._sender.follows_up
        self._stream: StreamOptions | None = None
        self._opening = asyncio.Lock()
        self._opening_failed: PubSubError | None = None
        self._full_subjects: dict[str, str] = {}

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def publish(
        self,
        subject: str,
        data: Payload,
        *,
        headers: Mapping[str, str] | None = None,
        message_id: str | None = None,
        native: Mapping[str, str] | None = None,
    ) -> PublishReceipt:
        """Publish one message and return when the broker has stored it.

        :param subject: where to; ``subject_prefix`` and a dot are put before it.
        :param data: the payload.
        :param headers: text to text, carried exactly or refused.
        :param message_id: stored once within the stream's duplicate window; a repeat returns ``duplicate=True``.
        :param native: headers for the broker itself, by its own names, such as ``{"Nats-TTL": "1h"}`` for NATS; a
            backend without any refuses them.
        :raises ConflictError: the stream is not as a native header expects.
        :raises ConfigurationError: the stream's settings do not allow a native header.
        :raises PubSubError: see the class.  Cancelling leaves the message stored whole or not at all.
        """
        plain = headers is None and message_id is None and native is None
        if plain and self._direct and not self._pipeline.ahead:
            sent = self._publish_now(subject, data)
            if isinstance(sent, PublishReceipt):
                return sent
            if sent is not None:
                message = OutgoingMessage(self._full(subject), bytes(data))
                (outcome,) = await self._sender.attempt((message,), sent)
                return _receipt(outcome)
        started = time.perf_counter() if self._sender.observed else 0.0
        given = (subject, data, headers, message_id, native)
        message = self._plain(given) or await self._prepare(given, started)
        if self._pipeline.ahead:
            # Messages of publish_soon have not been handed over yet: queue up behind them.
            return await (await self._put(message, self._pipeline.window, started))
        if self._sender.follows_up:
            outcome = await self._sender.send_one(message, started)
        else:
            (outcome,) = await self._sender.attempt((message,))
        return _receipt(outcome)

    async def publish_event(
        self,
        event: CloudEvent,
        *,
        subject: str | None = None,
        mode: cloudevents.Mode = "binary",
        deduplicate: bool = False,
    ) -> PublishReceipt:
        """Publish one CloudEvent and return when the broker has stored it; see :mod:`pubsubkit.cloudevents`.

        Many are published by ``publish_many(to_message(event) for event in events)``.

        :param subject: where to; None for the event's ``type``.  ``subject_prefix`` and a dot are put before it.
        :param mode: ``"structured"`` for readers that know only the released NATS binding 1.0.2.
        :param deduplicate: store it once within the stream's duplicate window, by its ``source`` and ``id``.
        :raises InvalidArgumentError: it is no CloudEvent 1.0, its attributes or data cannot be sent, or its type is
            taken for the subject and is none.
        :raises ConfigurationError: the SDK is not installed.
        :raises PubSubError: see the class.  Cancelling leaves the event stored whole or not at all.
        """
        sent = cloudevents.to_message(event, subject=subject, mode=mode, deduplicate=deduplicate)
        return await self.publish(sent.subject, sent.data, headers=sent.headers, message_id=sent.message_id)

    async def publish_soon(
        self,
        subject: str,
        data: Payload,
        *,
        headers: Mapping[str, str] | None = None,
        message_id: str | None = None,
        native: Mapping[str, str] | None = None,
    ) -> asyncio.Future[PublishReceipt]:
        """Take one message for publishing; return a future of its receipt.

        Waits only for room: at most ``options.window`` messages are unconfirmed at a time.  Messages are sent in the
        order of the calls; one that is tried again may land after its successors.  A failure that nobody looked at in
        the future is raised by :meth:`flush` and :meth:`aclose`.

        :raises PubSubError: see the class; broker errors come in the future.  Cancelling before it returns publishes
            nothing; cancelling the future does not recall the message.
        """
        started = time.perf_counter() if self._sender.observed else 0.0
        given = (subject, data, headers, message_id, native)
        message = self._plain(given) or await self._prepare(given, started)
        return await self._put(message, self._pipeline.window, started)

    async def publish_many(
        self, messages: Iterable[Publishable] | AsyncIterable[Publishable], *, window: int | None = None
    ) -> list[PublishReceipt]:
        """Publish all of *messages* in order and return their receipts when all are stored.

        :param messages: ``(subject, data)``, ``(subject, data, headers)`` and so on in the order of
            :meth:`publish`, or :class:`OutgoingMessage`, from an iterable or async iterable of any length.
        :param window: how many may be unconfirmed at a time; None for ``options.window``.
        :raises PublishBatchError: one failed.  No more are taken after the first failure; the error says of each
            message that was taken whether it was stored.  Cancelling leaves those that were taken under way.
        """
        room = self._pipeline.window if window is None else Window(_check_window(window))
        pending: deque[PublishFuture] = deque()
        outcomes: list[Outcome] = []
        async with aclosing(_each(messages)) as items:
            async for item in items:
                future = await self._take(item, room)
                pending.append(future)
                failed = future.done() and future.exception() is not None
                while pending and pending[0].done():
                    outcome = _outcome(pending.popleft())
                    outcomes.append(outcome)
                    failed = failed or isinstance(outcome, PubSubError)
                if failed:
                    break
        for future in pending:
            if not future.done():
                await asyncio.wait([future])
            outcomes.append(_outcome(future))
        if any(isinstance(outcome, PubSubError) for outcome in outcomes):
            raise PublishBatchError(outcomes)
        return outcomes  # type: ignore[return-value]

    async def flush(self) -> None:
        """Wait until every message of :meth:`publish_soon` is stored or has failed.

        :raises PublishBatchError: some failed and nobody looked at their futures; each is reported once.
        """
        await self._pipeline.drain()
        self._pipeline.raise_unseen()

    async def aclose(self) -> None:
        """Refuse new messages, wait for those under way (their running attempts, no further ones) and let go.

        May be called again.

        :raises PublishBatchError: as :meth:`flush`.
        """
        await super().aclose()
        await self.flush()

    async def _close(self) -> None:
        self._pipeline.window.close()
        self._full_subjects.clear()
        self._connection.users.discard(self)
        # Each running attempt ends within the timeout; a driver that does not keep to it is not waited for.
        ending = [asyncio.ensure_future(work) for work in (self._sender.close(), self._pipeline.drain())]
        _, late = await asyncio.wait(ending, timeout=self.options.timeout + _GRACE_SECONDS)
        self._pipeline.cancel()
        for task in late:
            task.cancel()

    async def _open(self) -> None:
        before = self._opening_failed
        async with self._opening:
            self._connection.check_open()
            self._check_open()
            if self._opening_failed is not None and self._opening_failed is not before:
                # This call has waited for that attempt; if each made one of its own, the waits would add up.
                raise self._opening_failed.with_traceback(None)
            if self._stream is None:
                wanted = self.options.stream_options
                try:
                    with translating(self._driver, f"open stream {wanted.name!r}"):
                        self._stream = await ensure_stream(self._driver, wanted, self.options.manage)
                except PubSubError as error:
                    self._check_open()  # what failed because it was closed meanwhile says that
                    self._opening_failed = error
                    raise
                self._opening_failed = None
                self._check_open()

    def _plain(self, given: Given) -> OutgoingMessage | None:
        """What the driver gets for data alone, to a subject that was published to before; None for all else."""
        subject, data, headers, message_id, native = given
        if headers is None and message_id is None and native is None and self._adds_nothing:
            full = self._known(subject, data)
            if full is not None:
                return _new(OutgoingMessage, (full, data, None, None))
        return None

    def _publish_now(self, subject: object, data: object) -> PublishReceipt | Confirmation | None:
        if type(subject) is not str or type(data) is not bytes:
            return None
        full = self._full_subjects.get(subject)
        if full is None:
            return None
        try:
            return self._driver.send_now(full, data, self.options.timeout)
        except PubSubError:
            raise
        except Exception as error:
            raise portable(error, self._driver, f"publish to {full!r}") from error

    def _known(self, subject: object, data: object) -> str | None:
        """The full subject, when it was published to before and *data* can go as they are."""
        if type(subject) is str and type(data) is bytes and len(data) <= self._driver.max_payload:
            return self._full_subjects.get(subject)
        return None

    async def _prepare(self, given: Given, started: float) -> OutgoingMessage:
        """Check a message and make it what the driver gets."""
        subject, data, headers, message_id, native = given
        fields: Mapping[str, str] | None = None
        try:
            seen = self._full_subjects.get(subject) if isinstance(subject, str) else None
            full = seen or await self._admit(subject)
            payload = check_data(data)
            fields = self._headers(full, headers)
            if fields:
                fields = check_headers(fields) if self._hooks.before_send is not None else fields
                self._connection.require(Capability.HEADERS)
            if native:
                fields = {**(fields or {}), **self._native(native)}
            unique = self._message_id(message_id)
            try:
                check_size(payload, fields, unique, self._driver.max_payload)
            except InvalidArgumentError as error:
                raise InvalidArgumentError(f"publish to {full!r}: {error}") from None
        except BaseException as error:
            if self._sender.observed:
                payload = data if isinstance(data, bytes) else b""
                self._sender.report(
                    OutgoingMessage(str(self._full(subject)), payload, fields, message_id), error, started
                )
            raise
        return OutgoingMessage(full, payload, fields, unique)

    async def _put(self, message: OutgoingMessage, window: Window, started: float) -> PublishFuture:
        try:
            return await self._pipeline.put(message, window)
        except BaseException as error:
            if self._sender.observed:
                self._sender.report(message, error, started)
            raise

    def _message_id(self, given: str | None) -> str | None:
        if given is None:
            return self._sender.new_message_id()
        self._connection.require(Capability.DEDUPLICATION)
        return check_message_id(given)

    def _headers(self, subject: str, headers: Mapping[str, str] | None) -> Mapping[str, str] | None:
        """The publisher's headers, checked, and those that plugins add, unchecked: they are reported also when bad."""
        if headers is not None:
            headers = check_headers(headers)
        before_send = self._hooks.before_send
        if before_send is not None:
            added = before_send(stream=self.options.stream_name, subject=subject, headers=dict(headers or {}))
            headers = {**added, **(headers or {})}
        return headers or None

    def _native(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        headers = check_native_headers(headers)
        self._driver.check_native("message", headers)
        return headers

    def _full(self, subject: str) -> str:
        prefix = self.options.subject_prefix
        return f"{prefix}.{subject}" if prefix else subject

    async def _admit(self, subject: str) -> str:
        """Check a subject that is published to for the first time."""
        self._check_open()
        check_subject(subject)
        full = check_subject(self._full(subject))
        if not full.isascii():
            self._connection.require(Capability.UNICODE_SUBJECTS)
        await self._open()
        if not self._holds(full):
            # The stream may have been widened since it was opened.
            with translating(self._driver, f"look up stream {self.options.stream_name!r}"):
                self._stream = await find_stream(self._driver, self.options.stream_name)
            if not self._holds(full):
                raise NotFoundError(
                    f"stream {self._stream.name!r} does not hold the subject {full!r}; it holds "
                    f"{', '.join(self._stream.subjects)}. Set subject_prefix, or widen the stream's subjects"
                )
        self._check_open()
        if len(self._full_subjects) >= _SUBJECTS_KEPT:
            self._full_subjects.clear()
        self._full_subjects[subject] = full
        return full

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError("the publisher is closed")

    def _holds(self, subject: str) -> bool:
        return self._stream is not None and any(matches(pattern, subject) for pattern in self._stream.subjects)

    async def _take(self, item: Publishable, window: Window) -> PublishFuture:
        try:
            given = _given(*cast("tuple[str, bytes]", item))
        except TypeError:
            expected = "(subject, data) or (subject, data, headers)"
            return _failed(InvalidArgumentError(f"expected {expected}, got {item!r:.80}"))
        try:
            started = time.perf_counter()
            return await self._put(self._plain(given) or await self._prepare(given, started), window, started)
        except PubSubError as error:
            return _failed(error)


def _given(
    subject: str,
    data: object,
    headers: Mapping[str, str] | None = None,
    message_id: str | None = None,
    native: Mapping[str, str] | None = None,
) -> Given:
    return subject, data, headers, message_id, native


def _check_window(window: object) -> int:
    if not isinstance(window, int) or isinstance(window, bool) or window < 1:
        raise InvalidArgumentError(f"window={window!r}: expected a whole number of at least 1")
    return window


async def _each(messages: Iterable[Publishable] | AsyncIterable[Publishable]) -> AsyncGenerator[Publishable]:
    if isinstance(messages, AsyncIterable):
        async for message in messages:
            yield message
    else:
        for message in messages:
            yield message


def _receipt(outcome: Outcome) -> PublishReceipt:
    if isinstance(outcome, PublishReceipt):
        return outcome
    raise outcome


def _failed(error: PubSubError) -> PublishFuture:
    future = PublishFuture()
    future.set_exception(error)
    future.observed = True
    return future


def _outcome(future: PublishFuture) -> Outcome:
    try:
        return future.result()
    except PubSubError as error:
        return error
