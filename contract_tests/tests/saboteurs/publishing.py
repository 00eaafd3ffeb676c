"""Broken ways to publish and to store."""

import asyncio
import itertools
import random

from pubsubkit import PublishReceipt
from pubsubkit import publisher as portable
from pubsubkit.errors import PublishBatchError
from pubsubkit.pipeline import Pipeline
from pubsubkit.publisher import Publisher
from pubsubkit_memory.broker import Broker
from pubsubkit_memory.consumer import Consumer
from pubsubkit_memory.delivery import MemoryDelivery
from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_memory.log import Log
from pubsubkit_memory.stream import Stream
from saboteurs.saboteur import breaks

_count = itertools.count(1)
_joined: dict[str, int] = {}


@breaks(MemoryDriver, "send", "core.no_loss_no_extra")
async def drops_every_seventh(original, self, messages, timeout):
    """Every seventh publish is confirmed and not stored."""
    outcomes = []
    for message in messages:
        lost = next(_count) % 7 == 0
        outcomes += [PublishReceipt("s", 1)] if lost else await original(self, [message], timeout)
    return outcomes


@breaks(MemoryDriver, "send_now", "core.no_loss_no_extra")
def drops_every_seventh_at_once(original, self, *message):
    """Every seventh publish of a message of data alone is confirmed and not stored."""
    return PublishReceipt("s", 1) if next(_count) % 7 == 0 else original(self, *message)


@breaks(MemoryDriver, "send", "core.no_loss_no_extra")
async def drops_the_hundred_and_fiftieth(original, self, messages, timeout):
    """One message of a stream, the 150th, is confirmed and not kept when it is published by itself."""
    outcomes = await original(self, messages, timeout)
    if len(messages) == 1 and getattr(outcomes[0], "sequence", 0) == 150:
        for consumer in self._broker.stream(outcomes[0].stream).consumers.values():
            consumer.finish(150)
            consumer._pending.remove(150)
    return outcomes


@breaks(MemoryDriver, "send", "core.no_loss_no_extra")
async def duplicates_every_seventh(original, self, messages, timeout):
    """Every seventh message is stored twice."""
    outcomes = await original(self, messages, timeout)
    again = [message for message in messages if next(_count) % 7 == 0 and message.message_id is None]
    await original(self, again, timeout)
    return outcomes


@breaks(MemoryDriver, "send", "core.roundtrip")
async def mangles_utf8(original, self, messages, timeout):
    """Payloads are decoded as text and encoded again."""
    mangled = [message._replace(data=message.data.decode("utf-8", "replace").encode()) for message in messages]
    return await original(self, mangled, timeout)


@breaks(MemoryDelivery, "__init__", "core.roundtrip")
def hands_out_a_view(original, self, *arguments):
    """The data is a bytearray, not bytes."""
    original(self, *arguments)
    self.data = bytearray(self.data)


@breaks(MemoryDelivery, "__init__", "core.roundtrip")
def reports_a_cut_subject(original, self, *arguments):
    """A binary message reports only the first two tokens of its subject when it has three."""
    original(self, *arguments)
    if self.data[:1] == b"\0" and self.subject.endswith(".a.b"):
        self.subject = self.subject[:-2]


@breaks(MemoryDriver, "send", "core.publish_confirms")
async def confirms_before_storing(original, self, messages, timeout):
    """A publish returns at once and stores a little later."""
    asyncio.get_running_loop().call_later(0.02, lambda: asyncio.ensure_future(original(self, messages, timeout)))
    return [PublishReceipt("s", next(_count)) for _ in messages]


@breaks(MemoryDriver, "send", "core.publish_confirms")
async def confirms_the_twentieth_early(original, self, messages, timeout):
    """Every twentieth message of a stream, published by itself, is confirmed some turns before it is stored."""
    stream = self._broker._routes[messages[0].subject]
    if len(messages) > 1 or messages[0].message_id or not stream or stream[0]._log.last % 20 != 19:
        return await original(self, messages, timeout)

    async def later():
        for _ in range(3):
            await asyncio.sleep(0)
        await original(self, messages, timeout)

    asyncio.ensure_future(later())  # noqa: RUF006
    return [PublishReceipt(stream[0]._name, stream[0]._log.last + 1)]


@breaks(Stream, "publish", "core.receipt")
def names_the_subject(original, self, subject, *message):
    """The receipt names the subject in place of the stream."""
    return original(self, subject, *message)._replace(stream=subject)


@breaks(Stream, "publish", "core.receipt", "core.batch")
def counts_receipts_from_zero(original, self, *message):
    """The sequence of a receipt is one less than that of the delivery."""
    receipt = original(self, *message)
    return receipt._replace(sequence=receipt.sequence - 1)


@breaks(Consumer, "offer", "core.live")
def wakes_nobody(original, self, sequence):
    """A receive that waits already is not woken by a new message."""
    waiting, self.waiters.queue = self.waiters.queue, type(self.waiters.queue)()
    original(self, sequence)
    self.waiters.queue = waiting


@breaks(Log, "start", "core.history")
def starts_at_the_end(original, self, where, pattern):
    """Every consumer gets new messages only."""
    return original(self, "new" if where == "all" else where, pattern)


@breaks(Log, "start", "core.history")
def takes_one_for_none(original, self, where, pattern):
    """A stream of one message counts as empty for a new consumer."""
    return original(self, "new" if where == "all" and self.first == self.last else where, pattern)


@breaks(portable, "check_data", "core.buffer_snapshot")
def keeps_the_callers_buffer(original, data):
    """A bytearray is stored as it is, not as a copy."""
    return data if isinstance(data, bytearray) else original(data)


@breaks(portable, "check_headers", "core.headers_snapshot")
def keeps_the_callers_headers(original, headers):
    """The header mapping is kept, not copied, until the message is sent."""
    original(headers)
    return headers


@breaks(MemoryDriver, "subscribe", "core.subscribe_is_active")
async def subscribes_in_the_background(original, self, spec, buffer):
    """The eleventh member of a stream is told that it has joined a turn before it collects."""
    joined = _joined[spec.stream] = _joined.get(spec.stream, 0) + 1
    if joined > 10 and spec.deliver_from == "new" and not spec.durable:
        stream = self._broker.stream(spec.stream)
        stream.delete_consumer(spec.name)
        stream.create_consumer(spec)
        consumer = stream.consumer(spec.name)
        stream._index.remove(consumer.pattern, consumer)
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.call_soon, stream._index.add, consumer.pattern, consumer)
    return await original(self, spec, buffer)


@breaks(Broker, "publish", "core.streams_isolated")
def stores_in_every_stream(original, self, message):
    """A message is also stored in the stream whose name is the longer one of the two."""
    receipt = original(self, message)
    for name, stream in self._streams.items():
        both = {name, receipt.stream}
        if len(both) == 2 and any(f"{each}-other" in both for each in both):
            stream.publish(message)
    return receipt


@breaks(Pipeline, "_cut", "core.batch")
def sends_batches_backwards(original, self):
    """The messages of a batch are stored in reverse."""
    if self._batch is not None:
        self._batch.messages.reverse()
        self._batch.futures.reverse()
    original(self)


@breaks(MemoryDriver, "send", "core.batch")
async def mixes_up_receipts(original, self, messages, timeout):
    """The receipts of a batch are in another order than its messages."""
    return list(reversed(await original(self, messages, timeout)))


@breaks(MemoryDriver, "send", "core.batch_large")
async def splits_large_batches_badly(original, self, messages, timeout):
    """Of a batch of more than a megabyte the second half is stored first."""
    middle = len(messages) // 2
    if sum(len(message.data) for message in messages) < 1_000_000:
        return await original(self, messages, timeout)
    last = await original(self, messages[middle:], timeout)
    first = await original(self, messages[:middle], timeout)
    return [*last, *first]


@breaks(PublishBatchError, "stored", "core.batch_failure")
def calls_all_stored(original, self):
    """The error of a batch says of every message that it was stored."""
    return dict.fromkeys(range(len(self.outcomes)))


@breaks(MemoryDriver, "send", "core.batch_failure")
async def stores_again_after_a_failure(original, self, messages, timeout):
    """A batch is stored twice when it is not the publisher's whole window."""
    if len(messages) == 2 and messages[0].data == b"good":
        await original(self, messages, timeout)
    return await original(self, messages, timeout)


@breaks(Publisher, "flush", "core.flush")
async def flushes_at_close_only(original, self):
    """Flushing returns at once, unless the publisher is closed."""
    if self.closed:
        await original(self)


@breaks(Pipeline, "put", "core.publish_soon")
async def lets_publish_overtake(original, self, message, window):
    """A publish goes past the messages of publish_soon that wait to be sent."""
    future = await original(self, message, window)
    self.ahead = 0
    return future


@breaks(portable, "_each", "core.many_async")
async def takes_lists_only(original, messages):
    """An async source is read to its first message only."""
    async for message in original(messages):
        yield message
        if hasattr(messages, "__aiter__"):
            return


@breaks(Log, "find_duplicate", "core.dedup")
def ignores_message_ids(original, self, message_id):
    """A message id is stored with the message and never looked for."""
    return


@breaks(Publisher, "_message_id", "core.dedup")
def scopes_ids_to_the_publisher(original, self, given):
    """An id is known to the publisher that sent it only."""
    found = original(self, given)
    return f"{id(self)}-{found}" if given == "one" else found


@breaks(Stream, "publish", "core.dedup")
def confirms_duplicates_as_new(original, self, *message):
    """A repeated message id is not stored again, but the receipt says that it was."""
    return original(self, *message)._replace(duplicate=False)


@breaks(MemoryDelivery, "metadata", "core.dedup")
def forgets_the_message_id(original, self):
    """The metadata of a delivery do not tell the message id."""
    return original(self)._replace(message_id=None)


@breaks(Log, "find_duplicate", "core.dedup_window")
def remembers_ids_for_ever(original, self, message_id):
    """The duplicate window never ends."""
    return self._ids.get(message_id)


@breaks(Log, "find_duplicate", "core.dedup_window")
def forgets_ids_too_soon(original, self, message_id):
    """The duplicate window is half as long as asked for."""
    window = self._window
    self._window = window / 2
    try:
        return original(self, message_id)
    finally:
        self._window = window


@breaks(MemoryDriver, "send", "ord.fifo")
async def swaps_the_first_two(original, self, messages, timeout):
    """The first message of a stream is stored after the second one."""
    held = self.__dict__.setdefault("held", {})
    stream = self._broker._routes[messages[0].subject]
    if stream and stream[0]._log.last == 0 and id(stream[0]) not in held and len(messages) == 1:
        held[id(stream[0])] = messages[0]
        return [PublishReceipt(stream[0]._name, 2)]
    outcomes = await original(self, messages, timeout)
    if stream and held.get(id(stream[0])) is not None:
        await original(self, [held[id(stream[0])]], timeout)
        held[id(stream[0])] = None
    return outcomes


@breaks(Publisher, "publish", "ord.per_publisher")
async def races(original, self, subject, data, **options):
    """Publishes that run at once take a random number of turns before they are stored, and return before."""

    async def later():
        for _ in range(random.randrange(3)):
            await asyncio.sleep(0)
        return await original(self, subject, data, **options)

    task = asyncio.ensure_future(later())
    if ".p" in subject:
        await asyncio.sleep(0)
        return PublishReceipt("s", 1)
    return await task


@breaks(Log, "append", "core.headers_snapshot")
def stores_the_callers_headers(original, self, subject, data, headers, message_id):
    """The broker forgets the headers of a message that has only one."""
    one = headers and list(headers.values()) == ["before"]
    return original(self, subject, data, None if one else headers, message_id)
