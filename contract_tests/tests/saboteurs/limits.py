"""Broken ways to keep the limits of a stream."""

import math
from dataclasses import replace
from datetime import timedelta

from pubsubkit import PublishReceipt, PubSubError, StreamFullError, TransientError
from pubsubkit.driver import Capability, Verdict
from pubsubkit_memory.consumer import Consumer
from pubsubkit_memory.delivery import MemoryDelivery
from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_memory.log import Log
from saboteurs.saboteur import breaks


@breaks(MemoryDelivery, "settle", "lim.retention", withheld={Capability.NAK})
async def deletes_what_was_terminated(original, self, settlement):
    """A message that one consumer terminated is removed from its stream."""
    await original(self, settlement)
    if settlement.verdict is Verdict.TERM and not settlement.reason:
        self._owner._log.stored.pop(self.key, None)


@breaks(MemoryDriver, "stream_info", "lim.messages")
async def tells_the_first_sequence_ever(original, self, name):
    """The first sequence is that of the first message that was ever stored."""
    info = await original(self, name)
    return info and replace(info, first_sequence=min(info.first_sequence, 1))


@breaks(Log, "configure", "lim.messages")
def keeps_one_more(original, self, options):
    """A stream keeps one message more than max_messages."""
    original(self, options)
    self._max_messages += not self._refuse and self._max_messages > 1


@breaks(Log, "configure", "lim.bytes")
def ignores_max_bytes(original, self, options):
    """max_bytes is not kept where old messages are to make room."""
    original(self, options)
    if not self._refuse:
        self._max_bytes = math.inf


@breaks(Log, "_trim", "lim.bytes")
def makes_too_much_room(original, self):
    """When a stream is over max_bytes all of its messages go."""
    over = self.bytes > self._max_bytes
    original(self)
    while over and len(self.stored) > 1:
        self._drop_first()


@breaks(Log, "append", "lim.full_messages", "lim.full_batch")
def discards_old_in_place_of_new(original, self, *message):
    """A stream that is to discard new messages discards old ones."""
    self._refuse = False
    return original(self, *message)


@breaks(Log, "configure", "lim.full_messages")
def is_full_for_ever(original, self, options):
    """A stream of two messages that was full once stays full when its limit is raised."""
    before = getattr(self, "_max_messages", None)
    original(self, options)
    if before == 2 and self._refuse:
        self._max_messages = 2


@breaks(Log, "append", "lim.full_bytes")
def does_not_refuse_by_bytes(original, self, *message):
    """A stream that is to discard new messages goes over max_bytes."""
    if self._refuse:
        self._max_bytes = math.inf
    return original(self, *message)


@breaks(MemoryDriver, "send", "lim.full_batch")
async def fails_the_whole_batch(original, self, messages, timeout):
    """When the stream gets full within a batch all of the batch is said to have failed."""
    outcomes = await original(self, messages, timeout)
    full = [outcome for outcome in outcomes if isinstance(outcome, StreamFullError)]
    return full[:1] * len(messages) if full else outcomes


@breaks(MemoryDriver, "send", "lim.full_batch")
async def drops_silently_within_a_batch(original, self, messages, timeout):
    """What a full stream refuses within a batch is said to be stored."""
    outcomes = await original(self, messages, timeout)
    if len(messages) == 1:
        return outcomes
    return [PublishReceipt("s", 1) if isinstance(each, StreamFullError) else each for each in outcomes]


@breaks(MemoryDriver, "send", "lim.full_messages", "lim.full_bytes", "lim.full_batch")
async def takes_full_for_passing(original, self, messages, timeout):
    """That a stream is full is said to be a passing failure."""
    outcomes = await original(self, messages, timeout)
    return [TransientError(str(each)) if isinstance(each, StreamFullError) else each for each in outcomes]


@breaks(Log, "configure", "lim.age")
def ignores_max_age(original, self, options):
    """Messages do not go after max_age."""
    original(self, options)
    self._max_age = None


@breaks(Log, "configure", "lim.age")
def expires_too_early(original, self, options):
    """Messages go after half of max_age."""
    original(self, options)
    if self._max_age is not None and self._max_age < timedelta(seconds=10):
        self._max_age /= 2


@breaks(Log, "_admit", "lim.message_size")
def ignores_max_message_size(original, self, size, counted):
    """A message of any size is stored."""
    original(self, 0, counted)


@breaks(Log, "_admit", "lim.message_size")
def has_another_error_for_large_messages(original, self, size, counted):
    """A message that is too large for its stream is an error of the broker."""
    try:
        original(self, size, counted)
    except ValueError as error:
        raise PubSubError("the broker failed") from error


@breaks(Consumer, "take", "lim.behind")
def stops_at_a_gap(original, self):
    """A consumer waits for a message that was pushed out."""
    if (
        not self._ready
        and self._pending
        and self._position + 1 < self._pending[0]
        and self._log.first > self._position + 1
    ):
        return None
    return original(self)


@breaks(MemoryDelivery, "settle", "lim.held")
async def cannot_settle_what_is_gone(original, self, settlement):
    """A verdict on a message that is not in the stream any more is an error."""
    if self.key not in self._owner._log.stored:
        raise PubSubError("no such message")
    await original(self, settlement)


@breaks(Consumer, "take", "lim.held")
def redelivers_what_is_gone(original, self):
    """A redelivery of a message that was pushed out blocks the consumer."""
    if self._ready and next(iter(self._ready)) not in self._log.stored:
        return None
    return original(self)
