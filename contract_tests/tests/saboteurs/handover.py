"""Broken ways to hand over, at the end, what is under way."""

import asyncio
import itertools
from collections import deque

from pubsubkit import ClosedError, PublishReceipt
from pubsubkit.backend import Backend
from pubsubkit.closing import Closing
from pubsubkit.connection import Phase
from pubsubkit.consumer import Consumer as PortableConsumer
from pubsubkit.publisher import Publisher
from pubsubkit.subscription import Subscription
from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_memory.subscription import MemorySubscription
from pubsubkit_nats.pull import PullSubscription
from saboteurs.saboteur import breaks


@breaks(PullSubscription, "_give_back", "shut.buffered_returned", backend="nats")
async def gives_back_80(original, self, held):
    """Closing gives back at most 80 of the messages that were read ahead."""
    self._buffer = deque(itertools.islice(self._buffer, 80))
    await original(self, held)


@breaks(MemorySubscription, "receive", "shut.woken_receive")
async def forgets_what_comes_at_close(original, self):
    """What a receive has taken when the subscription is closed is neither handed out nor given back."""
    delivery = await original(self)
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        self._consumer.give_back(delivery, 0)
        raise
    return None if self._closed else delivery


@breaks(Publisher, "aclose", "shut.flush")
async def forgets_the_last_batch(original, self):
    """Closing a publisher reports as stored what it has not sent yet, and drops it."""
    if not self.closed:
        _pretend(self._pipeline)
    await original(self)


@breaks(Backend, "aclose", "shut.backend_hands_over")
async def forgets_the_last_batch_of_all(original, self):
    """Closing a backend reports as stored what its publishers have not sent yet, and drops it."""
    for user in self._connection.users:
        if isinstance(user, Publisher):
            _pretend(user._pipeline)
    await original(self)


@breaks(Subscription, "_finish", "shut.backend_hands_over")
async def keeps_what_is_held(original, self):
    """Closing a backend does not give back what has no verdict."""
    if self._connection.phase is Phase.CLOSED:
        self._ledger.seal()
    await original(self)


@breaks(Publisher, "publish", "shut.publishes")
async def refuses_what_it_stored(original, self, *message, **options):
    """A publish whose publisher is closed meanwhile raises ClosedError, although the message was stored."""
    receipt = await original(self, *message, **options)
    await asyncio.sleep(0)
    if self.closed:
        raise ClosedError("the publisher was closed")
    return receipt


@breaks(Publisher, "aclose", "shut.flush_errors")
async def closes_without_a_word(original, self):
    """Closing a publisher says nothing of messages that were not stored."""
    await Closing.aclose(self)


@breaks(Backend, "_note", "shut.flush_errors")
def forgets_what_was_lost(original, self, results):
    """Closing a backend says nothing of messages that were not stored."""


@breaks(MemoryDriver, "aclose", "shut.only_its_own")
async def ends_what_others_wait_for(original, self):
    """Closing a connection ends the waiting of all others for their messages."""
    for stream in self._broker._streams.values():
        for consumer in stream.consumers.values():
            consumer.waiters.reset()
    await original(self)


@breaks(Publisher, "_close", "shut.only_its_own")
async def closes_its_siblings(original, self):
    """Closing a publisher closes all publishers of the connection."""
    for user in self._connection.users:
        if isinstance(user, Publisher):
            user._close_begun = True
            user._full_subjects.clear()
    await original(self)


@breaks(PortableConsumer, "discard", "shut.restart")
def closes_with_its_last_subscription(original, self, subscription):
    """A consumer is closed when its last subscription is."""
    original(self, subscription)
    self._draining = not self._subscriptions


def _pretend(pipeline):
    batch, pipeline._batch = pipeline._batch, None
    for future in batch.futures if batch else ():
        future.set_result(PublishReceipt("s", 1))
