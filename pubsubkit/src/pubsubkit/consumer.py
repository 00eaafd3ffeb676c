"""The portable consumer and its subscriptions."""

from __future__ import annotations

import asyncio
import logging
import secrets
from typing import TYPE_CHECKING, Self, final

from pubsubkit.closing import Closing
from pubsubkit.driver import Capability, ConsumerSpec, Settlement, Verdict
from pubsubkit.errors import ClosedError, PubSubError, UnsupportedError
from pubsubkit.message import Message
from pubsubkit.provision import check_filter_reaches, ensure_consumer, ensure_stream, find_stream
from pubsubkit.translate import portable, translating

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pubsubkit.connection import Connection
    from pubsubkit.driver import Delivery, DriverSubscription
    from pubsubkit.options import ConsumerOptions, StreamOptions

__all__ = ["Consumer", "Subscription"]

logger = logging.getLogger("pubsubkit.consumer")

_CLOSE_SECONDS = 10.0
_GIVE_BACK = Settlement(Verdict.NAK)


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

    async def __aenter__(self) -> Self:
        self.check_open()
        stream = await self._prepare_stream()
        if self.options.consumer_name:
            await self._prepare_durable(stream)
        return self

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
        if self.closed:
            raise ClosedError("the consumer is closed")

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
        options, driver = self.options, self._connection.driver
        with translating(driver, f"open stream {options.stream_name!r}"):
            if options.stream is None and await driver.stream_info(options.stream_name) is not None:
                stream = await find_stream(driver, options.stream_name)
            elif options.stream is None and options.manage != "none":
                # Refuse a hopeless filter before anything is created.
                check_filter_reaches(options.filter_subject, options.stream_options)
                stream = await ensure_stream(driver, options.stream_options, "create")
            else:
                stream = await ensure_stream(driver, options.stream_options, options.manage)
        check_filter_reaches(options.filter_subject, stream)
        return stream

    async def _prepare_durable(self, stream: StreamOptions) -> ConsumerSpec:
        spec = self._spec(stream, self.options.consumer_name)
        with translating(self._connection.driver, f"open consumer {spec.stream}/{spec.name}"):
            return await ensure_consumer(self._connection.driver, spec, self.options.manage)

    def _spec(self, stream: StreamOptions, name: str) -> ConsumerSpec:
        options = self.options
        return ConsumerSpec(
            stream=stream.name,
            name=name,
            durable=bool(options.consumer_name),
            filter_subject=options.filter_subject,
            ack_wait=options.ack_wait,
            max_deliver=options.max_deliver,
            max_in_flight=options.max_in_flight,
            deliver_from=options.deliver_from,
        )

    async def _close(self) -> None:
        self._connection.users.discard(self)
        await asyncio.gather(*(subscription.aclose() for subscription in self.subscriptions))


@final
class Subscription(Closing):
    """One member of a consumer: ``async with consumer.subscribe() as subscription: async for message in subscription``.

    Entering joins the consumer; without ``async with`` the first iteration does.  Several tasks may iterate one
    subscription: each message goes to one of them.

    Iterating raises :class:`NotFoundError` when the consumer or stream was deleted, :class:`PermissionDeniedError`
    and :class:`TransientError`; a lost connection is waited out, and only :meth:`aclose` ends the iteration.
    Cancelling ``anext()``, or letting ``asyncio.timeout`` do it, loses no message.
    """

    def __init__(self, connection: Connection, consumer: Consumer) -> None:
        super().__init__()
        self.options = consumer.options
        self._connection = connection
        self._consumer = consumer
        self._spec: ConsumerSpec | None = None
        self._inner: DriverSubscription | None = None
        self._opening = asyncio.Lock()
        self._held: dict[object, Message] = {}

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        if self.closed:
            raise StopAsyncIteration
        inner = self._inner or await self._open()
        try:
            delivery = await inner.receive()
        except PubSubError:
            raise
        except Exception as error:
            raise portable(
                error, self._connection.driver, f"receive from stream {self.options.stream_name!r}"
            ) from error
        if delivery is None:
            raise StopAsyncIteration
        if self._close_task is not None:
            # Closing began after this message was taken and before this task ran: nobody has seen it.
            with translating(self._connection.driver, f"give back a message of {delivery.subject!r}"):
                await delivery.settle(_GIVE_BACK)
            raise StopAsyncIteration
        message = Message(delivery, self)
        self._held[delivery.key] = message
        if self._connection.hooks.received is not None:
            self._notify_received(delivery)
        return message

    @property
    def consuming(self) -> bool:
        """Whether, as far as this side can tell, the broker is serving this subscription."""
        return not self.closed and self._inner is not None and self._inner.consuming

    def require(self, capability: Capability) -> None:
        """Raise :class:`UnsupportedError` when the backend does not have *capability*."""
        if capability not in self._connection.driver.capabilities:
            raise UnsupportedError(f"{self._connection.driver.address} does not support {capability.value}")

    async def settle(self, message: Message, settlement: Settlement) -> None:
        """Hand a verdict to the broker.  Called by :class:`Message`, which guards against a second one."""
        delivery = message.delivery
        failure: PubSubError | None = None
        try:
            await delivery.settle(settlement)
        except Exception as error:  # noqa: BLE001 - translated and raised below
            failure = portable(error, self._connection.driver, f"{settlement.verdict.value} of {message.subject!r}")
        if failure is None and settlement.verdict is not Verdict.IN_PROGRESS:
            key = delivery.key
            if self._held.get(key) is message:
                del self._held[key]
        if self._connection.hooks.settled is not None:
            self._notify_settled(delivery, settlement.verdict, failure)
        if failure is not None:
            raise failure

    async def _open(self) -> DriverSubscription:
        async with self._opening:
            if self.closed:
                raise ClosedError("the subscription is closed")
            if self._inner is None:
                self._consumer.check_open()
                self._spec = await self._consumer.provision()
                with translating(self._connection.driver, f"subscribe to {self._spec.stream}/{self._spec.name}"):
                    self._inner = await self._connection.driver.subscribe(self._spec, self.options.channel_buf_size)
            return self._inner

    async def _close(self) -> None:
        """Give back what is unread or unsettled, in the order that ARCHITECTURE.md prescribes for closing."""
        held = [message for message in self._held.values() if not message.settled]
        self._held.clear()
        for message in held:
            message.seal()
        try:
            async with asyncio.timeout(_CLOSE_SECONDS), self._opening:
                if self._inner is not None:
                    await self._inner.aclose([message.delivery for message in held])
                await self._remove_ephemeral()
        except Exception as error:  # noqa: BLE001 - the broker is gone; its ack_wait gives the messages back
            name = f"{self.options.stream_name}/{self.options.consumer_name or 'ephemeral'}"
            logger.warning("subscription %s closed without the broker (%s): %s", name, type(error).__name__, error)
        finally:
            self._consumer.discard(self)

    async def _remove_ephemeral(self) -> None:
        if self._spec is not None and not self._spec.durable:
            await self._connection.driver.delete_consumer(self._spec.stream, self._spec.name)

    def _notify_received(self, delivery: Delivery) -> None:
        meta = delivery.metadata
        self._connection.hooks.received(  # type: ignore[misc]
            stream=meta.stream,
            subject=delivery.subject,
            consumer=meta.consumer,
            size=len(delivery.data),
            num_delivered=meta.num_delivered,
            headers=dict(delivery.headers),
        )

    def _notify_settled(self, delivery: Delivery, verdict: Verdict, error: PubSubError | None) -> None:
        meta = delivery.metadata
        self._connection.hooks.settled(  # type: ignore[misc]
            stream=meta.stream,
            subject=delivery.subject,
            consumer=meta.consumer,
            verdict=verdict,
            num_delivered=meta.num_delivered,
            error=error,
        )
