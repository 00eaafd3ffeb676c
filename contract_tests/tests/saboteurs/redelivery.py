"""Broken ways to deliver again and to count."""

import asyncio
import math
from collections import Counter
from datetime import UTC, datetime

from pubsubkit.connection import Connection
from pubsubkit.driver import Capability
from pubsubkit_memory.consumer import Consumer
from pubsubkit_memory.delivery import MemoryDelivery
from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_memory.subscription import MemorySubscription
from saboteurs.saboteur import breaks


@breaks(Consumer, "_expire_leases", "redel.ack_wait", "redel.repeat", "redel.all", "redel.other_member")
def never_redelivers(original, self):
    """A message without a verdict does not come back."""


@breaks(Consumer, "_configure", "redel.ack_wait", "redel.each_its_own")
def redelivers_too_early(original, self):
    """A lease runs out after half of ack_wait."""
    original(self)
    self._ack_wait /= 2


@breaks(Consumer, "_lease", "redel.ack_wait")
def hurries_the_second_time(original, self, message, count):
    """From the second delivery on a lease is shorter."""
    delivery = original(self, message, count)
    if count > 1:
        delivery.leased_at -= self._ack_wait * 0.7
        self._timers.at(delivery.leased_at + self._ack_wait, self._expire_leases)
    return delivery


@breaks(Consumer, "_lease", "redel.each_its_own")
def has_one_clock_for_all(original, self, message, count):
    """The lease of a message runs out with that of the oldest one that is held."""
    delivery = original(self, message, count)
    delivery.leased_at = min(lease.leased_at for lease in self._leases.values())
    return delivery


@breaks(Consumer, "_lease", "redel.from_delivery")
def leases_from_the_time_of_storing(original, self, message, count):
    """The first lease of a message began when it was stored, as long as some of it is left."""
    delivery = original(self, message, count)
    age = (datetime.now(UTC) - message.timestamp).total_seconds()
    if count == 1 and self.spec.ack_wait < 1 and age >= self.spec.ack_wait * 0.9:
        delivery.leased_at -= self.spec.ack_wait * 0.9
        self._timers.at(self._timers.now(), self._expire_leases)
        self._timers.at(delivery.leased_at + self.spec.ack_wait + 0.001, self._expire_leases)
    return delivery


@breaks(MemoryDelivery, "metadata", "redel.repeat", withheld={Capability.HISTORY})
def stores_late_redeliveries_anew(original, self):
    """From the fourth delivery on a message comes back as a new one, with a number of its own."""
    found = original(self)
    return found._replace(sequence=found.sequence + 1000) if found.num_delivered > 3 else found


@breaks(Consumer, "_expire_leases", "redel.all", withheld={Capability.HISTORY})
def redelivers_fifty_at_most(original, self):
    """Leases are kept of the first fifty messages only; the others do not come back."""
    original(self)
    for sequence in [sequence for sequence in self._ready if sequence > 50]:
        del self._ready[sequence]


@breaks(Consumer, "_expire_leases", "redel.backlog_unaffected", withheld={Capability.NAK})
def loses_the_next_one(original, self):
    """When a lease runs out the message that would have been delivered next is skipped."""
    leased = len(self._leases)
    original(self)
    if len(self._leases) < leased and self._pending:
        self._pending.popleft()


@breaks(Consumer, "_expire_leases", "redel.backlog_unaffected", withheld={Capability.NAK})
def begins_again_from_what_was_left(original, self):
    """When a lease runs out everything that follows is delivered once more, acked or not."""
    before = set(self._ready)
    original(self)
    again = set(self._ready) - before
    if again and self._pending:
        self._pending.extendleft(reversed(range(min(again) + 1, self._position + 1)))


@breaks(MemorySubscription, "receive", "redel.other_member", withheld={Capability.HISTORY})
async def redelivers_to_the_same_member(original, self):
    """A message comes back only to the member that had it, also when that one asks for nothing."""
    seen = self.__dict__.setdefault("seen", set())
    while True:
        delivery = await original(self)
        if delivery is None:
            return None
        if delivery.num_delivered == 1 or delivery.key in seen or not self._consumer.spec.durable:
            seen.add(delivery.key)
            return delivery
        if self._consumer.spec.ack_wait > 1:
            return delivery


@breaks(Consumer, "_lease", "redel.counts", "redel.count_fresh", "redel.count_kept")
def never_counts(original, self, message, count):
    """Every delivery says that it is the first."""
    return original(self, message, 1)


@breaks(Consumer, "_expire_leases", "redel.counts", withheld={Capability.HISTORY})
def counts_to_three(original, self):
    """A lease that runs out is not counted from the third delivery on."""
    original(self)
    for sequence, count in self._ready.items():
        if count == 3:
            self._ready[sequence] = 2


_highest: Counter[tuple[str, str]] = Counter()


@breaks(MemorySubscription, "receive", "redel.count_fresh", withheld={Capability.HISTORY, Capability.TERM})
async def counts_for_all_messages(original, self):
    """The count of a delivery is the highest that any message of the consumer has reached."""
    delivery, spec = await original(self), self._consumer.spec
    if delivery is not None and spec.max_deliver is None:
        consumer = spec.stream, spec.name
        _highest[consumer] = max(_highest[consumer], delivery.num_delivered)
        delivery.num_delivered = _highest[consumer]
    return delivery


@breaks(MemoryDriver, "subscribe", "redel.count_kept", withheld={Capability.HISTORY})
async def counts_for_each_connection(original, self, spec, buffer):
    """Deliveries are counted by the connection, not by the broker."""
    member = await original(self, spec, buffer)
    counts, receive = self.__dict__.setdefault("counts", Counter()), member.receive

    async def counting():
        delivery = await receive()
        if delivery is not None:
            counts[spec.stream, spec.name, delivery.key] += 1
            delivery.num_delivered = counts[spec.stream, spec.name, delivery.key]
        return delivery

    member.receive, member.receive_now = counting, lambda: None
    return member


_deliveries: Counter[tuple[str, int]] = Counter()


@breaks(Consumer, "_lease", "redel.count_own")
def counts_for_all_consumers(original, self, message, count):
    """A consumer called other counts the deliveries of all others too."""
    _deliveries[self.spec.stream, message.sequence] += 1
    delivery = original(self, message, count)
    if self.spec.name == "other":
        delivery.num_delivered = _deliveries[self.spec.stream, message.sequence]
    return delivery


@breaks(Consumer, "_configure", "redel.max_deliver", "redel.max_deliver_nak", "redel.max_deliver_frees")
def ignores_max_deliver(original, self):
    """A message is tried for ever."""
    original(self)
    self._max_deliver = math.inf


def _once_more(original, self, *arguments):
    before = self._max_deliver
    self._max_deliver = before + (before > 2)
    try:
        original(self, *arguments)
    finally:
        self._max_deliver = before


@breaks(Consumer, "_expire_leases", "redel.max_deliver")
def tries_once_more_after_a_timeout(original, self):
    """After a lease that ran out max_deliver is one more."""
    _once_more(original, self)


@breaks(Consumer, "give_back", "redel.max_deliver_nak")
def tries_once_more_after_a_nak(original, self, delivery, delay):
    """After a nak max_deliver is one more."""
    _once_more(original, self, delivery, delay)


@breaks(Consumer, "give_back", "redel.max_deliver_delay")
def tries_again_after_a_delay(original, self, delivery, delay):
    """A nak with a delay is not held against max_deliver."""
    original(self, delivery, delay)
    if not delay or delivery.num_delivered < self._max_deliver:
        return

    def again():
        self._ready[delivery.key] = delivery.num_delivered
        self.wake()

    asyncio.get_running_loop().call_later(delay, again)


@breaks(Consumer, "_requeue", "redel.max_deliver_frees")
def keeps_the_place_of_what_it_gave_up(original, self, sequence, count):
    """A message that was given up counts as in flight for ever."""
    original(self, sequence, count)
    if count >= self._max_deliver:
        self._delayed[sequence] = self._timers.at(math.inf, list)


@breaks(Consumer, "_requeue", "redel.max_deliver_others")
def deletes_what_it_gave_up(original, self, sequence, count):
    """A message that one consumer gave up is gone from the stream."""
    original(self, sequence, count)
    if count >= self._max_deliver:
        self._log.stored.pop(sequence, None)


@breaks(Connection, "require", "redel.unsupported_max_deliver", withheld={Capability.MAX_DELIVER})
def ignores_max_deliver_where_there_is_none(original, self, capability):
    """Where the backend has no max_deliver it is dropped silently."""
    if capability is not Capability.MAX_DELIVER:
        original(self, capability)
