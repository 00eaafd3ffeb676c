"""Closing while something is being opened: what fails because of it says that it was closed."""

import asyncio

import pytest

from pubsubkit import Backend, ClosedError, ConsumerOptions, PublisherOptions
from pubsubkit_memory import MemoryDriver


class Cut(MemoryDriver):
    """A driver whose requests end with the connection, as those of a network client do."""

    def __init__(self):
        super().__init__()
        self.asked = asyncio.Event()
        self.cut = asyncio.Event()

    async def stream_info(self, name):
        self.asked.set()
        await self.cut.wait()
        raise ConnectionResetError("the connection was closed")


@pytest.mark.parametrize("kind", ["publisher", "subscription"])
async def test_the_opening_is_refused_as_closed(kind: str):
    """A request that dies with the connection that the caller closes is ClosedError, not a passing failure."""
    driver = Cut()
    async with Backend(driver) as backend, asyncio.timeout(10):
        if kind == "publisher":
            opened = backend.publisher(PublisherOptions(stream_name="s"))
        else:
            opened = backend.consumer(ConsumerOptions(stream_name="s", consumer_name="d")).subscribe()
        opening = asyncio.ensure_future(opened.__aenter__())
        await driver.asked.wait()
        closing = asyncio.ensure_future(opened.aclose())
        await asyncio.sleep(0)
        driver.cut.set()
        with pytest.raises(ClosedError):
            await opening
        await closing
