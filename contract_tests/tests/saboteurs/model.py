"""Backends whose bugs need a history that nobody would think of."""

import asyncio
import math

from pubsubkit.driver import Settlement, Verdict
from pubsubkit_memory.consumer import Consumer
from pubsubkit_memory.subscription import MemorySubscription
from pubsubkit_nats.pull import PullSubscription
from saboteurs.saboteur import breaks

_servers: dict = {}
_tasks: set = set()


@breaks(Consumer, "give_back", "model.history")
def loses_a_nak_beside_a_delay(original, self, delivery, delay):
    """A message is lost when it is nak'ed while another one waits for its delay and a third one is with a member."""
    if not delay and self._delayed and len(self._leases) > 1:
        self._leases.pop(delivery.key, None)
    else:
        original(self, delivery, delay)


@breaks(Consumer, "finish", "model.history")
def forgets_a_delay_at_an_ack(original, self, sequence):
    """An ack makes the broker forget a message that waits for its delay, when three others are in flight."""
    if self._delayed and len(self._leases) > 2:
        forgotten = next(iter(self._delayed))
        self._timers.cancel(self._delayed.pop(forgotten))
    original(self, sequence)


@breaks(Consumer, "_end_delay", "model.history")
def forgets_a_delivery_in_a_delay(original, self, sequence, count):
    """A message that waited for its delay comes again with the old count when another one is in flight at its end."""
    original(self, sequence, count - 1 if self._leases and count > 1 else count)


@breaks(MemorySubscription, "aclose", "model.history")
async def returns_one_of_several_twice(original, self, held):
    """When a member is closed that holds two messages or more, the second one comes twice."""
    await original(self, held)
    if len(held) > 1:
        self._consumer.offer(held[1].key)


@breaks(Consumer, "_expire_leases", "redel.all")
def expires_two_at_a_time(original, self):
    """When the time of three messages runs out together, the third one is lost."""
    before = set(self._ready)
    original(self)
    for lost in [sequence for sequence in self._ready if sequence not in before][2:]:
        del self._ready[lost]


@breaks(MemorySubscription, "aclose", "model.transcript")
async def counts_the_third_return_twice(original, self, held):
    """A message that is given back at a close in its third delivery has that one counted twice."""
    for delivery in held:
        delivery.num_delivered += delivery.num_delivered == 3
    await original(self, held)


@breaks(PullSubscription, "_on_change", "model.restart", backend="nats")
def forgets_its_filter_in_a_restart(original, self, up):
    """A member of a consumer with a filter gets nothing more after a restart of the broker."""
    original(self, up)
    server = self._link.client._server_info["server_id"]
    if self._spec.filter_subject and _servers.setdefault(self, server) != server:
        _stop_asking(self)


@breaks(PullSubscription, "_on_change", "model.cut", backend="nats")
def drops_its_buffer_in_a_cut(original, self, up):
    """What a member of a consumer with a filter has buffered counts as acked when its connection is cut."""
    server = self._link.client._server_info["server_id"]
    same = _servers.setdefault(self, server) == server
    if self._spec.filter_subject and up and same:
        for delivery in tuple(self._buffer):
            _tasks.add(asyncio.ensure_future(delivery.settle(Settlement(Verdict.ACK))))
        self._buffer.clear()
    original(self, up)


def _stop_asking(subscription) -> None:
    subscription._asked = 1_000_000
    subscription._heard = math.inf  # so that no silence is noticed
    subscription._give_up_inbox()
    subscription._spawn(subscription._forget_inboxes)
