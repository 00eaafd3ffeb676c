"""One member of a consumer."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Protocol, Self, final

from pubsubkit.closing import Closing
from pubsubkit.dead_letter import DeadLetters
from pubsubkit.driver import Capability, Settlement, Verdict
from pubsubkit.errors import ClosedError, InvalidArgumentError, PubSubError
from pubsubkit.hooks import report_received, report_settled
from pubsubkit.lease import keep_leases
from pubsubkit.ledger import Ledger
from pubsubkit.message import IN_PROGRESS, Message
from pubsubkit.options import check_wait
from pubsubkit.redaction import redact
from pubsubkit.translate import portable, translating

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from pubsubkit.connection import Connection
    from pubsubkit.driver import ConsumerSpec, Delivery, DriverSubscription
    from pubsubkit.hooks import Hooks
    from pubsubkit.options import ConsumerOptions

__all__ = ["Subscription"]

logger: logging.Logger = logging.getLogger("pubsubkit.consumer")

_CLOSE_SECONDS = 10.0
_GIVE_BACK = Settlement(Verdict.NAK)


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
    and :class:`TransientError`; a lost connection is waited out, and only :meth:`drain` and :meth:`aclose` end the
    iteration.
    Cancelling ``anext()``, or letting ``asyncio.timeout`` do it, loses no message.
    """

    def __init__(self, connection: Connection, consumer: Group) -> None:
        super().__init__()
        self.options: ConsumerOptions = consumer.options
        self.hooks: Hooks = connection.hooks
        """The hooks of its backend, for who runs handlers."""
        self._connection = connection
        self._consumer = consumer
        self._spec: ConsumerSpec | None = None
        self._inner: DriverSubscription | None = None
        self._opening = asyncio.Lock()
        self._stopping: asyncio.Future[None] | None = None
        self._ledger = Ledger(self.options.ack_wait)
        self._leases: asyncio.Future[None] | None = None
        self._dead_letters = DeadLetters(connection, self.options) if self.options.dead_letter else None

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    def __aiter__(self) -> AsyncIterator[Message]:
        return self

    async def __anext__(self) -> Message:
        if self._close_begun or self._stopping is not None:
            raise StopAsyncIteration
        try:
            inner = self._inner or await self._open()
        except ClosedError:
            raise StopAsyncIteration from None
        while True:
            try:
                delivery = inner.receive_now()
                if delivery is None:
                    self._ledger.prune()
                    delivery = await inner.receive()
            except PubSubError:
                raise
            except Exception as error:
                doing = f"receive from stream {self.options.stream_name!r}"
                raise portable(error, self._connection.driver, doing) from error
            if delivery is None:
                raise StopAsyncIteration
            if self._dead_letters is None or not await self._dead_letters.takes(delivery, self._ledger):
                break
        message = Message(delivery, self)
        self._ledger.held[delivery.key] = message
        if self.hooks.received is not None:
            report_received(self.hooks.received, delivery)
        return message

    async def drain(self, timeout: float = 30.0, *, release: Sequence[Message] = ()) -> None:
        """Stop gracefully: end the iteration, wait for the verdicts of the handlers, then close as :meth:`aclose` does.

        Messages that nobody has seen go back to the broker at once.  Those that were handed out can be settled, and
        prolonged by ``in_progress()``, until the last one has its verdict or *timeout* is over; what has none by then
        is given back and comes again, and later verdicts return False.  A message whose ``ack_wait`` ran out is not
        waited for.  No handler is cancelled.  When this returns, all verdicts have reached the broker, but for those
        that went down with a connection: of these only ``ack(confirm=True)`` tells.

        May be called again, also concurrently; :meth:`aclose` ends the wait at once.  Cancelling it leaves the
        iteration ended and verdicts possible until the next call of either.  Before it is entered it is just closed.
        On a backend without nak, which can give back only as it closes, the iteration goes on until then.

        :param timeout: seconds to wait for verdicts.  Closing takes its own time: a broker that is gone or silent is
            not waited for longer than some seconds, and is a warning in the log.
        :param release: messages that were handed out and that nobody has begun to handle: they are given back at once,
            before those that nobody has seen, so that all come again in their order.
        :raises InvalidArgumentError: *timeout* is no number from 0 to 1e9.
        """
        check_wait("timeout", timeout)
        until = time.monotonic() + timeout
        if self._inner is not None and not self.closed:
            if Capability.NAK in self._connection.driver.capabilities:
                if self._stopping is None:
                    held = [message.delivery for message in release if self._ledger.let_go(message)]
                    stop = self._bounded(partial(self._inner.aclose, held), "stopped")
                    self._stopping = asyncio.ensure_future(stop)
                await asyncio.wait([self._stopping])
            await self._ledger.settled(until)
        await self.aclose()

    def holds(self, message: Message) -> bool:
        """Whether *message* has no verdict and its ``ack_wait`` is not over, so that nobody else has it by now."""
        return self._ledger.holds(message)

    def limit(self, room: int) -> None:
        """Fetch no more than *room* messages ahead of those that were handed out, until the next call.

        It stands in for ``channel_buf_size`` where the room changes, as it does for the free places of a worker.  A
        backend that fetches messages one by one takes no notice, and neither does a subscription that was not entered.

        :raises InvalidArgumentError: *room* is no whole number of at least 1.
        """
        if type(room) is not int or room < 1:
            raise InvalidArgumentError(f"room={room!r}: expected a whole number of at least 1")
        if self._inner is not None:
            self._inner.limit(room)

    @property
    def entered(self) -> bool:
        """Whether it has joined its consumer."""
        return self._inner is not None

    @property
    def consuming(self) -> bool:
        """Whether, as far as this side can tell, the broker is serving this subscription."""
        ended = self.closed or self._stopping is not None
        return not ended and self._inner is not None and self._inner.consuming

    def require(self, capability: Capability) -> None:
        """Raise :class:`UnsupportedError` when the backend does not have *capability*."""
        self._connection.require(capability)

    async def settle(self, message: Message, settlement: Settlement) -> bool:
        """Hand a verdict to the broker; False, and nothing done, when the message is settled.  For :class:`Message`."""
        if message.settled or self._close_begun:
            return False
        final = settlement is not IN_PROGRESS
        message.settled = final
        delivery = message.delivery
        ledger, settled = self._ledger, self.hooks.settled
        started = time.perf_counter() if settled is not None else 0.0
        failure: PubSubError | None = None
        try:
            if self._dead_letters is not None or not delivery.settle_now(settlement):
                await self._send_verdict(delivery, settlement)
        except BaseException as error:
            if final:
                message.settled = False
            if not isinstance(error, Exception):
                raise
            failure = portable(error, self._connection.driver, f"{settlement.verdict.value} of {message.subject!r}")
        if failure is None:
            if final:
                ledger.remove(message)
            else:
                message.leased = time.monotonic()
        if settled is not None:
            report_settled(settled, delivery, settlement, failure, started)
        if failure is not None:
            raise failure
        return True

    async def _send_verdict(self, delivery: Delivery, settlement: Settlement) -> None:
        self._ledger.under_way += 1
        try:
            if self._dead_letters is None:
                await delivery.settle(settlement)
            else:
                await self._dead_letters.settle(delivery, settlement)
        finally:
            self._ledger.end()

    async def _open(self) -> DriverSubscription:
        async with self._opening:
            self._check_open()
            if self._inner is None:
                self._consumer.check_open()
                try:
                    self._spec = await self._consumer.provision()
                except PubSubError:
                    self._check_open()  # what failed because it was closed meanwhile says that
                    raise
                leases = Capability.ACK_WAIT in self._connection.driver.capabilities
                self._ledger.ack_wait = self._spec.ack_wait if leases else math.inf
                try:
                    self._inner = await self._join(self._spec)
                except BaseException:
                    await self._bounded(self._remove_ephemeral, "given up")
                    raise
                if self.options.max_lease is not None and leases:
                    keep = keep_leases(self._ledger, Message.in_progress, self.options.max_lease)
                    self._leases = asyncio.ensure_future(keep)
            return self._inner

    async def _join(self, spec: ConsumerSpec) -> DriverSubscription:
        self._check_open()
        # Brokers count the deliveries of what is fetched ahead, which must not make a dead letter of it unseen.
        buffer = self.options.channel_buf_size if self._dead_letters is None else 1
        with translating(self._connection.driver, f"subscribe to {spec.stream}/{spec.name}"):
            inner = await self._connection.driver.subscribe(spec, buffer)
        if self.closed:
            await inner.aclose(())
            self._check_open()
        return inner

    def _check_open(self) -> None:
        if self.closed:
            raise ClosedError("the subscription is closed")

    async def _close(self) -> None:
        """Wait for verdicts under way, then give back what has none."""
        self._ledger.close()
        if self._leases is not None:
            self._leases.cancel()
            await asyncio.wait([self._leases])
        try:
            await self._bounded(self._finish, "closed")
            await self._bounded(self._remove_ephemeral, "left its consumer")
        finally:
            self._ledger.seal()
            self._consumer.discard(self)

    async def _bounded(self, work: Callable[[], Awaitable[None]], done: str) -> None:
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await work()
        except Exception as error:  # noqa: BLE001 - the broker is gone; its ack_wait gives the messages back
            name = f"{self.options.stream_name}/{self.options.consumer_name or 'ephemeral'}"
            text = redact(str(error)) or type(error).__name__
            place = {"stream": self.options.stream_name, "consumer": self.options.consumer_name}
            logger.warning("subscription %s %s without the broker: %s", name, done, text, extra=place)

    async def _finish(self) -> None:
        with suppress(TimeoutError):  # a verdict that is stuck keeps nobody from closing
            async with asyncio.timeout(_CLOSE_SECONDS / 2):
                await self._ledger.quiet()
        async with self._opening:
            if self._inner is None:
                return
            if self._stopping is not None:
                await asyncio.wait([self._stopping])
                await self._give_back(self._inner)
            else:
                # Nothing is awaited between the two: receive gives out nothing once the driver's aclose has begun.
                held = self._ledger.seal()
                await self._inner.aclose([message.delivery for message in held])

    async def _give_back(self, inner: DriverSubscription) -> None:
        """After a drain the driver's part is closed already, before the last verdicts."""
        for message in self._ledger.seal():
            await message.delivery.settle(_GIVE_BACK)
        await inner.flush()

    async def _remove_ephemeral(self) -> None:
        spec, self._spec = self._spec, None
        if spec is not None and not spec.durable:
            await self._connection.driver.delete_consumer(spec.stream, spec.name)
