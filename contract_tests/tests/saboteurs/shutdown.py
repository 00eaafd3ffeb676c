"""Broken ways to close."""

import asyncio
import logging
import os
from dataclasses import replace

from pubsubkit import ClosedError
from pubsubkit.backend import Backend
from pubsubkit.closing import Closing
from pubsubkit.connection import Connection, Phase
from pubsubkit.consumer import Consumer as PortableConsumer
from pubsubkit.ledger import Ledger
from pubsubkit.publisher import Publisher
from pubsubkit.subscription import Subscription
from pubsubkit.window import Window
from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_memory.subscription import MemorySubscription
from pubsubkit_nats.link import Link
from saboteurs.saboteur import breaks

_kept = []


@breaks(Closing, "aclose", "shut.idempotent")
async def closes_once(original, self):
    """Closing a consumer a second time raises."""
    if self.closed and isinstance(self, PortableConsumer):
        raise ClosedError("the consumer is closed")
    await original(self)


@breaks(Closing, "aclose", "shut.idempotent")
async def closes_one_at_a_time(original, self):
    """Closing a subscription while it is being closed never ends."""
    if isinstance(self, Subscription) and self._close_task is not None and not self._close_task.done():
        await asyncio.Event().wait()
    await original(self)


@breaks(Closing, "aclose", "shut.concurrent")
async def returns_before_it_is_closed(original, self):
    """Closing a subscription that is being closed returns at once."""
    if not (self.closed and isinstance(self, Subscription)):
        await original(self)


@breaks(MemorySubscription, "aclose", "shut.ends_iteration")
async def leaves_iterations_hanging(original, self, held):
    """A blocked iteration does not end when its subscription is closed."""
    self._blocked.clear()
    await original(self, held)


@breaks(PortableConsumer, "_close", "shut.ends_iteration")
async def leaves_its_subscriptions_open(original, self):
    """Closing a consumer leaves its subscriptions open as long as the connection is."""
    if self._connection.phase is Phase.CLOSED:
        await original(self)


@breaks(Subscription, "__anext__", "shut.ends_iteration")
async def ends_with_an_error(original, self):
    """A blocked iteration ends by an error when the connection is closed."""
    try:
        return await original(self)
    except StopAsyncIteration:
        if self._connection.phase is Phase.CLOSED and self.__dict__.setdefault("ended", False) is False:
            self.ended = True
            raise ClosedError("the backend is closed") from None
        raise


@breaks(Publisher, "_check_open", "shut.use_after")
def is_usable_after_close(original, self):
    """A publisher that was closed goes on publishing as long as the connection is open."""


@breaks(PortableConsumer, "check_open", "shut.use_after")
def subscribes_after_close(original, self):
    """A consumer that was closed goes on subscribing as long as the connection is open."""
    self._connection.check_open()


@breaks(Subscription, "_check_open", "shut.use_after")
def is_entered_after_close(original, self):
    """A subscription that was closed can be entered, and ends at once."""


@breaks(Backend, "_check_not_closed", "shut.backend_closed")
def opens_again(original, self):
    """Opening a backend that was closed seems to work."""


@breaks(Connection, "check_open", "shut.backend_closed")
def is_asked_after_close(original, self):
    """A closed backend goes on answering questions about streams."""
    if self.phase is Phase.NEW:
        original(self)


@breaks(Window, "close", "shut.never_hangs")
def leaves_who_waits(original, self):
    """Calls that wait for room in a publisher's window wait for ever when it is closed."""
    self._closed = True


@breaks(Ledger, "quiet", "shut.never_hangs")
async def waits_for_all_verdicts(original, self):
    """Closing waits for verdicts while more than five messages that were handed out have none."""
    while sum(not message.settled for message in self.held.values()) > 5:
        await asyncio.sleep(0.01)


@breaks(Subscription, "_open", "shut.while_opening")
async def closes_itself_while_opening(original, self):
    """Opening that finds itself closed waits for the end of the closing, which waits for the opening."""
    async with self._opening:
        for _ in range(5):
            await asyncio.sleep(0)
        if self.closed and self._inner is None:
            await self.aclose()
    return await original(self)


@breaks(Subscription, "settle", "shut.cancelled_not_failed")
async def warns_of_late_verdicts(original, self, message, settlement):
    """A verdict that comes when the subscription is closed is an error in the log."""
    if self.closed:
        logging.getLogger("pubsubkit.consumer").error("verdict on a closed subscription")
    return await original(self, message, settlement)


@breaks(MemorySubscription, "receive", "shut.cancelled_not_failed", "can.task_group")
async def logs_cancellations(original, self):
    """A receive that is cancelled is an error in the log."""
    try:
        return await original(self)
    except asyncio.CancelledError:
        logging.getLogger("pubsubkit.memory").exception("receiving failed")
        raise


@breaks(MemoryDriver, "subscribe", "shut.no_leaks")
async def leaves_a_task(original, self, spec, buffer):
    """Every subscription starts a task that outlives it."""
    _kept.append(asyncio.ensure_future(asyncio.Event().wait()))
    return await original(self, spec, buffer)


@breaks(Link, "aclose", "shut.no_leaks", backend="nats")
async def leaves_its_socket(original, self):
    """Closing a connection leaves its socket open."""


@breaks(MemoryDriver, "aclose", "shut.no_leaks")
async def leaves_a_pipe(original, self):
    """Every connection leaves a pipe open."""
    await original(self)
    _kept.append(os.pipe())


@breaks(Backend, "health", "shut.health")
async def is_healthy_after_close(original, self):
    """Health raises when the backend is closed."""
    self._connection.check_open()
    return await original(self)


@breaks(Backend, "health", "shut.health")
async def is_ill_without_subscriptions(original, self):
    """A backend without subscriptions is said not to consume."""
    health = await original(self)
    return replace(health, consuming=bool(health.consuming))
