"""The portable consumer and its subscriptions."""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from typing import TYPE_CHECKING, Self, final

from pubsubkit.closing import Closing
from pubsubkit.driver import Capability, ConsumerSpec, Verdict
from pubsubkit.errors import ClosedError, ConflictError, PubSubError
from pubsubkit.message import Message
from pubsubkit.provision import check_filter_reaches, ensure_consumer, ensure_stream
from pubsubkit.redaction import redact
from pubsubkit.translate import portable, translating

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pubsubkit.connection import Connection
    from pubsubkit.driver import Delivery, DriverSubscription, Settlement
    from pubsubkit.options import ConsumerOptions, StreamOptions

__all__ = ["Consumer", "Subscription"]

logger = logging.getLogger("pubsubkit.consumer")

_CLOSE_SECONDS = 10.0
_PRUNE = 1024


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

    def _check_capabilities(self) -> None:
        options = self.options
        asked = {
            Capability.DURABLE: bool(options.consumer_name),
            Capability.MAX_DELIVER: options.max_deliver is not None,
            Capability.NAK_DELAY: any(options.backoff),
            Capability.WILDCARDS: "*" in options.filter_subject or ">" in options.filter_subject,
        }
        for capability, wanted in asked.items():
            if wanted:
                self._connection.require(capability)

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
        self._check_capabilities()
        options, driver = self.options, self._connection.driver
        with translating(driver, f"open stream {options.stream_name!r}"):
            if options.stream is not None or options.manage == "none":
                stream = await ensure_stream(driver, options.stream_options, options.manage)
            else:
                stream = await self._find_or_create_stream()
        check_filter_reaches(options.filter_subject, stream)
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
        self._prune_at = _PRUNE
        self._settling = 0
        self._quiet = asyncio.Event()

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        if self.closed:
            raise StopAsyncIteration
        try:
            inner = self._inner or await self._open()
        except ClosedError:
            raise StopAsyncIteration from None
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
        message = Message(delivery, self)
        self._hold(message)
        if self._connection.hooks.received is not None:
            self._notify_received(delivery)
        return message

    @property
    def entered(self) -> bool:
        """Whether it has joined its consumer."""
        return self._inner is not None

    @property
    def consuming(self) -> bool:
        """Whether, as far as this side can tell, the broker is serving this subscription."""
        return not self.closed and self._inner is not None and self._inner.consuming

    def require(self, capability: Capability) -> None:
        """Raise :class:`UnsupportedError` when the backend does not have *capability*."""
        self._connection.require(capability)

    async def settle(self, message: Message, settlement: Settlement) -> None:
        """Hand a verdict to the broker.  Called by :class:`Message`, which guards against a second one."""
        delivery = message.delivery
        failure: PubSubError | None = None
        self._settling += 1
        try:
            await delivery.settle(settlement)
        except Exception as error:  # noqa: BLE001 - translated and raised below
            failure = portable(error, self._connection.driver, f"{settlement.verdict.value} of {message.subject!r}")
        finally:
            self._settling -= 1
            if self.closed:
                self._quiet.set()
        if failure is None:
            if settlement.verdict is Verdict.IN_PROGRESS:
                message.leased = time.monotonic()
            elif self._held.get(delivery.key) is message:
                del self._held[delivery.key]
        if self._connection.hooks.settled is not None:
            self._notify_settled(delivery, settlement.verdict, failure)
        if failure is not None:
            raise failure

    def _hold(self, message: Message) -> None:
        """Remember what has no verdict yet, to give it back at close; an older delivery of it is ours no more."""
        self._held[message.delivery.key] = message
        if len(self._held) >= self._prune_at:
            self._held = {message.delivery.key: message for message in self._leased()}
            self._prune_at = max(_PRUNE, 2 * len(self._held))

    def _leased(self) -> list[Message]:
        """The messages without a verdict whose ``ack_wait`` has not run out: the others are somebody else's by now."""
        oldest = time.monotonic() - self.options.ack_wait
        return [message for message in self._held.values() if message.leased > oldest and not message.settled]

    async def _open(self) -> DriverSubscription:
        async with self._opening:
            if self._inner is None:
                self._check_open()
                self._consumer.check_open()
                self._spec = await self._consumer.provision()
                try:
                    self._inner = await self._join(self._spec)
                except BaseException:
                    await self._remove_ephemeral()
                    raise
            return self._inner

    async def _join(self, spec: ConsumerSpec) -> DriverSubscription:
        self._check_open()
        with translating(self._connection.driver, f"subscribe to {spec.stream}/{spec.name}"):
            inner = await self._connection.driver.subscribe(spec, self.options.channel_buf_size)
        if self.closed:
            await inner.aclose(())
            self._check_open()
        return inner

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError("the subscription is closed")

    async def _close(self) -> None:
        """Wait for verdicts under way, then give back what has none."""
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                while self._settling:
                    self._quiet.clear()
                    await self._quiet.wait()
                async with self._opening:
                    await self._leave()
        except Exception as error:  # noqa: BLE001 - the broker is gone; its ack_wait gives the messages back
            name = f"{self.options.stream_name}/{self.options.consumer_name or 'ephemeral'}"
            text = redact(str(error)) or type(error).__name__
            logger.warning("subscription %s closed without the broker: %s", name, text)
        finally:
            self._seal()
            self._consumer.discard(self)

    async def _leave(self) -> None:
        try:
            if self._inner is not None:
                # Nothing is awaited between the two: receive gives out nothing once the driver's aclose has begun.
                held = self._seal()
                await self._inner.aclose([message.delivery for message in held])
        finally:
            await self._remove_ephemeral()

    def _seal(self) -> list[Message]:
        held = self._leased()
        for message in self._held.values():
            message.seal()
        self._held.clear()
        return held

    async def _remove_ephemeral(self) -> None:
        spec, self._spec = self._spec, None
        if spec is not None and not spec.durable:
            await self._connection.driver.delete_consumer(spec.stream, spec.name)

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
