"""Broken ways to publish and to store."""

import asyncio
import itertools

from pubsubkit import PublishReceipt
from pubsubkit_memory.driver import MemoryDriver
from saboteurs.saboteur import breaks

_count = itertools.count(1)


@breaks(MemoryDriver, "send", "core.no_loss_no_extra")
async def drops_every_seventh(original, self, messages, timeout):
    """Every seventh publish is confirmed and not stored."""
    outcomes = []
    for message in messages:
        lost = next(_count) % 7 == 0
        outcomes += [PublishReceipt("s", 1)] if lost else await original(self, [message], timeout)
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


@breaks(MemoryDriver, "send", "core.publish_confirms")
async def confirms_before_storing(original, self, messages, timeout):
    """A publish returns at once and stores a little later."""
    asyncio.get_running_loop().call_later(0.02, lambda: asyncio.ensure_future(original(self, messages, timeout)))
    return [PublishReceipt("s", next(_count)) for _ in messages]
