"""Broken ways to carry payloads."""

import json

from pubsubkit import InvalidArgumentError, PublishReceipt
from pubsubkit import publisher as portable_publisher
from pubsubkit.publisher import Publisher
from pubsubkit_memory.driver import MemoryDriver
from saboteurs.saboteur import breaks


def _resent(original, self, messages, timeout, change):
    return original(self, [change(message) for message in messages], timeout)


@breaks(MemoryDriver, "send", "pay.empty")
async def skips_empty_payloads(original, self, messages, timeout):
    """An empty payload is confirmed and not stored."""
    kept = [message for message in messages if message.data or message.headers]
    outcomes = iter(await original(self, kept, timeout))
    return [next(outcomes) if message in kept else PublishReceipt("s", 1) for message in messages]


@breaks(MemoryDriver, "send", "pay.binary")
async def strips_payloads(original, self, messages, timeout):
    """Blanks and line ends at the ends of a payload are taken for formatting."""
    return await _resent(original, self, messages, timeout, lambda each: each._replace(data=each.data.strip()))


@breaks(MemoryDriver, "send", "pay.binary")
async def compacts_json(original, self, messages, timeout):
    """A payload that is JSON is parsed and written again."""

    def change(message):
        try:
            return message._replace(data=json.dumps(json.loads(message.data)).encode())
        except ValueError:
            return message

    numbers = [message for message in messages if not message.data.startswith(b"{")]
    if numbers:
        return await original(self, messages, timeout)
    return await _resent(original, self, messages, timeout, change)


@breaks(MemoryDriver, "send", "pay.same")
async def drops_repeated_payloads(original, self, messages, timeout):
    """A message that equals the one before it is taken for a retry: confirmed and not stored."""
    outcomes = []
    for message in messages:
        repeated = message.message_id is None and message.data == b"same" and message == getattr(self, "before", None)
        outcomes += [PublishReceipt("s", 1)] if repeated else await original(self, [message], timeout)
        self.before = message
    return outcomes


@breaks(MemoryDriver, "send", "pay.sizes")
async def loses_the_last_byte_of_full_frames(original, self, messages, timeout):
    """A payload that fills its frames of 4096 bytes exactly loses its last byte."""

    def change(message):
        full = message.data and len(message.data) % 4096 == 0 and len(message.data) < self.max_payload
        return message._replace(data=message.data[:-1]) if full else message

    return await _resent(original, self, messages, timeout, change)


@breaks(MemoryDriver, "send", "pay.max", "pay.sizes", "pay.over_headers", "pay.over_id")
async def truncates_at_64k(original, self, messages, timeout):
    """Payloads are cut at 64 KiB."""
    return await _resent(original, self, messages, timeout, lambda each: each._replace(data=each.data[:65_535]))


@breaks(MemoryDriver, "send", "pay.max")
async def drops_the_largest(original, self, messages, timeout):
    """A payload of the largest size is confirmed and not stored."""
    outcomes = []
    for message in messages:
        lost = len(message.data) >= self.max_payload
        outcomes += [PublishReceipt("s", 1)] if lost else await original(self, [message], timeout)
    return outcomes


@breaks(portable_publisher, "check_size", "pay.over", "pay.over_headers", "pay.over_id")
def ignores_max_payload(original, data, headers, message_id, limit):
    """A message that is too large goes to the broker all the same."""


@breaks(Publisher, "publish", "pay.over", "pay.over_headers", "pay.over_id")
async def drops_what_is_too_large(original, self, subject, data, **options):
    """A message that is too large is confirmed and not stored."""
    try:
        return await original(self, subject, data, **options)
    except InvalidArgumentError as error:
        if "more than the" in str(error):
            return PublishReceipt("s", 1)
        raise


@breaks(portable_publisher, "check_size", "pay.over")
def lets_one_byte_too_many_through(original, data, headers, message_id, limit):
    """The limit is off by one."""
    if len(data) != limit + 1:
        original(data, headers, message_id, limit)


@breaks(portable_publisher, "check_size", "pay.over_headers")
def does_not_count_headers(original, data, headers, message_id, limit):
    """Only the payload and the id are held against the limit."""
    original(data, None, message_id, limit)


@breaks(portable_publisher, "check_size", "pay.over_id")
def does_not_count_the_id(original, data, headers, message_id, limit):
    """The message id is not held against the limit."""
    original(data, headers, None, limit)


@breaks(portable_publisher, "check_data", "pay.type")
def encodes_text(original, data):
    """Text is encoded without a question."""
    return data.encode() if isinstance(data, str) else original(data)


@breaks(portable_publisher, "check_data", "pay.type")
def takes_the_buffer_of_a_view(original, data):
    """Of a memoryview the buffer behind it is sent."""
    return bytes(data.obj) if isinstance(data, memoryview) else original(data)
