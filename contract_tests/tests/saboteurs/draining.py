"""Broken ways to stop gracefully."""

import asyncio
import math
import os
import signal
import time

import __main__
from pubsubkit.consumer import Consumer as PortableConsumer
from pubsubkit.driver import Settlement, Verdict
from pubsubkit.ledger import Ledger
from pubsubkit.message import Message
from pubsubkit.subscription import Subscription
from pubsubkit_nats.pull import PullSubscription
from saboteurs.saboteur import breaks

_NAK = Settlement(Verdict.NAK)


@breaks(Subscription, "drain", "shut.drain_waits", "shut.drain_counts", "shut.drain_unseen")
async def closes_at_once(original, self, timeout=30.0):
    """A drain closes at once."""
    await self.aclose()


@breaks(Subscription, "drain", "shut.drain_waits")
async def cancels_handlers(original, self, timeout=30.0):
    """A drain cancels the tasks of handlers that hold a message."""
    for task in asyncio.all_tasks():
        frame = getattr(task.get_coro(), "cr_frame", None)
        if any(isinstance(value, Message) and value._subscription is self for value in _locals(frame)):
            task.cancel()
    await original(self, timeout)


@breaks(Ledger, "settled", "shut.drain_waits")
async def waits_for_the_first_turn(original, self, until):
    """A drain gives handlers one turn of the event loop, and no time."""
    await original(self, time.monotonic() + 0.001)


@breaks(Subscription, "settle", "shut.drain_counts")
async def counts_one_verdict(original, self, message, settlement):
    """Of the verdicts that are given during a drain only the first reaches the broker."""
    if self._stopping is not None and settlement.verdict is not Verdict.IN_PROGRESS:
        if self.__dict__.setdefault("counted", False):
            return
        self.counted = True
    await original(self, message, settlement)


@breaks(Subscription, "drain", "shut.drain_ends_iteration")
async def leaves_blocked_iterations(original, self, timeout=30.0):
    """A drain ends iterations that are blocked only when the last verdict is there."""
    if self._inner is not None and not self.closed:
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_future()
            self._stopping.set_result(None)
        await self._ledger.settled(time.monotonic() + timeout)
        await self._inner.aclose(())
    await self.aclose()


@breaks(Subscription, "drain", "shut.drain_unseen")
async def takes_one_more(original, self, timeout=30.0):
    """A subscription takes one more message when the drain begins, and keeps it until its end."""
    unseen = self._inner and not self.closed and self._inner._consumer.take_unclaimed()
    await original(self, timeout)
    if unseen:
        await unseen.settle(_NAK)


@breaks(Ledger, "settled", "shut.drain_timeout")
async def knows_no_timeout(original, self, until):
    """A drain waits for verdicts as long as it takes, whatever its timeout."""
    await original(self, math.inf)


@breaks(Ledger, "settled", "shut.drain_timeout")
async def gives_up_early(original, self, until):
    """A drain waits for half of its timeout."""
    await original(self, time.monotonic() + (until - time.monotonic()) / 2)


@breaks(Subscription, "_give_back", "shut.drain_timeout")
async def acks_what_is_left(original, self):
    """What has no verdict at the end of a drain is acked."""
    for message in self._ledger.seal():
        await message.delivery.settle(Settlement(Verdict.ACK))


@breaks(Ledger, "settled", "shut.drain_in_progress")
async def waits_for_one_ack_wait(original, self, until):
    """A drain waits no longer than ack_wait, also for handlers that say in_progress."""
    await original(self, min(until, time.monotonic() + self.ack_wait))


@breaks(Ledger, "_due", "shut.drain_lapsed")
def waits_for_what_has_lapsed(original, self, until):
    """A drain waits for verdicts on messages that are somebody else's by now."""
    return until if any(not message.settled for message in self._held.values()) else original(self, until)


@breaks(Ledger, "close", "shut.drain_then_close")
def does_not_end_the_wait(original, self):
    """A drain goes on waiting when the subscription is closed."""


@breaks(Subscription, "drain", "shut.drain_cancelled")
async def closes_when_cancelled(original, self, timeout=30.0):
    """A drain that is cancelled gives back what the handlers hold."""
    try:
        await original(self, timeout)
    except asyncio.CancelledError:
        self._ledger.seal()
        raise


@breaks(Subscription, "drain", "shut.drain_idle")
async def waits_for_a_first_message(original, self, timeout=30.0):
    """A drain of a subscription that never had a message does not end."""
    if self._inner is None or not self._inner._turns:
        await asyncio.sleep(timeout)
    await original(self, timeout)


@breaks(PortableConsumer, "drain", "shut.drain_consumer")
async def drains_one_by_one(original, self, timeout=30.0):
    """Draining a consumer drains one subscription after the other."""
    self._draining = True
    for subscription in self.subscriptions:
        await subscription.drain(timeout)
    await self.aclose()


@breaks(PortableConsumer, "drain", "shut.drain_consumer")
async def closes_all_at_once(original, self, timeout=30.0):
    """Draining a consumer closes its subscriptions at once."""
    await self.aclose()


@breaks(PullSubscription, "receive", "shut.sigterm", backend="nats")
async def ends_at_sigterm(original, self):
    """The client library handles SIGTERM itself: it ends the process."""
    spec = getattr(__main__, "__spec__", None)
    if spec is not None and spec.name == "pubsubkit_contract.child":
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, os._exit, 0)
    return await original(self)


def _locals(frame):
    return frame.f_locals.values() if frame else ()
