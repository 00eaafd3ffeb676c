"""One member of a consumer."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING, Protocol, Self, final

from pubsubkit.closing import Closing
from pubsubkit.driver import Verdict
from pubsubkit.errors import ClosedError, PubSubError
from pubsubkit.ledger import Ledger
from pubsubkit.message import Message
from pubsubkit.redaction import redact
from pubsubkit.translate import portable, translating

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pubsubkit.connection import Connection
    from pubsubkit.driver import Capability, ConsumerSpec, Delivery, DriverSubscription, Settlement
    from pubsubkit.options import ConsumerOptions

__all__ = ["Subscription"]

logger = logging.getLogger("pubsubkit.consumer")

_CLOSE_SECONDS = 10.0


class Group(Protocol):
    """What a subscription needs of its consumer."""

    @property
    def options(self) -> ConsumerOptions:
        """The consumer's options."""
        ...

    def check_open(self) -> None:
        """Raise :class:`ClosedError` when the consumer or its backend is closed."""

    async def provision(self) -> ConsumerSpec:
        """Create what is missing on the broker and return the consumer to join."""
        ...

    def discard(self, subscription: Subscription) -> None:
        """Forget a subscription that was closed."""


@final
class Subscription(Closing):
    """One member of a consumer: ``async with consumer.subscribe() as subscription: async for message in subscription``.

    Entering joins the consumer; without ``async with`` the first iteration does.  Several tasks may iterate one
    subscription: each message goes to one of them.

    Iterating raises :class:`NotFoundError` when the consumer or stream was deleted, :class:`PermissionDeniedError`
    and :class:`TransientError`; a lost connection is waited out, and only :meth:`aclose` ends the iteration.
    Cancelling ``anext()``, or letting ``asyncio.timeout`` do it, loses no message.
    """

    def __init__(self, connection: Connection, consumer: Group) -> None:
        super().__init__()
        self.options = consumer.options
        self._connection = connection
        self._consumer = consumer
        self._spec: ConsumerSpec | None = None
        self._inner: DriverSubscription | None = None
        self._opening = asyncio.Lock()
        self._ledger = Ledger(self.options.ack_wait)

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
        self._ledger.add(message)
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
        ledger = self._ledger
        failure: PubSubError | None = None
        ledger.under_way += 1
        try:
            await delivery.settle(settlement)
        except Exception as error:  # noqa: BLE001 - translated and raised below
            failure = portable(error, self._connection.driver, f"{settlement.verdict.value} of {message.subject!r}")
        finally:
            ledger.under_way -= 1
            if ledger.watched:
                ledger.wake()
        if failure is None:
            if settlement.verdict is Verdict.IN_PROGRESS:
                message.leased = time.monotonic()
            else:
                ledger.remove(message)
        if self._connection.hooks.settled is not None:
            self._notify_settled(delivery, settlement.verdict, failure)
        if failure is not None:
            raise failure

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
                await self._ledger.quiet()
                async with self._opening:
                    await self._leave()
        except Exception as error:  # noqa: BLE001 - the broker is gone; its ack_wait gives the messages back
            name = f"{self.options.stream_name}/{self.options.consumer_name or 'ephemeral'}"
            text = redact(str(error)) or type(error).__name__
            logger.warning("subscription %s closed without the broker: %s", name, text)
        finally:
            self._ledger.seal()
            self._consumer.discard(self)

    async def _leave(self) -> None:
        try:
            if self._inner is not None:
                # Nothing is awaited between the two: receive gives out nothing once the driver's aclose has begun.
                held = self._ledger.seal()
                await self._inner.aclose([message.delivery for message in held])
        finally:
            await self._remove_ephemeral()

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
