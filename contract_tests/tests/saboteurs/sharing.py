"""Broken ways to share the messages of a consumer, and consumers that meddle with each other."""

import asyncio
import gc
import os
from collections import defaultdict
from contextlib import suppress

import __main__
from pubsubkit import TransientError
from pubsubkit_memory.consumer import Consumer
from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_memory.subscription import MemorySubscription
from pubsubkit_nats.pull import PullSubscription
from saboteurs.saboteur import breaks

_members = defaultdict(set)
_POLL = 0.005


@breaks(Consumer, "take", "cmp.each_once")
def gives_every_tenth_to_two(original, self):
    """While several members wait, each tenth message goes to two of them."""
    delivery = original(self)
    if delivery is not None and delivery.key % 10 == 0 and delivery.num_delivered == 1 and self.waiters.queue:
        self._ready[delivery.key] = 1
    return delivery


@breaks(MemoryDriver, "subscribe", "cmp.each_once")
async def gives_everything_to_every_member(original, self, spec, buffer):
    """Each member of a durable consumer gets all of its messages."""
    subscription = await original(self, spec, buffer)
    if spec.durable:
        stream = self._broker.stream(spec.stream)
        subscription._consumer = Consumer(spec, stream._log, stream._timers)
        stream._index.add(subscription._consumer.pattern, subscription._consumer)
    return subscription


@breaks(MemoryDriver, "subscribe", "cmp.everyone_works")
async def serves_one_member_of_a_connection(original, self, spec, buffer):
    """Of the members on one connection only the first gets messages until it leaves."""
    return _waits_its_turn(await original(self, spec, buffer), (id(self), spec.stream, spec.name))


@breaks(MemoryDriver, "subscribe", "cmp.join")
async def serves_nobody_who_comes_late(original, self, spec, buffer):
    """Who joins when several messages were delivered gets nothing new before another member leaves."""
    subscription = await original(self, spec, buffer)
    if subscription._consumer._position < 2:
        _members[spec.stream, spec.name].add(subscription)
        return subscription
    return _waits_its_turn(subscription, (spec.stream, spec.name))


@breaks(MemorySubscription, "aclose", "cmp.leave")
async def tells_nobody_of_what_is_given_back(original, self, held):
    """Members that wait already are not woken for what one that leaves gives back."""
    for delivery in held:
        del self._consumer._leases[delivery.key]
        self._consumer._ready[delivery.key] = delivery.num_delivered
    await original(self, [])


@breaks(MemorySubscription, "aclose", "cmp.leave")
async def takes_the_last_with_it(original, self, held):
    """A member that leaves while others wait keeps the last of several messages."""
    await original(self, held[:-1] if len(held) > 1 and self._consumer.waiters.queue else held)


@breaks(MemorySubscription, "aclose", "cmp.stay")
async def gives_back_what_all_hold(original, self, held):
    """A member that leaves gives back what the others hold, too."""
    await original(self, held)
    for delivery in tuple(self._consumer._leases.values()):
        self._consumer.give_back(delivery, 0)


@breaks(MemorySubscription, "aclose", "cmp.no_phantom")
async def leaves_a_phantom(original, self, held):
    """A member that waits when it is closed goes on waiting, and takes one more message."""
    consumer, phantom = self._consumer, bool(self._blocked)
    await original(self, held)
    if phantom:
        waiter = consumer.waiters.join(first=False)
        waiter.add_done_callback(lambda done: done.cancelled() or (consumer.waiters.leave(waiter), consumer.take()))


@breaks(PullSubscription, "receive", "cmp.member_killed", backend="nats")
async def leaves_messages_to_processes(original, self):
    """What a worker process holds is its own for an hour, whatever ack_wait says."""
    delivery = await original(self)
    if delivery is not None and _in_worker():
        await delivery._send(b'-NAK {"delay": 3600000000000}')
        await self._link.ping()
    return delivery


@breaks(PullSubscription, "receive", "cmp.idle_member_killed", backend="nats")
async def locks_the_consumer_while_it_waits(original, self):
    """A worker process that waits for a message locks out all others, and unlocks when it has one."""
    if not _in_worker():
        while await _owner(self):
            await asyncio.sleep(_POLL)
        return await original(self)
    await _own(self, str(os.getpid()))
    try:
        return await original(self)
    finally:
        await _own(self, "")


@breaks(Consumer, "take", "fan.independent")
def keeps_pace_with_the_slowest(original, self):
    """A durable consumer is never more than two messages ahead of another one of its stream."""
    others = [other for other in _others(self) if other.spec.durable and self.spec.durable]
    return None if any(other._position < self._position - 1 for other in others) else original(self)


@breaks(Consumer, "finish", "fan.ack_isolated")
def acks_for_all_who_hold_it(original, self, sequence):
    """An ack settles the message for all consumers to which it was delivered."""
    original(self, sequence)
    for other in _others(self):
        other._leases.pop(sequence, None)


@breaks(Consumer, "give_back", "fan.nak_isolated")
def naks_for_all(original, self, delivery, delay):
    """A nak brings the message back in all consumers of the stream that have had it."""
    original(self, delivery, delay)
    for other in _others(self):
        if other._position >= delivery.key and delivery.key not in other._leases:
            other._ready[delivery.key] = delivery.num_delivered
            other.wake()


@breaks(Consumer, "offer", "fan.ephemeral")
def offers_to_one_watcher(original, self, sequence):
    """A message goes to one of the consumers without a name."""
    watchers = [self.spec.name, *(other.spec.name for other in _others(self) if not other.spec.durable)]
    if self.spec.durable or self.spec.name == min(watchers):
        original(self, sequence)


@breaks(Consumer, "finish", "fan.mixed")
def acks_for_those_with_a_name(original, self, sequence):
    """What a consumer without a name acks is settled in the durable ones, too."""
    original(self, sequence)
    for other in _others(self):
        if other.spec.durable and not self.spec.durable and sequence in other._pending:
            other._pending.remove(sequence)


@breaks(MemoryDriver, "create_consumer", "fan.independent", "fan.ack_isolated", "fan.nak_isolated")
async def shares_one_position(original, self, spec):
    """All durable consumers of a stream are one."""
    await original(self, spec)
    stream = self._broker.stream(spec.stream)
    first = next((consumer for consumer in stream.consumers.values() if consumer.spec.durable), None)
    if spec.durable:
        stream.consumers[spec.name] = first


def _waits_its_turn(subscription, place):
    """Let *subscription* get nothing while there is an earlier one at *place* that is not closed."""
    earlier, receive = set(_members[place]), subscription.receive
    _members[place].add(subscription)

    async def late():
        consumer = subscription._consumer
        while any(not member._closed for member in earlier) and not (subscription._closed or consumer._ready):
            await asyncio.sleep(_POLL)
        return await receive()

    subscription.receive, subscription.receive_now = late, lambda: None
    return subscription


def _others(consumer):
    """The other consumers of the stream: those who refer to the log that it reads."""
    readers = [found for found in gc.get_referrers(consumer._log) if isinstance(found, Consumer)]
    return [found for found in readers if found is not consumer and not found.deleted]


def _in_worker():
    """Whether this is a child process of the suite."""
    return __main__.__spec__ is not None and __main__.__spec__.name == "pubsubkit_contract.child"


async def _owner(member):
    info = None
    with suppress(TransientError):
        info = await member._manager._raw_consumer(member._spec.stream, member._spec.name)
    return (info or {"config": {}})["config"].get("metadata", {}).get("owner", "")


async def _own(member, process):
    info = await member._manager._raw_consumer(member._spec.stream, member._spec.name)
    if info:
        metadata = {**info["config"].get("metadata", {}), "owner": process}
        await member._manager._put_consumer(member._spec, {**info["config"], "metadata": metadata}, "update")
