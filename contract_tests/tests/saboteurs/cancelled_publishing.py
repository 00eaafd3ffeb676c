"""Publishers that do not bear being cancelled."""

import asyncio

from pubsubkit import PublishReceipt
from pubsubkit.pipeline import Pipeline
from pubsubkit.publisher import Publisher
from pubsubkit.window import Window
from pubsubkit_memory.driver import MemoryDriver
from saboteurs.saboteur import breaks


@breaks(MemoryDriver, "send", "can.publish")
async def stores_the_first_half(original, self, messages, timeout):
    """A publish that is cancelled while it is being sent is stored in part."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        await original(self, [message._replace(data=message.data[: len(message.data) // 2]) for message in messages], 1)
        raise
    return await original(self, messages, timeout)


@breaks(MemoryDriver, "send", "can.publish")
async def mixes_up_receipts(original, self, messages, timeout):
    """The receipt that a cancelled publish did not wait for is taken for the one of the next publish."""
    unclaimed = self.__dict__.setdefault("unclaimed", [])
    outcomes = await original(self, messages, timeout)
    unclaimed += outcomes
    await asyncio.sleep(0)
    outcomes = unclaimed[: len(messages)]
    del unclaimed[: len(messages)]
    return outcomes


@breaks(MemoryDriver, "send", "can.publish")
async def reports_a_cancel_as_stored(original, self, messages, timeout):
    """A publish that is cancelled is reported as stored."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        return [PublishReceipt("s", 1) for _ in messages]
    return await original(self, messages, timeout)


@breaks(Window, "acquire", "can.publish_soon")
async def loses_a_place(original, self):
    """Who is cancelled in the moment in which there is room takes the room with it."""
    if self._closed or self._free:
        return await original(self)
    waiter = asyncio.get_running_loop().create_future()
    self.waiters.append(waiter)
    return await waiter


@breaks(Publisher, "publish_soon", "can.publish_soon")
async def takes_it_all_the_same(original, self, *message, **options):
    """A publish_soon that is cancelled while it waits for room is stored later."""
    return await asyncio.shield(asyncio.ensure_future(original(self, *message, **options)))


@breaks(Publisher, "publish_many", "can.publish_many")
async def goes_on_when_cancelled(original, self, messages, **options):
    """A publish_many that is cancelled goes on by itself."""
    return await asyncio.shield(asyncio.ensure_future(original(self, messages, **options)))


@breaks(Pipeline, "drain", "can.flush")
async def cancels_what_it_waits_for(original, self):
    """A flush that is cancelled cancels the publishes that it waits for."""
    self._cut()
    await asyncio.gather(*self._tasks)
