"""Broken durable consumers."""

import os
from collections import Counter

from pubsubkit.connection import Phase
from pubsubkit.consumer import Consumer as PortableConsumer
from pubsubkit.driver import Capability
from pubsubkit.subscription import Subscription
from pubsubkit_memory.consumer import Consumer
from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_memory.subscription import MemorySubscription
from pubsubkit_nats.manager import StreamManager
from pubsubkit_nats.pull import PullSubscription
from saboteurs.saboteur import breaks

_closed = Counter()
_known = set()


@breaks(MemorySubscription, "aclose", "dur.resume", "dur.reopen_many", "dur.other_connection")
async def begins_with_the_last_one_again(original, self, held):
    """A position is the last message that was settled, and not the one after it: that one comes again."""
    await original(self, held)
    _undo_last(self._consumer)


@breaks(MemorySubscription, "aclose", "dur.resume")
async def gives_back_one_too_many(original, self, held):
    """Where there is no max_deliver, a member gives the last one that was settled back with the unread ones."""
    await original(self, held)
    if self._turns > 1 and self._consumer._pending and not self._consumer.spec.max_deliver:
        _undo_last(self._consumer)


@breaks(MemorySubscription, "aclose", "dur.resume", "dur.reopen_many")
async def forgets_its_position(original, self, held):
    """A durable consumer that is opened again begins at the beginning."""
    await original(self, held)
    self._consumer._pending.extendleft(range(self._consumer._position, 0, -1))


@breaks(MemoryDriver, "aclose", "dur.other_connection")
async def keeps_positions_in_the_connection(original, self):
    """What a consumer that holds nothing has not delivered when the connection is closed is gone."""
    for consumer in _durables(self):
        if not consumer._ready:
            consumer._pending.clear()
    await original(self)


@breaks(MemoryDriver, "aclose", "dur.ack_survives_disconnect")
async def loses_the_last_ack_with_the_connection(original, self):
    """Of a consumer that has read everything the last ack is lost when the connection is closed."""
    for consumer in _durables(self):
        if not consumer._pending:
            _undo_last(consumer)
    await original(self)


@breaks(StreamManager, "consumer_info", "dur.process_restart", backend="nats")
async def begins_anew_in_each_process(original, self, stream, name):
    """A process that sees a durable consumer for the first time deletes it, and creates it again."""
    found = await original(self, stream, name)
    if found is not None and found.spec.durable and (os.getpid(), stream, name) not in _known:
        await self.delete_consumer(stream, name)
        found = None
    _known.add((os.getpid(), stream, name))
    return found


@breaks(MemorySubscription, "aclose", "dur.unacked_kept", "dur.unacked_counted")
async def acks_what_is_held(original, self, held):
    """Closing a subscription acks what it holds."""
    for delivery in held:
        delivery._owner.finish(delivery.key)
    await original(self, [])


@breaks(MemorySubscription, "aclose", "dur.unacked_kept")
async def gives_back_only_the_first(original, self, held):
    """The last member of a consumer gives back one of the messages that it holds."""
    kept = [] if self._consumer.waiters.queue else held[1:]
    for delivery in kept:
        delivery._owner.finish(delivery.key)
    await original(self, [delivery for delivery in held if delivery not in kept])


@breaks(MemorySubscription, "aclose", "dur.unacked_kept", "dur.unacked_counted")
async def leaves_what_is_held_to_ack_wait(original, self, held):
    """Closing a subscription gives nothing back: what it holds comes again after ack_wait."""
    await original(self, [])


@breaks(MemorySubscription, "aclose", "dur.unacked_counted")
async def counts_from_one_after_reopening(original, self, held):
    """Where there is no max_deliver, what a member holds when it is closed is counted from one again."""
    await original(self, held)
    for delivery in () if self._consumer.spec.max_deliver else held:
        self._consumer._ready[delivery.key] = 0


@breaks(PullSubscription, "_save_last_chances", "dur.unseen_not_dead_lettered", backend="nats")
async def uses_up_unseen_messages(original, self):
    """Closing counts as a delivery of every message that was fetched and never read."""


@breaks(MemorySubscription, "aclose", "dur.reopen_many")
async def drops_one_at_the_tenth_close(original, self, held):
    """Each tenth close of a consumer's subscriptions loses a message."""
    await original(self, held)
    consumer = self._consumer
    _closed[consumer.spec.stream, consumer.spec.name] += 1
    if _closed[consumer.spec.stream, consumer.spec.name] % 10 == 0 and consumer._pending:
        consumer._pending.popleft()


@breaks(MemoryDriver, "subscribe", "dur.published_while_away")
async def hears_nothing_while_away(original, self, spec, buffer):
    """Of what is published while nobody reads a durable consumer only a few messages are kept for it."""
    subscription = await original(self, spec, buffer)
    consumer, close = subscription._consumer, subscription.aclose
    left = _closed.pop((spec.stream, spec.name, "left"), None)
    if left is not None:
        for sequence in [sequence for sequence in consumer._pending if sequence > left + 5]:
            consumer._pending.remove(sequence)

    async def aclose(held):
        await close(held)
        _closed[spec.stream, spec.name, "left"] = consumer._log.last

    subscription.aclose = aclose
    return subscription


@breaks(Subscription, "_finish", "dur.ack_survives_close")
async def drops_the_last_ack_at_close(original, self):
    """Closing loses the last ack of a member that has read a lot and does not wait for more; disconnecting does not."""
    idle = self._inner is not None and not self._inner._blocked and self._inner._consumer._position > 25
    await original(self)
    if idle and self._connection.phase is Phase.OPEN and not self._inner._consumer._pending:
        _undo_last(self._inner._consumer)


@breaks(MemorySubscription, "aclose", "dur.delay_survives_close")
async def forgets_delays_at_close(original, self, held):
    """Delayed messages wait in the member that delayed them, and end with it."""
    await original(self, held)
    delayed = self._consumer._delayed
    while delayed:
        self._consumer._timers.cancel(delayed.popitem()[1])


@breaks(MemorySubscription, "aclose", "dur.delay_survives_close")
async def ends_delays_at_close(original, self, held):
    """Closing gives delayed messages back at once."""
    await original(self, held)
    consumer = self._consumer
    while consumer._delayed:
        sequence, timer = consumer._delayed.popitem()
        consumer._timers.cancel(timer)
        consumer._ready[sequence] = 1


@breaks(Subscription, "_remove_ephemeral", "dur.names_not_leaked")
async def leaks_ephemeral_consumers(original, self):
    """Ephemeral consumers with messages that have no verdict stay on the broker."""
    if not self._inner or not self._inner._consumer._ready:
        await original(self)


@breaks(MemoryDriver, "delete_consumer", "dur.deleted")
async def keeps_the_position_of_a_deleted_consumer(original, self, stream, name):
    """A consumer that is created under a deleted one's name goes on where that one was."""
    found = self._broker.stream(stream).consumers.get(name)
    deleted = await original(self, stream, name)
    if found is not None and found.spec.durable:
        await self.create_consumer(found.spec)
        self._broker.stream(stream).consumer(name)._pending.clear()
    return deleted


@breaks(PortableConsumer, "_check_capabilities", "dur.unsupported", withheld={Capability.DURABLE})
def takes_names_without_durables(original, self):
    """A consumer_name is taken for an ephemeral consumer's."""


def _durables(driver):
    return [
        consumer
        for stream in driver.native._streams.values()
        for consumer in stream.consumers.values()
        if consumer.spec.durable
    ]


def _undo_last(consumer):
    """Let the consumer forget that the last message it delivered was settled."""
    last = consumer._position
    if last and not any(last in place for place in (consumer._leases, consumer._ready, consumer._delayed)):
        consumer._ready[last] = 1


@breaks(Consumer, "finish", "dur.acks_singly", withheld={Capability.ACK_WAIT})
def settles_all_before_it_too(original, self, sequence):
    """An ack settles all earlier messages, on a backend that never redelivers without being asked."""
    for earlier in [each for each in self._leases if each < sequence]:
        original(self, earlier)
    original(self, sequence)


@breaks(Consumer, "_expire_leases", "dur.held_long", withheld={Capability.ACK_WAIT})
def forgets_the_lapsed(original, self):
    """A message that was held for longer than ack_wait is forgotten, on a backend that does not promise ack_wait."""
    now = self._timers.now()
    for sequence, delivery in tuple(self._leases.items()):
        if delivery.leased_at + self._ack_wait <= now:
            del self._leases[sequence]
    original(self)
