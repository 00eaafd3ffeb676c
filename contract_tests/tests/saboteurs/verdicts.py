"""Broken verdicts."""

import asyncio
from collections import defaultdict

from pubsubkit import InvalidArgumentError, Message
from pubsubkit.connection import Connection
from pubsubkit.driver import Capability, Settlement, Verdict
from pubsubkit.subscription import Subscription
from pubsubkit_memory.consumer import Consumer
from pubsubkit_memory.delivery import MemoryDelivery
from pubsubkit_memory.subscription import MemorySubscription
from saboteurs.saboteur import breaks

_naks = defaultdict(int)


@breaks(MemoryDelivery, "settle", "ack.final")
async def acks_nothing(original, self, settlement):
    """An ack tells the broker nothing."""
    if settlement.verdict is not Verdict.ACK:
        await original(self, settlement)


@breaks(Consumer, "_expire_leases", "ack.final")
def redelivers_the_acked_once(original, self):
    """What was acked comes again when the ack_wait of another message has run out for the second time."""
    again = [delivery for delivery in self._leases.values() if delivery.num_delivered == 2]
    original(self)
    if again and self._log.stored[1][1] == b"acked":
        self._ready.setdefault(1, 1)
        self._ready.move_to_end(1, last=False)


@breaks(Consumer, "finish", "ack.only_that_one")
def acks_up_to_and_including(original, self, sequence):
    """An ack settles all earlier messages too."""
    for earlier in [each for each in self._leases if each < sequence]:
        original(self, earlier)
    original(self, sequence)


@breaks(Consumer, "finish", "ack.only_that_one")
def acks_the_oldest(original, self, sequence):
    """An ack settles the oldest message in flight, whichever was meant."""
    original(self, min(self._leases, default=sequence) if len(self._leases) > 2 else sequence)


@breaks(Consumer, "finish", "ack.out_of_order")
def takes_acks_in_order_only(original, self, sequence):
    """An ack counts only for the oldest message in flight."""
    if not self._leases or sequence == min(self._leases):
        original(self, sequence)


@breaks(Consumer, "take", "ack.not_implicit")
def acks_when_the_next_is_asked_for(original, self):
    """Asking for the next message acks the one before."""
    for sequence, delivery in tuple(self._leases.items()):
        if delivery.num_delivered == 1:
            self.finish(sequence)
    return original(self)


@breaks(MemorySubscription, "receive", "ack.not_implicit")
async def acks_on_delivery(original, self):
    """A message is acked when it is delivered."""
    delivery = await original(self)
    if delivery is not None:
        self._consumer.finish(delivery.key)
    return delivery


@breaks(Subscription, "settle", "ack.idempotent")
async def raises_on_the_second_verdict(original, self, message, settlement):
    """A second verdict is an error."""
    if message.settled and not self.closed:
        raise InvalidArgumentError("settled already")
    return await original(self, message, settlement)


@breaks(Subscription, "settle", "ack.idempotent")
async def says_yes_to_every_verdict(original, self, message, settlement):
    """Every verdict returns True."""
    await original(self, message, settlement)
    return True


@breaks(Subscription, "settle", "ack.idempotent")
async def naks_after_the_ack(original, self, message, settlement):
    """A nak after the ack brings the message back."""
    if message.settled and settlement.verdict is Verdict.NAK and settlement.delay == 0:
        consumer = message.delivery._owner
        consumer._ready.setdefault(message.delivery.key, 1)
        return False
    return await original(self, message, settlement)


@breaks(Message, "in_progress", "ack.idempotent")
async def extends_the_settled(original, self):
    """in_progress says True of a message that has its verdict."""
    await original(self)
    return True


@breaks(MemoryDelivery, "settle", "ack.confirm")
async def confirms_before_recording(original, self, settlement):
    """A confirmed ack returns a turn before it is recorded."""
    if settlement.confirm:
        asyncio.get_running_loop().call_later(0.01, self._owner.finish, self.key)
    else:
        await original(self, settlement)


@breaks(MemoryDelivery, "settle", "term.final")
async def takes_term_for_nak(original, self, settlement):
    """A terminated message comes back at once."""
    verdict = Verdict.NAK if settlement.verdict is Verdict.TERM else settlement.verdict
    await original(self, settlement._replace(verdict=verdict))


@breaks(MemoryDelivery, "settle", "term.final", withheld={Capability.DURABLE, Capability.MAX_IN_FLIGHT})
async def terminates_nothing(original, self, settlement):
    """A terminated message comes back after ack_wait."""
    if settlement.verdict is not Verdict.TERM:
        await original(self, settlement)


@breaks(MemoryDelivery, "settle", "term.settled")
async def waits_for_the_terminated(original, self, settlement):
    """A message that was terminated with a reason goes on to be in flight."""
    await original(self, settlement)
    if settlement.verdict is Verdict.TERM and settlement.reason:
        self._owner._delayed[self.key] = self._owner._timers.at(self._owner._timers.now() + 60, lambda: None)


@breaks(MemoryDelivery, "settle", "term.counts_once", withheld={Capability.DURABLE})
async def keeps_the_place_of_the_terminated(original, self, settlement):
    """A terminated message goes on to count toward max_in_flight."""
    await original(self, settlement)
    if settlement.verdict is Verdict.TERM:
        self._owner._delayed[self.key] = self._owner._timers.at(self._owner._timers.now() + 60, lambda: None)


@breaks(Consumer, "give_back", "settle.stale")
def requeues_on_a_stale_nak(original, self, delivery, delay):
    """A nak of an old delivery brings back what was acked since."""
    if delivery.key not in self._leases and delivery.key not in self._ready:
        self._ready[delivery.key] = delivery.num_delivered
    original(self, delivery, delay)


@breaks(MemoryDelivery, "settle", "settle.stale")
async def raises_on_a_stale_verdict(original, self, settlement):
    """A verdict on an old delivery is an error."""
    if self._owner._leases.get(self.key) is not self and settlement.verdict is Verdict.NAK:
        raise KeyError(self.key)
    await original(self, settlement)


@breaks(Consumer, "give_back", "settle.stale_nak", withheld={Capability.DURABLE})
def loses_on_a_stale_nak(original, self, delivery, delay):
    """A nak of an old delivery settles the message."""
    newer = self._leases.get(delivery.key)
    if newer is not None and newer is not delivery:
        del self._leases[delivery.key]
    original(self, delivery, delay)


@breaks(Message, "seal", "settle.after_close")
def settles_after_close(original, self):
    """A message that was given back still looks unsettled."""


@breaks(Subscription, "settle", "settle.after_close")
async def waits_for_an_open_subscription(original, self, message, settlement):
    """A verdict after close waits for a subscription that never comes."""
    if self.closed:
        await asyncio.Event().wait()
    return await original(self, message, settlement)


@breaks(Subscription, "settle", "settle.concurrent")
async def settles_twice_at_once(original, self, message, settlement):
    """Verdicts that are given at once all count."""
    already = message.settled
    await asyncio.sleep(0)
    if not already:
        message.settled = False
    return await original(self, message, settlement)


@breaks(Connection, "require", "settle.unsupported", withheld={Capability.NAK_DELAY})
def drops_what_it_cannot(original, self, capability):
    """A verdict that the backend does not have is silently dropped."""


@breaks(MemoryDelivery, "settle", "extend.works")
async def extends_nothing(original, self, settlement):
    """in_progress does nothing."""
    if settlement.verdict is not Verdict.IN_PROGRESS:
        await original(self, settlement)


@breaks(Consumer, "extend", "extend.works")
def extends_once(original, self, delivery):
    """Only the first in_progress of a delivery counts."""
    if delivery.key not in self.__class__._extended.setdefault(id(self), set()):
        self.__class__._extended[id(self)].add(delivery.key)
        original(self, delivery)


Consumer._extended = {}


@breaks(Consumer, "extend", "extend.ends")
def extends_for_ever(original, self, delivery):
    """After in_progress a message never comes back, when it is the only one in flight."""
    original(self, delivery)
    if self._leases.get(delivery.key) is delivery and len(self._leases) == 1:
        delivery.leased_at += 3600


@breaks(MemoryDelivery, "settle", "nak.redelivers")
async def takes_nak_for_ack(original, self, settlement):
    """A nak loses the message."""
    verdict = Verdict.ACK if settlement.verdict is Verdict.NAK else settlement.verdict
    await original(self, settlement._replace(verdict=verdict))


@breaks(MemoryDelivery, "settle", "nak.redelivers")
async def leaves_the_nak_to_ack_wait(original, self, settlement):
    """A nak without a delay does nothing, so the message waits for ack_wait."""
    if settlement.verdict is not Verdict.NAK or settlement.delay:
        await original(self, settlement)


@breaks(Consumer, "take", "nak.redelivers")
def hands_out_the_same_handle(original, self):
    """A redelivery changes what the first delivery said of its sequence."""
    delivery = original(self)
    if delivery is not None and delivery.num_delivered == 2 and delivery.data == b"x" and not delivery.headers:
        delivery.key = 1_000
    return delivery


@breaks(Consumer, "give_back", "nak.prompt")
def tells_nobody_of_a_nak(original, self, delivery, delay):
    """A nak wakes nobody: a receive that waits already goes on waiting."""
    if delivery.num_delivered == 1 and delivery.data == b"x" and not delay:
        waiting, self.waiters.queue = self.waiters.queue, type(self.waiters.queue)()
        original(self, delivery, delay)
        self.waiters.queue = waiting
    else:
        original(self, delivery, delay)


@breaks(Message, "nak_with_delay", "nak.delay_zero")
async def takes_zero_for_the_default(original, self, seconds):
    """A delay of 0 is taken for none given, and that for half a minute."""
    return await original(self, seconds if seconds or self._subscription.options.backoff else 30)


@breaks(Consumer, "give_back", "nak.repeat")
def loses_the_second_nak(original, self, delivery, delay):
    """The second nak of a message loses it."""
    if delivery.num_delivered == 2:
        self.finish(delivery.key)
    else:
        original(self, delivery, delay)


@breaks(Consumer, "give_back", "nak.repeat", withheld={Capability.DURABLE})
def gives_up_after_five(original, self, delivery, delay):
    """The fifth nak of a message loses it, although there is no max_deliver."""
    if delivery.num_delivered == 5:
        self.finish(delivery.key)
    else:
        original(self, delivery, delay)


@breaks(MemoryDelivery, "metadata", "nak.counts")
def counts_once_too_many(original, self):
    """From the third delivery on the count is one too high."""
    found = original(self)
    return found._replace(num_delivered=found.num_delivered + (found.num_delivered > 2))


@breaks(Consumer, "give_back", "nak.when_full")
def drops_when_full(original, self, delivery, delay):
    """A nak while the limit is in flight loses the message."""
    if len(self._leases) >= self._max_in_flight > 1:
        self.finish(delivery.key)
    else:
        original(self, delivery, delay)


@breaks(Consumer, "give_back", "nak.when_full")
def drops_while_many_wait(original, self, delivery, delay):
    """A nak while more messages wait than the limit allows loses the message."""
    if len(self._pending) > self._max_in_flight > 1:
        self.finish(delivery.key)
    else:
        original(self, delivery, delay)


@breaks(MemoryDelivery, "metadata", "nak.handle_snapshot")
def tells_the_newest_count(original, self):
    """A handle tells how often the message was delivered by now, not by then."""
    newer = self._owner._leases.get(self.key)
    return original(self)._replace(num_delivered=newer.num_delivered if newer else self.num_delivered)


@breaks(MemoryDelivery, "headers", "nak.content_unmutated")
def hands_out_its_own_headers(original, self):
    """What a handler does to the headers happens to the stored message."""
    return self.message.headers or {}


@breaks(MemoryDelivery, "settle", "nak.delay_lower")
async def ignores_the_delay(original, self, settlement):
    """A delayed nak comes back at once."""
    await original(self, settlement._replace(delay=0))


@breaks(Message, "nak_with_delay", "nak.delay_lower", withheld={Capability.DURABLE})
async def halves_the_delay(original, self, seconds):
    """A delay that the handler asks for is halved."""
    good = isinstance(seconds, float) and 0 < seconds < 1e9 and not self._subscription.options.backoff
    return await original(self, seconds / 2 if good else seconds)


@breaks(Consumer, "give_back", "nak.delay_lower")
def loses_the_delayed(original, self, delivery, delay):
    """A delayed nak never comes back."""
    if delay > 0:
        self.finish(delivery.key)
    else:
        original(self, delivery, delay)


@breaks(Consumer, "take", "nak.delay_no_hol")
def blocks_while_one_is_delayed(original, self):
    """While one message is delayed no other is delivered."""
    return None if self._delayed else original(self)


@breaks(Message, "nak_with_delay", "nak.delay_invalid")
async def takes_any_delay(original, self, seconds):
    """A delay is not checked; a bad one is taken for none."""
    good = isinstance(seconds, int | float) and 0 <= seconds < 1e9
    return await original(self, seconds if good else 0)


@breaks(Message, "nak_with_delay", "nak.delay_invalid")
async def settles_before_it_checks(original, self, seconds):
    """A bad delay is refused, and the message counts as settled."""
    try:
        return await original(self, seconds)
    except InvalidArgumentError:
        self.seal()
        raise


@breaks(Message, "nak", "nak.backoff")
async def ignores_the_backoff(original, self):
    """A plain nak comes back at once, whatever the consumer's backoff is."""
    return await self._subscription.settle(self, Settlement(Verdict.NAK))


@breaks(Message, "nak", "nak.backoff")
async def runs_out_of_backoff(original, self):
    """After the last entry of the backoff a nak is an error."""
    delays = self._subscription.options.backoff
    return await self.nak_with_delay(delays[self.metadata.num_delivered - 1]) if delays else await original(self)
