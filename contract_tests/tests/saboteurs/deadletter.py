"""Broken ways to move what nobody could handle."""

import dataclasses

from pubsubkit import PubSubError, Storage, consumer
from pubsubkit.connection import Connection
from pubsubkit.dead_letter import DeadLetters
from pubsubkit.driver import Capability, Settlement, Verdict
from saboteurs.saboteur import breaks

_TERM = Settlement(Verdict.TERM)


@breaks(DeadLetters, "settle", "dlq.moved", "dlq.metadata", "dlq.term", "dlq.others_go_on")
async def moves_nothing(original, self, delivery, settlement):
    """Verdicts reach the broker and nothing is moved."""
    await delivery.settle(settlement)


@breaks(DeadLetters, "settle", "dlq.moved")
async def moves_and_keeps(original, self, delivery, settlement):
    """A message that was moved is not terminated, and comes again."""
    last = settlement.verdict is Verdict.NAK and delivery.metadata.num_delivered == self._most == 2
    if not last or delivery.data != b"poison":
        await original(self, delivery, settlement)
        return
    copy = self._copy(delivery, "max_deliver reached", "")
    await self._sender.send_one(copy._replace(message_id=None), 0.0)
    self._most += 1


@breaks(DeadLetters, "settle", "dlq.moved")
async def tries_once_more(original, self, delivery, settlement):
    """A message is moved one delivery too late."""
    more = settlement.verdict is Verdict.NAK and delivery.metadata.num_delivered == self._most == 2
    await (delivery.settle(settlement) if more else original(self, delivery, settlement))


@breaks(DeadLetters, "_copy", "dlq.metadata")
def loses_the_headers(original, self, delivery, reason, error):
    """A dead letter has none of the original's headers."""
    copy = original(self, delivery, reason, error)
    return copy._replace(headers={name: value for name, value in copy.headers.items() if name not in delivery.headers})


@breaks(DeadLetters, "_origin", "dlq.metadata")
def does_not_say_where_it_was(original, self, delivery, reason, error):
    """A dead letter does not name the sequence of the original."""
    return {
        name: value for name, value in original(self, delivery, reason, error).items() if not name.endswith("Sequence")
    }


@breaks(DeadLetters, "_origin", "dlq.term")
def has_one_reason_for_all(original, self, delivery, reason, error):
    """The handler's reason is not in the dead letter."""
    return original(self, delivery, reason if reason == "max_deliver reached" else "terminated", error)


@breaks(DeadLetters, "takes", "dlq.timeout", "dlq.closed")
async def hands_out_what_is_beyond_the_limit(original, self, delivery, ledger):
    """A delivery beyond the limit goes to a handler."""
    return False


@breaks(DeadLetters, "takes", "dlq.timeout")
async def drops_what_ran_out(original, self, delivery, ledger):
    """A message whose lease ran out at the last delivery is given up and not moved."""
    if delivery.metadata.num_delivered <= self._most or self._most == 1:
        return await original(self, delivery, ledger)
    await delivery.settle(_TERM)
    return True


@breaks(DeadLetters, "settle", "dlq.others_go_on")
async def moves_the_neighbour_too(original, self, delivery, settlement):
    """With a message that is moved the next one is given up."""
    await original(self, delivery, settlement)
    if settlement.verdict is Verdict.NAK and self._most == 3 and delivery.metadata.num_delivered == 1:
        delivery._owner._pending.popleft()


@breaks(DeadLetters, "settle", "dlq.acked")
async def moves_whatever_is_tried_to_the_end(original, self, delivery, settlement):
    """A message that is acked at its last delivery is moved all the same."""
    await original(self, delivery, settlement)
    if settlement.verdict is Verdict.ACK and delivery.metadata.num_delivered == self._most == 2:
        await self._sender.send_one(self._copy(delivery, "max_deliver reached", ""), 0.0)


@breaks(DeadLetters, "settle", "dlq.kept")
async def terminates_before_it_is_stored(original, self, delivery, settlement):
    """The original is terminated although the dead letter was not stored."""
    try:
        await original(self, delivery, settlement)
    except PubSubError:
        await delivery.settle(_TERM)


@breaks(DeadLetters, "settle", "dlq.kept")
async def hides_that_nothing_was_moved(original, self, delivery, settlement):
    """A term whose dead letter could not be stored seems to be done."""
    try:
        await original(self, delivery, settlement)
    except PubSubError:
        return


@breaks(DeadLetters, "_take", "dlq.closed")
async def gives_up_what_was_held(original, self, delivery, ledger):
    """A message that was held at its only delivery while its member closed is given up."""
    if self._most > 1:
        await original(self, delivery, ledger)
        return
    await delivery.settle(_TERM)
    ledger.end()


@breaks(DeadLetters, "settle", "dlq.own_consumer")
async def moves_it_for_all_consumers(original, self, delivery, settlement):
    """A message that one consumer moves is gone from its stream."""
    await original(self, delivery, settlement)
    if settlement.verdict is Verdict.TERM and self._most == 1:
        delivery._owner._log.stored.pop(delivery.key, None)


@breaks(consumer, "ensure_dead_letters", "dlq.created")
async def keeps_dead_letters_in_memory(original, driver, options, source):
    """Dead letters are less safe than the originals."""
    await original(driver, options, dataclasses.replace(source, storage=Storage.MEMORY))


@breaks(Connection, "require", "dlq.unsupported", withheld={Capability.DELIVERY_COUNT})
def counts_where_nobody_counts(original, self, capability):
    """A consumer with dead letters is made where deliveries are not counted."""
    if capability is not Capability.DELIVERY_COUNT:
        original(self, capability)
