"""The portable consumer."""

from __future__ import annotations

import asyncio
import math
import secrets
from typing import TYPE_CHECKING, Self, final

from pubsubkit.closing import Closing
from pubsubkit.dead_letter import NEEDED, ensure_dead_letters
from pubsubkit.driver import Capability, ConsumerSpec
from pubsubkit.errors import ClosedError, ConflictError
from pubsubkit.options import check_wait
from pubsubkit.provision import check_filter_reaches, ensure_consumer, ensure_stream
from pubsubkit.subscription import Subscription
from pubsubkit.translate import translating

if TYPE_CHECKING:
    from pubsubkit.connection import Connection
    from pubsubkit.options import ConsumerOptions, StreamOptions

__all__ = ["Consumer"]


@final
class Consumer(Closing):
    """Reads one stream.  Made by :meth:`Backend.consumer`; use it as an async context manager.

    Entering creates what is missing: the stream, and the durable consumer when ``consumer_name`` is set.  Leaving
    closes the subscriptions; a durable consumer stays on the broker and resumes where it was.

    Entering, and entering a subscription, raise :class:`NotFoundError` (``manage="none"`` and it does not exist),
    :class:`ConflictError` (it exists with another configuration), :class:`InvalidArgumentError` (the filter can match
    nothing in the stream), :class:`PermissionDeniedError`, :class:`TransientError` and :class:`ClosedError`.
    """

    def __init__(self, connection: Connection, options: ConsumerOptions) -> None:
        super().__init__()
        self.options = options
        self._connection = connection
        self._subscriptions: set[Subscription] = set()
        self._draining = False

    async def __aenter__(self) -> Self:
        self.check_open()
        stream = await self._prepare_stream()
        if self.options.consumer_name:
            await self._prepare_durable(stream)
        return self

    def _check_capabilities(self) -> None:
        options = self.options
        asked = {
            Capability.DURABLE: bool(options.consumer_name),
            Capability.IN_PROGRESS: options.max_lease is not None,
            Capability.MAX_DELIVER: options.max_deliver is not None and not options.dead_letter,
            Capability.NAK_DELAY: any(options.backoff),
            Capability.UNICODE_SUBJECTS: not options.filter_subject.isascii(),
            Capability.WILDCARDS: "*" in options.filter_subject or ">" in options.filter_subject,
        }
        for capability, wanted in asked.items():
            if wanted:
                self._connection.require(capability)
        for capability in NEEDED if options.dead_letter else ():
            self._connection.require(capability)
        if options.native:
            self._connection.driver.check_native("consumer", options.native)

    def subscribe(self) -> Subscription:
        """Return a new member of this consumer: an async context manager and async iterator of messages.

        Members of one durable consumer share its messages.  Without a ``consumer_name`` each subscription is an
        ephemeral consumer of its own and gets every message.

        :raises ClosedError: the consumer or the backend is closed.
        """
        self.check_open()
        subscription = Subscription(self._connection, self)
        self._subscriptions.add(subscription)
        return subscription

    def check_open(self) -> None:
        """Raise :class:`ClosedError` when the consumer or its backend is closed."""
        self._connection.check_open()
        if self.closed or self._draining:
            raise ClosedError("the consumer is closed")

    async def drain(self, timeout: float = 30.0) -> None:
        """Stop gracefully: drain all subscriptions at the same time (:meth:`Subscription.drain`), then close.

        New subscriptions are refused from the start.  Cancelling it leaves the subscriptions as a cancelled drain of
        their own would, to be closed by :meth:`aclose`.

        :param timeout: seconds to wait for verdicts.
        :raises InvalidArgumentError: *timeout* is no number from 0 to 1e9.
        """
        check_wait("timeout", timeout)
        self._draining = True
        await asyncio.gather(*(subscription.drain(timeout) for subscription in self.subscriptions))
        await self.aclose()

    async def provision(self) -> ConsumerSpec:
        """Create what is missing on the broker and return the consumer to join."""
        stream = await self._prepare_stream()
        if self.options.consumer_name:
            return await self._prepare_durable(stream)
        spec = self._spec(stream, f"ephemeral-{secrets.token_hex(8)}")
        with translating(self._connection.driver, f"create a consumer of stream {stream.name!r}"):
            await self._connection.driver.create_consumer(spec)
        return spec

    def discard(self, subscription: Subscription) -> None:
        """Forget a subscription that was closed."""
        self._subscriptions.discard(subscription)

    @property
    def subscriptions(self) -> tuple[Subscription, ...]:
        """The subscriptions that are not closed."""
        return tuple(self._subscriptions)

    async def _prepare_stream(self) -> StreamOptions:
        self._check_capabilities()
        options, driver = self.options, self._connection.driver
        with translating(driver, f"open stream {options.stream_name!r}"):
            if options.stream is not None or options.manage == "none":
                stream = await ensure_stream(driver, options.stream_options, options.manage)
            else:
                stream = await self._find_or_create_stream()
        check_filter_reaches(options.filter_subject, stream)
        if options.dead_letter:
            with translating(driver, f"open stream {options.dead_letter!r}"):
                await ensure_dead_letters(driver, options, stream)
        return stream

    async def _find_or_create_stream(self) -> StreamOptions:
        """A consumer takes a stream as it is, also when somebody else creates it at the same time."""
        wanted, driver = self.options.stream_options, self._connection.driver
        if (info := await driver.stream_info(wanted.name)) is not None:
            return info.options
        # Refuse a hopeless filter before anything is created.
        check_filter_reaches(self.options.filter_subject, wanted)
        try:
            await driver.create_stream(wanted)
        except ConflictError:
            if (info := await driver.stream_info(wanted.name)) is None:
                raise
            return info.options
        return wanted

    async def _prepare_durable(self, stream: StreamOptions) -> ConsumerSpec:
        spec = self._spec(stream, self.options.consumer_name)
        with translating(self._connection.driver, f"open consumer {spec.stream}/{spec.name}"):
            found = await ensure_consumer(self._connection.driver, spec, self.options.manage)
        if self.options.dead_letter and (found.max_deliver or math.inf) <= (self.options.max_deliver or 0):
            raise ConflictError(
                f"consumer {spec.stream}/{spec.name} has max_deliver={found.max_deliver} on the broker, so messages "
                "would be dropped before they are moved; open it once with manage='update'"
            )
        return found

    def _spec(self, stream: StreamOptions, name: str) -> ConsumerSpec:
        options = self.options
        return ConsumerSpec(
            stream=stream.name,
            name=name,
            durable=bool(options.consumer_name),
            filter_subject=options.filter_subject,
            ack_wait=options.ack_wait,
            max_deliver=None if options.dead_letter else options.max_deliver,
            max_in_flight=options.max_in_flight,
            deliver_from=options.deliver_from,
            native=options.native,
        )

    async def _close(self) -> None:
        self._connection.users.discard(self)
        await asyncio.gather(*(subscription.aclose() for subscription in self.subscriptions))
