"""Broken limits, consumers that hold up others, and objects that only one task at a time may use."""

import asyncio
from collections import defaultdict
from functools import partial

from pubsubkit.publisher import Publisher
from pubsubkit.subscription import Subscription
from pubsubkit.window import Window
from pubsubkit_memory.consumer import Consumer
from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_memory.subscription import MemorySubscription
from pubsubkit_nats.driver import NatsDriver
from pubsubkit_nats.pull import PullSubscription
from saboteurs.saboteur import breaks

_members = defaultdict(frozenset)
_tasks = set()
_POLL = 0.005


@breaks(Consumer, "_configure", "bp.max_in_flight", "bp.max_in_flight_shared", "bp.lapse_keeps_place")
def knows_no_limit(original, self):
    """max_in_flight is ignored."""
    original(self)
    self._max_in_flight = 10_000


@breaks(Consumer, "_configure", "bp.max_in_flight", "bp.max_in_flight_shared", "bp.lapse_keeps_place")
def allows_one_more(original, self):
    """One message more than max_in_flight is delivered."""
    original(self)
    self._max_in_flight += 1


@breaks(Consumer, "finish", "bp.max_in_flight")
def frees_two_places(original, self, sequence):
    """An ack frees two places."""
    self._max_in_flight += 1
    original(self, sequence)


@breaks(MemorySubscription, "receive", "bp.max_in_flight_shared")
async def counts_for_each_member(original, self):
    """Each member may hold max_in_flight messages."""
    consumer, mine = self._consumer, self.__dict__.setdefault("mine", [])
    others = [lease for lease in consumer._leases.values() if lease not in mine]
    consumer._max_in_flight = consumer.spec.max_in_flight + len(others)
    delivery = await original(self)
    mine.append(delivery)
    return delivery


@breaks(Consumer, "_expire_leases", "bp.lapse_keeps_place")
def puts_aside_what_ran_out(original, self):
    """A message whose ack_wait runs out leaves its place free for a moment before it is delivered again."""
    before = set(self._ready)
    original(self)
    for sequence in set(self._ready) - before:
        again = partial(_ready_again, self, sequence, self._ready.pop(sequence))
        self._timers.at(self._timers.now() + 0.02, again)
    self.wake()


@breaks(MemorySubscription, "aclose", "bp.close_frees_place")
async def takes_its_places_with_it(original, self, held):
    """Of several messages that a member held when it was closed only one gives its place in max_in_flight back."""
    await original(self, held)
    self._consumer._max_in_flight -= max(0, len(held) - 1)


@breaks(MemoryDriver, "send", "bp.publisher_free")
async def waits_for_slow_consumers(original, self, messages, timeout):
    """Publishing waits while a consumer that is at work has a hundred messages before it."""
    stream = self._broker._routes[messages[0].subject] if messages else []
    while any(c._leases and len(c._pending) >= 100 for s in stream for c in s.consumers.values()):
        await asyncio.sleep(_POLL)
    return await original(self, messages, timeout)


@breaks(Consumer, "offer", "bp.publisher_free")
def drops_for_slow_consumers(original, self, sequence):
    """A consumer that is at work and has 250 messages before it misses what is published."""
    if not self._leases or len(self._pending) < 250:
        original(self, sequence)


@breaks(Consumer, "take", "bp.others_free")
def waits_for_the_slowest(original, self):
    """No consumer gets anything while another one that is at work is fifty messages behind."""
    log, busy = self._log, [one for one in _consumers if one._log is self._log and one is not self]
    _consumers[:] = [*[one for one in _consumers if not one.deleted and one is not self], self]
    behind = any(one._leases and len(one._pending) >= 50 for one in busy if one._log is log)
    return None if behind else original(self)


_consumers = []


@breaks(PullSubscription, "receive", "bp.no_greedy_prefetch", backend="nats")
async def asks_before_it_needs(original, self):
    """When the last but nine of a backlog is handed out the next message is asked for already."""
    delivery = await original(self)
    if delivery is not None and not self._closing and not self._asked and delivery._fields[6] == "9":
        task = asyncio.ensure_future(_ask_once(self))
        _tasks.add(task)
        task.add_done_callback(_tasks.discard)
    return delivery


@breaks(NatsDriver, "subscribe", "bp.memory_bounded", backend="nats")
async def buffers_three_times_as_much(original, self, spec, buffer):
    """A buffer of more than one message takes three times as many."""
    return await original(self, spec, buffer * 3 if buffer > 1 else 1)


@breaks(PullSubscription, "limit", "bp.limit", backend="nats")
def asks_for_three_times_the_limit(original, self, room):
    """A member that is told to fetch no more than some messages ahead fetches three times as many."""
    original(self, room * 3)


@breaks(PullSubscription, "_keep_leases", "bp.buffer_kept", backend="nats")
async def prolongs_once(original, self):
    """The ack_wait of messages in the local buffer is prolonged once, and then runs out."""
    if not self.__dict__.get("prolonged"):
        self.prolonged = True
        await original(self)


@breaks(Publisher, "publish", "con.publishers")
async def has_one_slot(original, self, *message, **options):
    """A publisher keeps the message that it is working on in itself: calls at the same time overwrite it."""
    self.slot = (message, options)
    await asyncio.sleep(0)
    message, options = self.slot
    return await original(self, *message, **options)


@breaks(Publisher, "publish_many", "con.batches")
async def has_one_batch(original, self, messages, **options):
    """What several calls of publish_many want to send goes into one batch, and the first call gets all receipts."""
    if not isinstance(messages, list):
        return await original(self, messages, **options)
    batch = self.__dict__.setdefault("batch", [])
    batch += messages
    await asyncio.sleep(0)
    together = tuple(batch)
    batch.clear()
    return await original(self, together, **options)


@breaks(Window, "release", "con.call_order")
def serves_the_last_first(original, self, count):
    """Of several who wait for room the last one is served first."""
    self.waiters.reverse()
    original(self, count)
    self.waiters.reverse()


@breaks(MemorySubscription, "_wait", "con.two_iterators")
async def wakes_the_last_only(original, self, *, first):
    """Of several iterations of one subscription that wait, only the last to come is ever woken."""
    for waiter in self._blocked:
        self._consumer.waiters.leave(waiter)
    return await original(self, first=first)


@breaks(Subscription, "settle", "con.verdicts")
async def takes_thirty_at_a_time(original, self, message, settlement):
    """Of verdicts that are given at the same time those after the thirtieth are lost."""
    full = self._ledger.under_way >= 30
    self._ledger.under_way += 1
    try:
        await asyncio.sleep(0)
    finally:
        self._ledger.end()
    if not full:
        await original(self, message, settlement)


@breaks(Subscription, "_open", "con.first_use")
async def opens_for_each(original, self):
    """Each task that iterates a subscription before it is open joins a consumer of its own."""
    if self._inner is None and not self.closed:
        self._consumer.check_open()
        spec = await self._consumer.provision()
        await asyncio.sleep(0)
        inner = await self._join(spec)
        self._spec, self._inner = spec, inner
        return inner
    return await original(self)


@breaks(MemoryDriver, "subscribe", "con.open_close_storm")
async def forgets_who_joined_meanwhile(original, self, spec, buffer):
    """Of members that join a consumer at the same time only the last one is known, and gets messages."""
    place = (id(self._broker), spec.stream, spec.name)
    before = _members[place]
    await asyncio.sleep(0)
    subscription = await original(self, spec, buffer)
    _members[place] = before | {subscription}
    receive = subscription.receive

    async def receive_if_known():
        while subscription not in _members[place] and not subscription._closed:
            await asyncio.sleep(_POLL)
        return await receive()

    subscription.receive, subscription.receive_now = receive_if_known, lambda: None
    return subscription


@breaks(Subscription, "settle", "con.close_while_reading")
async def drops_verdicts_at_close(original, self, message, settlement):
    """A verdict that is on its way when the subscription is closed by another task is lost."""
    self._ledger.under_way += 1
    try:
        await asyncio.sleep(0)
    finally:
        self._ledger.end()
    if not self.closed:
        await original(self, message, settlement)


async def _ask_once(subscription):
    if not subscription._asked and not subscription._buffer and not subscription._closing:
        await subscription._ask()


def _ready_again(consumer, sequence, count):
    consumer._ready[sequence] = count
    consumer.wake()
